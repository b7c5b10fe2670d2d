"""Copy-on-write: the files that hold changed Ids are written anew, in the order of Ids, and no others.

A large file is cut into parts of about FILE_BYTES, small neighbours become one. Rows are read a row group at a time, by
two workers, so that memory depends neither on the table nor on the changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_sfcc.extract.storage import StoragePath, is_local
from airflow_sfcc.load.delta.files import FILE_BYTES, GROUP_ROWS, DataFile, FileWriter, discard, id_ranges
from airflow_sfcc.load.delta.sorted_rows import SortedRows

WORKERS = 2
SMALL_BYTES = FILE_BYTES // 4
_ID_LENGTH = 18


@dataclass(frozen=True)
class Piece:
    """Row groups of a file."""

    file: DataFile
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """What one worker reads and writes: pieces that follow one another. New rows from `first` on, up to the next unit's
    first, go there; None is no bound."""

    pieces: tuple[Piece, ...]
    first: str | None
    until: str | None


@dataclass(frozen=True)
class Rewritten:
    """Files that go, and those that come in their place."""

    removed: list[DataFile]
    added: list[DataFile]


@dataclass(frozen=True)
class Changes:
    """The files of changes, in the order of Ids: the Ids whose rows go, and the rows that come."""

    removed: Path
    rows: Path


def rewrite(
    root: StoragePath,
    files: Sequence[DataFile],
    is_touched: Callable[[DataFile], bool],
    changes: Changes,
    schema: pa.Schema,
    stopped: Callable[[], bool],
) -> Rewritten:
    """Write the touched files anew. Nothing that was written stays when it fails."""
    units = _units(root, files, is_touched) or [Unit((), None, None)]
    with ThreadPoolExecutor(WORKERS) as pool:
        written: list[DataFile] = []
        tasks = [pool.submit(_rewrite_unit, root, unit, changes, schema, stopped) for unit in units]
        try:
            for task in tasks:
                written += task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            for task in tasks:
                if not task.cancelled() and task.exception() is None:
                    discard(root, task.result())
            raise
    gone = {piece.file.path: piece.file for unit in units for piece in unit.pieces}
    return Rewritten(list(gone.values()), written)


def _units(root: StoragePath, files: Sequence[DataFile], is_touched: Callable[[DataFile], bool]) -> list[Unit]:
    ordered = sorted(files, key=lambda file: file.least or "")
    groups: list[list[DataFile]] = []
    for file in ordered:
        is_small = file.size < SMALL_BYTES
        room = groups and sum(each.size for each in groups[-1]) + file.size <= FILE_BYTES
        if room and is_small and all(each.size < SMALL_BYTES for each in groups[-1]):
            groups[-1].append(file)
        else:
            groups.append([file])
    chosen = [group for group in groups if any(map(is_touched, group))] or groups[-1:]
    pieces = [part for group in chosen for part in _pieces(root, group)]
    firsts: list[str | None] = [None, *(first for first, _ in pieces[1:])]
    return [
        Unit(tuple(part), first, firsts[index + 1] if index + 1 < len(pieces) else None)
        for index, (first, (_, part)) in enumerate(zip(firsts, pieces))
    ]


def _pieces(root: StoragePath, group: Sequence[DataFile]) -> Iterator[tuple[str | None, list[Piece]]]:
    """Pieces of about FILE_BYTES, each with its first Id."""
    if len(group) > 1 or group[0].size < 2 * FILE_BYTES:
        yield group[0].least, [Piece(file, ()) for file in group]
        return
    (file,) = group
    with _opened(root, file) as parquet:
        metadata = parquet.metadata
        ranges = id_ranges(metadata)
        sizes = [_size(metadata.row_group(index)) for index in range(metadata.num_row_groups)]
    first, groups, size = 0, [], 0
    for index, bytes_ in enumerate(sizes):
        groups.append(index)
        size += bytes_
        if size >= FILE_BYTES or index == len(sizes) - 1:
            yield ranges[first][0], [Piece(file, tuple(groups))]
            first, groups, size = index + 1, [], 0


def _size(group: Any) -> int:
    return sum(group.column(index).total_compressed_size for index in range(group.num_columns))


class _opened:  # noqa: N801  a context manager
    """A file of the table, open to read."""

    def __init__(self, root: StoragePath, file: DataFile) -> None:
        path = (root / file.path).path
        self._raw = None if is_local(root) else root.fs.open(path, "rb")
        self._parquet = pq.ParquetFile(path if self._raw is None else self._raw)

    def __enter__(self) -> pq.ParquetFile:
        return self._parquet

    def __exit__(self, *error: object) -> None:
        self._parquet.close()
        if self._raw is not None:
            self._raw.close()


def _rewrite_unit(
    root: StoragePath, unit: Unit, changes: Changes, schema: pa.Schema, stopped: Callable[[], bool]
) -> list[DataFile]:
    with ExitStack() as stack:
        removed = stack.enter_context(closing(SortedRows(changes.removed)))
        rows = stack.enter_context(closing(SortedRows(changes.rows)))
        writer: FileWriter | None = None
        reached = unit.first
        try:
            for table, dictionaries in _tables(root, unit, schema):
                if stopped():
                    raise InterruptedError
                writer = writer or FileWriter(root, schema, dictionaries)
                ids = table["Id"]
                least, greatest = _ends(ids)
                coming = schema.empty_table()
                if reached is None or greatest >= reached:
                    until = greatest if unit.until is None else min(greatest, unit.until)
                    coming = rows.between(reached, until, including_last=until != unit.until)
                    reached = greatest + "\0"  # the first Id after it
                going = removed.between(least, greatest)["Id"]
                writer.write(_merged(table, going, coming))
            writer = writer or FileWriter(root, schema)
            for table in _rest(rows, reached, unit.until):
                writer.write(table)
            return writer.finish()
        except BaseException:
            if writer is not None:
                writer.discard()
            raise


def _rest(rows: SortedRows, first: str | None, until: str | None) -> Iterator[pa.Table]:
    table = rows.between(first, until, including_last=False)
    if table.num_rows:
        yield table


def _ends(ids: pa.ChunkedArray) -> tuple[str, str]:
    ends = pc.min_max(ids)
    return ends["min"].as_py(), ends["max"].as_py()


def _tables(root: StoragePath, unit: Unit, schema: pa.Schema) -> Iterator[tuple[pa.Table, list[str]]]:
    """The unit's row groups with the table's columns, and which columns have a dictionary in the file."""
    for piece in unit.pieces:
        with _opened(root, piece.file) as parquet:
            dictionaries = _dictionaries(parquet.metadata)
            for group in piece.groups or range(parquet.metadata.num_row_groups):
                table = _conform(parquet.read_row_group(group, use_threads=False), schema)
                for first in range(0, table.num_rows, GROUP_ROWS):
                    yield table.slice(first, GROUP_ROWS), dictionaries


def _dictionaries(metadata: pq.FileMetaData) -> list[str]:
    if not metadata.num_row_groups:
        return []
    columns = [metadata.row_group(0).column(index) for index in range(metadata.num_columns)]
    return [column.path_in_schema for column in columns if column.has_dictionary_page]


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns that the file does not have are null. No value changes: types only differ in how they are written down."""
    if table.schema.equals(schema):
        return table
    names = set(table.schema.names)
    columns = [
        table[field.name].cast(field.type) if field.name in names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _merged(table: pa.Table, going: pa.ChunkedArray, coming: pa.Table) -> pa.Table:
    """The rows without those of the Ids `going`, with those `coming`, in the order of Ids."""
    if not len(going) and not coming.num_rows:
        return table
    ids = _as_bytes(table["Id"])
    new = _as_bytes(coming["Id"])
    gone = _as_bytes(going)
    if ids is None or new is None or gone is None or not bool(np.all(ids[:-1] <= ids[1:])):
        return _merged_anyhow(table, going, coming)
    keep = np.ones(len(ids), dtype=bool)
    if len(gone):
        starts, ends = np.searchsorted(ids, gone, "left"), np.searchsorted(ids, gone, "right")
        for start, end in zip(starts[starts < ends], ends[starts < ends]):
            keep[start:end] = False
    kept = np.flatnonzero(keep)
    if not coming.num_rows:
        return table.take(pa.array(kept))
    places = np.searchsorted(ids[kept], new, "right")
    order = np.insert(kept, places, np.arange(len(ids), len(ids) + len(new)))
    rows = pa.array(order)
    columns = [
        pa.concat_arrays([*old.chunks, *new.chunks]).take(rows) for old, new in zip(table.columns, coming.columns)
    ]
    return pa.table(columns, schema=table.schema)


def _as_bytes(ids: pa.ChunkedArray) -> Any:
    """The Ids as an array that numpy searches; None unless all have 18 characters."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if not len(array):
        return np.empty(0, dtype=f"S{_ID_LENGTH}")
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    if array.null_count or not bool(np.all(np.diff(offsets) == _ID_LENGTH)):
        return None
    data = np.frombuffer(array.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]]
    return data.view(f"S{_ID_LENGTH}")


def _merged_anyhow(table: pa.Table, going: pa.ChunkedArray, coming: pa.Table) -> pa.Table:
    kept = table.filter(pc.invert(pc.is_in(table["Id"], value_set=going.combine_chunks())))
    together = pa.concat_tables([kept, coming])
    return together.take(pc.sort_indices(together["Id"]))
