"""Changes in the order of their Ids, in a Parquet file: read along with the table's files, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GROUP_ROWS = 8_192


def write_sorted(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write rows that come in the order of Ids; returns how many that were."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="lz4", write_statistics=["Id"]) as writer:
        for batch in batches:
            table = pa.Table.from_batches([batch]).cast(schema)
            writer.write_table(table, row_group_size=GROUP_ROWS)
            rows += batch.num_rows
    return rows


class SortedRows:
    """Reads such a file by ranges of Ids. Each thread has one of its own."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self.schema: pa.Schema = self._file.schema_arrow
        metadata = self._file.metadata
        index = self.schema.get_field_index("Id")
        statistics = [metadata.row_group(group).column(index).statistics for group in range(metadata.num_row_groups)]
        self._ranges = [(each.min, each.max) for each in statistics]
        self._last: tuple[int, pa.Table] | None = None

    def between(self, first: str | None, last: str | None, *, including_last: bool = True) -> pa.Table:
        """The rows with `first <= Id <= last` (or `< last`); None is no bound."""
        tables = [
            self._group(group)
            for group, (least, greatest) in enumerate(self._ranges)
            if (first is None or greatest >= first) and (last is None or least <= last)
        ]
        if not tables:
            return self.schema.empty_table()
        table = pa.concat_tables(tables)
        ids = table["Id"]
        mask = None
        if first is not None:
            mask = pc.greater_equal(ids, first)
        if last is not None:
            below = (pc.less_equal if including_last else pc.less)(ids, last)
            mask = below if mask is None else pc.and_(mask, below)
        return table if mask is None else table.filter(mask)

    def _group(self, number: int) -> pa.Table:
        """A row group; the last one is kept, since ranges that follow one another share it."""
        if self._last is None or self._last[0] != number:
            self._last = (number, self._file.read_row_group(number, use_threads=False))
        return self._last[1]

    def close(self) -> None:
        self._file.close()
