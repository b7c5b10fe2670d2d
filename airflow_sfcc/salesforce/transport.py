"""One way onto the wire: time and size limits, retries, no redirects, every call counted.

`Transport` sends a request and returns the last response; it knows nothing of tokens or of what a response means. Which
errors are transient is in `retry`. The limits are listed in docs/security.md.
"""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import requests
import urllib3
from requests.adapters import DEFAULT_POOLBLOCK, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_sfcc import __version__
from airflow_sfcc.errors import (
    ConfigurationError,
    UnexpectedResponseError,
    UntrustedHostError,
)
from airflow_sfcc.salesforce.content_coding import GZIP_DAMAGED, TooLargeError, is_gzip, unpacked
from airflow_sfcc.salesforce.instance import is_loopback
from airflow_sfcc.salesforce.org_clock import OrgClock
from airflow_sfcc.salesforce.retry import RetryPolicy
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.salesforce.usage import ApiUsage, Tally
from airflow_sfcc.salesforce.wire_errors import describe, wire_error

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

DEFAULT_REQUEST_TIMEOUT = 130.0
"""Seconds until a response's headers are complete, and without a byte after them: Salesforce may take 120 s for a query
(salesforce-protocol.md#rest-queries)."""

RESPONSE_SECONDS = 600.0
"""Seconds for a whole response that is read at once."""

STREAM_SECONDS = 3600.0
"""Seconds for a whole response that is read as a stream, as Bulk result pages are."""

_MB = 1024 * 1024
LARGEST_ERROR = 1 * _MB
"""Bytes of an error response, unpacked."""

LARGEST_BODIES: tuple[tuple[str, re.Pattern[str], int], ...] = (
    ("token", re.compile(r"/services/oauth2/"), 1 * _MB),
    ("count", re.compile(r"/query(All)?/?\?(.*&)?q=SELECT\+COUNT%28%29\+"), 1 * _MB),
    ("Bulk job or page list", re.compile(r"/jobs/"), 16 * _MB),
    ("query page", re.compile(r"/query|/composite/"), 512 * _MB),
    ("describe", re.compile(r"/sobjects"), 64 * _MB),
    ("other", re.compile(r"/"), 64 * _MB),
)
"""Unpacked bytes of a response that is read at once, by the kind of request; the first pattern found in the path counts."""


@dataclass(frozen=True)
class TransportOptions:
    """How to talk: `request_timeout` in seconds until the headers and without a byte, `connect_timeout` and `response_timeout`
    (one whole response) in seconds, `max_retries` beyond the first attempt, `verify` as in requests (True, False or the path
    of a CA bundle), `pool_size` connections kept open."""

    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    response_timeout: float = RESPONSE_SECONDS
    max_retries: int = 5
    verify: bool | str = True
    pool_size: int = 16

    def limited(self, timeout: float | None = None, max_retries: int | None = None) -> TransportOptions:
        """The same with `timeout` seconds at most for each of the three, and another number of retries."""
        longest = float("inf") if timeout is None else timeout
        return replace(
            self,
            request_timeout=min(longest, self.request_timeout),
            connect_timeout=min(longest, self.connect_timeout),
            response_timeout=min(longest, self.response_timeout),
            max_retries=self.max_retries if max_retries is None else max_retries,
        )


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline. A server that sends single bytes, or `100 Continue` without end, meets no other limit:
    a socket's timeout begins again with every byte."""

    def __init__(self, sock: socket.socket, silence: float | None) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # the connection counts those who still read from it
        self._silence = float("inf") if silence is None else silence
        self.within(self._silence)

    def within(self, seconds: float) -> None:
        """From now on, all that is left must arrive within so many seconds."""
        self._deadline = time.monotonic() + seconds

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response took too long in all")
        seconds = None if (least := min(left, self._silence)) == float("inf") else least
        if seconds != self._sock.gettimeout():  # which takes a system call, and bodies come in many small pieces
            self._sock.settimeout(seconds)
        return self._sock.recv_into(buffer)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """What http.client takes for a socket when it makes a response."""

    def __init__(self, reader: _TimedReader) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader)


class _Response(http.client.HTTPResponse):
    """A response whose lines that are no headers stay out of the logs: urllib3 writes them there as they came, and a server may
    repeat in them what it was sent."""

    def begin(self) -> None:
        super().begin()
        if self.headers.defects or self.headers.get_payload():
            log.warning(
                "A response had lines among its headers that are none; they, and what followed them, were ignored"
            )
            self.headers.defects.clear()
            self.headers.set_payload("")


