"""Rows whose text DuckDB has written, read without making a Python object of each."""

from __future__ import annotations

import tempfile
import threading
from array import array
from collections.abc import Iterator

import duckdb
import pyarrow as pa

_ROWS_AT_ONCE = 20_000
_KEPT_IN_MEMORY = 4 << 20


def text_batches(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.Array]:
    """The one text column of a query, many rows at a time."""
    for batch in connection.sql(sql).to_arrow_reader(_ROWS_AT_ONCE):
        yield batch.column(0)


def text_of(rows: pa.Array, start: int, stop: int) -> memoryview:
    """Rows of a batch as one piece: Arrow keeps the values one after the other in memory."""
    ends, values = _buffers(rows)
    return values[ends[rows.offset + start] : ends[rows.offset + stop]]


def _buffers(rows: pa.Array) -> tuple[memoryview, memoryview]:
    _, ends, values = rows.buffers()
    return memoryview(ends).cast("B").cast("i"), memoryview(values or b"")


class TextRows:
    """The rows of a query as one text on disk (small ones in memory), cut at row numbers."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        self._file = tempfile.SpooledTemporaryFile(_KEPT_IN_MEMORY)  # noqa: SIM115  lives as long as the cursor
        self._ends = array("Q", [0])
        self._lock = threading.Lock()
        for rows in text_batches(connection, sql):
            self._append(rows)

    def _append(self, rows: pa.Array) -> None:
        if not len(rows):
            return
        ends, _ = _buffers(rows)
        shift = self._ends[-1] - ends[rows.offset]
        self._file.write(text_of(rows, 0, len(rows)))
        self._ends.extend(end + shift for end in ends[rows.offset + 1 : rows.offset + len(rows) + 1])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def read(self, start: int, stop: int) -> bytes:
        """The text of the rows from `start` up to `stop`."""
        first, last = self._ends[start], self._ends[stop]
        with self._lock:
            self._file.seek(first)
            return self._file.read(last - first)

    def close(self) -> None:
        self._file.close()
