"""A table in a DuckDB file. The file's own lock lets one process at a time load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_sfcc.errors import TableBusyError, TableUnavailableError
from airflow_sfcc.load.events import INEXACT, cast
from airflow_sfcc.load.in_order import parts_of
from airflow_sfcc.load.model import Commit, Source, TableColumn, TableState
from airflow_sfcc.load.problems import changed_by_hand
from airflow_sfcc.load.scratch import Scratch, duckdb_type, is_of_scratch, literal, quoted
from airflow_sfcc.load.targets import Change

TABLES, LOADED = "_sfcc_tables", "_sfcc_loaded"
_ATTACHED = "_sfcc_target"
_IN_USE = ("Could not set lock", "Conflict on", "write-write conflict")
"""What DuckDB says of a file that another process has open, and of a row that another one changes."""

_ALL_TASKS = 100
"""DuckDB's own setting of max_vacuum_tasks."""


class DuckDBTable:
    """`path` is the file, `table` its name in it, with or without a schema."""

    knows_rows = True

    def __init__(self, path: Path, table: str, name: str | None = None) -> None:
        self._path = path
        self._schema, _, self._table = table.rpartition(".")
        self._schema = self._schema or "main"
        self.name = name or f"duckdb://{path}/{table}"
        self._scratch: Scratch | None = None

    @contextmanager
    def locked(self, scratch: Scratch) -> Iterator[None]:
        import duckdb

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch.run(f"ATTACH {literal(str(self._path))} AS {_ATTACHED}")
        except (duckdb.Error, OSError) as problem:
            raise _explained(self.name, problem) from problem
        self._scratch = scratch
        try:
            scratch.run(f"CREATE SCHEMA IF NOT EXISTS {_ATTACHED}.{quoted(self._schema)}")
            yield
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as problem:
            if is_of_scratch(problem) or isinstance(problem, duckdb.DataError) or INEXACT in str(problem):
                raise  # it is not about the file
            raise _explained(self.name, problem) from problem
        finally:
            scratch.run(f"DETACH DATABASE IF EXISTS {_ATTACHED}")
            self._scratch = None

    @property
    def _database(self) -> Scratch:
        if self._scratch is None:
            raise AssertionError("used outside locked()")
        return self._scratch

    def _named(self, table: str) -> str:
        return f"{_ATTACHED}.{quoted(self._schema)}.{quoted(table)}"

    def _has(self, table: str) -> bool:
        return bool(self._database.value(f"SELECT count(*) FROM {self._entry(table)}"))

    def _entry(self, table: str) -> str:
        """Where the catalog has a table. DuckDB tells no names apart that differ only in case."""
        return (
            f"duckdb_tables() WHERE database_name = {literal(_ATTACHED)} AND lower(schema_name) = "
            f"{literal(self._schema.lower())} AND lower(table_name) = {literal(table.lower())}"
        )

    @property
    def _is_named(self) -> str:
        """Whether a record is of this table, as SQL."""
        return f"lower(table_name) = {literal(self._table.lower())}"

    def column_type(self, kind: str) -> str:
        return kind

    def state(self, known: Sequence[str]) -> TableState | None:
        there = self._has(self._table)
        where = f"WHERE {self._is_named}"
        recorded = self._database.rows(f"SELECT record FROM {self._named(TABLES)} {where}") if self._has(TABLES) else []
        if not recorded or not there:
            if there:
                raise changed_by_hand(self.name, "a table of that name is there that this package did not make")
            return None
        record = json.loads(recorded[0][0])
        state = state_of(record, self._database.rows(f"SELECT extract_id, read_ms FROM {self._named(LOADED)} {where}"))
        self._require_unchanged(state)
        return state

    def _require_unchanged(self, state: TableState) -> None:
        rows = self._database.value(f"SELECT count(*) FROM {self._named(self._table)}")
        if rows != state.rows:
            raise changed_by_hand(self.name, f"it has {rows:,} rows, and had {state.rows:,}")
        found = self._database.columns(self._named(self._table))
        wanted = {column.name: duckdb_type(column.type) for column in state.columns}
        if found != wanted:
            differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            raise changed_by_hand(self.name, f"other columns ({', '.join(differing[:5])})")

    def existing(self, scratch: Scratch, ids: str | None, columns: Sequence[TableColumn]) -> str:
        names = ", ".join(quoted(column.name) for column in columns)
        semi = f' SEMI JOIN {ids} USING ("Id")' if ids else ""
        return f"(SELECT {names} FROM {self._named(self._table)}{semi})"

    def apply(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        import duckdb

        self._choose_vacuum(scratch, commit.before.rows if commit.before else 0)
        scratch.run("BEGIN")
        try:
            removed, written = self._write(scratch, change, commit)
            rows = written if change.replaces_all or commit.before is None else commit.before.rows - removed + written
            self._record(scratch, commit, rows)
            scratch.run("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # after a COMMIT that failed there is nothing to take back
                scratch.run("ROLLBACK")
            raise
        return written

    def _choose_vacuum(self, scratch: Scratch, living: int) -> None:
        """Whether checkpoints write row groups anew to give the room of deleted rows back.

        After scattered deletions that would be most of the table at every load; so only once a fifth of it is deleted rows.
        """
        sizes = scratch.rows(f"SELECT estimated_size FROM {self._entry(self._table)}")
        stored = int(sizes[0][0]) if sizes else 0
        scratch.run(f"SET max_vacuum_tasks = {_ALL_TASKS if stored - living > stored / 5 else 0}")

    def _write(self, scratch: Scratch, change: Change, commit: Commit) -> tuple[int, int]:
        """Rows removed and rows written."""
        table = self._named(self._table)
        names = ", ".join(quoted(column.name) for column in commit.columns)
        if commit.before is None or change.replaces_all:
            definitions = ", ".join(f"{quoted(each.name)} {duckdb_type(each.type)}" for each in commit.columns)
            scratch.run(f"CREATE OR REPLACE TABLE {table} ({definitions})")
            return 0, self._insert(scratch, change, names)
        self._evolve(scratch, commit)
        removed = int(scratch.value(f'DELETE FROM {table} WHERE "Id" IN ({change.removed})'))
        return removed, self._insert(scratch, change, names)

    def _insert(self, scratch: Scratch, change: Change, names: str) -> int:
        into = f"INSERT INTO {self._named(self._table)} ({names})"
        return sum(int(scratch.value(f"{into} {part}")) for part in parts_of(scratch, change))

    def _evolve(self, scratch: Scratch, commit: Commit) -> None:
        table = self._named(self._table)
        for column in commit.added:
            scratch.run(f"ALTER TABLE {table} ADD COLUMN {quoted(column.name)} {duckdb_type(column.type)}")
        for name, (was, now) in commit.retyped.items():
            value = cast(TableColumn(name, now), duckdb_type(was))
            scratch.run(f"ALTER TABLE {table} ALTER COLUMN {quoted(name)} TYPE {duckdb_type(now)} USING {value}")

    def _record(self, scratch: Scratch, commit: Commit, rows: int) -> None:
        tables, loaded = self._named(TABLES), self._named(LOADED)
        scratch.run(f"CREATE TABLE IF NOT EXISTS {tables} (table_name VARCHAR PRIMARY KEY, record VARCHAR)")
        scratch.run(f"CREATE TABLE IF NOT EXISTS {loaded} (table_name VARCHAR, extract_id VARCHAR, read_ms BIGINT)")
        name = literal(self._table)
        is_anew = commit.forgets or commit.before is None
        gone = "true" if is_anew else f"extract_id IN ({', '.join(map(literal, commit.loaded))})"
        scratch.run(f"DELETE FROM {loaded} WHERE {self._is_named} AND {gone}")
        values = ", ".join(f"({name}, {literal(each)}, {read})" for each, read in commit.loaded.items())
        scratch.run(f"INSERT INTO {loaded} VALUES {values}")
        scratch.run(f"DELETE FROM {tables} WHERE {self._is_named} AND table_name <> {name}")
        scratch.run(f"INSERT OR REPLACE INTO {tables} VALUES ({name}, {literal(json.dumps(record_of(commit, rows)))})")


def record_of(commit: Commit, rows: int) -> dict[str, Any]:
    """What a database says of a table, as JSON."""
    return {
        "source": asdict(commit.source),
        "mode": commit.mode,
        "columns": [asdict(column) for column in commit.columns],
        "version": commit.before.version + 1 if commit.before else 1,
        "rows": rows,
    }


def state_of(record: Mapping[str, Any], loaded: Sequence[tuple[str, int]]) -> TableState:
    """The state that a record tells, and the extracts beside it."""
    return TableState(
        source=Source(**record["source"]),
        mode=record["mode"],
        columns=tuple(TableColumn(**column) for column in record["columns"]),
        loaded=dict(loaded),
        version=int(record["version"]),
        rows=int(record["rows"]),
    )


def _explained(name: str, problem: Exception) -> Exception:
    text = str(problem)
    if any(told in text for told in _IN_USE):
        return TableBusyError(
            f"{name} is in use by another process ({text.splitlines()[0]}): the task's retry loads it."
        )
    return TableUnavailableError(
        f"{name} could not be written ({text.splitlines()[0]}); nothing was loaded. See that the folder is there, that the "
        "worker may write to it, and that the disk has room."
    )
