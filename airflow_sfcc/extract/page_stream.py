"""Reading a result page's body: from the socket, through gzip, into the memory of whoever parses it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import requests
import urllib3
from isal import isal_zlib

from airflow_sfcc.salesforce.errors import IncompleteResultError
from airflow_sfcc.salesforce.transport import is_framed

_CHUNK = 64 * 1024
_PIECE = 120 * 1024
"""Bytes unpacked at a time: below what the C library takes from the system anew for each allocation."""

_GZIP_WINDOW = 31
_GZIP_ERRORS: Any = (isal_zlib.error, zlib.error)


class PageStream:
    """The text of a streamed answer. `keep` gets the body's bytes as they came.

    It raises IncompleteResultError when the body breaks off: before its gzip data ends or, where neither a gzip trailer
    nor HTTP's framing proves that it is whole, inside a line.
    """

    def __init__(self, response: requests.Response, *, keep: Callable[[bytes], Any] | None = None) -> None:
        self._raw = response.raw
        self._body = _Gunzip() if is_gzip(response) else _Plain(is_framed(response))
        self._keep = keep
        self._ended = False

    def read_into(self, target: memoryview) -> int:
        """Fill `target`; returns how many bytes that took, which are less than it holds at the end only."""
        filled, size = 0, len(target)
        while filled < size and (piece := self._some(min(size - filled, _PIECE))):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def _some(self, most: int) -> bytes:
        """Some bytes, at most `most` of them; none at the end."""
        while not self._ended:
            if self._body.is_hungry:
                self._feed()
            if piece := self._body.take(most):
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
            self._ended = True
            self._body.require_end()


def is_gzip(response: requests.Response) -> bool:
    """Whether the body is sent as gzip data, which `x-gzip` means too (RFC 9110, 8.4.1.3)."""
    return response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip")


class _Plain:
    """A body that is sent as it is."""

    def __init__(self, is_framed: bool) -> None:
        self._is_framed = is_framed
        self._fed = b""
        self._last = b"\n"

    @property
    def is_hungry(self) -> bool:
        return not self._fed

    def feed(self, data: bytes) -> None:
        self._fed = data
        self._last = data[-1:]

    def take(self, most: int) -> bytes:
        taken, self._fed = self._fed[:most], self._fed[most:]
        return taken

    def require_end(self) -> None:
        """Raise IncompleteResultError when the body ends inside a line, unless HTTP framed it."""
        if not (self._is_framed or self._last == b"\n"):
            raise IncompleteResultError("A result page broke off inside a line.")


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
            plain: bytes = self._member.decompress(self._fed, most)
        except _GZIP_ERRORS:
            raise IncompleteResultError("A result page's gzip data is damaged.") from None
        self._fed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        # More may be waiting inside the decompressor than it was asked for, though it has taken all that it was fed.
        self._full = len(plain) == most and not self._member.eof
        return plain

    def require_end(self) -> None:
        """Raise IncompleteResultError when the gzip data broke off."""
        if self._started and not self._member.eof:
            raise IncompleteResultError("A result page's gzip data broke off.")
