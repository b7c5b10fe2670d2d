"""Courses of events that ordinary nights do not have: extracts and tables that are gone, names that differ in case, Ids that
come twice, another cursor, nothing at all."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from upath import UPath

from airflow_sfcc.errors import TableError, TableUnavailableError
from airflow_sfcc.load import in_order, loading
from airflow_sfcc.load.changes import changes_of
from airflow_sfcc.load.delta.table import DeltaTable
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import MODES, Mode
from airflow_sfcc.load.postgres_table import PostgresTable
from tests.load.made import COLUMNS, Made, at, expected_current, expected_history, expected_soft, id_of, row
from tests.load.postgres_server import Server
from tests.load.tables import Loaded, in_delta, in_duckdb, in_postgres
from tests.load.test_schema import ALL, VALUES, plain

BASE = Made("base", 10, [row(1, 1), row(2, 1)], full=True)
NIGHT = Made("night", 20, [row(3, 15)], window=(8, 20))


def remove(lake: UPath, made: Made) -> None:
    (lake / f"extract={made.name}").fs.rm(f"{lake.path}/extract={made.name}", recursive=True)


def check(loaded: Loaded, mode: Mode, made: list[Made]) -> None:
    rows = loaded.rows()
    assert len(rows) == len({(each["Id"], each.get("_valid_from")) for each in rows})
    if mode == "current":
        assert {each["Id"]: each["Name"] for each in rows} == {
            record_id: found["Name"] for record_id, found in expected_current(made).items()
        }
    elif mode == "soft":
        wanted = {record_id: (found["Name"], when) for record_id, (found, when) in expected_soft(made).items()}
        assert {each["Id"]: (each["Name"], each["_deleted_at"]) for each in rows} == wanted
    else:
        found = {(each["Id"], each["Name"], each["_valid_from"], each["_valid_to"]) for each in rows}
        assert found == expected_history(made)


@pytest.mark.parametrize("mode", MODES)
def test_extracts_that_were_removed_before_their_successor_was_loaded(
    loaded: Loaded, tmp_path: Path, mode: Mode
) -> None:
    """`airflow-sfcc vacuum --superseded` ran between a full extract and its load: the table knows none of the extracts."""
    lake, later = UPath(tmp_path / "lake"), Made("full", 30, [row(1, 1), row(3, 25)], full=True)
    BASE.land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    later.land(lake)
    remove(lake, BASE)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    check(loaded, mode, [BASE, later])
    assert load(lake, loaded.make("Account"), LoadOptions(mode=mode))["extracts"] == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_dropped_table_is_built_anew_from_all_extracts(
    kind: str, mode: Mode, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    loaded = in_duckdb(tmp_path) if kind == "duckdb" else in_postgres(request.getfixturevalue("postgres"))
    lake, made = (
        UPath(tmp_path / "lake"),
        [BASE, NIGHT, Made("last", 30, [row(1, 25)], {id_of(2): 26}, window=(18, 30))],
    )
    for each in made:
        each.land(lake)
        load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    if kind == "duckdb":
        with duckdb.connect(loaded.place) as database:
            database.execute('DROP TABLE "Account"')
    else:
        with request.getfixturevalue("postgres").connect() as connection:
            connection.execute(f'DROP TABLE {loaded.place.partition("/")[2]}."Account"')
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    check(loaded, mode, made)


@pytest.mark.parametrize("mode", MODES)
def test_names_that_differ_only_in_case_are_one_column(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    """As after a field was renamed in Setup; in the table it keeps its name."""
    lake = UPath(tmp_path / "lake")
    Made(
        "base",
        10,
        [row(1, 1, Tier__c="a"), row(2, 1, Tier__c="b")],
        full=True,
        columns={**COLUMNS, "Tier__c": "string"},
    ).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    columns = {**COLUMNS, "TIER__c": "string"}
    Made("night", 20, [row(2, 15, TIER__c="c"), row(3, 15, TIER__c="d")], columns=columns, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    present = {each["Id"]: each["Tier__c"] for each in loaded.rows() if each.get("_valid_to") is None}
    assert present == {id_of(1): "a", id_of(2): "c", id_of(3): "d"}
    Made("full", 30, [row(1, 1, TIER__c="e")], columns=columns, full=True).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    assert {each["Tier__c"] for each in loaded.rows() if each["Id"] == id_of(1)} == {"e"}


@pytest.mark.parametrize("mode", MODES)
def test_an_id_that_an_extract_has_twice_is_one_row(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    lake = UPath(tmp_path / "lake")
    rows = [row(1, 1), row(1, 2, "newer"), row(2, 1)]
    made = Made("base", 10, rows, full=True)
    made.land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    check(loaded, mode, [made])


@pytest.mark.parametrize("mode", MODES)
def test_extracts_of_nothing(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    """Rows that a full extract lacks are gone, and so are all when it has none; a table can begin that way, too."""
    lake, made = UPath(tmp_path / "lake"), []
    for each in (
        Made("nothing", 5, full=True),
        Made("base", 10, [row(1, 1), row(2, 1)], full=True),
        Made("quiet", 20, window=(8, 20)),
        Made("empty", 30, full=True),
        Made("again", 40, [row(3, 35)], window=(28, 40)),
    ):
        each.land(lake)
        made.append(each)
        result = load(lake, loaded.make("Account"), LoadOptions(mode=mode))
        assert result["extracts"] == [each.name] and result["rows"] == len(loaded.rows())
        check(loaded, mode, made)


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_are_put_in_order_by_parts(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """As many changes at once are: no row is lost or doubled between two parts."""
    monkeypatch.setattr(in_order, "MOST_VALUES", 20)
    lake, made = UPath(tmp_path / "lake"), []
    for each in (
        Made("base", 10, [row(number, 1) for number in reversed(range(40))], full=True),
        Made("night", 20, [row(number, 15) for number in range(20, 60)], {id_of(3): 16}, window=(8, 20)),
        Made("full", 30, [row(number, 15) for number in range(59, 10, -1)], full=True),
    ):
        each.land(lake)
        made.append(each)
        load(lake, loaded.make("Account"), LoadOptions(mode=mode))
        check(loaded, mode, made)
    wide = {**COLUMNS, "Amount": "string"}
    made.append(Made("wide", 40, [row(number, 35, Amount="x") for number in range(5)], columns=wide, window=(28, 40)))
    made[-1].land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    check(loaded, mode, made)


def test_every_type_survives_being_read_back_from_the_table(loaded: Loaded, tmp_path: Path) -> None:
    """Rows that stay are written again with the time of their deletion."""
    lake = UPath(tmp_path / "lake")
    rows = [row(number, 1, **values) for number, values in enumerate(VALUES)]
    rows.append({**row(9, 1), "SystemModstamp": datetime.datetime(1700, 1, 1, 0, 0, 0, 1000, datetime.timezone.utc)})
    Made("base", 10, rows, full=True, columns=ALL).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode="soft"))
    Made("night", 20, [], {each["Id"]: 15 for each in rows}, columns=ALL, window=(8, 20)).land(lake)
    result = load(lake, loaded.make("Account"), LoadOptions(mode="soft"))
    assert result["deleted"] == len(rows)
    found = {record_id: plain(each) for record_id, each in loaded.by_id().items()}
    assert found == {
        each["Id"]: {**plain({name: each.get(name) for name in ALL}), "_deleted_at": at(15)} for each in rows
    }


def test_the_first_extract_is_replaced_while_it_is_read(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are read while they are written to the table, which takes them back."""
    lake, again = UPath(tmp_path / "lake"), [1]
    BASE.land(lake)
    original = changes_of

    def then_committed_again(*arguments: Any) -> Any:
        change = original(*arguments)
        if again.pop() if again else 0:
            remove(lake, BASE)
            replace(BASE, read=15, rows=[row(1, 1), row(2, 1), row(4, 12)]).land(lake)
            folder = lake / "extract=base"
            (folder / "part-00000.parquet").rename(folder / "part-00000-a1.parquet")
            manifest = folder / "_manifest.json"
            manifest.write_text(manifest.read_text().replace("part-00000.parquet", "part-00000-a1.parquet"))
        return change

    monkeypatch.setattr(loading, "changes_of", then_committed_again)
    load(lake, loaded.make("Account"))
    assert set(loaded.by_id()) == {id_of(1), id_of(2), id_of(4)}


