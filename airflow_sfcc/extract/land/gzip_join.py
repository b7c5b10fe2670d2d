"""Joining gzip files into one: gzip data may be several members one after another (RFC 1952), so files are appended.

JSON Lines are appended as they are. Of CSV files only the first keeps its header; the rows of the others are packed anew,
since as Salesforce packs a page its header is in the same gzip data.
"""

from __future__ import annotations

from typing import Any

from isal import igzip, isal_zlib

from airflow_sfcc.errors import DamagedFileError
from airflow_sfcc.extract.convert.writers import GZIP_LEVEL
from airflow_sfcc.extract.land.parquet_concat.join import Readable, Writable
from airflow_sfcc.salesforce.content_coding import GZIP_DAMAGED, GZIP_WINDOW

_BLOCK_BYTES = 1024 * 1024


class JsonLinesJoin:
    """Appends gzip JSON Lines files to one another."""

    def __init__(self, target: Writable) -> None:
        self._target = target

    def append(self, source: Readable) -> None:
        with source.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                self._target.write(block)

    def finish(self) -> None:
        """Nothing is left to write."""


class CsvJoin(JsonLinesJoin):
    """Appends gzip CSV files with equal columns to one another, under the first one's header."""

    _has_header = False

    def append(self, source: Readable) -> None:
        """Raises DamagedFileError when the file is damaged, or has no header."""
        if self._has_header:
            self._append_rows(source)
        else:
            super().append(source)
            self._has_header = True

    def _append_rows(self, source: Readable) -> None:
        pack = isal_zlib.compressobj(level=GZIP_LEVEL, wbits=GZIP_WINDOW)
        try:
            with source.open("rb") as raw:
                rows: Any = igzip.IGzipFile(fileobj=raw)  # type: ignore[no-untyped-call]
                if not rows.readline().endswith(b"\n"):  # column names are API names, without line breaks
                    raise EOFError
                while block := rows.read(_BLOCK_BYTES):
                    self._target.write(pack.compress(block))
        except (EOFError, *GZIP_DAMAGED):
            raise DamagedFileError(
                f"{source} is not a complete gzip CSV file. Clear the task to extract it again."
            ) from None
        self._target.write(pack.flush())
