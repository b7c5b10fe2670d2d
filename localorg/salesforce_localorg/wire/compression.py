"""Compressed request bodies: REST API Developer Guide, "Compression Headers"."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping

from salesforce_localorg.wire.errors import ApiError


def unpacked(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body without the compression that Content-Encoding names.

    Raises ApiError 415 for a coding that Salesforce does not take, 400 for a body that is not compressed that way.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _DECODERS:
        message = f"Content-Encoding header specified in HTTP request is not supported: {coding}"
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", message)
    try:
        return _DECODERS[coding](body)
    except (OSError, EOFError, zlib.error):
        raise ApiError(400, "INVALID_INPUT", f"The body of the request is not compressed with {coding}.") from None


def _inflated(body: bytes) -> bytes:
    """What HTTP calls deflate is a zlib stream; some callers send it without the head and the checksum."""
    try:
        return zlib.decompress(body)
    except zlib.error:
        return zlib.decompress(body, -zlib.MAX_WBITS)


_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": _inflated,
}