def test_another_cursor_after_a_full_extract(loaded: Loaded, tmp_path: Path) -> None:
    """The extract operator allows it; what was read before is in another order."""
    lake = UPath(tmp_path / "lake")
    BASE.land(lake)
    NIGHT.land(lake)
    load(lake, loaded.make("Account"))
    columns = {**COLUMNS, "LastModifiedDate": "timestamp[ms, UTC]"}
    Made("full", 30, [row(1, 1, LastModifiedDate=at(2))], full=True, columns=columns).land(lake)
    manifest = lake / "extract=full" / "_manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"cursor_field": "SystemModstamp"', '"cursor_field": "LastModifiedDate"')
    )
    with pytest.raises(
        TableError, match=r"by SystemModstamp, and the extracts are of .* by LastModifiedDate: drop the table"
    ):
        load(lake, loaded.make("Account"))
    load(lake, loaded.make("Another"))
    assert set(loaded.by_id("Another")) == {id_of(1)}


def test_tables_of_a_duckdb_file_whose_names_differ_only_in_case_are_one(tmp_path: Path) -> None:
    loaded, lake, other = in_duckdb(tmp_path), UPath(tmp_path / "lake"), UPath(tmp_path / "other")
    BASE.land(lake)
    load(lake, loaded.make("Account"))
    replace(BASE, org_id="00D000000000002").land(other)
    with pytest.raises(TableError, match="give each object and org its own table"):
        load(other, loaded.make("account"))
    NIGHT.land(lake)
    assert load(lake, loaded.make("account"))["extracts"] == ["night"]
    assert load(lake, loaded.make("ACCOUNT"))["extracts"] == [] and len(loaded.by_id()) == 3


