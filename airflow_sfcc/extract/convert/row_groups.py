"""Row groups of a useful size from pages that are small: what readers skip and read at once should not be 2,000 rows.

Large pages are passed on as they are, to be joined without decoding a value. Small ones are decoded and written anew,
many to a row group.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.convert.writers import ROW_GROUP_ROWS, CountedFile, part_writer
from airflow_sfcc.extract.model import StagedFile

SMALL_PAGE_ROWS = 10_000
SMALL_PAGE_BYTES = 2 * 1024 * 1024
"""A page is small when it has fewer rows and fewer bytes of Parquet than these."""

MERGED_BYTES = 16 * 1024 * 1024
"""Of Parquet; what is merged stays in memory until it is joined."""


class Readable(Protocol):
    """A file that can be opened for reading."""

    def open(self, mode: Any) -> BinaryIO: ...


class RowGroupMerger:
    """Passes Parquet files on in their order, with neighbours that are small merged in memory."""

    def __init__(self, pass_on: Callable[[Readable], None]) -> None:
        self._pass_on = pass_on
        self._small: list[tuple[StagedFile, Readable]] = []

    def add(self, page: StagedFile, source: Readable) -> None:
        """One more file. Raises DamagedFileError when files have different schemas, or are damaged."""
        if self._small and not _fits(page, [each for each, _ in self._small]):
            self.finish()
        if _is_small(page):
            self._small.append((page, source))
        else:
            self._pass_on(source)

    def finish(self) -> None:
        """Pass on what was kept back."""
        if self._small:
            self._pass_on(_merged([source for _, source in self._small]))
            self._small = []


def _is_small(page: StagedFile) -> bool:
    return page.rows < SMALL_PAGE_ROWS and page.bytes < SMALL_PAGE_BYTES


def _fits(page: StagedFile, before: Sequence[StagedFile]) -> bool:
    rows, size = (sum(getattr(each, what) for each in (*before, page)) for what in ("rows", "bytes"))
    return _is_small(page) and rows <= ROW_GROUP_ROWS and size <= MERGED_BYTES


class _InMemory:
    """A file whose bytes are in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _merged(sources: Sequence[Readable]) -> Readable:
    if len(sources) == 1:
        return sources[0]
    sink = io.BytesIO()
    first = _opened(sources[0])
    schema = first.schema_arrow
    writer = part_writer("parquet", CountedFile(sink), schema)
    for file in (first, *map(_opened, sources[1:])):
        if not file.schema_arrow.equals(schema):
            raise DamagedFileError("Pages of one extract have different schemas. Clear the task to extract it again.")
        # A page's own row groups bound what one of them takes in memory.
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group).to_batches():
                writer.write(batch)
    writer.finish()
    return _InMemory(sink.getvalue())


def _opened(source: Readable) -> pq.ParquetFile:
    with source.open("rb") as file:
        data = cast(Any, file).read()
    try:
        return pq.ParquetFile(pa.BufferReader(data))
    except pa.ArrowInvalid:
        raise DamagedFileError(
            f"{source} is not a complete Parquet file. Clear the task to extract it again."
        ) from None
