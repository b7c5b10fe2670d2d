"""CSV text is cut between rows, whatever the values hold and however small the blocks are."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import IncompleteResultError
from airflow_sfcc.extract.convert.page_stream import PageStream
from airflow_sfcc.extract.convert.row_blocks import row_blocks

VALUES = st.text(st.sampled_from('a,"\n\r\u00e9'), max_size=12)
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=20)


def text_of(rows: list[tuple[str, str]], line_end: str = "\n") -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=line_end).writerows(rows)
    return text.getvalue().encode()


def rows_of(text: bytes) -> list[tuple[str, ...]]:
    return [tuple(row) for row in csv.reader(io.StringIO(text.decode(), newline=""))]


def blocks(text: bytes, block_bytes: int, *, packed: bool = True) -> list[bytes]:
    body = gzip.compress(text, 1) if packed else text
    headers = {"Content-Encoding": "gzip"} if packed else {}
    response = requests.Response()
    response.raw = urllib3.HTTPResponse(io.BytesIO(body), headers=headers, preload_content=False, decode_content=False)
    response.headers.update({**headers, "Content-Length": str(len(body))})
    return [block.to_pybytes() for block in row_blocks(PageStream(response), block_bytes)]


@given(rows=ROWS, block_bytes=st.integers(1, 64), packed=st.booleans(), line_end=st.sampled_from(["\n", "\r\n"]))
def test_blocks_are_whole_rows_in_order(
    rows: list[tuple[str, str]], block_bytes: int, packed: bool, line_end: str
) -> None:
    text = text_of(rows, line_end)
    found = blocks(text, block_bytes, packed=packed)
    assert b"".join(found) == text
    assert [row for block in found for row in rows_of(block)] == rows


@given(rows=ROWS.filter(bool), block_bytes=st.integers(1, 64), cut=st.integers(1, 1000))
def test_a_text_that_ends_inside_a_value_is_refused(rows: list[tuple[str, str]], block_bytes: int, cut: int) -> None:
    text = text_of(rows)[:-cut]
    if text.count(b'"') % 2:
        with pytest.raises(IncompleteResultError, match="inside a value"):
            blocks(text, block_bytes)
    else:
        assert b"".join(blocks(text, block_bytes)) == text
