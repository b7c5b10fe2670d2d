"""Joined Parquet files hold what their sources held, for readers that know nothing of how they were made."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.convert.writers import CountedFile
from airflow_sfcc.extract.land.parquet_concat.join import ParquetJoin
from airflow_sfcc.extract.land.parquet_concat.thrift_compact import read_struct, write_struct

VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(max_size=5) | st.sampled_from(["NA", "", "a\0b", "same", "same too"]),
    pa.bool_(): st.booleans(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.decimal128(18, 2): st.decimals(min_value=-9999, max_value=9999, places=2),
    pa.date32(): st.dates(),
    pa.timestamp("ms", tz="UTC"): st.integers(-(10**13), 10**13),
    pa.time32("ms"): st.integers(0, 86_399_999),
}
TYPES = st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=6)
OPTIONS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["zstd", "none", "gzip"]),
        "use_dictionary": st.booleans(),
        "write_statistics": st.booleans(),
        "write_page_index": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
    }
)


class Source:
    """A Parquet file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._data)


def parquet(table: pa.Table, *, row_group_size: int = 7, **options: Any) -> Source:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=row_group_size, **options)
    return Source(sink.getvalue())


def join_all(sources: Sequence[Source], target: Any) -> int:
    join = ParquetJoin(target)
    for source in sources:
        join.append(source)
    return join.finish()


def joined(sources: Sequence[Source]) -> tuple[bytes, int]:
    sink = io.BytesIO()
    rows = join_all(sources, sink)
    return sink.getvalue(), rows


def by_duckdb(data: bytes) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        path.write_bytes(data)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.sql(f"SELECT * FROM read_parquet('{path}')").to_arrow_table()


@st.composite
def tables(draw: st.DrawFn) -> list[pa.Table]:
    """Several tables of one schema, some of them empty."""
    types = draw(TYPES)
    schema = pa.schema([pa.field(f"c{index}.Name", kind) for index, kind in enumerate(types)])
    counts = draw(st.lists(st.integers(0, 20), min_size=1, max_size=5))
    return [
        pa.table(
            [
                pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=count, max_size=count)), kind)
                for kind in types
            ],
            schema=schema,
        )
        for count in counts
    ]


@settings(max_examples=60)
@given(tables(), OPTIONS)
def test_pyarrow_and_duckdb_read_all_rows_in_order(parts: list[pa.Table], options: dict[str, Any]) -> None:
    data, rows = joined([parquet(table, **options) for table in parts])
    expected = pa.concat_tables(parts)
    found = pq.read_table(io.BytesIO(data))
    assert rows == expected.num_rows
    assert found.schema == expected.schema and found.equals(expected)
    assert by_duckdb(data).cast(expected.schema).equals(expected)


def test_joining_what_was_joined_before() -> None:
    tables_ = [pa.table({"n": list(range(start, start + 10))}) for start in range(0, 50, 10)]
    halves = [joined([parquet(table) for table in some])[0] for some in (tables_[:2], tables_[2:])]
    data, rows = joined([Source(half) for half in halves])
    assert rows == 50
    assert pq.read_table(io.BytesIO(data)).column("n").to_pylist() == list(range(50))


def test_statistics_and_bloom_filters_still_lead_to_the_right_rows() -> None:
    parts = [pa.table({"Id": [f"{page}-{row:05d}" for row in range(500)]}) for page in range(4)]
    try:
        sources = [parquet(part, row_group_size=100, bloom_filter_options={"Id": True}) for part in parts]
    except TypeError:
        pytest.skip("this pyarrow writes no bloom filters")
    data, _ = joined(sources)
    metadata = pq.read_metadata(io.BytesIO(data))
    assert metadata.num_row_groups == 20 and metadata.row_group(19).column(0).statistics.max == "3-00499"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        path.write_bytes(data)
        with duckdb.connect() as connection:
            filters = connection.execute(
                f"SELECT count(*) FROM parquet_metadata('{path}') WHERE bloom_filter_offset IS NOT NULL"
            ).fetchone()
            assert filters == (20,)
            for wanted in ("0-00000", "1-00250", "3-00499"):
                found = connection.execute(f"SELECT count(*) FROM '{path}' WHERE \"Id\" = '{wanted}'").fetchone()
                assert found == (1,)


