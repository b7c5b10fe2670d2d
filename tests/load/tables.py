"""The tables that tests load: one of each kind, with a way to read it back that has nothing to do with loading it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest
from upath import UPath

from airflow_sfcc.load.delta.table import DeltaTable
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.postgres_table import PostgresTable
from airflow_sfcc.load.targets import Target
from tests.load.postgres_server import Server, binaries, running


@dataclass
class Loaded:
    """A table of a test. `target` is made anew for each load, as each task makes it."""

    make: Callable[[str], Target]
    read: Callable[[str], list[dict[str, Any]]]
    place: str = ""

    def rows(self, name: str = "Account") -> list[dict[str, Any]]:
        """All rows, with timestamps in UTC."""
        return [{column: _plain(value) for column, value in row.items()} for row in self.read(name)]

    def by_id(self, name: str = "Account") -> dict[str, dict[str, Any]]:
        rows = self.rows(name)
        found = {row["Id"]: row for row in rows}
        assert len(found) == len(rows), "the table holds an Id twice"
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return value


def in_duckdb(folder: Path) -> Loaded:
    path = folder / "tables.duckdb"

    def read(name: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(path), read_only=True) as connection:
            cursor = connection.execute(f'SELECT * FROM "{name}"')
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    return Loaded(lambda name: DuckDBTable(path, name), read, str(path))


def in_postgres(server: Server) -> Loaded:
    """In a schema of its own."""
    schema = f"crm_{uuid.uuid4().hex[:12]}"

    def read(name: str) -> list[dict[str, Any]]:
        with server.connect() as connection:
            cursor = connection.execute(f'SELECT * FROM {schema}."{name}"')
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def make(name: str) -> Target:
        return PostgresTable(server.connect, schema, name, f"postgres://warehouse/{schema}/{name}")

    return Loaded(make, read, f"{server.port}/{schema}")


def in_delta(folder: UPath, options: dict[str, str] | None = None) -> Loaded:
    """Read back by delta-rs."""

    def uri(name: str) -> str:
        return f"{folder.path}/{name}" if folder.protocol in ("", "file") else f"s3://{folder.path}/{name}"

    def read(name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pa.table(
            deltalake.QueryBuilder()
            .register("t", deltalake.DeltaTable(uri(name), storage_options=options))
            .execute("SELECT * FROM t")
        ).to_pylist()
        return rows

    def make(name: str) -> Target:
        return DeltaTable(folder / name, f"delta+{folder}/{name}", options, source=folder)

    return Loaded(make, read, str(folder.path))


KINDS = ["duckdb", "postgres", "delta"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for all tests."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL; on Debian: apt-get install postgresql")
    with running(programs) as server:
        yield server


@contextmanager
def place(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """Where tables of a kind are made."""
    if kind == "duckdb":
        yield in_duckdb(folder)
    elif kind == "delta":
        yield in_delta(UPath(folder / "tables"))
    else:
        yield in_postgres(request.getfixturevalue("postgres"))


@pytest.fixture(params=KINDS)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loaded]:
    """A place for tables of each kind."""
    with place(request.param, tmp_path, request) as found:
        yield found
