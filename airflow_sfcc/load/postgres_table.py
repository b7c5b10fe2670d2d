"""A table in PostgreSQL: DELETE and COPY in one transaction, under an advisory lock.

Loaded extracts are recorded in tables of the same schema. Names of more than 63 bytes, which PostgreSQL would cut, are
shortened to 54 and eight digits of their SHA-256; the column's comment has the whole name. A NUL character in text is
written as NUL_SYMBOL, with a line in the log.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_sfcc.errors import TableBusyError, TableError, TableUnavailableError
from airflow_sfcc.load.duckdb_table import LOADED, TABLES, record_of, state_of
from airflow_sfcc.load.events import INEXACT
from airflow_sfcc.load.in_order import parts_of
from airflow_sfcc.load.model import Commit, TableColumn, TableState
from airflow_sfcc.load.problems import changed_by_hand, does_not_fit
from airflow_sfcc.load.scratch import Scratch, duckdb_type, in_temporary_folder, quoted, require_type
from airflow_sfcc.load.targets import Change
from airflow_sfcc.wording import plural

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

LONGEST_NAME = 63
NUL_SYMBOL = "\N{SYMBOL FOR NULL}"
"""Stands for NUL characters, the only ones that PostgreSQL's text does not hold."""

log = logging.getLogger(__name__)
_CSV_BLOCK = 16 * 1024 * 1024
_TYPES = {
    "string": "text",
    "boolean": "boolean",
    "int64": "bigint",
    "float64": "double precision",
    "date32": "date",
    "timestamp[ms, UTC]": "timestamp with time zone",
    "time32[ms]": "time without time zone",
}


def postgres_type(kind: str) -> str:
    """PostgreSQL's name of a manifest's type, as format_type has it. Raises TableError for what is none."""
    require_type(kind)
    return _TYPES.get(kind) or kind.replace("decimal128", "numeric").replace(" ", "")


def short_name(name: str) -> str:
    """The name of a column or table in PostgreSQL."""
    data = name.encode()
    if len(data) <= LONGEST_NAME:
        return name
    return f"{data[:54].decode(errors='ignore')}_{hashlib.sha256(data).hexdigest()[:8]}"


