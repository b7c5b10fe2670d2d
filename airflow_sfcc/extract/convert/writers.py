"""Writing one part file: Parquet, CSV or JSON Lines, fed with typed batches.

CSV is in Bulk's dialect: every value quoted, null as `""`, booleans true/false, datetimes `2019-01-05T03:41:05.000Z`.
JSON Lines has null, booleans and numbers as such and dates as text; decimals are text, so that they stay exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from isal import isal_zlib

from airflow_sfcc.errors import ConversionError
from airflow_sfcc.extract.convert.arrow_types import as_text
from airflow_sfcc.extract.model import FileFormat
from airflow_sfcc.salesforce.content_coding import GZIP_WINDOW

EXTENSIONS: dict[FileFormat, str] = {"parquet": "parquet", "csv": "csv.gz", "jsonl": "jsonl.gz"}

GZIP_LEVEL = 1
ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 32 * 1024 * 1024
MOST_DISTINCT = 0.3
"""Share of a column's values that may be distinct for it to get a dictionary in Parquet."""
SAMPLE_ROWS = 4_096
"""Rows of a file that are looked at for that."""


class CountedFile:
    """A binary file that knows the length and SHA-256 of what went through it; enough of a file for pyarrow."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self.closed:
            return view.nbytes  # of a writer that was given up: Parquet's writes its footer even then
        self._hash.update(view)
        self._raw.write(view)
        self.bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._raw.flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._raw.close()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class PartWriter(Protocol):
    """Takes batches of one schema; `finish` completes the file's format, but leaves the file open."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def finish(self) -> None: ...


def part_writer(
    file_format: FileFormat,
    file: CountedFile,
    schema: pa.Schema,
    *,
    group_bytes: int = ROW_GROUP_BYTES,
    dictionaries: Dictionaries | None = None,
) -> PartWriter:
    """The writer for a format; `group_bytes` and `dictionaries` are for Parquet."""
    if file_format == "parquet":
        return ParquetPart(file, schema, group_bytes, dictionaries)
    return CsvPart(file, schema) if file_format == "csv" else JsonLinesPart(file)


class Dictionaries:
    """Which columns have a dictionary in Parquet: those whose values repeat in the first rows that are written.

    A dictionary of values that do not repeat costs time and space for nothing. The parts of an extract can share one.
    """

    def __init__(self) -> None:
        self._columns: list[str] | None = None

    def columns(self, rows: pa.Table) -> list[str]:
        if not rows.num_rows:
            return []
        if self._columns is None:
            sample = rows.slice(0, SAMPLE_ROWS)
            few = MOST_DISTINCT * sample.num_rows
            distinct = [pc.count_distinct(values, mode="all").as_py() for values in sample.columns]
            self._columns = [name for name, count in zip(sample.column_names, distinct) if count <= few]
        return self._columns


def _columns_to_skip_by(schema: pa.Schema) -> list[str]:
    """Columns whose least and greatest value in a row group are worth writing: readers skip row groups by them.

    Text other than the id, by which records come sorted, runs from A to Z in each row group: finding its ends takes a sixth
    of the time of writing, and readers could skip nothing by them.
    """
    return [field.name for field in schema if field.name == "Id" or not pa.types.is_string(field.type)]