def test_the_target_can_be_a_counted_file(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    with path.open("wb") as raw:
        file = CountedFile(raw)
        join_all([parquet(pa.table({"n": [1, None]}))] * 3, file)
        assert file.bytes == raw.tell()
    assert pq.read_table(path).num_rows == 6


def test_other_schemas_are_refused() -> None:
    with pytest.raises(DamagedFileError, match="another schema"):
        joined([parquet(pa.table({"a": [1]})), parquet(pa.table({"a": ["1"]}))])


@pytest.mark.parametrize("cut", [0, 5, 11, 40, -9, -1])
def test_a_damaged_source_is_refused(cut: int) -> None:
    whole = parquet(pa.table({"a": list(range(100))})).open("rb").getvalue()
    with pytest.raises(DamagedFileError, match="not a complete Parquet file"):
        joined([Source(whole[:cut])])


def test_nothing_to_join_is_an_error() -> None:
    with pytest.raises(ValueError, match="no files"):
        joined([])


@settings(max_examples=40)
@given(tables(), OPTIONS)
def test_a_footer_read_and_written_again_is_the_same(parts: list[pa.Table], options: dict[str, Any]) -> None:
    data = parquet(parts[0], **options).open("rb").getvalue()
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    assert write_struct(read_struct(footer, {4: {1: {3: {}}}})) == footer


def with_footer(data: bytes, change: Callable[[dict[int, Any]], None]) -> Source:
    """The file with another footer."""
    length = int.from_bytes(data[-8:-4], "little")
    fields: dict[int, Any] = dict(read_struct(data[-8 - length : -8], {4: {1: {3: {}}}}))
    change(fields)
    footer = write_struct(fields)
    return Source(data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def first_column(footer: dict[int, Any]) -> dict[int, Any]:
    group = footer[4].value[0]
    column: dict[int, Any] = group[1].value[0]
    return column


FOREIGN: dict[str, tuple[Callable[[dict[int, Any]], None], str]] = {
    "no schema": (lambda footer: footer.pop(2), "not a complete Parquet file"),
    "no number of rows": (lambda footer: footer.pop(3), "not a complete Parquet file"),
    "no row groups": (lambda footer: footer.pop(4), "not a complete Parquet file"),
    "encrypted": (lambda footer: footer.update({8: footer[2]}), "is encrypted"),
    "another schema": (lambda footer: footer.update({2: footer[4]}), "another schema"),
    "other column orders": (lambda footer: footer.pop(7), "another schema"),
    "data in another file": (lambda footer: first_column(footer).update({1: footer[6]}), "stands in another file"),
    "no metadata of a column": (lambda footer: first_column(footer).pop(3), "stands in another file"),
    "no columns": (lambda footer: footer[4].value[0].pop(1), "not a complete Parquet file"),
    "no rows of a group": (lambda footer: footer[4].value[0].pop(3), "not a complete Parquet file"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_footer_is_refused(what: str) -> None:
    change, says = FOREIGN[what]
    data = parquet(pa.table({"a": [1, 2]})).open("rb").getvalue()
    assert joined([Source(data), with_footer(data, lambda _: None)])
    with pytest.raises(DamagedFileError, match=says):
        joined([Source(data), with_footer(data, change)])


@pytest.mark.parametrize("magic", [b"PARE", b"\0\0\0\0"])
def test_a_footer_under_another_magic_is_refused(magic: bytes) -> None:
    """PARE is what a file with an encrypted footer ends with."""
    data = parquet(pa.table({"a": [1, 2]})).open("rb").getvalue()
    with pytest.raises(DamagedFileError, match="not a complete Parquet file"):
        joined([Source(data[:-4] + magic)])
