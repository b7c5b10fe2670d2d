"""What goes wrong with tables: one sentence each, nothing half loaded, and the next load makes up for it."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from upath import UPath

from airflow_sfcc.errors import SfccError, StateError, TableBusyError, TableError, TableUnavailableError
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import destination_of
from airflow_sfcc.load.postgres_table import PostgresTable
from tests.load.made import COLUMNS, Made, id_of, row
from tests.load.postgres_server import Server
from tests.load.tables import Loaded, in_delta, in_duckdb, in_postgres

BASE = Made("base", 10, [row(1, 1), row(2, 1)], full=True)
NIGHT = Made("night", 20, [row(3, 15)], window=(8, 20))


@pytest.fixture
def lake(tmp_path: Path) -> UPath:
    folder = UPath(tmp_path / "lake")
    BASE.land(folder)
    return folder


def refused(lake: UPath, loaded: Loaded, kind: type[SfccError], sentence: str, **options: Any) -> None:
    """The load fails with that sentence, and leaves the table as it was."""
    before = loaded.rows()
    with pytest.raises(kind, match=sentence) as caught:
        load(lake, loaded.make("Account"), LoadOptions(**options))
    assert "\n" not in str(caught.value)
    assert loaded.rows() == before


def test_tables_of_other_orgs_objects_and_modes_are_refused(lake: UPath, loaded: Loaded, tmp_path: Path) -> None:
    load(lake, loaded.make("Account"))
    for name, changes in (("org", {"org_id": "00D000000000002"}), ("object", {"sobject": "Contact"})):
        other = UPath(tmp_path / name)
        replace(BASE, **changes).land(other)  # type: ignore[arg-type]
        refused(
            other,
            loaded,
            TableError,
            r"holds Account of the org 00D000000000001 .* give each object and org its own table",
        )
    refused(lake, loaded, TableError, r"was made with mode='current', and this task has 'soft'", mode="soft")
    replace(NIGHT, org_id="00D000000000002").land(lake)
    refused(lake, loaded, TableError, r"give each object and org its own destination")


def test_destinations_that_no_table_can_be_made_of(lake: UPath, loaded: Loaded, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="holds no extract that a table can be made of"):
        load(UPath(tmp_path / "nothing"), loaded.make("Account"))
    (lake / "extract=base" / "_manifest.json").write_text("{}")
    with pytest.raises(StateError, match="is not a manifest of this package"):
        load(lake, loaded.make("Account"))


def test_tables_changed_by_hand_are_refused(lake: UPath, postgres: Server, tmp_path: Path) -> None:
    server, file = in_postgres(postgres), in_duckdb(tmp_path)
    schema = server.place.partition("/")[2]
    changes = [
        ("DELETE FROM {} WHERE \"Id\" = '001000000000000001'", "it has 1 rows, and had 2"),
        ("ALTER TABLE {} ADD COLUMN mine text", r"other columns \(mine\)"),
        ('ALTER TABLE {} DROP COLUMN "Name"', r"other columns \(Name\)"),
    ]
    for sql, sentence in changes:
        load(lake, server.make("Account"))
        load(lake, file.make("Account"))
        with postgres.connect() as connection:
            connection.execute(sql.format(f'{schema}."Account"'))
        with duckdb.connect(file.place) as database:
            database.execute(sql.format('"Account"'))
        for each in (server, file):
            refused(lake, each, TableError, f"is not as the last load left it: .*{sentence}.* drop the table")
        with postgres.connect() as connection:
            connection.execute(f'DROP TABLE {schema}."Account"')
        with duckdb.connect(file.place) as database:
            database.execute('DROP TABLE "Account"')
        for each in (server, file):
            load(lake, each.make("Account"))
            assert set(each.by_id()) == {id_of(1), id_of(2)}, "a dropped table is built anew"


def test_a_table_that_somebody_else_made_is_left_alone(lake: UPath, postgres: Server, tmp_path: Path) -> None:
    server, file, delta = in_postgres(postgres), in_duckdb(tmp_path), in_delta(UPath(tmp_path / "tables"))
    schema = server.place.partition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f'CREATE SCHEMA {schema}; CREATE TABLE {schema}."Account" ("Id" text)')
    with duckdb.connect(file.place) as database:
        database.execute('CREATE TABLE "Account" ("Id" text)')
    import deltalake
    import pyarrow as pa

    deltalake.write_deltalake(str(tmp_path / "tables" / "Account"), pa.table({"Id": ["1"]}))
    for each in (server, file, delta):
        refused(lake, each, TableError, "table .*is there that this package did not make")
    (tmp_path / "tables" / "Files").mkdir()
    (tmp_path / "tables" / "Files" / "thesis.docx").touch()
    with pytest.raises(TableError, match=r"its folder holds other things \(thesis.docx\)"):
        load(lake, delta.make("Files"))


def test_a_missing_right_names_what_to_grant(lake: UPath, postgres: Server) -> None:
    loaded = in_postgres(postgres)
    load(lake, loaded.make("Account"))
    schema = loaded.place.partition("/")[2]
    with postgres.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS visitor")
        connection.execute("CREATE ROLE visitor LOGIN")
        connection.execute(
            f"GRANT USAGE ON SCHEMA {schema} TO visitor; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO visitor"
        )
    NIGHT.land(lake)
    as_visitor = replace(
        loaded, make=lambda name: PostgresTable(lambda: postgres.connect("visitor"), schema, name, name)
    )
    refused(
        lake,
        as_visitor,
        TableError,
        r"user may not do this .*permission denied.* Grant it USAGE and CREATE on the schema",
    )


def test_a_lost_connection_leaves_the_table_as_it_was(
    lake: UPath, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = in_postgres(postgres)
    load(lake, loaded.make("Account"))
    NIGHT.land(lake)
    original = PostgresTable._record

    def after_the_server_hung_up(self: PostgresTable, *arguments: Any) -> None:
        pid = self._value("SELECT pg_backend_pid()")
        with postgres.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresTable, "_record", after_the_server_hung_up)
        refused(lake, loaded, TableUnavailableError, "failed or cannot be reached .* nothing was loaded")
    load(lake, loaded.make("Account"))
    assert set(loaded.by_id()) == {id_of(1), id_of(2), id_of(3)}


def test_a_server_that_is_not_there(lake: UPath) -> None:
    import psycopg

    table = PostgresTable(
        lambda: psycopg.connect("host=127.0.0.1 port=1 user=x password=SECRET-0123"), "crm", "Account", "Account"
    )
    with pytest.raises(TableUnavailableError, match="cannot be reached") as caught:
        load(lake, table)
    assert "SECRET" not in str(caught.value)


def test_a_second_load_of_a_table_is_refused(lake: UPath, postgres: Server, tmp_path: Path) -> None:
    loaded = in_postgres(postgres)
    load(lake, loaded.make("Account"))
    NIGHT.land(lake)
    from airflow_sfcc.load.scratch import scratch

    with scratch() as database, loaded.make("Account").locked(database):
        refused(lake, loaded, TableBusyError, "Another load of .* is under way: this one did nothing")
    file = in_duckdb(tmp_path)
    load(lake, file.make("Account"))
    script = f"import duckdb; c = duckdb.connect({file.place!r}); print('open', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout and other.stdout.readline() == "open\n"
        with pytest.raises(TableBusyError, match="is in use by another process"):
            load(lake, file.make("Account"))
    finally:
        other.communicate("\n", timeout=60)
    Made("later", 30, [row(4, 25)], window=(18, 30)).land(lake)
    for each in (loaded, file):
        load(lake, each.make("Account"))
        assert set(each.by_id()) == {id_of(number) for number in (1, 2, 3, 4)}


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: writing beyond that fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", ["duckdb", "delta"])
def test_a_full_disk_leaves_the_table_as_it_was(kind: str, lake: UPath, tmp_path: Path) -> None:
    loaded = in_duckdb(tmp_path) if kind == "duckdb" else in_delta(UPath(tmp_path / "tables"))
    load(lake, loaded.make("Account"))
    rows = [row(number, 15, f"{number * 7919 % 100_003} " * 40) for number in range(20_000)]
    Made("night", 20, rows, window=(8, 20)).land(lake)
    before = loaded.rows()
    with (
        no_file_larger_than(300_000 if kind == "delta" else 1_500_000),
        pytest.raises(TableUnavailableError, match="nothing was loaded"),
    ):
        load(lake, loaded.make("Account"))
    assert loaded.rows() == before
    assert not list((tmp_path / "tables").rglob("part-*")) or kind == "delta"
    load(lake, loaded.make("Account"))
    assert len(loaded.by_id()) == 20_000


def test_what_needs_more_memory_than_it_may_have(lake: UPath, tmp_path: Path) -> None:
    loaded = in_duckdb(tmp_path)
    load(lake, loaded.make("Account"))
    Made("night", 20, [row(number, 15, "x" * 500) for number in range(20_000)], window=(8, 20)).land(lake)
    with pytest.raises(TableUnavailableError, match=r"need more than memory_limit='4MB'.*Raise memory_limit"):
        load(lake, loaded.make("Account"), LoadOptions(memory_limit="4MB"))
    load(lake, loaded.make("Account"))
    assert len(loaded.by_id()) == 20_000


def test_an_extract_that_is_replaced_while_it_is_read(
    lake: UPath, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lake, loaded.make("Account"))
    NIGHT.land(lake)
    from airflow_sfcc.load import loading

    original, again = destination_of, [1]

    def then_committed_again(*arguments: Any) -> Any:
        found = original(*arguments)
        if again.pop() if again else 0:
            (lake / "extract=night" / "part-00000.parquet").unlink()
            for path in (lake / "extract=night").iterdir():
                path.unlink()
            (lake / "extract=night").rmdir()
            replace(NIGHT, read=25, rows=[row(3, 15), row(4, 16)]).land(lake)
            (lake / "extract=night" / "part-00000.parquet").rename(lake / "extract=night" / "part-00000-a1.parquet")
            manifest = lake / "extract=night" / "_manifest.json"
            manifest.write_text(manifest.read_text().replace("part-00000.parquet", "part-00000-a1.parquet"))
        return found

    monkeypatch.setattr(loading, "destination_of", then_committed_again)
    load(lake, loaded.make("Account"))
    assert set(loaded.by_id()) == {id_of(number) for number in (1, 2, 3, 4)}


def test_a_duckdb_file_where_none_can_be(lake: UPath, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TableUnavailableError, match=r"could not be written .* See that the folder is there"):
        load(lake, DuckDBTable(tmp_path / "file" / "crm.duckdb", "Account"))


def test_extracts_that_are_no_parquet(lake: UPath, loaded: Loaded) -> None:
    manifest = lake / "extract=base" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace(".parquet", ".csv.gz"))
    with pytest.raises(TableError, match="is no Parquet file, and tables are made of those"):
        load(lake, loaded.make("Account"))


def test_a_value_that_the_database_cannot_hold(lake: UPath, postgres: Server) -> None:
    """Parquet's dates go further than PostgreSQL's."""
    loaded = in_postgres(postgres)
    load(lake, loaded.make("Account"))
    before = loaded.by_id()
    far = row(1, 15, Day__c=2_147_000_000)
    Made("far", 20, [far, row(9, 15)], columns={**COLUMNS, "Day__c": "date32"}, window=(8, 20)).land(lake)
    with pytest.raises(
        TableError, match=r"A value does not fit into .* nothing was loaded\. Correct the record, or extract"
    ):
        load(lake, loaded.make("Account"))
    assert loaded.by_id() == before