class _WatchedConnection(HTTPConnection):
    """A connection that `stop` breaks off at any time, and whose responses have a deadline: the headers must be complete within
    the read timeout, and `getresponse` returns what the adapter gives the body a deadline by."""

    stop: Stop
    _reader: _TimedReader

    def connect(self) -> None:
        self.stop.watch(self)
        super().connect()
        if self.stop.is_set:  # while there was no socket yet to shut down
            self.shutdown()

    def shutdown(self) -> None:
        if self.sock is not None:
            self.sock.shutdown(socket.SHUT_RDWR)

    def request(self, *arguments: Any, **options: Any) -> None:
        if self.sock is not None:  # one that was used before still has the timeout of its last read
            self.sock.settimeout(self.timeout)
        super().request(*arguments, **options)

    def response_class(self, sock: Any, *arguments: Any, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        self._reader = _TimedReader(sock, self.timeout)
        return _Response(_TimedSocket(self._reader), *arguments, **options)  # type: ignore[arg-type]

    def getresponse(self) -> Any:
        response: Any = super().getresponse()
        response.reader = self._reader
        return response


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same with TLS."""


class CountingAdapter(HTTPAdapter):
    """Counts calls, reads the org's usage and time from responses, and reads bodies up to their limits; a repeat after a 401
    comes through here too. Its connections are its own, and `stop` ends them."""

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
        # Those through a SOCKS proxy have a type of their own, and are left to the timeout of each read.
        pool.ConnectionCls = self._watched.get(pool.ConnectionCls, pool.ConnectionCls)
        return pool

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = DEFAULT_POOLBLOCK, **options: Any) -> None:
        keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options["socket_options"] = [*HTTPConnection.default_socket_options, keep_alive]
        super().init_poolmanager(connections, maxsize, block, **options)

    def send(  # type: ignore[override]
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        *,
        response_timeout: float = RESPONSE_SECONDS,
        tally: Tally | None = None,
        **options: Any,
    ) -> requests.Response:
        self._usage.before_call(request.method or "", request.path_url, tally)
        headers: Mapping[str, str] = {}
        try:
            response = super().send(request, stream, **options)
            headers = response.headers
            self._clock.observe(headers)
            is_streamed = stream and response.status_code == 200
            if isinstance(reader := getattr(response.raw, "reader", None), _TimedReader):
                reader.within(STREAM_SECONDS if is_streamed else response_timeout)
            if not is_streamed:
                response.raw = _read_at_once(response)
        finally:
            self._usage.after_call(request.path_url, headers)
        return response


class _ReadBody(io.BytesIO):
    """A body that is in memory; requests takes it in one piece from `stream`, which urllib3's responses have."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.getvalue()

    def shutdown(self) -> None:
        """Nothing is left to break off."""


def _read_at_once(response: requests.Response) -> _ReadBody:
    """The whole body, unpacked. requests unpacks ten kilobytes at a time, which takes longer than parsing them."""
    kind, limit = _limit(response)
    try:
        body = _unpacked_body(response, limit)
    except TooLargeError:
        response.raw.close()
        raise UnexpectedResponseError(
            f"{describe(response.request)} was answered with more than {limit / _MB:,.0f} MB, the limit for a response of the "
            f"kind {kind!r}; it was not read further.\nIs the connection's host the org's My Domain, and does no proxy stand "
            "between?",
            status=response.status_code,
        ) from None
    except urllib3.exceptions.ReadTimeoutError as problem:
        raise requests.exceptions.ReadTimeout(problem, request=response.request) from problem
    except (urllib3.exceptions.DecodeError, *GZIP_DAMAGED) as problem:
        raise requests.exceptions.ContentDecodingError(problem, request=response.request) from problem
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, EOFError) as problem:
        raise requests.exceptions.ChunkedEncodingError(problem, request=response.request) from problem
    if response.status_code == 200 and _is_torn_json(response, body):
        raise requests.exceptions.ChunkedEncodingError("The JSON has no end", request=response.request)
    return _ReadBody(body)