class PostgresTable:
    """`connect` opens a connection of psycopg; what it raises becomes a sentence."""

    knows_rows = True

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], schema: str, table: str, name: str) -> None:
        self._connect = connect
        self._schema = schema
        self._table = short_name(table)
        self.name = name
        self._open: psycopg.Connection[Any] | None = None

    @contextmanager
    def locked(self, scratch: Scratch) -> Iterator[None]:
        with self._explained(), self._connect() as connection:
            self._open = connection
            try:
                self._run("SET client_encoding = 'UTF8'")  # that of the files, whatever the database's is
                self._run("SET extra_float_digits = 3")  # every digit of a number that is read back
                self._lock()
                yield
                connection.rollback()
            finally:
                self._open = None

    def _lock(self) -> None:
        """For the session: it goes with the connection, however that ends."""
        if not self._value("SELECT pg_try_advisory_lock(%s)", _lock_number(f"sfcc {self._schema}.{self._table}")):
            raise TableBusyError(
                f"Another load of {self.name} is under way: this one did nothing, and the task's retry loads what is left. "
                "Give the DAG max_active_runs=1 to have runs wait for one another."
            )
        self._connection.commit()

    @property
    def _connection(self) -> psycopg.Connection[Any]:
        if self._open is None:
            raise AssertionError("used outside locked()")
        return self._open

    def _run(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values or None)

    def _value(self, sql: str, *values: Any) -> Any:
        row = self._run(sql, *values).fetchone()
        return row[0] if row else None

    def _named(self, table: str) -> str:
        return f"{quoted(self._schema)}.{quoted(table)}"

    def _place(self, table: str) -> str:
        """The same in SQL that has placeholders, where a percent sign in a name is written twice."""
        return self._named(table).replace("%", "%%")

    def column_type(self, kind: str) -> str:
        return kind

    # What is there

    def state(self, known: Sequence[str]) -> TableState | None:
        self._connection.rollback()  # a step that reads its extracts again has left half of itself
        if not self._has(self._table):
            return None
        record = None
        if self._is_prepared():
            record = self._value(f"SELECT record FROM {self._place(TABLES)} WHERE table_name = %s", self._table)
        if record is None:
            raise changed_by_hand(self.name, "a table of that name is there that this package did not make")
        loaded = self._run(
            f"SELECT extract_id, read_ms FROM {self._place(LOADED)} WHERE table_name = %s", self._table
        ).fetchall()
        state = state_of(json.loads(record), loaded)
        self._require_unchanged(state)
        return state

    def _require_unchanged(self, state: TableState) -> None:
        rows = self._value(f"SELECT count(*) FROM {self._named(self._table)}")
        if rows != state.rows:
            raise changed_by_hand(self.name, f"it has {rows:,} rows, and had {state.rows:,}")
        found = dict(
            self._run(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                self._named(self._table),
            ).fetchall()
        )
        wanted = {short_name(column.name): postgres_type(column.type) for column in state.columns}
        if found != wanted:
            differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            raise changed_by_hand(self.name, f"other columns ({', '.join(differing[:5])})")

    def existing(self, scratch: Scratch, ids: str | None, columns: Sequence[TableColumn]) -> str:
        join = ""
        if ids:
            self._copy_ids(scratch, f'SELECT DISTINCT "Id" FROM {ids}')
            join = ' JOIN _sfcc_ids USING ("Id")'
        values = ", ".join(_as_text(column) for column in columns)
        file = scratch.folder / "existing.csv"
        query = f"COPY (SELECT {values} FROM {self._named(self._table)}{join}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"
        with in_temporary_folder(), file.open("wb") as out, self._connection.cursor().copy(query) as copy:
            for data in copy:
                out.write(data)
        _read_csv(scratch, str(file), columns)
        file.unlink()
        return "postgres_rows"

    def _copy_ids(self, scratch: Scratch, ids: str) -> None:
        self._run('DROP TABLE IF EXISTS _sfcc_ids; CREATE TEMP TABLE _sfcc_ids ("Id" text) ON COMMIT DROP')
        self._copy_in(scratch, "_sfcc_ids", [ids])
        self._run("ANALYZE _sfcc_ids")

    # Changes

    def apply(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        removed = 0
        self._prepare()
        if commit.before is None:
            self._create(commit)
        elif change.replaces_all:
            removed = commit.before.rows
            # Before the columns change, so that no old value has to be of a new type.
            self._run(f"DELETE FROM {self._named(self._table)}")
            self._evolve(commit)
        else:
            self._evolve(commit)
            self._copy_ids(scratch, change.removed)
            removed = self._run(
                f'DELETE FROM {self._named(self._table)} AS t USING _sfcc_ids AS i WHERE t."Id" = i."Id"'
            ).rowcount
        written = self._copy_in(scratch, self._named(self._table), parts_of(scratch, change), commit.columns)
        if commit.before is None:
            self._index(commit)
        self._record(commit, (commit.before.rows if commit.before else 0) - removed + written)
        self._connection.commit()
        return written

    def _prepare(self) -> None:
        """The schema, and what records the loads in it. In a transaction of their own, under a lock of the schema's: several
        tables may be made at once, and PostgreSQL refuses what another transaction is making under the same name."""
        if self._is_prepared():
            return
        self._run("SELECT pg_advisory_xact_lock(%s)", _lock_number(f"sfcc {self._schema}"))
        if self._value("SELECT to_regnamespace(%s)", quoted(self._schema)) is None:
            self._run(f"CREATE SCHEMA {quoted(self._schema)}")
        if not self._has(TABLES):
            self._run(f"CREATE TABLE {self._named(TABLES)} (table_name text PRIMARY KEY, record text)")
        if not self._has(LOADED):
            self._run(f"CREATE TABLE {self._named(LOADED)} (table_name text, extract_id text, read_ms bigint)")
        self._connection.commit()

    def _is_prepared(self) -> bool:
        return self._has(TABLES) and self._has(LOADED)

    def _has(self, table: str) -> bool:
        return self._value("SELECT to_regclass(%s)", self._named(table)) is not None

    def _create(self, commit: Commit) -> None:
        definitions = ", ".join(_definition(column) for column in commit.columns)
        self._run(f"CREATE TABLE {self._named(self._table)} ({definitions})")
        self._comment(commit.columns)

    def _index(self, commit: Commit) -> None:
        key = '("Id", _valid_from)' if commit.mode == "history" else '("Id")'
        self._run(f"ALTER TABLE {self._named(self._table)} ADD PRIMARY KEY {key}")

    def _comment(self, columns: Sequence[TableColumn]) -> None:
        for column in columns:
            if short_name(column.name) != column.name:
                text = "'" + column.name.replace("'", "''") + "'"
                self._run(f"COMMENT ON COLUMN {self._named(self._table)}.{quoted(short_name(column.name))} IS {text}")

    def _evolve(self, commit: Commit) -> None:
        table = self._named(self._table)
        for column in commit.added:
            self._run(f"ALTER TABLE {table} ADD COLUMN {_definition(column)}")
        self._comment(commit.added)
        for name, (was, now) in commit.retyped.items():
            renamed = quoted(short_name(name))
            if was == "float64" and now.startswith("decimal"):
                self._require_exact(name, now)
            self._run(
                f"ALTER TABLE {table} ALTER COLUMN {renamed} TYPE {postgres_type(now)} USING {_cast(renamed, was, now)}"
            )

    def _require_exact(self, name: str, now: str) -> None:
        text = f"{quoted(short_name(name))}::text"
        where = f"{text}::numeric <> {text}::{postgres_type(now)}"
        if self._value(f"SELECT EXISTS (SELECT FROM {self._named(self._table)} WHERE {where})"):
            raise does_not_fit(self.name, f"{name} has a value {INEXACT} {now}")

    def _record(self, commit: Commit, rows: int) -> None:
        tables, loaded = self._place(TABLES), self._place(LOADED)
        if commit.forgets or commit.before is None:
            self._run(f"DELETE FROM {loaded} WHERE table_name = %s", self._table)
        for extract_id, read_ms in commit.loaded.items():
            self._run(f"DELETE FROM {loaded} WHERE table_name = %s AND extract_id = %s", self._table, extract_id)
            self._run(f"INSERT INTO {loaded} VALUES (%s, %s, %s)", self._table, extract_id, read_ms)
        self._run(
            f"INSERT INTO {tables} VALUES (%s, %s) ON CONFLICT (table_name) DO UPDATE SET record = EXCLUDED.record",
            self._table,
            json.dumps(record_of(commit, rows)),
        )

    def _copy_in(
        self, scratch: Scratch, table: str, queries: Sequence[str], columns: Sequence[TableColumn] = ()
    ) -> int:
        """Copy the results of queries of the scratch into a table; returns how many rows that were."""
        names = f" ({', '.join(quoted(short_name(column.name)) for column in columns)})" if columns else ""
        rows = 0
        with self._connection.cursor().copy(f"COPY {table}{names} FROM STDIN (FORMAT csv)") as copy:
            for batch in chain.from_iterable(map(scratch.batches, queries)):
                held, replaced = _without_nul(batch)
                for column, number in replaced.items():
                    log.warning(
                        "%s of %s in %s had a NUL character, which PostgreSQL does not hold: %s stands for it",
                        plural(number, "text"), column, self.name, NUL_SYMBOL,
                    )  # fmt: skip
                copy.write(_csv(held))
                rows += batch.num_rows
        return rows

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import psycopg
        from psycopg import errors

        try:
            yield
        except errors.InsufficientPrivilege as problem:
            raise TableError(
                f"The database user may not do this to {self.name} ({_first_line(problem)}); nothing was loaded. Grant it "
                f"USAGE and CREATE on the schema {self._schema}, and the table to itself."
            ) from problem
        except (psycopg.IntegrityError, errors.DependentObjectsStillExist, errors.FeatureNotSupported) as problem:
            raise TableError(
                f"{self.name} could not be changed ({_first_line(problem)}); nothing was loaded. Was the table changed by hand, "
                "does a view depend on a column whose type has to change, or another table on its rows? Undo that, or drop it."
            ) from problem
        except (psycopg.DataError, errors.ProgramLimitExceeded, errors.TooManyColumns) as problem:
            raise does_not_fit(self.name, _first_line(problem)) from problem
        except errors.DiskFull as problem:
            raise TableUnavailableError(
                f"The database server of {self.name} has no room left ({_first_line(problem)}); nothing was loaded. Make room "
                "and clear the task."
            ) from problem
        except psycopg.Error as problem:
            raise TableUnavailableError(
                f"The database of {self.name} failed or cannot be reached ({type(problem).__name__}: {_first_line(problem)}); "
                "nothing was loaded. See that it runs and that the connection's host, user and password are right."
            ) from problem


def _lock_number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]


