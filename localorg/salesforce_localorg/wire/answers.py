"""Answers before they are bytes: JSON, text or a gzip file, with status and headers."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from isal import igzip
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

JSON_TYPE = "application/json;charset=UTF-8"
CSV_TYPE = "text/csv; charset=UTF-8"
CHUNK = 1 << 20
GZIP_FROM = 1024
GZIP_LEVEL = 1


@dataclass(frozen=True)
class Preferences:
    """What the caller's headers ask of the form of an answer."""

    gzip: bool
    pretty: bool


@dataclass
class Answer:
    """An answer without a body, such as 204 or 304; the base of those with one."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)

    def to_response(self, preferences: Preferences) -> Response:
        return Response(status_code=self.status, headers=self.headers)


@dataclass
class JsonAnswer(Answer):
    """A JSON answer: a JSON-ready `payload`, or its `encoded` text where that was cheaper to make."""

    status: int = 200
    payload: Any = None
    encoded: bytes | None = None

    def content(self) -> Any:
        """The payload, whichever way it is held."""
        return self.payload if self.encoded is None else json.loads(self.encoded)

    def to_response(self, preferences: Preferences) -> Response:
        headers = {"Content-Type": JSON_TYPE, **self.headers}
        if self.encoded is not None and not preferences.pretty:
            return _compressed(self.encoded, self.status, headers, preferences)
        return _compressed(encode_json(self.content(), preferences.pretty), self.status, headers, preferences)


@dataclass
class TextAnswer(Answer):
    """A text or HTML answer."""

    status: int = 200
    text: str = ""
    media_type: str = "text/html;charset=UTF-8"

    def to_response(self, preferences: Preferences) -> Response:
        headers = {"Content-Type": self.media_type, **self.headers}
        return _compressed(self.text.encode("utf-8", "replace"), self.status, headers, preferences)


@dataclass
class BinaryAnswer(Answer):
    """The bytes of a file."""

    status: int = 200
    content: bytes = b""
    media_type: str = "application/octet-stream"

    def to_response(self, preferences: Preferences) -> Response:
        return _compressed(self.content, self.status, {"Content-Type": self.media_type, **self.headers}, preferences)


@dataclass
class CsvFileAnswer(Answer):
    """A CSV page from a gzip file.

    Sent as it lies on disk to callers that take gzip, unpacked on the way to others; always chunked.
    """

    status: int = 200
    path: Path = Path()

    def to_response(self, preferences: Preferences) -> Response:
        headers = {"Content-Type": CSV_TYPE, **self.headers}
        if preferences.gzip:
            headers["Content-Encoding"] = "gzip"
        # Opened here, not while streaming, so that a job deleted meanwhile does not break a download under way.
        opened: IO[bytes] = self.path.open("rb")
        read: Callable[[int], bytes] = opened.read if preferences.gzip else _unpacked(opened).read
        return StreamingResponse(_chunks(read, opened.close), self.status, headers)


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    unpacked: IO[bytes] = igzip.open(file, "rb")  # type: ignore[no-untyped-call]
    return unpacked


async def _chunks(read: Callable[[int], bytes], close: Callable[[], None]) -> AsyncIterator[bytes]:
    try:
        while chunk := await run_in_threadpool(read, CHUNK):
            yield chunk
    finally:
        close()


def _compressed(body: bytes, status: int, headers: dict[str, str], preferences: Preferences) -> Response:
    if preferences.gzip and len(body) >= GZIP_FROM:
        body = igzip.compress(body, GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers)


def encode_json(payload: Any, pretty: bool) -> bytes:
    """JSON as UTF-8, large and small numbers as Java prints them (salesforce-protocol.md#rest-conventions).

    Half surrogates that a caller smuggled in through JSON escapes become question marks.
    """
    marked = _marked(payload)
    text = (
        json.dumps(marked, ensure_ascii=False, indent=2, separators=(",", " : "))
        if pretty
        else json.dumps(marked, ensure_ascii=False, separators=(",", ":"))
    )
    if marked is not payload:
        text = _MARKED_NUMBER.sub(r"\1", text)
    return text.encode("utf-8", "replace")


# json.dumps leaves no way to choose how a float is written, so those that Java writes otherwise pass as marked texts.
_MARK = secrets.token_hex(8)
_MARKED_NUMBER = re.compile(f'"{_MARK}([^"]*)"')
_PLAIN_FROM, _PLAIN_BELOW = 1e-3, 1e7


def _marked(value: Any) -> Any:
    """The value with such numbers as marked texts; the very same object where it holds none."""
    if isinstance(value, float):
        return value if _is_plain(value) else _MARK + java_double(value)
    if isinstance(value, dict):
        changed = {key: _marked(each) for key, each in value.items()}
        return changed if any(changed[key] is not each for key, each in value.items()) else value
    if isinstance(value, list):
        items = [_marked(each) for each in value]
        return items if any(one is not other for one, other in zip(items, value)) else value
    return value


def _is_plain(value: float) -> bool:
    return value == 0 or _PLAIN_FROM <= abs(value) < _PLAIN_BELOW or not math.isfinite(value)


def java_double(value: float) -> str:
    """A number as Java's Double.toString prints it: 12345678.0 -> 1.2345678E7, 0.00012 -> 1.2E-4."""
    if _is_plain(value):
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    written = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + int(exponent) - 1
    return f"{'-' if sign else ''}{written[0]}.{written[1:] or '0'}E{power}"


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header takes gzip."""
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in ("gzip", "x-gzip"):
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameters) is None
    return False