def test_a_damaged_duckdb_file_is_not_taken_for_one_in_use(tmp_path: Path) -> None:
    path, lake = tmp_path / "blocks" / "crm.duckdb", UPath(tmp_path / "lake")
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1_000)
    BASE.land(lake)
    with pytest.raises(TableUnavailableError, match="could not be written"):
        load(lake, DuckDBTable(path, "Account"))


def test_columns_that_are_added_while_another_load_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """delta-rs adds them on top of the other's rows, of which this load's changes know nothing."""
    delta, lake = in_delta(UPath(tmp_path / "tables")), UPath(tmp_path / "lake")
    wide = Made("wide", 20, [row(3, 15, New__c="x")], columns={**COLUMNS, "New__c": "string"}, window=(8, 20))
    BASE.land(lake)
    load(lake, delta.make("Account"))
    wide.land(lake)
    original, others = DeltaTable._add_columns, [1]

    def after_another(self: DeltaTable, *arguments: Any) -> None:
        if others.pop() if others else 0:
            remove(lake, wide)
            Made("other", 15, [row(3, 12)], window=(8, 15)).land(lake)
            load(lake, delta.make("Account"))
            wide.land(lake)
        original(self, *arguments)

    monkeypatch.setattr(DeltaTable, "_add_columns", after_another)
    load(lake, delta.make("Account"))
    assert {record_id: each["New__c"] for record_id, each in delta.by_id().items()} == {
        id_of(1): None,
        id_of(2): None,
        id_of(3): "x",
    }


def test_a_row_that_is_too_wide_for_the_database(tmp_path: Path, postgres: Server) -> None:
    loaded, lake = in_postgres(postgres), UPath(tmp_path / "lake")
    more = {f"Text{number:03}__c": "string" for number in range(600)}
    values = dict.fromkeys(more, "a text that is moved out of the row " * 3)
    Made("base", 10, [row(1, 1, **values)], full=True, columns={**COLUMNS, **more}).land(lake)
    with pytest.raises(TableError, match=r"does not fit into .*row is too big.*exclude_fields"):
        load(lake, loaded.make("Account"))


def test_rows_that_another_table_needs(tmp_path: Path, postgres: Server) -> None:
    loaded, lake = in_postgres(postgres), UPath(tmp_path / "lake")
    BASE.land(lake)
    load(lake, loaded.make("Account"))
    schema = loaded.place.partition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f'CREATE TABLE {schema}.mine (account text REFERENCES {schema}."Account")')
        connection.execute(f'INSERT INTO {schema}.mine SELECT "Id" FROM {schema}."Account"')
    Made("night", 20, [], {id_of(1): 15}, window=(8, 20)).land(lake)
    with pytest.raises(TableError, match=r"could not be changed .*another table on its rows\?"):
        load(lake, loaded.make("Account"))


@pytest.mark.parametrize("mode", MODES)
def test_a_version_whose_extract_was_committed_again_without_it(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    """The record was made after a full extract, which therefore cannot end any version of it."""
    lake = UPath(tmp_path / "lake")
    made = [
        Made("full", 30, [row(1, 1)], full=True),
        Made("night", 40, [row(2, 35)], window=(28, 40)),
        Made("night", 50, [row(2, 37)], window=(28, 40)),
    ]
    for each in made:
        each.land(lake)
        load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    check(loaded, mode, made)


@pytest.mark.parametrize("mode", MODES)
def test_a_version_that_was_read_within_the_same_millisecond(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    """As where a test holds the clock."""
    lake = UPath(tmp_path / "lake")
    made = [
        Made("full", 10, [row(1, 1)], full=True),
        Made("night", 20, [row(1, 15, "before")], window=(8, 20)),
        Made("night", 20, [row(1, 15, "after"), row(2, 16)], window=(8, 20), version=2),
    ]
    for each in made:
        each.land(lake)
        load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    check(loaded, mode, [made[0], made[2]])


def test_numbers_keep_their_digits_where_a_database_shows_fewer(tmp_path: Path, postgres: Server) -> None:
    loaded, lake = in_postgres(postgres), UPath(tmp_path / "lake")

    def connect() -> Any:
        connection = postgres.connect()
        connection.execute("SET extra_float_digits = 0")
        connection.commit()
        return connection

    schema = loaded.place.partition("/")[2]
    Made("base", 10, [row(1, 1, Amount=0.1 + 0.2)], full=True).land(lake)
    Made("night", 20, [], {id_of(1): 15}, window=(8, 20)).land(lake)
    load(lake, PostgresTable(connect, schema, "Account", "Account"), LoadOptions(mode="soft"))
    assert [(each["Amount"], each["_deleted_at"]) for each in loaded.rows()] == [(0.1 + 0.2, at(15))]
