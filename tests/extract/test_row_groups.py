"""Parts of many small pages have row groups of a useful size, and the same rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.convert.row_groups import SMALL_PAGE_ROWS, RowGroupMerger
from airflow_sfcc.extract.convert.writers import ROW_GROUP_ROWS, CountedFile, part_writer
from airflow_sfcc.extract.land.parquet_concat.join import ParquetJoin
from airflow_sfcc.extract.model import StagedFile
from tests.extract.test_parquet_join import Source

SCHEMA = pa.schema(
    [
        ("Id", pa.string()),
        ("Number", pa.int64()),
        ("Owner.Name", pa.string()),
        ("Amount", pa.decimal128(18, 2)),
        ("Day", pa.date32()),
        ("Moment", pa.timestamp("ms", tz="UTC")),
        ("Time", pa.time32("ms")),
    ]
)


def page(first: int, rows: int) -> pa.Table:
    numbers = range(first, first + rows)
    columns = [
        pa.array([f"001{number:012d}" for number in numbers]),
        pa.array([None if number % 7 == 0 else number for number in numbers], pa.int64()),
        pa.array([None if number % 5 == 0 else "NA" for number in numbers], pa.string()),
        pa.array([Decimal(number) / 100 for number in numbers], pa.decimal128(18, 2)),
        pa.array([date(1700, 1, 1)] * rows, pa.date32()),
        pa.array(numbers, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
        pa.array([number % 1000 for number in numbers], pa.int32()).cast(pa.time32("ms")),
    ]
    return pa.table(columns, schema=SCHEMA)


def staged(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    writer = part_writer("parquet", CountedFile(sink), table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish()
    return sink.getvalue()


def joined(tables: Sequence[pa.Table]) -> pq.ParquetFile:
    files = {f"page-{index}": staged(table) for index, table in enumerate(tables)}
    pages = [
        StagedFile(index, name, table.num_rows, len(files[name]), "")
        for index, (name, table) in enumerate(zip(files, tables))
    ]
    sink = io.BytesIO()
    join = ParquetJoin(sink)
    merger = RowGroupMerger(join.append)
    for each in pages:
        merger.add(each, Source(files[each.name]))
    merger.finish()
    join.finish()
    return pq.ParquetFile(io.BytesIO(sink.getvalue()))


def pages_of(counts: Sequence[int]) -> list[pa.Table]:
    return [page(sum(counts[:index]), count) for index, count in enumerate(counts)]


def group_rows(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]


def test_pages_of_two_thousand_rows_share_row_groups() -> None:
    tables = pages_of([2_000] * 50)
    file = joined(tables)
    assert group_rows(file) == [64_000, 36_000]
    assert file.read().equals(pa.concat_tables(tables))


def test_large_pages_keep_their_row_groups() -> None:
    tables = pages_of([2_000, 2_000, SMALL_PAGE_ROWS, 20_000, 3_000, 25_000, 1, 1])
    file = joined(tables)
    assert group_rows(file) == [4_000, SMALL_PAGE_ROWS, 20_000, 3_000, 25_000, 2]
    assert file.read().equals(pa.concat_tables(tables))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 300) | st.sampled_from([SMALL_PAGE_ROWS - 1, SMALL_PAGE_ROWS]), min_size=1, max_size=12))
def test_rows_stay_in_page_order(counts: list[int]) -> None:
    tables = pages_of(counts)
    file = joined(tables)
    assert file.read().equals(pa.concat_tables(tables))
    assert max(group_rows(file)) <= ROW_GROUP_ROWS


def test_other_schemas_are_refused() -> None:
    with pytest.raises(DamagedFileError, match="different schemas"):
        joined([pa.table({"a": [1]}), pa.table({"a": ["1"]})])


def test_a_damaged_page_is_refused() -> None:
    whole = staged(page(0, 10))
    pages = [StagedFile(index, str(index), 10, len(whole), "") for index in range(2)]
    with pytest.raises(DamagedFileError, match="not a complete Parquet file"):
        merger = RowGroupMerger(lambda source: None)
        for each in pages:
            merger.add(each, Source(whole[: -9 * each.index] if each.index else whole))
        merger.finish()


def test_what_readers_skip_row_groups_by() -> None:
    group = joined(pages_of([SMALL_PAGE_ROWS] * 2)).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    bounds = {column.path_in_schema: column.statistics for column in columns}
    assert [name for name, known in bounds.items() if known and known.has_min_max] == [
        name for name in SCHEMA.names if name != "Owner.Name"
    ]
    assert (bounds["Id"].min, bounds["Id"].max) == ("001000000000000", f"001{SMALL_PAGE_ROWS - 1:012d}")
    assert bounds["Number"].null_count == len(range(0, SMALL_PAGE_ROWS, 7))


def test_slices_of_one_table_fill_a_row_group_by_what_they_hold() -> None:
    table = page(0, 4_000)
    sink = io.BytesIO()
    writer = part_writer("parquet", CountedFile(sink), table.schema, group_bytes=table.nbytes * 2)
    for batch in table.to_batches(max_chunksize=10):
        writer.write(batch)
    writer.finish()
    assert group_rows(pq.ParquetFile(io.BytesIO(sink.getvalue()))) == [4_000]
