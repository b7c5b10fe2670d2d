"""Reading a result page's body: from the socket, through gzip, into the memory of whoever parses it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

import requests
import urllib3
from isal import igzip

from airflow_sfcc.errors import IncompleteResultError, UnexpectedResponseError
from airflow_sfcc.salesforce.content_coding import GZIP_DAMAGED, is_gzip
from airflow_sfcc.salesforce.transport import is_framed

_CHUNK = 64 * 1024

MOST_PAGE_BYTES = 8 * 1024**3
"""Bytes of a page's text. Salesforce's result files have at most 1 GB (salesforce-protocol.md#bulk-limits)."""


class PageStream:
    """The text of a streamed response. `keep` gets the body's bytes as they came.

    It raises UnexpectedResponseError for more than MOST_PAGE_BYTES, and IncompleteResultError when the body breaks off: before
    its gzip data ends or, where neither a gzip trailer nor HTTP's framing proves that it is whole, inside a line.
    """

    def __init__(self, response: requests.Response, *, keep: Callable[[bytes], Any] | None = None) -> None:
        self._read = 0
        body: Any = _Body(response.raw, keep)
        self._text: _Readable = (
            igzip.IGzipFile(fileobj=body, mode="rb")  # type: ignore[no-untyped-call]
            if is_gzip(response)
            else _Plain(body, is_framed(response))
        )

    def read_into(self, target: memoryview) -> int:
        """Fill `target`; returns how many bytes that took, which are less than it holds at the end only."""
        filled = 0
        if self._read > MOST_PAGE_BYTES:
            raise UnexpectedResponseError(
                f"A result page has more than {MOST_PAGE_BYTES:,} bytes of text, which Salesforce's pages never have; nothing "
                "was landed. Look for a proxy that changes responses, and run the task again."
            )
        while filled < len(target) and (size := self._some(target[filled:])):
            filled += size
        self._read += filled
        return filled

    def _some(self, target: memoryview) -> int:
        try:
            return self._text.readinto(target)
        except EOFError:
            raise IncompleteResultError("The gzip data broke off.") from None
        except GZIP_DAMAGED:
            raise IncompleteResultError("The gzip data is damaged.") from None


class _Readable(Protocol):
    def readinto(self, target: memoryview, /) -> int: ...


class _Body(io.RawIOBase):
    """The body as it is sent."""

    def __init__(self, raw: Any, keep: Callable[[bytes], Any] | None) -> None:
        self._raw = raw
        self._keep = keep

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            sent: bytes = self._raw.read(len(target), decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise IncompleteResultError(f"The answer broke off ({type(problem).__name__}).") from None
        if self._keep and sent:
            self._keep(sent)
        target[: len(sent)] = sent
        return len(sent)


class _Plain:
    """A body that is no gzip data."""

    def __init__(self, body: _Body, is_framed: bool) -> None:
        self._body = body
        self._is_framed = is_framed
        self._last = ord("\n")

    def readinto(self, target: memoryview) -> int:
        """Raises IncompleteResultError when the body ends inside a line, unless HTTP framed it."""
        size = self._body.readinto(target[:_CHUNK])
        if size:
            self._last = target[size - 1]
        elif not (self._is_framed or self._last == ord("\n")):
            raise IncompleteResultError("The answer broke off inside a line.")
        return size
