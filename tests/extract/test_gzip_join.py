"""Joined gzip files hold all rows once, under one header."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.convert.writers import CountedFile, part_writer
from airflow_sfcc.extract.land.gzip_join import CsvJoin, JsonLinesJoin
from tests.extract.runs import csv_rows
from tests.extract.test_parquet_join import Source

TEXTS = st.text(max_size=8) | st.sampled_from(['"', "a\nb", "\r\n", '","', "a\0"])
PAGES = st.lists(st.lists(TEXTS, max_size=5), min_size=1, max_size=4)
HEADER = '"Na""me","B"\n'


def csv_text(page: Sequence[str]) -> str:
    return "".join('"{}","x"\n'.format(text.replace('"', '""')) for text in page)


def members(*texts: str) -> bytes:
    return b"".join(gzip.compress(text.encode()) for text in texts)


def joined(files: Sequence[bytes], join: Any = CsvJoin) -> str:
    sink = io.BytesIO()
    joining = join(sink)
    for file in files:
        joining.append(Source(file))
    joining.finish()
    return gzip.decompress(sink.getvalue()).decode()


@given(PAGES, st.sampled_from(["own member", "one member", "cut anywhere"]))
def test_csv_files_keep_one_header(pages: list[list[str]], packing: str) -> None:
    def packed(page: list[str]) -> bytes:
        text = csv_text(page)
        if packing == "own member":
            return members(HEADER, text) if text else members(HEADER)
        if packing == "one member":
            return members(HEADER + text)
        return members(HEADER[:4], HEADER[4:] + text[:5], text[5:])

    text = joined([packed(page) for page in pages])
    assert text == HEADER + "".join(csv_text(page) for page in pages)
    assert len(csv_rows(text)) == 1 + sum(map(len, pages))


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_files_of_the_writers_are_joined(file_format: Any) -> None:
    def written(values: list[str]) -> bytes:
        sink = io.BytesIO()
        table = pa.record_batch({"Name": values})
        writer = part_writer(file_format, CountedFile(sink), table.schema)
        if values:
            writer.write(table)
        writer.finish()
        return sink.getvalue()

    files = [written(values) for values in (["a", "b"], [], ["c"])]
    text = joined(files, CsvJoin if file_format == "csv" else JsonLinesJoin)
    assert text == gzip.decompress(written(["a", "b", "c"])).decode()


@pytest.mark.parametrize("texts", [[HEADER + csv_text(["a"] * 500)], [HEADER, csv_text(["a"] * 500)]])
def test_a_damaged_file_is_refused(texts: list[str]) -> None:
    whole = members(*texts)
    for broken in (b"", whole[:5], whole[:25], b"no gzip at all"):
        with pytest.raises(DamagedFileError, match="not a complete gzip CSV file"):
            joined([whole, broken])
