"""One way onto the wire: timeouts, retries, no redirects, every call counted.

`Transport` sends a request and gives back whatever was answered last; it knows nothing of tokens or of what an answer
means. Which faults pass by themselves is in `retries`.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import DEFAULT_POOLBLOCK, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_sfcc import __version__
from airflow_sfcc.errors import UnavailableError, UntrustedHostError
from airflow_sfcc.salesforce.content_coding import GZIP_DAMAGED, is_gzip, unpacked
from airflow_sfcc.salesforce.org_clock import OrgClock
from airflow_sfcc.salesforce.retry import RetryPolicy
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.salesforce.usage import ApiUsage

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

DEFAULT_REQUEST_TIMEOUT = 130.0
"""Seconds without a byte before a request counts as dead: Salesforce may think 120 s about a query.

Source: salesforce-protocol.md#rest-queries.
"""


@dataclass(frozen=True)
class TransportOptions:
    """How to talk: `request_timeout` in seconds without a byte, `connect_timeout` in seconds, `max_retries` beyond the first
    try, `verify` as in requests (True, False or the path of a CA bundle), `pool_size` connections kept open."""

    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    max_retries: int = 5
    verify: bool | str = True
    pool_size: int = 16


class _WatchedConnection(HTTPConnection):
    """A connection that `stop` breaks off, also while it is asked and nothing of the answer has come yet."""

    stop: Stop

    def connect(self) -> None:
        super().connect()
        self.stop.watch(self)

    def shutdown(self) -> None:
        if self.sock is not None:
            self.sock.shutdown(socket.SHUT_RDWR)


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same with TLS."""


class CountingAdapter(HTTPAdapter):
    """Counts what leaves and reads the org's usage and time from what comes back; a repeat after a 401 comes through
    here too. Its connections are its own, and `stop` ends them."""

    def __init__(self, usage: ApiUsage, clock: OrgClock, stop: Stop, pool_size: int) -> None:
        self._usage = usage
        self._clock = clock
        self._watched: dict[type, type] = {
            HTTPConnection: type("_HttpConnection", (_WatchedConnection,), {"stop": stop}),
            HTTPSConnection: type("_TlsConnection", (_WatchedTlsConnection,), {"stop": stop}),
        }
        super().__init__(pool_maxsize=pool_size)

    def get_connection_with_tls_context(self, *request: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*request, **options)
        # Those through a SOCKS proxy have a type of their own, and are left to their time limits.
        pool.ConnectionCls = self._watched.get(pool.ConnectionCls, pool.ConnectionCls)
        return pool

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = DEFAULT_POOLBLOCK, **options: Any) -> None:
        keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options["socket_options"] = [*HTTPConnection.default_socket_options, keep_alive]
        super().init_poolmanager(connections, maxsize, block, **options)

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, stream: bool = False, **options: Any
    ) -> requests.Response:
        self._usage.before_call(request.method or "", request.path_url)
        headers: Mapping[str, str] = {}
        try:
            response = super().send(request, stream, **options)
            headers = response.headers
            self._clock.observe(headers)
            if not stream:
                response.raw = _read_at_once(response)
        finally:
            self._usage.after_call(request.path_url, headers)
        return response


