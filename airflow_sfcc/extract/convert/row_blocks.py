"""Cutting a page's CSV text into blocks of whole rows.

A line break ends a row when the quotes before it come in pairs (RFC 4180): inside a value there is one that is still
open. So a block can be parsed by itself, however long its rows are, and a text that ends inside a value is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from airflow_sfcc.errors import IncompleteResultError, UnexpectedResponseError
from airflow_sfcc.extract.convert.page_stream import PageStream

BLOCK_BYTES = 1024 * 1024
LARGEST_BLOCK_BYTES = 256 * 1024 * 1024
"""A block grows until a whole row fits it, up to this."""

_LINE_END = b'\n"'
_NOT_A_VALUE = frozenset(b'",\r\n')
_LOOK_BACK = 64 * 1024

_QUOTE = pa.scalar(ord('"'), pa.uint8())


def row_blocks(stream: PageStream, block_bytes: int = BLOCK_BYTES) -> Iterator[pa.Buffer]:
    """Blocks of whole rows, about `block_bytes` each, in order; the header is the first line of the first.

    A block's memory is used again for the next one. Raises what the stream raises, IncompleteResultError when the text
    ends inside a value, UnexpectedResponseError for a row of more than LARGEST_BLOCK_BYTES.
    """
    text = bytearray(block_bytes)
    filled = 0
    while True:
        filled += stream.read_into(memoryview(text)[filled:])
        is_last = filled < len(text)
        end = filled if is_last else _end_of_rows(text, filled)
        if is_last:
            _require_paired_quotes(text, filled)
        if end:
            yield pa.py_buffer(memoryview(text)[:end])
        if is_last:
            return
        text, filled = _carried_over(text, end, filled)


def _end_of_rows(text: bytearray, filled: int) -> int:
    """Where the last whole row ends, or one near it; 0 when there is none."""
    return _certain_end(text, filled) or _end_by_quotes(text, filled)


def _certain_end(text: bytearray, filled: int) -> int:
    """Where a row near the end certainly ends, without counting the quotes of the whole block; 0 when none is seen.

    That is at a line break between quotes, the second of which opens a value: inside a value a quote is doubled, and one
    that closes it stands before a comma or a line break.
    """
    end = filled - 1
    while (line_break := text.rfind(_LINE_END, max(0, filled - _LOOK_BACK), end)) > 0:
        before = line_break - 1 if text[line_break - 1] != ord("\r") else line_break - 2
        if text[before] == ord('"') and text[line_break + 2] not in _NOT_A_VALUE:
            return line_break + 1
        end = line_break + 1
    return 0


def _end_by_quotes(text: bytearray, filled: int) -> int:
    quotes, end = _quotes(text, filled), filled
    while (line_break := text.rfind(b"\n", 0, end)) >= 0:
        quotes -= text.count(b'"', line_break, end)
        if quotes % 2 == 0:
            return line_break + 1
        end = line_break
    return 0


def _require_paired_quotes(text: bytearray, filled: int) -> None:
    if _quotes(text, filled) % 2:
        # A CSV parser takes a value that the end of the text cuts off for a whole one.
        raise IncompleteResultError("The text broke off inside a value.")


def _carried_over(text: bytearray, end: int, filled: int) -> tuple[bytearray, int]:
    """The memory of the next block, which begins with what follows `end`, and how much of it that fills."""
    rest = filled - end
    if end:
        text[:rest] = text[end:filled]
        return text, rest
    if len(text) >= LARGEST_BLOCK_BYTES:
        raise UnexpectedResponseError(
            f"A row is longer than {LARGEST_BLOCK_BYTES:,} bytes, which an extract does not carry; nothing was "
            "landed. Leave the fields with the longest texts out by exclude_fields."
        )
    return text + bytearray(len(text)), rest


def _quotes(text: bytearray, filled: int) -> int:
    """How many quotes there are; faster than bytearray.count, and other threads can run meanwhile."""
    values = pa.Array.from_buffers(pa.uint8(), filled, [None, pa.py_buffer(text)])
    found: int = pc.equal(values, _QUOTE).true_count
    return found
