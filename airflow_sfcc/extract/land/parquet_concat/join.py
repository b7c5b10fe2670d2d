"""Joining Parquet files of one schema into one, without decoding a value.

A Parquet file is its row groups, then a footer that says where they are. The row groups of all files are copied byte
for byte, one file after another, and one footer is written in which every offset is moved by as much as its bytes
were. Memory holds one source's footer, the encoded row group entries of the new footer, and one block of data.
Source: the Apache Parquet format's `parquet.thrift`; the field numbers below are its.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Protocol

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.land.parquet_concat import thrift_compact as thrift
from airflow_sfcc.extract.land.parquet_concat.thrift_compact import Field, Struct

_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_COPY_BYTES = 4 * 1024 * 1024
_LARGEST_ORDINAL = 32_767

# FileMetaData
_SCHEMA, _NUM_ROWS, _ROW_GROUPS, _COLUMN_ORDERS, _ENCRYPTION = 2, 3, 4, 7, 8
# RowGroup
_COLUMNS, _GROUP_ROWS, _GROUP_FILE_OFFSET, _ORDINAL = 1, 3, 5, 7
# ColumnChunk
_FILE_PATH, _CHUNK_FILE_OFFSET, _META_DATA = 1, 2, 3
_PAGE_INDEX = (4, 5, 6, 7)
# ColumnMetaData: data page, index page, dictionary page, bloom filter
_META_OFFSETS = (9, 10, 11, 14)

_LOOKED_INTO: thrift.Shape = {_ROW_GROUPS: {_COLUMNS: {_META_DATA: {}}}}
"""Of FileMetaData: what holds offsets."""


class Readable(Protocol):
    """Something that `open("rb")` makes a seekable binary file of, such as a Path or a UPath."""

    def open(self, mode: str) -> Any: ...


class Writable(Protocol):
    """Takes bytes; a file, or a CountedFile."""

    def write(self, data: Any, /) -> Any: ...


class ParquetJoin:
    """Writes the rows of Parquet files, in the order they are appended, to `target` as one Parquet file.

    Each source is a complete Parquet file with a footer of its own; all have one schema. `target` is at its beginning
    and stays open. The new footer names no page indexes, since those repeat offsets, and no row groups without rows.
    """

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._footer: Struct | None = None
        self._row_groups: list[bytes] = []
        self._rows = 0
        self._length = 0
        self._write(_MAGIC)

    def append(self, source: Readable) -> None:
        """Raises DamagedFileError when the source cannot be joined."""
        with source.open("rb") as file:
            self._append(file, str(source))

    def _append(self, file: BinaryIO, name: str) -> None:
        footer, data_end = _read_footer(file, name)
        self._require_same_schema(footer, name)
        try:
            has_rows = self._add_groups(footer)
        except (thrift.ThriftError, KeyError):
            raise _damaged(name) from None
        if has_rows:
            file.seek(len(_MAGIC))
            self._copy(file, data_end - len(_MAGIC), name)

    def _add_groups(self, footer: Struct) -> bool:
        shift, before = self._length - len(_MAGIC), self._rows
        for group in _structs(footer[_ROW_GROUPS]):
            if rows := thrift.integer(group[_GROUP_ROWS]):
                _move(group, shift, len(self._row_groups))
                self._row_groups.append(thrift.write_struct(group))
                self._rows += rows
        return self._rows > before

    def _require_same_schema(self, footer: Struct, name: str) -> None:
        if self._footer is None:
            self._footer = {number: field for number, field in footer.items() if number != _ROW_GROUPS}
        elif any(footer.get(part) != self._footer.get(part) for part in (_SCHEMA, _COLUMN_ORDERS)):
            raise DamagedFileError(f"{name} has another schema than the files before it, so they cannot be joined.")

    def _copy(self, file: BinaryIO, size: int, name: str) -> None:
        while size:
            block = file.read(min(size, _COPY_BYTES))
            if not block:
                raise _damaged(name)
            self._write(block)
            size -= len(block)

    def finish(self) -> int:
        """Write the footer; returns how many rows there are. Raises ValueError when nothing was appended."""
        if self._footer is None:
            raise ValueError("There are no files to join.")
        footer = self._encoded_footer(self._footer)
        self._write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
        return self._rows

    def _encoded_footer(self, fields: Struct) -> bytes:
        fields[_NUM_ROWS] = thrift.integer_field(fields[_NUM_ROWS].kind, self._rows)
        fields[_ROW_GROUPS] = Field(thrift.LIST, self._row_groups)
        return thrift.write_struct(fields)

    def _write(self, data: bytes) -> None:
        self._target.write(data)
        self._length += len(data)


def _read_footer(file: BinaryIO, name: str) -> tuple[Struct, int]:
    """A file's FileMetaData, and where the data before it ends."""
    size = file.seek(0, 2)
    if size < len(_MAGIC) + _TAIL_BYTES:
        raise _damaged(name)
    file.seek(size - _TAIL_BYTES)
    tail = file.read(_TAIL_BYTES)
    data_end = size - _TAIL_BYTES - int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or data_end < len(_MAGIC):
        raise _damaged(name)
    file.seek(data_end)
    try:
        footer = thrift.read_struct(file.read(size - _TAIL_BYTES - data_end), _LOOKED_INTO)
    except thrift.ThriftError:
        raise _damaged(name) from None
    if not {_SCHEMA, _NUM_ROWS, _ROW_GROUPS} <= footer.keys():
        raise _damaged(name)
    if _ENCRYPTION in footer:
        raise DamagedFileError(f"{name} is encrypted, so it cannot be joined with others.")
    return footer, data_end


def _move(group: Struct, shift: int, ordinal: int) -> None:
    """Say in a row group's entry that its bytes stand `shift` bytes further on, and which group it is."""
    _add(group, _GROUP_FILE_OFFSET, shift)
    group.pop(_ORDINAL, None)
    if ordinal <= _LARGEST_ORDINAL:
        group[_ORDINAL] = thrift.integer_field(thrift.I16, ordinal)
    for chunk in _structs(group[_COLUMNS]):
        if _FILE_PATH in chunk or _META_DATA not in chunk:
            raise DamagedFileError("A column's data stands in another file, so it cannot be joined.")
        for number in _PAGE_INDEX:
            chunk.pop(number, None)
        _add(chunk, _CHUNK_FILE_OFFSET, shift)
        for metadata in _structs(chunk[_META_DATA]):
            for number in _META_OFFSETS:
                _add(metadata, number, shift)


def _structs(field: Field) -> list[Struct]:
    """The structs of a list, or the one that a field is."""
    value = field.value
    return [value] if isinstance(value, dict) else [each for each in value if isinstance(each, dict)]


def _add(fields: Struct, number: int, shift: int) -> None:
    # Writers put 0 where the offset is deprecated or unknown.
    field = fields.get(number)
    if field is not None and (offset := thrift.integer(field)) > 0:
        fields[number] = thrift.integer_field(field.kind, offset + shift)


def _damaged(name: str) -> DamagedFileError:
    return DamagedFileError(f"{name} is not a complete Parquet file. Clear the task to extract it again.")
