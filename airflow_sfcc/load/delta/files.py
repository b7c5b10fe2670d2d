"""The data files of a Delta table: how they are written, and what the log says of them.

Types are those of the extracts: a time of the day, which Delta lacks, is text such as `03:41:05.000`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_sfcc.extract.storage import StoragePath, is_local
from airflow_sfcc.load.model import TableColumn

if TYPE_CHECKING:
    from deltalake.transaction import AddAction

FILE_BYTES = 32 * 1024 * 1024
"""About how large a file becomes."""

GROUP_ROWS = 32_768

_ARROW = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "date32": pa.date32(),
    "timestamp[ms, UTC]": pa.timestamp("ms", tz="UTC"),
}


def arrow_schema(columns: Sequence[TableColumn]) -> pa.Schema:
    """The schema of the files."""
    return pa.schema([pa.field(column.name, _arrow(column.type)) for column in columns])


def _arrow(kind: str) -> pa.DataType:
    if kind.startswith("decimal128"):
        precision, scale = kind[len("decimal128(") : -1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _ARROW[kind]


@dataclass(frozen=True)
class DataFile:
    """A file of the table as its log has it; `least` and `greatest` are Ids, None where they are not known."""

    path: str
    size: int
    rows: int
    least: str | None
    greatest: str | None

    def added(self) -> AddAction:
        from deltalake.transaction import AddAction

        statistics: dict[str, Any] = {"numRecords": self.rows}
        if self.least is not None:
            statistics |= {
                "minValues": {"Id": self.least},
                "maxValues": {"Id": self.greatest},
                "nullCount": {"Id": 0},
            }
        return AddAction(self.path, self.size, {}, int(time.time() * 1000), True, json.dumps(statistics))


class FileWriter:
    """Writes rows, which come in the order of their Ids, into files of about FILE_BYTES.

    `dictionaries` are the columns that get a dictionary; None lets Arrow decide.
    """

    def __init__(self, root: StoragePath, schema: pa.Schema, dictionaries: list[str] | None = None) -> None:
        self._root = root
        self._schema = schema
        self._dictionaries: bool | list[str] = True if dictionaries is None else dictionaries
        self._writer: pq.ParquetWriter | None = None
        self._out: Any = None
        self._name = ""
        self.files: list[DataFile] = []

    def write(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if self._writer is None:
            self._writer = self._begun()
        self._writer.write_table(table, row_group_size=2 * GROUP_ROWS)
        if self._out.tell() >= FILE_BYTES:
            self._end()

    def _begun(self) -> pq.ParquetWriter:
        self._name = new_name()
        path = self._root / self._name
        if is_local(self._root):
            Path(self._root.path).mkdir(parents=True, exist_ok=True)
        self._out = path.fs.open(path.path, "wb")
        # Those of every column would cost a tenth of the time of a load.
        with_ends = [each.name for each in self._schema if each.name == "Id" or pa.types.is_timestamp(each.type)]
        return pq.ParquetWriter(
            self._out,
            self._schema,
            compression="zstd",
            use_dictionary=self._dictionaries,
            write_statistics=with_ends,
            store_schema=False,
        )

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        size = self._out.tell()
        self._out.close()
        self.files.append(described(self._name, size, writer.writer.metadata))

    def finish(self) -> list[DataFile]:
        """The files that were written."""
        self._end()
        return self.files

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(Exception):
            if self._writer is not None:
                self._writer.close()
                self._out.close()
                self.files.append(DataFile(self._name, 0, 0, None, None))
        discard(self._root, self.files)


def discard(root: StoragePath, files: Iterable[DataFile]) -> None:
    """Remove files that no commit refers to."""
    for file in files:
        with suppress(OSError):
            root.fs.rm((root / file.path).path)


def new_name() -> str:
    return f"part-{uuid.uuid4().hex}.parquet"


def described(path: str, size: int, metadata: pq.FileMetaData) -> DataFile:
    """What the log says of a file, from its footer."""
    ranges = id_ranges(metadata)
    known = ranges and all(least is not None for least, _ in ranges)
    return DataFile(
        path,
        size,
        metadata.num_rows,
        min(str(least) for least, _ in ranges) if known else None,
        max(str(greatest) for _, greatest in ranges) if known else None,
    )


def id_ranges(metadata: pq.FileMetaData) -> list[tuple[str | None, str | None]]:
    """The first and last Id of each row group; None where the footer does not tell."""
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    index = names.index("Id")
    found: list[tuple[str | None, str | None]] = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        has = statistics is not None and statistics.has_min_max
        found.append((statistics.min, statistics.max) if has else (None, None))
    return found


def linked(
    source: StoragePath, paths: Sequence[str], root: StoragePath, columns: Sequence[TableColumn]
) -> list[DataFile] | None:
    """An extract's files as files of the table, without reading their rows: as hard links on a disk, as copies by the
    server in an object store. None where that cannot be, or a type differs.
    """
    wanted = {field.name: field.type for field in arrow_schema(columns)}
    if is_local(source) != is_local(root) or (not is_local(root) and source.fs is not root.fs):
        return None
    footers = [_footer(source, path) for path in paths]
    for schema, _ in footers:
        if any(wanted.get(field.name) != field.type for field in schema):
            return None
    files = []
    if is_local(root):
        Path(root.path).mkdir(parents=True, exist_ok=True)
    for path, (_, metadata) in zip(paths, footers):
        name = new_name()
        target = (root / name).path
        _link_or_copy(source, path, target)
        files.append(described(name, int(root.fs.size(target)), metadata))
    return files


def _footer(source: StoragePath, path: str) -> tuple[pa.Schema, pq.FileMetaData]:
    with source.fs.open(path, "rb") as file:
        found = pq.ParquetFile(file)
        return found.schema_arrow, found.metadata


def _link_or_copy(source: StoragePath, path: str, target: str) -> None:
    if is_local(source):
        try:
            Path(target).hardlink_to(source.fs._strip_protocol(path))
            return
        except OSError:  # another file system, or one without hard links
            pass
    source.fs.copy(path, target)
