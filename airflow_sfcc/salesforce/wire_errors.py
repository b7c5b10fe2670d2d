"""From an exception of `requests` to ours: what happened on the way, and who has to do something about it."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from airflow_sfcc.errors import ConfigurationError, SalesforceError, UnavailableError


def describe(request: requests.PreparedRequest) -> str:
    """What a log line or a message may say about a request: no query string, since that can hold a person's data."""
    return f"{request.method} {request.path_url.split('?')[0]}"


def wire_error(request: requests.PreparedRequest, problem: requests.RequestException) -> SalesforceError:
    """What happened on the way, and who has to do something: the connection, this machine, or nobody but a retry."""
    parts = urlsplit(request.url or "")
    host = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    for kinds, text, error, advice in _CAUSES:
        if isinstance(problem, kinds) and text in str(problem):
            return error(f"{host} could not be reached for {describe(request)}: {advice}")
    return UnavailableError(
        f"{host} could not be reached for {describe(request)}: the connection broke ({type(problem).__name__}). Try again later."
    )


_CAUSES: tuple[tuple[tuple[type[Exception], ...], str, type[SalesforceError], str], ...] = (
    (
        (requests.exceptions.ProxyError,),
        "Failed to resolve",
        UnavailableError,
        "the name of the proxy does not resolve.\nCheck HTTPS_PROXY, HTTP_PROXY and NO_PROXY on this machine.",
    ),
    (
        (requests.exceptions.ProxyError,),
        "",
        UnavailableError,
        "the proxy did not let the request through.\nCheck HTTPS_PROXY and NO_PROXY on this machine.",
    ),
    (
        (requests.exceptions.InvalidSchema,),
        "SOCKS",
        ConfigurationError,
        "a SOCKS proxy is set, and PySocks is not installed.\nInstall it (pip install PySocks), or unset HTTPS_PROXY and "
        "ALL_PROXY on this machine.",
    ),
    (
        (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL),
        "",
        ConfigurationError,
        "its URL or that of a proxy cannot be used.\nCheck the connection's host, and HTTPS_PROXY on this machine.",
    ),
    (
        (requests.exceptions.ConnectionError,),
        "Failed to resolve",
        UnavailableError,
        "there is no such host.\nCheck the spelling of My Domain in the connection's host.",
    ),
    (
        (requests.exceptions.SSLError,),
        "",
        UnavailableError,
        "its TLS certificate could not be verified.\nIf it is signed by your own CA, set verify in the connection's extra to the "
        "path of that CA bundle.",
    ),
    (
        (requests.exceptions.ReadTimeout,),
        "",
        UnavailableError,
        "it stopped responding, or took too long.\nTry again, or raise request_timeout in the connection's extra.",
    ),
    (
        (requests.exceptions.Timeout,),
        "",
        UnavailableError,
        "it did not accept the connection in time.\nCheck My Domain and the worker's firewall.",
    ),
    (
        (requests.exceptions.ConnectionError,),
        "Connection refused",
        UnavailableError,
        "it refused the connection.\nCheck the host and port of the connection.",
    ),
)
"""What went wrong, by the exceptions of requests and a part of their text, in the order in which they are tried."""