def _definition(column: TableColumn) -> str:
    return f"{quoted(short_name(column.name))} {postgres_type(column.type)}"


def _cast(column: str, was: str, now: str) -> str:
    """A value of one type as another, in the words of a file's text column."""
    if now != "string":
        # A float becomes a decimal by way of its text, since PostgreSQL's own cast keeps 15 digits.
        return f"{column}{'::text' if was == 'float64' else ''}::{postgres_type(now)}"
    if was == "float64":
        small = f"WHEN abs({column}) < 1e16 AND {column} = trunc({column}) THEN {column}::bigint::text || '.0'"
        return f"CASE WHEN {column}::text = '-0' THEN '-0.0' {small} ELSE replace({column}::text, 'e+', 'e') END"
    if was == "timestamp[ms, UTC]":
        return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
    if was == "time32[ms]":
        return f"to_char({column}::interval, 'HH24:MI:SS.MS')"
    return f"{column}::text"


def _as_text(column: TableColumn) -> str:
    """A value as COPY writes it and `_read_csv` reads it: timestamps as milliseconds, times of the day as microseconds."""
    name = quoted(short_name(column.name))
    if column.type == "timestamp[ms, UTC]":
        return f"(extract(epoch FROM {name}) * 1000)::bigint"
    if column.type == "time32[ms]":
        return f"(extract(epoch FROM {name}) * 1000000)::bigint"
    if column.type == "boolean":
        return f"{name}::int"
    if column.type == "date32":
        return f"({name} - DATE '1970-01-01')"
    return name


