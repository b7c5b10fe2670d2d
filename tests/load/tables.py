"""The tables that tests load: one of each kind, with a way to read it back that has nothing to do with loading it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest
import requests
from upath import UPath

from airflow_sfcc.load.delta.table import DeltaTable
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.postgres_table import PostgresTable
from airflow_sfcc.load.targets import Target
from tests.load.postgres_server import Server, binaries, running
from tests.storages import s3_options


@dataclass
class Loaded:
    """A table of a test. `target` is made anew for each load, as each task makes it."""

    make: Callable[[str], Target]
    read: Callable[[str], list[dict[str, Any]]]
    place: str = ""
    lake: UPath | None = None
    """Where the extracts lie, if not on a disk."""

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


def delta_options(store: UPath) -> dict[str, str]:
    options = store.storage_options
    return {
        "AWS_ACCESS_KEY_ID": options["key"],
        "AWS_SECRET_ACCESS_KEY": options["secret"],
        "AWS_ENDPOINT_URL": options["client_kwargs"]["endpoint_url"],
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


@pytest.fixture
def store() -> Iterator[UPath]:
    """A folder in an S3-compatible server of another process: delta-rs keeps the interpreter while it waits."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(requests.RequestException):
                requests.put(f"{url}/lake", timeout=30).raise_for_status()
                break
            time.sleep(0.1)
        yield UPath("s3://lake/salesforce", **s3_options(url))
    finally:
        server.kill()
        server.wait()


@contextmanager
def place(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """Where tables of a kind are made."""
    if kind == "duckdb":
        yield in_duckdb(folder)
    elif kind == "delta":
        yield in_delta(UPath(folder / "tables"))
    elif kind == "delta on s3":
        store: UPath = request.getfixturevalue("store")
        yield replace(in_delta(store / "tables", delta_options(store)), lake=store / "lake")
    else:
        yield in_postgres(request.getfixturevalue("postgres"))


@pytest.fixture(params=KINDS)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loaded]:
    """A place for tables of each kind."""
    with place(request.param, tmp_path, request) as found:
        yield found
