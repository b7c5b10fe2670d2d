"""Reading a result page's body: from the socket, through gzip, to whoever parses it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import requests
import urllib3
from isal import isal_zlib

from airflow_sfcc.salesforce.errors import IncompleteResultError

_CHUNK = 64 * 1024
_GZIP_WINDOW = 31
_GZIP_ERRORS: Any = (isal_zlib.error, zlib.error)
_QUOTE = pa.scalar(ord('"'), pa.uint8())


class PageStream:
    """A readable binary file over a streamed answer.

    It raises IncompleteResultError when the body breaks off: before its gzip data ends, inside a quoted value, or, where
    neither a gzip trailer nor HTTP's framing proves that it is whole, inside a line. `keep` gets the body's bytes as they
    came.
    `bytes_read` counts decompressed bytes.
    """

    def __init__(self, response: requests.Response, *, keep: Callable[[bytes], Any] | None = None) -> None:
        self._raw = response.raw
        self._body = _Gunzip() if is_gzip(response) else _Plain()
        self._keep = keep
        self._is_framed = is_framed(response)
        self._ahead = b""
        self._open_quote = False
        self._last = b"\n"
        self._ended = False
        self.bytes_read = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, or all that is left where that is less."""
        pieces, wanted = [], size
        while wanted and (piece := self._some(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.bytes_read += len(data)
        return data

    def peek_line(self) -> bytes:
        """The first line, without taking it."""
        taken = b""
        while b"\n" not in taken and (piece := self._some(_CHUNK)):
            taken += piece
        self._ahead = taken + self._ahead
        return taken.split(b"\n", 1)[0]

    def _some(self, most: int) -> bytes:
        """Some bytes, at most `most` of them (any number when that is negative); none at the end."""
        if self._ahead:
            cut = most if most >= 0 else len(self._ahead)
            piece, self._ahead = self._ahead[:cut], self._ahead[cut:]
            return piece
        while not self._ended:
            if self._body.is_hungry:
                self._feed()
            if piece := self._body.take(most):
                self._open_quote ^= _quotes(piece) % 2 == 1
                self._last = piece[-1:]
                return piece
        return b""

    def _feed(self) -> None:
        try:
            packed = self._raw.read(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise IncompleteResultError(f"A result page broke off ({type(problem).__name__}).") from None
        if packed:
            if self._keep:
                self._keep(packed)
            self._body.feed(packed)
        else:
            self._end()

    def _end(self) -> None:
        self._ended = True
        whole = self._body.require_end() or self._is_framed
        if self._open_quote or not (whole or self._last == b"\n"):
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


def is_gzip(response: requests.Response) -> bool:
    """Whether the body is sent as gzip data."""
    return response.headers.get("Content-Encoding", "").lower() == "gzip"


def is_framed(response: requests.Response) -> bool:
    """Whether HTTP says where the body ends, so that urllib3 notices when it breaks off before (RFC 9112, 6.3)."""
    headers = response.headers
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


def _quotes(data: bytes) -> int:
    """How many quotes there are; faster than bytes.count, and other threads can run meanwhile."""
    found: int = pc.equal(pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)]), _QUOTE).true_count
    return found


class _Plain:
    """A body that is sent as it is."""

    def __init__(self) -> None:
        self._fed = b""

    @property
    def is_hungry(self) -> bool:
        return not self._fed

    def feed(self, data: bytes) -> None:
        self._fed = data

    def take(self, most: int) -> bytes:
        cut = most if most >= 0 else len(self._fed)
        taken, self._fed = self._fed[:cut], self._fed[cut:]
        return taken

    def require_end(self) -> bool:
        """Whether the body proves itself to be whole."""
        return False


class _Gunzip:
    """A body of one or more gzip members; each ends with a checksum and a length, which are verified."""

    def __init__(self) -> None:
        self._member = self._new_member()
        self._fed = b""
        self._started = False
        self._full = False

    @staticmethod
    def _new_member() -> Any:
        return isal_zlib.decompressobj(wbits=_GZIP_WINDOW)

    @property
    def is_hungry(self) -> bool:
        return not (self._fed or self._full)

    def feed(self, packed: bytes) -> None:
        self._fed = packed
        self._started = True

    def take(self, most: int) -> bytes:
        if self._member.eof and self._fed:
            self._member = self._new_member()
        try:
            plain: bytes = self._member.decompress(self._fed, max(most, 0))
        except _GZIP_ERRORS:
            raise IncompleteResultError("A result page's gzip data is damaged.") from None
        self._fed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        # More may be waiting inside the decompressor than it was asked for, though it has taken all that it was fed.
        self._full = len(plain) == most and not self._member.eof
        return plain

    def require_end(self) -> bool:
        """Whether the body proves itself to be whole. Raises IncompleteResultError when its gzip data broke off."""
        if self._started and not self._member.eof:
            raise IncompleteResultError("A result page's gzip data broke off.")
        return self._started
