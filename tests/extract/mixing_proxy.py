"""A proxy on loopback that mixes up responses, as a cache with wrong entries does, or a connection that is one behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3


@dataclass(frozen=True)
class Answer:
    """A response as it came from the org."""

    target: str
    status: int
    headers: dict[str, str]
    body: bytes


Mixer = Callable[["MixingProxy", str], "Answer | None"]


@dataclass
class MixingProxy:
    """`mix` may answer a request's target with another one's response; None lets it through. `answers` are all that passed, in
    their order; `mixed` are the targets that got another one's. `without_locators`, no page names the page after it.
    """

    org_url: str
    mix: Mixer
    url: str = ""
    without_locators: bool = False
    answers: list[Answer] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pages(self) -> list[Answer]:
        """The result pages that passed."""
        with self.lock:
            return [answer for answer in self.answers if "/results?" in answer.target]

    def fetch(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """The org's own response."""
        response = _POOL.request(
            method, f"{self.org_url}{target}", headers=headers, body=body, preload_content=True, decode_content=False
        )
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower() not in ("content-length", "transfer-encoding", "connection")
        }
        if self.without_locators and "Sforce-Locator" in response.headers:
            kept["Sforce-Locator"] = "null"
        # The org names itself in the token response, which comes unpacked; its links are paths.
        text = response.data.replace(self.org_url.encode(), self.url.encode())
        return Answer(target, response.status, kept, text)


_POOL = urllib3.PoolManager(maxsize=16)


@contextmanager
def mixing_proxy(org_url: str, mix: Mixer) -> Iterator[MixingProxy]:
    """Serve on a free port of the loopback interface."""
    proxy = MixingProxy(org_url, mix)

    class Handler(_Handler):
        through = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    through: MixingProxy

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    do_PATCH = do_POST  # noqa: N815  the name that the base class looks for
    do_DELETE = do_GET  # noqa: N815

    def _pass(self, body: bytes | None) -> None:
        proxy = self.through
        answer = proxy.mix(proxy, self.path)
        if answer is None:
            dropped = ("host",) if "/results?" in self.path else ("host", "accept-encoding")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            answer = proxy.fetch(self.command, self.path, headers, body)
            with proxy.lock:
                proxy.answers.append(answer)
        else:
            with proxy.lock:
                proxy.mixed.append(self.path)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def once(proxy: MixingProxy, target: str) -> bool:
    """Whether this target has not been mixed up yet."""
    with proxy.lock:
        return target not in proxy.mixed