class ParquetPart:
    """Zstandard Parquet in row groups of at most ROW_GROUP_ROWS rows or about `group_bytes` of memory, in which they wait."""

    def __init__(
        self,
        file: CountedFile,
        schema: pa.Schema,
        group_bytes: int = ROW_GROUP_BYTES,
        dictionaries: Dictionaries | None = None,
    ) -> None:
        self._dictionaries = dictionaries or Dictionaries()
        self._file = file
        self._schema = schema
        self._group_bytes = group_bytes
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._most_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._most_bytes += batch.get_total_buffer_size()
        if self._rows >= ROW_GROUP_ROWS or self._is_large():
            self._flush()

    def _is_large(self) -> bool:
        if self._most_bytes >= self._group_bytes:  # a slice counts with all that it was cut from
            self._most_bytes = sum(batch.nbytes for batch in self._waiting)
        return self._most_bytes >= self._group_bytes

    def finish(self) -> None:
        self._flush()
        self._opened(self._schema.empty_table()).close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, schema=self._schema)
            self._opened(table).write_table(table, row_group_size=ROW_GROUP_ROWS)
            self._waiting, self._rows, self._most_bytes = [], 0, 0

    def _opened(self, first_rows: pa.Table) -> pq.ParquetWriter:
        if self._writer is None:
            target = pa.PythonFile(self._file, mode="w")
            repeating = self._dictionaries.columns(first_rows)
            self._writer = pq.ParquetWriter(
                target,
                self._schema,
                compression="zstd",
                use_dictionary=repeating,
                write_statistics=_columns_to_skip_by(self._schema),
            )
        return self._writer


class _Gzip:
    """Packs into a file; a member without bytes is written only when the file has no other."""

    def __init__(self, file: CountedFile) -> None:
        self._file = file
        self._deflate: Any = None

    def write(self, data: Any) -> None:
        if self._deflate is None:
            self._deflate = isal_zlib.compressobj(level=GZIP_LEVEL, wbits=GZIP_WINDOW)
        packed = self._deflate.compress(data)
        if packed:
            self._file.write(packed)

    def end_member(self) -> None:
        if self._deflate is not None:
            self._file.write(self._deflate.flush())
            self._deflate = None

    def finish(self) -> None:
        if not self._file.bytes:
            self.write(b"")
        self.end_member()


class CsvPart:
    """Gzip CSV with a header, which is a gzip member of its own (see gzip_join)."""

    def __init__(self, file: CountedFile, schema: pa.Schema) -> None:
        self._gzip = _Gzip(file)
        header = ",".join('"' + name.replace('"', '""') + '"' for name in schema.names)
        self._gzip.write(f"{header}\n".encode())
        self._gzip.end_member()
        self._options = pa_csv.WriteOptions(include_header=False, quoting_style="all_valid")

    def write(self, batch: pa.RecordBatch) -> None:
        text = [pc.fill_null(pc.cast(array, pa.string()), "") for array in as_text(batch).columns]
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(pa.RecordBatch.from_arrays(text, names=batch.schema.names), sink, self._options)
        self._gzip.write(sink.getvalue())

    def finish(self) -> None:
        self._gzip.finish()


class RawJsonLinesPart:
    """Gzip JSON Lines, of lines that are written already."""

    def __init__(self, file: CountedFile) -> None:
        self._gzip = _Gzip(file)

    def write_lines(self, lines: Sequence[bytes]) -> None:
        self._gzip.write(b"".join(lines))

    def finish(self) -> None:
        self._gzip.finish()


class JsonLinesPart:
    """Gzip JSON Lines, one object a row, keys in column order."""

    def __init__(self, file: CountedFile) -> None:
        self._gzip = _Gzip(file)
        self._encoder = msgspec.json.Encoder()

    def write(self, batch: pa.RecordBatch) -> None:
        _require_finite(batch)
        names = batch.schema.names
        columns = [column.to_pylist() for column in as_text(batch).columns]
        rows = [dict(zip(names, values)) for values in zip(*columns)]
        self._gzip.write(self._encoder.encode_lines(rows))

    def finish(self) -> None:
        self._gzip.finish()


def _require_finite(batch: pa.RecordBatch) -> None:
    """JSON has no NaN and no infinity, and Salesforce sends none; they would be written as null."""
    for name, column in zip(batch.schema.names, batch.columns):
        if pa.types.is_floating(column.type) and pc.any(pc.invert(pc.is_finite(column))).as_py():
            raise ConversionError(
                f"Column {name} holds a number that is not finite, which JSON Lines cannot hold; nothing was landed. Use "
                "file_format='parquet', or list the field in exclude_fields."
            )
