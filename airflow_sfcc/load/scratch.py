"""A DuckDB of the load's own: it reads the extracts' files, keeps within a memory limit, and spills the rest to a disk."""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_sfcc.errors import TableError, TableUnavailableError
from airflow_sfcc.extract.current_table import register_storage
from airflow_sfcc.extract.model import COLUMN_TYPE
from airflow_sfcc.extract.storage import StoragePath

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_LIMIT = "256MB"
_LEAST_MEMORY = "16MB"
_PREFIX = "sfcc-load-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

DUCKDB_TYPES = {
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "date32": "DATE",
    "timestamp[ms, UTC]": "TIMESTAMP WITH TIME ZONE",
    "time32[ms]": "TIME",
}


def require_type(kind: str) -> None:
    """Raise TableError for what is no column's type: its name goes into SQL."""
    if not re.fullmatch(COLUMN_TYPE, kind):
        raise TableError(
            f"A column has the type {kind[:80]!r}, which no extract has; nothing was loaded. Was a manifest, or what the "
            "table says of itself, changed by hand? Undo that, or drop the table to have the next run build it anew."
        )


def duckdb_type(kind: str) -> str:
    """DuckDB's name of a manifest's type, as DESCRIBE has it. Raises TableError for what is none."""
    require_type(kind)
    return DUCKDB_TYPES.get(kind) or kind.replace("decimal128", "DECIMAL").replace(" ", "")


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


class Scratch:
    """The connection, and a folder that goes with it."""

    def __init__(self, connection: Any, folder: Path) -> None:
        self.connection = connection
        self.folder = folder

    def run(self, sql: str) -> None:
        self.connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.connection.execute(sql).fetchall()
        return found

    def value(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def batches(self, sql: str, rows: int = 32_768) -> Iterator[pa.RecordBatch]:
        """The result as Arrow, a part at a time. Raises DuckDB's own errors, which Arrow passes on as text only."""
        try:
            yield from self.connection.sql(sql).to_arrow_reader(rows)
        except (OSError, ValueError) as problem:
            raise _as_of_duckdb(problem) from problem

    def columns(self, relation: str) -> dict[str, str]:
        """Names and DuckDB types of what a relation has."""
        return {str(row[0]): str(row[1]) for row in self.rows(f"DESCRIBE SELECT * FROM {relation}")}

    def empty(self, name: str, columns: Sequence[str]) -> None:
        """A table without rows; `columns` are definitions."""
        self.run(f"CREATE OR REPLACE TEMP TABLE {name} ({', '.join(columns)})")

    def forget(self) -> None:
        """Drop the temporary tables, and give their memory back, which DuckDB does only under a lower limit."""
        for (name,) in self.rows("SELECT table_name FROM duckdb_tables() WHERE temporary"):
            self.run(f"DROP TABLE {quoted(name)}")
        limit = self.value("SELECT current_setting('memory_limit')")
        self.run(f"SET allocator_flush_threshold = '1MB'; SET memory_limit = '{_LEAST_MEMORY}'")
        self.run(f"SET memory_limit = {literal(str(limit))}")

    def register(self, root: StoragePath) -> None:
        register_storage(self.connection, root)


def _as_of_duckdb(problem: Exception) -> Exception:
    import duckdb

    kinds = {
        "Out of Memory Error": duckdb.OutOfMemoryException,
        "Invalid Input Error": duckdb.InvalidInputException,
        "Conversion Error": duckdb.ConversionException,
        "IO Error": duckdb.IOException,
    }
    kind = kinds.get(str(problem).partition(":")[0])
    return kind(str(problem)) if kind else problem


def no_room(problem: Exception) -> TableUnavailableError:
    """What to raise where the worker's temporary folder cannot be written."""
    return TableUnavailableError(
        f"The worker's temporary folder could not be written ({str(problem).splitlines()[0]}); nothing was loaded. Make room in "
        "it, or let TMPDIR name a folder that the worker may write to."
    )


def is_of_scratch(problem: Exception) -> bool:
    """Whether DuckDB could not write what it spills."""
    return _PREFIX in str(problem) and type(problem).__name__ == "IOException"


@contextmanager
def in_temporary_folder() -> Iterator[None]:
    """Raise TableUnavailableError where what is written to the scratch's folder finds no room."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in _NO_ROOM:
            raise
        raise no_room(problem) from problem


@contextmanager
def _folder() -> Iterator[str]:
    try:
        made = tempfile.TemporaryDirectory(prefix=_PREFIX)
    except OSError as problem:
        raise no_room(problem) from problem
    with made as folder:
        yield folder


@contextmanager
def scratch(memory_limit: str = MEMORY_LIMIT, threads: int | None = None) -> Iterator[Scratch]:
    """Nothing of it is left at the end."""
    import duckdb

    with _folder() as folder:
        config: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": f"{folder}/spill"}
        with duckdb.connect(config=config) as connection:
            connection.execute(
                "SET autoinstall_known_extensions = false; SET TimeZone = 'UTC'; SET enable_progress_bar = false"
            )
            if threads:
                connection.execute(f"SET threads = {threads}")
            yield Scratch(connection, Path(folder))
