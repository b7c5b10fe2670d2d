"""Where extracts and tables lie: folders, schemas and databases with odd names and settings, and a worker without a temporary
folder."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from upath import UPath

from airflow_sfcc.errors import TableError, TableUnavailableError
from airflow_sfcc.extract import current_table_sql
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.postgres_table import PostgresTable
from tests.load.made import COLUMNS, Made, at, id_of, row
from tests.load.postgres_server import Server
from tests.load.tables import Loaded, in_delta, in_duckdb, in_postgres

BASE = Made("base", 10, [row(1, 1, "a"), row(2, 1, "b")], full=True)
NIGHT = Made("night", 20, [row(1, 15, "c")], {id_of(2): 16}, window=(8, 20))


def test_a_folder_that_looks_like_a_partition_is_no_column(loaded: Loaded, tmp_path: Path) -> None:
    """`type=raw` above the destination or the table stands beside the object's own Type."""
    lake = UPath(tmp_path / "type=raw" / "lake")
    columns = {**COLUMNS, "Type": "string"}
    Made("base", 10, [row(1, 1, Type="Customer"), row(2, 1, Type="Partner")], full=True, columns=columns).land(lake)
    load(lake, loaded.make("Account"))
    Made("night", 20, [row(1, 15, Type="Prospect")], {id_of(2): 16}, columns=columns, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"))
    assert {record_id: found["Type"] for record_id, found in loaded.by_id().items()} == {id_of(1): "Prospect"}
    with duckdb.connect() as database:
        found = database.execute(f'SELECT "Id", "Type" FROM ({current_table_sql(lake)})').fetchall()
    assert found == [(id_of(1), "Prospect")]


def test_a_delta_table_below_such_a_folder(tmp_path: Path) -> None:
    delta, lake = in_delta(UPath(tmp_path / "name=raw" / "tables")), UPath(tmp_path / "lake")
    for each in (BASE, NIGHT):
        each.land(lake)
        load(lake, delta.make("Account"), LoadOptions(mode="soft"))
    found = {record_id: (each["Name"], each["_deleted_at"]) for record_id, each in delta.by_id().items()}
    assert found == {id_of(1): ("c", None), id_of(2): ("b", at(16))}


@pytest.mark.parametrize("folder", ["a b", "50% off", "it's", "a#b", "ü", "x[1]"])
@pytest.mark.parametrize("kind", ["duckdb", "delta"])
def test_tables_in_folders_with_odd_names(kind: str, folder: str, tmp_path: Path) -> None:
    lake, place = UPath(tmp_path / "lake of 'ours' 100%25"), tmp_path / folder
    loaded = in_duckdb(place) if kind == "duckdb" else in_delta(UPath(place))
    for each in (BASE, NIGHT):
        each.land(lake)
        load(lake, loaded.make("Account"))
    assert {record_id: found["Name"] for record_id, found in loaded.by_id().items()} == {id_of(1): "c"}


def test_a_folder_that_delta_takes_for_another(tmp_path: Path) -> None:
    lake = UPath(tmp_path / "lake")
    BASE.land(lake)
    with pytest.raises(TableError, match="takes a percent sign before two digits for another character"):
        load(lake, in_delta(UPath(tmp_path / "100%25")).make("Account"))
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


@pytest.mark.parametrize(
    ("schema", "table"), [("100%", "a%s"), ('se"l', 'a"b'), ("select", "order.by c"), ("crm", "x" * 70)]
)
def test_postgres_tables_with_odd_names(schema: str, table: str, postgres: Server, tmp_path: Path) -> None:
    lake, name = UPath(tmp_path / "lake"), 'Own%er."x".Name'
    columns = {**COLUMNS, name: "string"}
    Made("base", 10, [row(1, 1, **{name: "%s"})], full=True, columns=columns).land(lake)
    for _ in range(2):
        assert load(lake, PostgresTable(postgres.connect, schema, table, "x"), LoadOptions(mode="soft"))["rows"] == 1
    Made("night", 20, [], {id_of(1): 15}, columns=columns, window=(8, 20)).land(lake)
    assert load(lake, PostgresTable(postgres.connect, schema, table, "x"), LoadOptions(mode="soft"))["deleted"] == 1


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding(encoding: str, postgres: Server, tmp_path: Path) -> None:
    name, lake = f"in_{encoding.lower()}", UPath(tmp_path / "lake")
    with postgres.connect() as connection:
        connection.autocommit = True
        connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=postgres.port, user="postgres", dbname=name)

    Made("base", 10, [row(1, 1, "Ünï")], full=True).land(lake)
    Made("night", 20, [], {id_of(1): 15}, window=(8, 20)).land(lake)
    load(lake, PostgresTable(connect, "crm", "Account", "x"), LoadOptions(mode="soft"))
    with connect() as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        found = connection.execute('SELECT "Name", _deleted_at FROM crm."Account"').fetchall()
    assert found == [("Ünï", at(15))]


def test_two_tables_of_a_new_schema_are_made_at_once(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a task that is mapped over objects, in its first run."""
    loaded, lake = in_postgres(postgres), UPath(tmp_path / "lake")
    BASE.land(lake)
    results: list[object] = []
    original, others = PostgresTable._index, [threading.Thread(target=lambda: results.append(load_other()))]

    def load_other() -> object:
        try:
            return load(lake, loaded.make("Other"))["rows"]
        except Exception as problem:
            return problem

    def beside_another(self: PostgresTable, *arguments: Any) -> None:
        for other in others[:1] if self._table == "Account" else []:
            other.start()
            other.join(5)  # where it waits for this load, it goes on after that
        original(self, *arguments)

    monkeypatch.setattr(PostgresTable, "_index", beside_another)
    assert load(lake, loaded.make("Account"))["rows"] == 2
    others[0].join()
    assert results == [2] and set(loaded.by_id("Other")) == set(loaded.by_id("Account"))


def test_a_worker_without_a_temporary_folder(loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = UPath(tmp_path / "lake")
    BASE.land(lake)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(TableUnavailableError, match=r"temporary folder could not be written .*TMPDIR"):
        load(lake, loaded.make("Account"))
