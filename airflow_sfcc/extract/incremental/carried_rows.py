"""Carries over rows that a rerun no longer returns.

When a committed extract is run again, rows that changed or went since are no longer in its window, and where no later
window has brought them yet, the folder that is about to be replaced holds their only copy. So the rows whose Ids the
new reading lacks go over into the new version, file by file, each with the columns it had but for those that a rule of
`columns` drops since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from isal import igzip

from airflow_sfcc.extract.convert.writers import CountedFile, CsvPart, ParquetPart, RawJsonLinesPart
from airflow_sfcc.extract.storage import StoragePath

IDS_AT_ONCE = 1_000_000
"""Ids of the new reading that are held in memory at a time."""

_BATCH_ROWS = 64_000
_CSV_BLOCK = 64 * 1024 * 1024

Opener = Callable[[str], AbstractContextManager[CountedFile]]


@dataclass(frozen=True)
class Carried:
    """A file of rows that were taken over."""

    name: str
    rows: int
    bytes: int
    sha256: str


class _Reader(Protocol):
    """Reads one part file. `copy` writes the rows that `kept` has a true for, without the columns `dropped`."""

    def ids(self) -> Iterator[pa.Array]: ...

    def copy(self, kept: pa.ChunkedArray, file: CountedFile, dropped: Collection[str]) -> None: ...


def carry_rows(
    before: Sequence[StoragePath],
    now: Sequence[StoragePath],
    open_file: Opener,
    name_of: Callable[[int, str], str],
    *,
    dropped: Collection[str] = (),
) -> list[Carried]:
    """Write the rows of the files `before` whose Ids are in none of the files `now`, without the columns `dropped`;
    `name_of(number, extension)` names the files for it. Files from which no row is missing give none."""
    carried: list[Carried] = []
    for path in before:
        reader = _reader(path)
        kept = _not_in(list(reader.ids()), now)
        rows = sum(pc.sum(mask).as_py() or 0 for mask in kept)
        if not rows:
            continue
        name = name_of(len(carried), "".join(path.suffixes)[1:])
        with open_file(name) as file:
            reader.copy(pa.chunked_array(kept, pa.bool_()), file, dropped)
        carried.append(Carried(name, rows, file.bytes, file.sha256))
    return carried


def _not_in(ids: Sequence[pa.Array], now: Sequence[StoragePath]) -> list[pa.Array]:
    """For each batch of ids, which of them are in none of the files."""
    kept = [pa.array([True] * len(batch), pa.bool_()) for batch in ids]
    for some in _chunks(now):
        kept = [
            pc.and_(mask, pc.invert(pc.is_in(batch, value_set=some))) if pc.any(mask).as_py() else mask
            for mask, batch in zip(kept, ids)
        ]
    return kept


def _chunks(paths: Sequence[StoragePath]) -> Iterator[pa.Array]:
    waiting: list[pa.Array] = []
    for path in paths:
        for batch in _reader(path).ids():
            waiting.append(batch)
            if sum(map(len, waiting)) >= IDS_AT_ONCE:
                yield pa.concat_arrays(waiting)
                waiting = []
    if waiting:
        yield pa.concat_arrays(waiting)


def _filtered(batches: Iterable[pa.RecordBatch], kept: pa.ChunkedArray) -> Iterator[pa.RecordBatch]:
    offset = 0
    for batch in batches:
        yield batch.filter(kept.slice(offset, batch.num_rows).combine_chunks())
        offset += batch.num_rows


def _without(batch: pa.RecordBatch, dropped: Collection[str]) -> pa.RecordBatch:
    return batch.select([name for name in batch.schema.names if name not in dropped])


def _line_without(line: bytes, dropped: Collection[str]) -> bytes:
    row = msgspec.json.decode(line)
    return msgspec.json.encode({name: value for name, value in row.items() if name not in dropped}) + b"\n"


def _reader(path: StoragePath) -> _Reader:
    return _READERS[path.name.split(".", 1)[1]](path)


class _Parquet:
    def __init__(self, path: StoragePath) -> None:
        self._path = path

    def ids(self) -> Iterator[pa.Array]:
        with self._path.open("rb") as raw:
            for batch in pq.ParquetFile(raw).iter_batches(_BATCH_ROWS, columns=["Id"]):
                yield batch.column(0)

    def copy(self, kept: pa.ChunkedArray, file: CountedFile, dropped: Collection[str]) -> None:
        with self._path.open("rb") as raw:
            source = pq.ParquetFile(raw)
            schema = source.schema_arrow
            left = [field for field in schema if field.name not in dropped]
            writer = ParquetPart(file, pa.schema(left, schema.metadata))
            for batch in _filtered(source.iter_batches(_BATCH_ROWS), kept):
                writer.write(_without(batch, dropped))
            writer.finish()


class _Csv:
    def __init__(self, path: StoragePath) -> None:
        self._path = path

    def ids(self) -> Iterator[pa.Array]:
        for batch in self._batches(["Id"]):
            yield batch.column(0)

    def copy(self, kept: pa.ChunkedArray, file: CountedFile, dropped: Collection[str]) -> None:
        writer: CsvPart | None = None
        for batch in _filtered(self._batches(None), kept):
            left = _without(batch, dropped)
            writer = writer or CsvPart(file, left.schema)
            writer.write(left)
        if writer:
            writer.finish()

    def _batches(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        with self._path.open("rb") as raw, igzip.open(raw, "rb") as text:
            names = _header(text.readline())
            if not text.peek(1):  # a result without rows, which Arrow takes for no CSV at all
                return
            options = pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=columns, strings_can_be_null=False
            )
            reader = pa_csv.open_csv(
                text,
                read_options=pa_csv.ReadOptions(column_names=names, block_size=_CSV_BLOCK),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=options,
            )
            yield from reader


def _header(line: bytes) -> list[str]:
    # No name of a column holds a quote, a comma or a newline.
    return [name.strip('"') for name in line.decode().rstrip("\r\n").split(",")]


class _JsonLines:
    def __init__(self, path: StoragePath) -> None:
        self._path = path

    def ids(self) -> Iterator[pa.Array]:
        for lines in self._lines():
            yield pa.array([json.loads(line)["Id"] for line in lines], pa.string())

    def copy(self, kept: pa.ChunkedArray, file: CountedFile, dropped: Collection[str]) -> None:
        writer = RawJsonLinesPart(file)
        offset = 0
        for lines in self._lines():
            mask = kept.slice(offset, len(lines)).to_pylist()
            carried = [line for line, keep in zip(lines, mask) if keep]
            writer.write_lines([_line_without(line, dropped) for line in carried] if dropped else carried)
            offset += len(lines)
        writer.finish()

    def _lines(self) -> Iterator[list[bytes]]:
        with self._path.open("rb") as raw, igzip.open(raw, "rb") as text:
            while lines := text.readlines(_CSV_BLOCK):
                yield lines


_READERS: Mapping[str, Callable[[Any], _Reader]] = {"parquet": _Parquet, "csv.gz": _Csv, "jsonl.gz": _JsonLines}
