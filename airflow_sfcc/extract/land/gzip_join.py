"""Joining gzip files into one: gzip data may be several members one after another (RFC 1952), so files are appended.

JSON Lines are appended as they are. Of CSV files only the first keeps its header. Where the header is a member of its
own, the members after it are copied byte for byte; otherwise the rows are packed anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from isal import isal_zlib

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.land.parquet_concat.join import Readable, Writable
from airflow_sfcc.salesforce.content_coding import GZIP_DAMAGED, GZIP_WINDOW

GZIP_LEVEL = 1

_BLOCK_BYTES = 1024 * 1024


def join_json_lines(sources: Iterable[Readable], target: Writable) -> None:
    """Append gzip JSON Lines files to one another."""
    for source in sources:
        with source.open("rb") as file:
            _copy(file, target)


def join_csv(sources: Iterable[Readable], target: Writable) -> None:
    """Append gzip CSV files with equal columns to one another, under the first one's header.

    Raises DamagedFileError when a file is damaged.
    """
    for index, source in enumerate(sources):
        with source.open("rb") as file:
            if index:
                _copy_rows(file, target, str(source))
            else:
                _copy(file, target)


def _copy(file: BinaryIO, target: Writable) -> None:
    while block := file.read(_BLOCK_BYTES):
        target.write(block)


def _copy_rows(file: BinaryIO, target: Writable, name: str) -> None:
    """Copy a CSV file without its header, in which no line break is (column names are API names)."""
    unpacking = _Unpacking(file, name)
    plain = b""
    while b"\n" not in plain:
        block = unpacking.read()
        if not block:
            raise _damaged(name)
        plain += block
    rows = plain.partition(b"\n")[2]
    if unpacking.is_between_members and not rows:
        target.write(unpacking.packed)
        _copy(file, target)
        return
    pack = isal_zlib.compressobj(level=GZIP_LEVEL, wbits=GZIP_WINDOW)
    target.write(pack.compress(rows))
    while rows := unpacking.read():
        target.write(pack.compress(rows))
    target.write(pack.flush())


class _Unpacking:
    """Plain bytes of a gzip file; `packed` is what was read from it and not unpacked yet."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._member = isal_zlib.decompressobj(wbits=GZIP_WINDOW)
        self.packed = b""

    @property
    def is_between_members(self) -> bool:
        return bool(self._member.eof)

    def read(self) -> bytes:
        """Some bytes; none at the end. Raises DamagedFileError when the data is damaged or breaks off."""
        while packed := self.packed or self._file.read(_BLOCK_BYTES):
            if self._member.eof:
                self._member = isal_zlib.decompressobj(wbits=GZIP_WINDOW)
            plain = self._unpack(packed)
            self.packed = self._member.unused_data if self._member.eof else b""
            if plain:
                return plain
        if not self._member.eof:
            raise _damaged(self._name)
        return b""

    def _unpack(self, packed: bytes) -> bytes:
        try:
            plain: bytes = self._member.decompress(packed)
        except GZIP_DAMAGED:
            raise _damaged(self._name) from None
        return plain


def _damaged(name: str) -> DamagedFileError:
    return DamagedFileError(f"{name} is not a complete gzip CSV file. Clear the task to extract it again.")
