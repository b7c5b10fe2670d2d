"""Gzip as HTTP's content coding (RFC 9110, 8.4.1.3): who uses it, and unpacking it up to a limit.

Result pages are unpacked while they arrive, by the engine.
"""

from __future__ import annotations

import zlib
from gzip import BadGzipFile
from typing import Any

import requests
from isal import isal_zlib

GZIP_WINDOW = 31
"""zlib's code for a gzip container; it writes no file name and no time, so equal data gives equal bytes."""

GZIP_DAMAGED: Any = (BadGzipFile, isal_zlib.error, zlib.error)
"""What unpacking raises for gzip data that is wrong; for data that breaks off it is EOFError."""

_MAGIC = b"\x1f\x8b"


class TooLargeError(ValueError):
    """More bytes than the limit; turned into an UnexpectedResponseError by the transport."""


def is_gzip(response: requests.Response) -> bool:
    """Whether the body is sent as gzip data, which `x-gzip` means too."""
    return response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip")


def unpacked(packed: bytes, limit: int) -> bytes:
    """The text of one or more gzip members; what follows them is ignored, as urllib3 does.

    Raises TooLargeError for more than `limit` bytes, EOFError when a member breaks off, and GZIP_DAMAGED.
    """
    members: list[bytes] = []
    left = limit
    while packed.startswith(_MAGIC) or not members:
        member = isal_zlib.decompressobj(wbits=GZIP_WINDOW)
        text = member.decompress(packed, left + 1)
        left -= len(text)
        if left < 0:
            raise TooLargeError(limit)
        if not member.eof:
            raise EOFError("The gzip data has no end.")
        members.append(text)
        packed = member.unused_data
    return b"".join(members)