class _ReadBody(io.BytesIO):
    """A body that is in memory; requests takes it in one piece from `stream`, which urllib3's responses have."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.getvalue()


def _read_at_once(response: requests.Response) -> _ReadBody:
    """The whole body, unpacked. requests unpacks ten kilobytes at a time, which takes longer than parsing them."""
    packed = is_gzip(response)
    try:
        sent: bytes = response.raw.read(decode_content=not packed)
        body = unpacked(sent) if packed and sent else sent
    except urllib3.exceptions.ReadTimeoutError as problem:
        raise requests.exceptions.ReadTimeout(problem, request=response.request) from problem
    except (urllib3.exceptions.DecodeError, *GZIP_DAMAGED) as problem:
        raise requests.exceptions.ContentDecodingError(problem, request=response.request) from problem
    except (urllib3.exceptions.HTTPError, OSError, EOFError) as problem:
        raise requests.exceptions.ChunkedEncodingError(problem, request=response.request) from problem
    if response.status_code == 200 and _is_torn_json(response, body):
        raise requests.exceptions.ChunkedEncodingError("The JSON has no end", request=response.request)
    return _ReadBody(body)


def is_framed(response: requests.Response) -> bool:
    """Whether HTTP says where the body ends, so that urllib3 notices when it breaks off before (RFC 9112, 6.3)."""
    headers = response.headers
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


def _is_torn_json(response: requests.Response, body: bytes) -> bool:
    """Whether JSON broke off where nothing else tells: some proxies end an answer by closing the connection."""
    is_json = "json" in response.headers.get("Content-Type", "").lower()
    return is_json and not is_framed(response) and not body[-16:].rstrip().endswith((b"}", b"]"))


class Transport(requests.Session):
    """A `requests.Session` that is safe to point at Salesforce.

    Raises UnavailableError when nothing was answered in spite of retries, UntrustedHostError on a redirect, StoppedError
    once `stop` is set.
    """

    def __init__(
        self,
        options: TransportOptions | None = None,
        *,
        usage: ApiUsage | None = None,
        clock: OrgClock | None = None,
        stop: Stop | None = None,
    ) -> None:
        super().__init__()
        self.settings = options or TransportOptions()
        self.usage = usage or ApiUsage()
        self.clock = clock or OrgClock()
        self.stop = stop or Stop()
        self.retries = RetryPolicy(self.settings.max_retries, self.stop)
        self.headers["User-Agent"] = f"airflow-sfcc/{__version__}"
        adapter = CountingAdapter(self.usage, self.clock, self.stop, self.settings.pool_size)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: MutableMapping[str, str] | None,
        stream: bool | None,
        verify: bool | str | None,
        cert: Any,
    ) -> Any:
        # requests lets a CA bundle from the environment win over a session's own choice; the connection's choice must win.
        if verify is None and self.settings.verify is not True:
            verify = self.settings.verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send with our timeouts unless given others, again after passing faults, and never along a redirect."""
        options["timeout"] = options.get("timeout") or (
            self.settings.connect_timeout,
            self.settings.request_timeout,
        )
        options["allow_redirects"] = False
        try:
            response = self.retries.run(lambda: super(Transport, self).send(request, **options), what=describe(request))
        except requests.RequestException as problem:
            self.stop.check()
            raise _unreachable(request, problem) from None
        if options.get("stream"):
            self.stop.watch(response.raw)
        return _refuse_redirect(response, request)


def describe(request: requests.PreparedRequest) -> str:
    """What a log line or a message may say about a request: no query string, since that can hold a person's data."""
    return f"{request.method} {request.path_url.split('?')[0]}"


def _refuse_redirect(response: requests.Response, request: requests.PreparedRequest) -> requests.Response:
    if response.is_redirect or response.is_permanent_redirect:
        response.close()
        raise UntrustedHostError(
            f"{describe(request)} was answered with a redirect (HTTP {response.status_code}), which is never followed, so "
            "that neither the credentials nor the token reach another host; nothing was landed. Is the connection's "
            "host the org's My Domain?",
            status=response.status_code,
        )
    return response


def _unreachable(request: requests.PreparedRequest, problem: requests.RequestException) -> UnavailableError:
    parts = urlsplit(request.url or "")
    return UnavailableError(
        f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''} could not be reached for "
        f"{describe(request)}: {_cause(problem)}"
    )


def _cause(problem: requests.RequestException) -> str:
    text = str(problem)
    if "NameResolutionError" in text or "Failed to resolve" in text:
        return "there is no such host. Check the spelling of My Domain in the connection's host."
    if isinstance(problem, requests.exceptions.SSLError):
        return (
            "its TLS certificate could not be verified. If it is signed by your own CA, set verify in the connection's "
            "extra to the path of that CA bundle."
        )
    if isinstance(problem, requests.exceptions.ProxyError):
        return "the proxy did not let the request through. Check HTTPS_PROXY and NO_PROXY on the worker."
    if isinstance(problem, requests.exceptions.ReadTimeout):
        return "it stopped answering. Try again, or raise request_timeout in the connection's extra."
    if isinstance(problem, requests.exceptions.Timeout):
        return "it did not accept the connection in time. Check My Domain and the worker's firewall."
    if "Connection refused" in text:
        return "it refused the connection. Check the host and port of the connection."
    return f"the connection broke ({type(problem).__name__}). Try again later."
