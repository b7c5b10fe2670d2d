"""Reading a result page's body: from the socket, through gzip, to whoever parses it."""

from __future__ import annotations

import zlib
from typing import Any

import requests
import urllib3
from isal import isal_zlib

from airflow_sfcc.salesforce.errors import IncompleteResultError

_CHUNK = 256 * 1024
_GZIP_WINDOW = 31
_GZIP_ERRORS: Any = (isal_zlib.error, zlib.error)


class PageStream:
    """A readable binary file over a streamed answer; raises IncompleteResultError when the body breaks off.

    `bytes_read` counts decompressed bytes.
    """

    def __init__(self, response: requests.Response) -> None:
        self._raw = response.raw
        self._gzip = _Gunzip() if response.headers.get("Content-Encoding", "").lower() == "gzip" else None
        self._buffer = bytearray()
        self._ended = False
        self._open_quote = False
        self.bytes_read = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._buffer) < size):
            self._fill()
        wanted = len(self._buffer) if size < 0 else size
        taken = bytes(self._buffer[:wanted])
        del self._buffer[:wanted]
        self.bytes_read += len(taken)
        return taken

    def peek_line(self) -> bytes:
        """The first line, without taking it."""
        while not self._ended and b"\n" not in self._buffer:
            self._fill()
        return bytes(self._buffer).split(b"\n", 1)[0]

    def _fill(self) -> None:
        try:
            packed = self._raw.read(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise IncompleteResultError(f"A result page broke off ({type(problem).__name__}).") from None
        if packed:
            plain = self._gzip.feed(packed) if self._gzip else packed
            self._open_quote ^= plain.count(b'"') % 2 == 1
            self._buffer += plain
            return
        self._ended = True
        if self._gzip:
            self._gzip.require_end()
        if self._open_quote:
            # A CSV parser takes a value cut off by the end of the body for a whole one.
            raise IncompleteResultError("A result page broke off inside a value.")

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


class _Gunzip:
    """Gunzips a body of one or more gzip members, and knows whether the last one ended."""

    def __init__(self) -> None:
        self._member = self._new_member()
        self._started = False

    @staticmethod
    def _new_member() -> Any:
        return isal_zlib.decompressobj(wbits=_GZIP_WINDOW)

    def feed(self, packed: bytes) -> bytes:
        try:
            plain = b""
            while packed:
                if self._member.eof:
                    self._member = self._new_member()
                self._started = True
                plain += self._member.decompress(packed)
                packed = self._member.unused_data if self._member.eof else b""
            return plain
        except _GZIP_ERRORS:
            raise IncompleteResultError("A result page's gzip data is damaged.") from None

    def require_end(self) -> None:
        if self._started and not self._member.eof:
            raise IncompleteResultError("A result page's gzip data broke off.")
