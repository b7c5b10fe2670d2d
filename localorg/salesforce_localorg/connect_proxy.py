"""A CONNECT proxy that leads Salesforce's host names to the org, and nowhere else.

Clients that insist on `https://*.salesforce.com` reach the org through it, with `HTTPS_PROXY` and the org's authority.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from salesforce_localorg.host_names import listen, matches

if TYPE_CHECKING:
    from typing_extensions import Self

HTTPS_PORT = 443
LARGEST_HEAD = 16_384  # bytes
HEAD_SECONDS = 30
START_SECONDS = 20
STOP_SECONDS = 15
CHUNK = 1 << 16


class ConnectProxy:
    """Listens for the time of a `with` block.

    `hosts` are the names (`*` allowed) that it leads to `org_address`, on port 443 only; everything else is refused, so
    nothing ever leaves this machine through it. Raises OSError when the port is taken, RuntimeError when it does not
    start.
    """

    def __init__(self, org_address: tuple[str, int], hosts: tuple[str, ...], host: str, port: int = 0) -> None:
        self._org_address = org_address
        self._hosts = hosts
        self._listener = listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._stopping = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="local-org-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(START_SECONDS):
            raise RuntimeError(f"The org's proxy did not start within {START_SECONDS} seconds; see its log.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._answer, sock=self._listener, limit=LARGEST_HEAD)
        self._listening.set()
        await self._stopping.wait()
        server.close()  # the tunnels still open are cancelled as the loop ends

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                refusal = self._refusal(await _request_line(reader))
                if refusal is None:
                    await self._tunnel(reader, writer)
                else:
                    writer.write(refusal)
                    await writer.drain()
            finally:
                writer.close()

    def _refusal(self, request_line: str) -> bytes | None:
        """What to say to a call that is not for the org; None for one that is."""
        method, _, rest = request_line.partition(" ")
        target = rest.partition(" ")[0]
        host, _, port = target.rpartition(":")
        if method == "CONNECT" and port == str(HTTPS_PORT) and matches(host, self._hosts):
            return None
        known = ", ".join(self._hosts)
        return _answer_text(
            f"This proxy belongs to a local Salesforce org and leads nowhere else: it takes CONNECT to port {HTTPS_PORT} "
            f"of {known}, not {method[:20]} {target[:300]}.\n"
        )

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        org_reader, org_writer = await asyncio.open_connection(*self._org_address)
        try:
            writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            await asyncio.gather(_copy(reader, org_writer), _copy(org_reader, writer))
        except OSError:
            writer.transport.abort()  # a reset on one side is a reset on the other
            raise
        finally:
            org_writer.close()


async def _request_line(reader: asyncio.StreamReader) -> str:
    """The first line of a request, its headers read and left aside. Empty when the head is too long or too slow."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
    except (asyncio.LimitOverrunError, asyncio.TimeoutError):
        return ""
    return head.partition(b"\r\n")[0].decode("latin-1")


def _answer_text(text: str) -> bytes:
    body = text.encode()
    head = (
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain;charset=UTF-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Hand bytes on until the source ends; then the sink hears the end too. A broken side ends both."""
    while chunk := await source.read(CHUNK):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