def _limit(response: requests.Response) -> tuple[str, int]:
    if response.status_code >= 400:
        return "error", LARGEST_ERROR
    path = response.request.path_url
    return next((kind, most) for kind, pattern, most in LARGEST_BODIES if pattern.search(path))


def _unpacked_body(response: requests.Response, limit: int) -> bytes:
    """Raises TooLargeError, for a body that is too large packed or unpacked, and what reading and unpacking raise.

    Of other codings nothing is unpacked: none is requested, and releases of urllib3 before 2.6 unpack without a limit.
    """
    pieces: list[bytes] = []
    left = limit
    while piece := response.raw.read(_MB, decode_content=False):
        left -= len(piece)
        if left < 0:
            raise TooLargeError(limit)
        pieces.append(piece)
    sent = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return unpacked(sent, limit) if sent and is_gzip(response) else sent


def is_framed(response: requests.Response) -> bool:
    """Whether HTTP says where the body ends, so that urllib3 notices when it breaks off before (RFC 9112, 6.3)."""
    headers = response.headers
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


def _is_torn_json(response: requests.Response, body: bytes) -> bool:
    """Whether JSON broke off where nothing else shows it: some proxies end a response by closing the connection."""
    is_json = "json" in response.headers.get("Content-Type", "").lower()
    return is_json and not is_framed(response) and not body[-16:].rstrip().endswith((b"}", b"]"))


class Transport(requests.Session):
    """A `requests.Session` that is safe to point at Salesforce.

    Raises UnavailableError when there was no response in spite of retries, UntrustedHostError on a redirect, StoppedError
    once `stop` is set.
    """

    def __init__(
        self,
        options: TransportOptions | None = None,
        *,
        usage: ApiUsage | None = None,
        clock: OrgClock | None = None,
        stop: Stop | None = None,
        tally: Tally | None = None,
        adapter: CountingAdapter | None = None,
    ) -> None:
        super().__init__()
        self.settings = options or TransportOptions()
        self.usage = usage or ApiUsage()
        self.clock = clock or OrgClock()
        self.stop = stop or Stop()
        self.tally = tally
        self.retries = RetryPolicy(self.settings.max_retries, self.stop)
        self.verify = self.settings.verify
        self.headers["User-Agent"] = f"airflow-sfcc/{__version__}"
        self.headers["Accept-Encoding"] = "gzip"  # the one coding that is unpacked with a limit
        self._adapter = adapter or CountingAdapter(self.usage, self.clock, self.stop, self.settings.pool_size)
        self.mount("https://", self._adapter)
        self.mount("http://", self._adapter)

    def derived(
        self, settings: TransportOptions | None = None, stop: Stop | None = None, tally: Tally | None = None
    ) -> Transport:
        """Another session with the same usage and clock, and the same connections unless it has a `stop` of its own."""
        return Transport(
            settings or self.settings,
            usage=self.usage,
            clock=self.clock,
            stop=stop or self.stop,
            tally=tally or self.tally,
            adapter=self._adapter if stop is None else None,
        )

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: MutableMapping[str, str] | None,
        stream: bool | None,
        verify: bool | str | None,
        cert: Any,
    ) -> Any:
        # requests lets a CA bundle from the environment win over a session's own choice; the connection's choice must win.
        if verify in (None, True) and self.settings.verify is not True:
            verify = self.settings.verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere, so that requests does not take a `Location` apart, which may be no URL at all."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send with our timeouts unless given others, again after transient errors, and never along a redirect."""
        options["timeout"] = options.get("timeout") or (self.settings.connect_timeout, self.settings.request_timeout)
        options["response_timeout"] = self.settings.response_timeout
        options["tally"] = self.tally
        options["allow_redirects"] = False
        if is_loopback(request.url or ""):
            options["proxies"] = {}  # a proxy would get what is meant for this machine, and be the end of an http URL
        try:
            response = self.retries.run(lambda: super(Transport, self).send(request, **options), what=describe(request))
        except requests.RequestException as problem:
            self.stop.check()
            raise wire_error(request, problem) from None
        except OSError as problem:
            raise ConfigurationError(
                f"{describe(request)} could not be sent, since a file on this machine cannot be read "
                f"({type(problem).__name__}).\n"
                "Check the CA bundle that verify in the connection's extra, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names."
            ) from None
        if options.get("stream"):
            self.stop.watch(response.raw)
        return _refuse_redirect(response, request)


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