def _read_csv(scratch: Scratch, file: str, columns: Sequence[TableColumn]) -> None:
    """The scratch table `postgres_rows`, of what COPY wrote."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    definitions = [f"{quoted(column.name)} {duckdb_type(column.type)}" for column in columns]
    scratch.empty("postgres_rows", definitions)
    names = [column.name for column in columns]
    kinds = {column.name: _csv_type(pa, column.type) for column in columns}
    try:
        reader = pa_csv.open_csv(
            file,
            read_options=pa_csv.ReadOptions(column_names=names, block_size=_CSV_BLOCK),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=kinds, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as problem:
        if "Empty CSV" in str(problem):
            return
        raise
    scratch.connection.register("copied", reader)
    values = ", ".join(_from_csv(column) for column in columns)
    scratch.run(f"INSERT INTO postgres_rows SELECT {values} FROM copied")
    with suppress(Exception):
        scratch.connection.unregister("copied")


def _csv_type(pa: Any, kind: str) -> pa.DataType:
    if kind in ("string", "float64"):
        return pa.string() if kind == "string" else pa.float64()
    return pa.int64() if not kind.startswith("decimal") else pa.string()


def _from_csv(column: TableColumn) -> str:
    name = quoted(column.name)
    conversions: Mapping[str, str] = {
        "timestamp[ms, UTC]": f"make_timestamptz({name} * 1000)",
        "time32[ms]": f"(TIME '00:00:00' + to_microseconds({name}))",
        "date32": f"(DATE '1970-01-01' + {name}::INTEGER)",
    }
    return conversions.get(column.type, f"{name}::{duckdb_type(column.type)}")


def _csv(batch: pa.RecordBatch) -> Any:
    """Text is quoted, so that what is empty without quotes is null."""
    import pyarrow.csv as pa_csv

    out = io.BytesIO()
    pa_csv.write_csv(batch, out, pa_csv.WriteOptions(include_header=False))
    return out.getbuffer()


def _without_nul(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[str, int]]:
    """The batch with NUL_SYMBOL for each NUL character, and how many texts of which columns had one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, int] = {}
    columns = []
    for name, values in zip(batch.schema.names, batch.columns):
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            number = pc.sum(pc.match_substring(values, "\0")).as_py() or 0
            if number:
                found[name] = number
                values = pc.replace_substring(values, "\0", NUL_SYMBOL)
        columns.append(values)
    return (pa.RecordBatch.from_arrays(columns, schema=batch.schema) if found else batch), found
