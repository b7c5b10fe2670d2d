"""The work's extracts as what peers are given: rows with `_deleted`, of which they need not compute anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DELETED = "_deleted"


def base_files(extracts: str) -> list[str]:
    """The files of the full extract."""
    return sorted(str(path) for path in Path(extracts, "extract=base").glob("part-*.parquet"))


def base_batches(extracts: str) -> Iterator[pa.RecordBatch]:
    """Its rows, a part at a time."""
    for file in base_files(extracts):
        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(65_536)


def changes(extracts: str) -> pa.Table:
    """Changed rows, and deletions, which have an Id and a stamp only."""
    rows = pq.ParquetFile(Path(extracts, "extract=changes", "part-00000.parquet")).read()
    gone = pq.ParquetFile(Path(extracts, "extract=changes", "deleted-00000.parquet")).read()
    columns = [
        gone["Id"]
        if field.name == "Id"
        else gone["DeletedDate"]
        if field.name == "SystemModstamp"
        else pa.nulls(gone.num_rows, field.type)
        for field in rows.schema
    ]
    together = pa.concat_tables([rows, pa.table(columns, schema=rows.schema)])
    flags = pc.is_in(together["Id"], value_set=gone["Id"].combine_chunks())
    return together.append_column(DELETED, flags)
