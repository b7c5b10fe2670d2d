"""Incremental extracts beyond the nightly course of things: drift, deletes that are too old, backfills, two at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner
from upath import UPath

from airflow_sfcc.extract import current_table_sql, latest_state, read_manifests
from airflow_sfcc.extract.commit_lock import CLAIMS, commit_lock
from airflow_sfcc.extract.deletes import DeleteLogError
from airflow_sfcc.extract.landing import Landing
from airflow_sfcc.extract.plan import RunIdentity
from airflow_sfcc.extract.schema_changes import FieldVanishedError, SchemaChangedError
from airflow_sfcc.extract.state import ConcurrentRunError, StateError
from airflow_sfcc.extract.vacuum import vacuum
from airflow_sfcc.salesforce.errors import NotFoundError, QueryError
from airflow_sfcc.vacuum_command import vacuum as vacuum_command
from tests.extract.runs import read_rows
from tests.quarter.simulation import DAY, FIRST_NIGHT
from tests.quarter.world import World, run_of

TIER = {"name": "Tier__c", "type": "double", "precision": 18, "scale": 0, "custom": True, "nillable": True}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "Account", rows=12)
    yield world
    world.close()


def night(world: World, number: int, **changes: Any) -> dict[str, Any]:
    """Run night `number` ten minutes after it is due."""
    due = FIRST_NIGHT + number * DAY
    world.wait(max(timedelta(0), due + timedelta(minutes=10) - world.now))
    return world.run(run_of(number, due), **changes)


def everything_read_together(world: World) -> tuple[int, int]:
    """Rows that DuckDB and pyarrow find when they read all extracts as one table."""
    (by_duckdb,) = (
        duckdb.connect().execute(f"SELECT count(*) FROM read_parquet('{world.folder}/*/part-*.parquet', "
                                 "union_by_name = true)").fetchone() or (0,)
    )  # fmt: skip
    files = sorted(str(path) for path in world.folder.glob("*/part-*.parquet"))
    schemas = [ds.dataset(file).schema for file in files]
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError:
        names = dict.fromkeys(name for schema in schemas for name in schema.names)
        last = {name: schema.field(name) for schema in schemas for name in schema.names}
        schema = pa.schema([last[name] for name in names])  # the newest types hold what the older ones held
    return int(by_duckdb), ds.dataset(files, schema=schema).to_table().num_rows


def changes_of(manifest: dict[str, Any]) -> dict[str, str]:
    return {change["column"]: change["change"] for change in manifest["schema_changes"]}


def test_the_manifest_says_where_the_extract_stands(world: World) -> None:
    first, second = night(world, 0), night(world, 1)
    assert first["window"] == {"start": None, "end": "2027-02-02T02:00:00.000Z"} and first["mode"] == "incremental"
    assert second["window"] == {"start": "2027-02-02T01:50:00.000Z", "end": "2027-02-03T02:00:00.000Z"}
    assert second["watermark"] == second["window"]["end"] and second["cursor_field"] == "SystemModstamp"
    assert [each["extract_id"] for each in read_manifests(str(world.folder))] == [
        first["extract_id"],
        second["extract_id"],
    ]
    newest = dict(latest_state(world.folder.as_uri()).newest or {})
    assert newest.pop("path") == f"{world.folder.as_uri()}/extract={second['extract_id']}" and newest == second


# Schema


def add_field(world: World) -> None:
    world.org.add_field("Account", TIER, value=3)


def retype(world: World) -> None:
    world.org.change_field("Account", "NumberOfEmployees", {"type": "double", "precision": 18, "scale": 2})


def retype_to_text(world: World) -> None:
    world.org.change_field("Account", "AnnualRevenue", {"type": "string", "length": 80})


DRIFTS: dict[str, tuple[Callable[[World], Any], dict[str, str]]] = {
    "added": (add_field, {"Tier__c": "added"}),
    "removed": (lambda world: world.org.remove_field("Account", "Tier__c"), {"Tier__c": "removed"}),
    "retyped": (retype, {"NumberOfEmployees": "retyped"}),
    "retyped to text": (retype_to_text, {"AnnualRevenue": "retyped"}),
    "hidden": (lambda world: world.org.hide_field("Account", "Phone"), {"Phone": "access_lost"}),
}


@pytest.mark.parametrize("mode", ["incremental", "full"])
@pytest.mark.parametrize("drift", DRIFTS)
def test_schema_drift_goes_on_or_stops_before_a_row_is_asked_for(world: World, drift: str, mode: str) -> None:
    world.checked = False  # rows that were not read again do not have a new field's value
    change, expected = DRIFTS[drift]
    if drift == "removed":
        add_field(world)
    night(world, 0)
    change(world)
    for record_id in world.free[:3]:
        world.update(record_id, {"Name": "changed"})
    queries = world.org.calls.counts.get("query", 0)
    with pytest.raises(SchemaChangedError, match="on_schema_change='evolve'"):
        night(world, 1, mode=mode, on_schema_change="fail", api="auto")
    assert world.org.calls.counts.get("query", 0) == queries
    second = night(world, 1, mode=mode)
    assert changes_of(second) == expected
    by_duckdb, by_pyarrow = everything_read_together(world)
    assert by_duckdb == by_pyarrow == sum(manifest["rows"] for manifest in read_manifests(world.destination))
    if mode == "incremental":
        assert changes_of(night(world, 2, on_schema_change="fail")) == {}


def test_an_object_that_is_gone_says_so(world: World) -> None:
    night(world, 0)
    world.org.hidden_objects.add("Account")
    for mode in ("incremental", "full"):
        with pytest.raises(NotFoundError):
            night(world, 1, mode=mode)


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_a_field_that_goes_while_the_run_is_under_way_is_explained_and_the_next_try_succeeds(
    world: World, api: str
) -> None:
    world.checked = False
    add_field(world)
    night(world, 0)

    def remove(stage: str) -> None:
        if stage == "read":
            world.org.remove_field("Account", "Tier__c")

    world.wait(FIRST_NIGHT + DAY + timedelta(minutes=10) - world.now)
    with pytest.raises(FieldVanishedError, match=r"Tier__c of Account was there .* Run it again") as failure:
        world.run(run_of(1, FIRST_NIGHT + DAY), remove, api=api)
    assert not failure.value.permanent
    assert changes_of(night(world, 1, api=api)) == {"Tier__c": "removed"}


def test_formulas_are_named_as_fields_that_can_be_stale(tmp_path: Path) -> None:
    world = World(
        tmp_path, sobject="Invoice__c", rows=5, request={"fields": ["Name", "Total_Formula__c", "Account__r.Name"]}
    )
    world.checked = False
    try:
        manifest = night(world, 0)
        assert manifest["stale_fields"] == ["Total_Formula__c", "Account__r.Name"]
        assert {"Id", "SystemModstamp", "IsDeleted"} <= {column["name"] for column in manifest["schema"]}
    finally:
        world.close()


# Deletes


def test_after_too_long_an_outage_hard_deletes_ask_for_a_full_run_which_heals(world: World) -> None:
    night(world, 0)
    gone = world.free[0]
    world.hard_delete(gone)
    calls = len(world.org.calls.counts)
    with pytest.raises(DeleteLogError, match=r"Run the extract once with mode='full'") as failure:
        night(world, 17)
    assert failure.value.permanent and "deleted" not in list(world.org.calls.counts)[calls:]
    assert gone in world.table
    world.wait(timedelta(minutes=1))
    world.run(RunIdentity("quarter", "refresh", "by hand", -1, world.now), mode="full")
    assert gone not in world.table
    night(world, 18)


def test_a_long_gap_within_the_log_is_read_whole(world: World) -> None:
    night(world, 0)
    gone = world.free[:3]
    for record_id in gone:
        world.hard_delete(record_id)
        world.wait(3 * DAY)
    manifest = night(world, 13)
    assert manifest["deleted_rows"] == 3 and not set(gone) & world.table.keys()


def test_objects_without_a_log_of_deletions_are_refused_with_the_way_out(world: World) -> None:
    world.org.set_flags("Account", replicateable=False)
    with pytest.raises(QueryError, match="use deletes='soft'"):
        night(world, 0)


# Runs beside each other


def backfill(folder: Path, *, in_parallel: bool) -> dict[str, Any]:
    world = World(folder, rows=30)
    try:
        for number in range(10):
            world.wait(FIRST_NIGHT + number * DAY - world.now)
            for record_id in world.free[number : number + 6 : 2]:
                world.update(record_id, {"Name": f"night {number}"})
            world.insert({"Name": f"new in {number}"})
            world.delete(world.free[number])
        world.wait(2 * DAY)
        runs = [
            run_of(number, FIRST_NIGHT + number * DAY, is_backfill=True,
                   interval=(FIRST_NIGHT + number * DAY, FIRST_NIGHT + (number + 1) * DAY))
            for number in range(10)
        ]  # fmt: skip
        world.checked = False
        if in_parallel:
            with ThreadPoolExecutor(10) as pool:
                list(pool.map(world.run, runs))
        else:
            for run in runs:
                world.run(run)
        assert len(read_manifests(world.destination)) == 10
        return world.current_table()
    finally:
        world.close()


def test_a_backfill_in_parallel_equals_one_after_another(tmp_path: Path) -> None:
    one_by_one = backfill(tmp_path / "a", in_parallel=False)
    side_by_side = backfill(tmp_path / "b", in_parallel=True)
    assert side_by_side == one_by_one and len(one_by_one) > 10


def test_of_two_runs_from_one_state_the_second_commit_is_refused_and_running_again_helps(world: World) -> None:
    night(world, 0)
    due = FIRST_NIGHT + DAY
    world.wait(due + timedelta(minutes=10) - world.now)
    other = RunIdentity("quarter", "extract", "manual__1", -1, due)

    def meanwhile(stage: str) -> None:
        if stage == "commit":
            world.run(other)

    with pytest.raises(
        ConcurrentRunError, match=r"was complete up to 2027-02-02.*and now that is 2027-02-03"
    ) as refusal:
        world.run(run_of(1, due), meanwhile)
    assert not refusal.value.permanent and "manual__1" in str(refusal.value)
    assert not list(world.folder.glob("_*")), "a refused run leaves nothing"
    world.run(run_of(1, due))


def test_a_commit_waits_for_another_and_takes_over_from_a_dead_one(tmp_path: Path) -> None:
    destination = UPath(tmp_path)
    with commit_lock(destination, "one"):
        with (
            pytest.raises(ConcurrentRunError, match=r"Another run \(one\)"),
            commit_lock(destination, "two", waits_for=0),
        ):
            raise AssertionError("both hold the destination")
        released = threading.Timer(0.3, lambda: None)
        released.start()
    assert not (tmp_path / CLAIMS).exists()
    (tmp_path / CLAIMS).mkdir()
    (tmp_path / CLAIMS / "dead.1.json").write_text(json.dumps({"owner": "dead", "renewed_at": 0}))
    with commit_lock(destination, "two", waits_for=0):
        assert [path.name.split(".")[0] for path in (tmp_path / CLAIMS).iterdir()] == ["two"]


def test_never_do_two_hold_the_destination(tmp_path: Path) -> None:
    inside: list[int] = []

    def commit(number: int) -> None:
        with commit_lock(UPath(tmp_path), f"extract-{number}", waits_for=60):
            inside.append(number)
            assert inside == [number]
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(commit, range(12)))


# Repeats


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_a_cleared_run_keeps_what_only_its_first_reading_saw(world: World, file_format: str) -> None:
    world.checked = file_format == "parquet"
    first = night(world, 0, file_format=file_format)
    changed, gone = world.free[:2]
    world.update(changed, {"Name": "changed since"})
    world.hard_delete(gone)
    again = night(world, 0, file_format=file_format)
    assert again["extract_id"] == first["extract_id"] and again["window"] == first["window"]
    assert (again["carried_rows"], again["rows"]) == (2, first["rows"])
    folder = world.folder / f"extract={again['extract_id']}"
    rows = read_rows(folder, again)
    before = {row["Id"] for row in rows}
    assert {changed, gone} <= before and len(before) == first["rows"]
    assert "changed since" not in {row["Name"] for row in rows}
    third = night(world, 0, file_format=file_format)
    assert (third["carried_rows"], third["rows"]) == (2, first["rows"])


def test_a_repeat_that_dies_in_its_commit_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = night(world, 0)
    world.update(world.free[0], {"Name": "changed since"})
    landing = Landing(world.destination, first["extract_id"])
    landing.staging.mkdir(parents=True)
    landing._set_aside()  # and here the worker was shut off
    assert not read_manifests(world.destination)
    again = night(world, 0)
    assert (again["carried_rows"], again["rows"]) == (1, first["rows"])


def test_nothing_but_the_destination_is_needed_and_sources_are_not_mixed(world: World) -> None:
    night(world, 0)
    with pytest.raises(StateError, match="mode='full'"):
        night(world, 1, where="Name != null")
    with pytest.raises(StateError, match="give each object its own destination"):
        night(world, 1, sobject="Contact")
    night(world, 1)


# Queries


def test_a_query_gets_the_window_added(world: World) -> None:
    soql = "SELECT Id, Name, SystemModstamp, IsDeleted FROM Account WHERE Name != 'a' OR Name = 'WHERE LIMIT' ORDER BY Name"
    query = {"sobject": None, "soql": soql}
    night(world, 0, **query)
    world.update(world.free[0], {"Name": "changed"})
    second = night(world, 1, **query)
    assert second["rows"] == 1 and second["soql"] == (
        "SELECT Id, Name, SystemModstamp, IsDeleted FROM Account WHERE (Name != 'a' OR Name = 'WHERE LIMIT') AND "
        "SystemModstamp >= 2027-02-02T01:50:00Z AND SystemModstamp < 2027-02-03T02:00:00Z ORDER BY Name"
    )


@pytest.mark.parametrize(
    ("soql", "words"),
    [
        ("SELECT Id, SystemModstamp, IsDeleted FROM Account LIMIT 5", "LIMIT or OFFSET"),
        ("SELECT Industry, COUNT(Id) n FROM Account GROUP BY Industry", "aggregates"),
        ("SELECT Name, SystemModstamp, IsDeleted FROM Account", "select Id in the query"),
        ("SELECT Id, Name, IsDeleted FROM Account", "select SystemModstamp in the query"),
    ],
)
def test_queries_that_no_window_can_be_cut_from_are_refused(world: World, soql: str, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        night(world, 0, sobject=None, soql=soql)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Rain__b", "big object"),
        ("Rain__x", "external object"),
        ("ContentDocumentLink", "LinkedEntityId IN"),
        ("Faq__kav", "PublishStatus = 'Online'"),
        ("UserRecordAccess", "200 records"),
        ("LoginEvent", "EventDate"),
    ],
)
def test_objects_with_rules_of_their_own_are_refused_with_the_reason(world: World, name: str, words: str) -> None:
    fields = [
        {"name": each, "type": kind}
        for each, kind in (("Id", "id"), ("Name", "string"), ("SystemModstamp", "datetime"))
    ]
    world.org.add_object({"name": name, "keyPrefix": "x9A", "fields": fields})
    with pytest.raises(QueryError, match=words):
        night(world, 0, sobject=name, deletes="ignore")


def test_history_is_read_by_its_date_of_creation(tmp_path: Path) -> None:
    world = World(tmp_path, sobject="Account", rows=3)
    world.checked = False
    try:
        manifest = night(world, 0, sobject="AccountHistory", deletes="ignore")
        assert manifest["cursor_field"] == "CreatedDate"
    finally:
        world.close()


# Vacuum


def test_vacuum_removes_leftovers_and_what_a_full_extract_supersedes_and_nothing_else(world: World) -> None:
    night(world, 0)
    night(world, 1)
    (world.folder / "_staging" / "extract=dead").mkdir(parents=True)
    (world.folder / "_staging" / "extract=dead" / "page-00000.parquet").write_bytes(b"half")
    (world.folder / "extract=torn").mkdir()
    (world.folder / "extract=torn" / "part-00000.parquet").write_bytes(b"half")
    assert vacuum(world.destination) == []
    hour_ago = ["--older-than", "0"]
    told = CliRunner().invoke(vacuum_command, [str(world.folder), "--dry-run", *hour_ago])
    assert told.exit_code == 0 and "Would remove 2 folders, 8 bytes" in told.output
    CliRunner().invoke(vacuum_command, [str(world.folder), *hour_ago])
    assert len(list(world.folder.glob("extract=*"))) == 2 and not list(world.folder.glob("_*/*"))
    world.wait(timedelta(minutes=1))
    world.run(RunIdentity("quarter", "refresh", "by hand", -1, world.now), mode="full")
    table, state = world.current_table(), latest_state(world.destination).watermark
    assert len(vacuum(world.destination, superseded=True)) == 2
    assert world.current_table() == table and latest_state(world.destination).watermark == state
    night(world, 2)


def test_no_current_table_without_extracts(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="land one with mode='incremental'"):
        current_table_sql(tmp_path.as_uri())
