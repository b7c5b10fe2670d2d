"""A network between the worker and the org that answers result pages wrongly at times: see `faults.NETWORK`."""

from __future__ import annotations

import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.chaos.faults import NETWORK

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Network:
    """Leads to the org at `org_url`. `rate` is how many of the result pages' responses go wrong, of 1."""

    org_url: str
    url: str = ""
    rate: float = 0.0
    kinds: list[str] = field(default_factory=lambda: list(NETWORK))
    chance: random.Random = field(default_factory=random.Random)
    done: Counter[str] = field(default_factory=Counter)
    pages: list[str] = field(default_factory=list)
    last: Response | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        connection = http.client.HTTPConnection(urlsplit(self.org_url).netloc, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP]
            return Response(response.status, kept, content)
        finally:
            connection.close()

    def fault(self) -> str | None:
        with self.lock:
            return self.chance.choice(self.kinds) if self.kinds and self.chance.random() < self.rate else None

    def count(self, kind: str) -> None:
        with self.lock:
            self.done[kind] += 1


def _handler(network: Network) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            is_page = self.command == "GET" and "/results" in self.path
            kind = network.fault() if is_page else None
            response = self._response(kind, headers, body)
            if is_page and response.status == 200:
                network.last = response
                network.pages.append(self.path)
            if kind == "reset":
                network.count(kind)
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(response, truncated=kind == "truncated")

        def _response(self, kind: str | None, headers: dict[str, str], body: bytes) -> Response:
            if kind == "unavailable":
                network.count(kind)
                return Response(503, [("Content-Type", "text/html")], b"<html>")
            if kind == "replayed" and network.last is not None:
                network.count(kind)
                return network.last
            others = [path for path in network.pages if path != self.path and path.split("/results")[0] in self.path]
            if kind == "swapped" and others:
                network.count(kind)
                return network.ask("GET", network.chance.choice(others), headers, b"")
            return network.ask(self.command, self.path, headers, body)

        def _send(self, response: Response, *, truncated: bool) -> None:
            with suppress(OSError):
                self.send_response(response.status)
                for name, value in response.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                if truncated and len(response.body) > 1:
                    network.count("truncated")
                    self.wfile.write(response.body[: len(response.body) // 2])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.wfile.write(response.body)

    for method in ("GET", "POST", "PATCH", "DELETE", "HEAD"):
        setattr(Handler, f"do_{method}", Handler._serve)
    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Quiet: workers that are killed leave their connections as they are."""


@contextmanager
def network_to(org_url: str, seed: int) -> Iterator[Network]:
    network = Network(org_url, chance=random.Random(seed))
    server = _Server(("127.0.0.1", 0), _handler(network))
    network.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield network
    finally:
        server.shutdown()
        server.server_close()
