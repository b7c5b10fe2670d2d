"""A server that sends bytes as a test gives them: single ones, endless ones, and such as no HTTP library would send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Responses = Callable[[str], Iterable[bytes]]
"""From a request's first line to the pieces of its response; it may end never."""


@dataclass
class RawServer:
    url: str = ""
    heads: list[str] = field(default_factory=list)
    """Each request's line and headers, and a form's body."""


def response(body: bytes, *more: str, status: str = "200 OK") -> bytes:
    """A whole response with JSON as its type."""
    head = "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *more])
    return f"{head}\r\n\r\n".encode() + body


@contextmanager
def raw_server(responses: Responses) -> Iterator[RawServer]:
    """Serve on a free port of the loopback interface; each connection has a thread, and several requests."""
    server = RawServer()
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        server.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    opened, _ = listening.accept()
                    threading.Thread(target=serve, args=(opened,), daemon=True).start()

        def serve(opened: socket.socket) -> None:
            with opened, opened.makefile("rb") as reader, suppress(OSError, ValueError):
                while first := reader.readline().decode():
                    lines = [first]
                    while (line := reader.readline().decode().strip()) != "":
                        lines.append(line)
                    sizes = [int(each.split(":")[1]) for each in lines if each.lower().startswith("content-length:")]
                    body = reader.read(sizes[0]).decode() if sizes else ""
                    server.heads.append("\n".join([*lines, body]))
                    for piece in responses(first.strip()):
                        if ended.is_set():
                            return
                        opened.sendall(piece)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
