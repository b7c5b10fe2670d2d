"""Staged files become parts: small ones joined, in their order, without decoding a value unless they are tiny; large ones
as they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

from airflow_sfcc.errors import RowCountError
from airflow_sfcc.extract.convert.row_groups import RowGroupMerger
from airflow_sfcc.extract.convert.writers import EXTENSIONS, CountedFile
from airflow_sfcc.extract.land.gzip_join import CsvJoin, JsonLinesJoin
from airflow_sfcc.extract.land.parquet_concat.join import ParquetJoin, Readable, Writable
from airflow_sfcc.extract.model import FileFormat, Part, StagedFile, part_name
from airflow_sfcc.wording import plural

SMALLEST_PART = 128 * 1024 * 1024
"""Bytes. Staged files are joined until a part has this many. Parts of about 128 to 512 MB are what Spark, Trino, Snowflake
and BigQuery advise."""

LARGE_CSV_PAGE = 1024 * 1024
"""Bytes. A CSV page as Salesforce packed it has its header in the same gzip data as its rows, so joining it means packing
it anew; that is worth it for small pages only."""


class Staging(Protocol):
    """Where the files are staged: `open_file` makes one of a name, `open_staged` reads one."""

    def open_file(self, name: str) -> AbstractContextManager[CountedFile]: ...

    def open_staged(self, name: str) -> Readable: ...


class PartBuilder:
    """Takes staged files in any order, and joins each as soon as those before it are there.

    A part that is a single staged file is not written again. `prefix` comes before the names that parts are staged by.
    """

    def __init__(self, staging: Staging, file_format: FileFormat, prefix: str = "") -> None:
        self._staging = staging
        self._format = file_format
        self._prefix = prefix
        self._large = LARGE_CSV_PAGE if file_format == "csv" else SMALLEST_PART
        self._waiting: dict[int, StagedFile] = {}
        self._next = 0
        self._group: list[StagedFile] = []
        self._bytes = 0
        self._joined: _JoinedPart | None = None
        self._parts: dict[Part, str] = {}
        self.added: list[StagedFile] = []

    def add(self, staged: StagedFile) -> None:
        """One more file. Raises what reading and writing files raises, and DamagedFileError for one that cannot be joined."""
        self.added.append(staged)
        self._waiting[staged.index] = staged
        while (following := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            if following.rows:
                self._append(following)

    def finish(self) -> dict[Part, str]:
        """The parts, and for each the name it is staged by. Files after a gap in the indexes count too, in their order."""
        for index in sorted(self._waiting):
            if (staged := self._waiting[index]).rows:
                self._append(staged)
        self._waiting.clear()
        self._end_part()
        return self._parts

    def give_up(self) -> None:
        """Leave no half-written part behind."""
        if self._joined is not None:
            self._joined.give_up()
            self._joined = None

    def _append(self, staged: StagedFile) -> None:
        is_large = staged.bytes >= self._large
        if self._group and (self._bytes >= SMALLEST_PART or is_large):
            self._end_part()
        self._bytes += SMALLEST_PART if is_large else staged.bytes
        self._group.append(staged)
        if len(self._group) == 2:
            self._joined = _JoinedPart(self._staging, self._prefix + self._name, self._format)
            self._joined.append(self._group[0])
        if self._joined is not None:
            self._joined.append(staged)

    @property
    def _name(self) -> str:
        return part_name(len(self._parts), EXTENSIONS[self._format])

    def _end_part(self) -> None:
        if self._joined is not None:
            joined, self._joined = self._joined, None
            file = joined.finish()
            rows = sum(each.rows for each in self._group)
            self._parts[Part(self._name, rows, file.bytes, file.sha256)] = joined.name
        elif self._group:
            (only,) = self._group
            self._parts[Part(self._name, only.rows, only.bytes, only.sha256)] = only.name
        self._group, self._bytes = [], 0


class _Join(Protocol):
    def append(self, source: Readable) -> None: ...

    def finish(self) -> int | None:
        """How many rows there are, where that can be told."""


class _JoinedPart:
    """A part of several staged files, while it is written."""

    def __init__(self, staging: Staging, name: str, file_format: FileFormat) -> None:
        self.name = name
        self._staging = staging
        self._open = ExitStack()
        self._rows = 0
        self._file = self._open.enter_context(staging.open_file(name))
        self._join: _Join = _JOINS[file_format](self._file)
        self._merger = RowGroupMerger(self._join.append) if file_format == "parquet" else None

    def append(self, staged: StagedFile) -> None:
        self._rows += staged.rows
        source = self._staging.open_staged(staged.name)
        if self._merger is not None:
            self._merger.add(staged, source)
        else:
            self._join.append(source)

    def finish(self) -> CountedFile:
        with self._open:
            if self._merger is not None:
                self._merger.finish()
            rows = self._join.finish()
            if rows not in (None, self._rows):
                raise RowCountError(
                    f"Result pages of {plural(self._rows, 'row')} became a file of {rows:,}; nothing was landed. Clear the "
                    "task to extract them again."
                )
        return self._file

    def give_up(self) -> None:
        failure = RuntimeError("The part is not wanted any more.")
        self._open.__exit__(RuntimeError, failure, None)


_JOINS: dict[FileFormat, Callable[[Writable], _Join]] = {"parquet": ParquetJoin, "csv": CsvJoin, "jsonl": JsonLinesJoin}
