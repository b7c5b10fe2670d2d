"""Incremental extracts beyond the nightly course of things: drift, deletes that are too old, backfills, two at once."""

from __future__ import annotations

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
from salesforce_localorg.faults import Fault
from upath import UPath

from airflow_sfcc._airflow.vacuum_command import vacuum as vacuum_command
from airflow_sfcc.errors import (
    ConcurrentRunError,
    DeleteLogError,
    FieldVanishedError,
    NotFoundError,
    QueryError,
    SchemaChangedError,
    StateError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract import current_table_sql, latest_state, read_manifests, register_storage
from airflow_sfcc.extract.land import commit
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.land.vacuum import vacuum
from airflow_sfcc.extract.model import Request, RunIdentity
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.storage import give_name, is_local
from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows, run_identity
from tests.quarter.simulation import DAY, FIRST_NIGHT
from tests.quarter.world import WorkerDiedError, World, run_of
from tests.storages import files_below, on_all_storages, on_disk_and_slowly_on_s3
from tests.wire_server import SOBJECT, Wire, described

FIELDS: list[dict[str, Any]] = []
TIER = {"name": "Tier__c", "type": "double", "precision": 18, "scale": 0, "custom": True, "nillable": True}


@pytest.fixture
def world(root: UPath) -> Iterator[World]:
    world = World(root / "Account", rows=12)
    yield world
    world.close()


def night(world: World, number: int, **changes: Any) -> dict[str, Any]:
    """Run night `number` ten minutes after it is due."""
    due = FIRST_NIGHT + number * DAY
    world.wait(max(timedelta(0), due + timedelta(minutes=10) - world.now))
    return world.run(run_of(number, due), **changes)


def everything_read_together(world: World) -> tuple[int, int]:
    """Rows that DuckDB and pyarrow find when they read all extracts as one table."""
    folder = world.destination
    url = folder.path if is_local(folder) else str(folder)
    with duckdb.connect() as connection:
        register_storage(connection, folder)
        query = f"SELECT count(*) FROM read_parquet('{url}/*/part-*.parquet', union_by_name = true)"
        (by_duckdb,) = connection.execute(query).fetchone() or (0,)
    files = sorted(folder.fs.glob(f"{folder.path}/*/part-*.parquet"))
    schemas = [ds.dataset(file, filesystem=folder.fs).schema for file in files]
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError:
        names = dict.fromkeys(name for schema in schemas for name in schema.names)
        last = {name: schema.field(name) for schema in schemas for name in schema.names}
        schema = pa.schema([last[name] for name in names])  # the newest types hold what the older ones held
    return int(by_duckdb), ds.dataset(files, schema=schema, filesystem=folder.fs).to_table().num_rows


def changes_of(manifest: dict[str, Any]) -> dict[str, str]:
    return {change["column"]: change["change"] for change in manifest["schema_changes"]}


@on_disk_and_slowly_on_s3
def test_the_manifest_says_where_the_extract_stands(world: World) -> None:
    first, second = night(world, 0), night(world, 1)
    assert first["window"] == {"start": None, "end": "2027-02-02T02:00:00.000Z"} and first["mode"] == "incremental"
    assert second["window"] == {"start": "2027-02-02T01:50:00.000Z", "end": "2027-02-03T02:00:00.000Z"}
    assert second["watermark"] == second["window"]["end"] and second["cursor_field"] == "SystemModstamp"
    expected = [{**each, "path": str(world.destination / f"extract={each['extract_id']}")} for each in (first, second)]
    assert read_manifests(world.destination) == expected
    newest = latest_state(world.destination).newest
    assert newest and all(expected[1][key] == value for key, value in newest.items())


def test_a_destination_may_be_given_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    world = World(tmp_path, rows=3)
    try:
        manifest = night(world, 0)
        for text in (str(tmp_path), tmp_path.as_uri(), tmp_path.name):
            (found,) = read_manifests(text)
            assert found["extract_id"] == manifest["extract_id"] and latest_state(text).watermark
    finally:
        world.close()


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


def test_fields_that_the_task_no_longer_names_are_no_change_of_the_object(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    night(world, 0)
    world.update(world.free[0], {"Name": "changed"})
    caplog.set_level("INFO")
    caplog.clear()
    fewer = night(world, 1, fields=["Name", "Phone"], on_schema_change="fail")
    assert set(changes_of(fewer).values()) == {"unselected"} and "Industry" in changes_of(fewer)
    assert not [record for record in caplog.records if record.levelname == "WARNING" and "hidden" in record.message]
    (line,) = (record.message for record in caplog.records if "no longer selected" in record.message)
    assert "Industry" in line
    world.org.hide_field("Account", "Phone")
    with pytest.raises(SchemaChangedError, match="Phone is hidden") as failure:
        night(world, 2, on_schema_change="fail")
    assert "no longer selected" not in str(failure.value)


def test_fields_that_the_task_names_now_are_no_change_of_the_object_and_have_no_values_yet(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.checked = False  # rows that were not read again do not have a new column's value
    night(world, 0, fields=["Name"])
    world.update(world.free[0], {"Name": "changed"})
    caplog.clear()
    more = night(world, 1, fields=["Name", "Phone", "Owner.Name"], on_schema_change="fail")
    assert changes_of(more) == {"Phone": "selected", "Owner.Name": "selected"}
    (line,) = (record.message for record in caplog.records if "no value there" in record.message)
    assert "the extracts before have no Phone, Owner.Name" in line and "mode='full' into the same destination" in line
    caplog.clear()
    all_of_them = night(world, 2, exclude_fields=["Fax"], on_schema_change="fail")
    assert changes_of(all_of_them)["Industry"] == "selected" and changes_of(all_of_them)["Owner.Name"] == "unselected"
    assert changes_of(night(world, 3, on_schema_change="fail")) == {"Fax": "selected"}
    add_field(world)
    world.org.hide_field("Account", "Phone")
    with pytest.raises(SchemaChangedError, match=r"Tier__c was added; Phone is hidden"):
        night(world, 4, exclude_fields=["Fax"], on_schema_change="fail")
    narrow = RunIdentity("quarter", "refresh", "by hand", -1, world.now)
    caplog.clear()
    world.run(narrow, mode="full", deletes="ignore", fields=["Id", "SystemModstamp"])
    (line,) = (record.message for record in caplog.records if "no value there" in record.message)
    assert "incremental extracts go on from this full one, which has no" in line and "Industry" in line


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("COUNT(Id) n", "COUNT(Id) total", {"n": "unselected", "total": "selected"}),
        ("Id, (SELECT Id FROM Contacts)", "Id", {"Contacts": "unselected"}),
        ("Id, toLabel(Industry) label", "Id", {"label": "unselected"}),
    ],
)
def test_what_was_no_field_is_not_hidden_from_anybody(
    org: RunningOrg, tmp_path: Path, before: str, now: str, expected: dict[str, str]
) -> None:
    """An alias, or child records."""
    extract(org, tmp_path, soql=f"SELECT {before} FROM Account")
    manifest = extract(org, tmp_path, soql=f"SELECT {now} FROM Account", on_schema_change="fail", run_id="next")
    assert changes_of(manifest) == expected
    whole = extract(org, tmp_path, sobject="Account", on_schema_change="fail", run_id="all")
    assert set(changes_of(whole).values()) <= {"selected", "unselected"}


def test_what_decides_on_the_rows_must_not_differ_whatever_clause_it_is_in(org: RunningOrg, tmp_path: Path) -> None:
    """A full extract of a scope would take the place of all records in the current table."""
    columns = "SELECT Id, SystemModstamp FROM Account"
    extract(org, tmp_path, soql=columns, mode="incremental")
    for mode in ("full", "incremental"):
        asked = Request(soql=f"{columns} USING SCOPE mine", mode=mode, api="bulk")
        with pytest.raises(StateError, match=r"has the condition 'USING SCOPE mine', .*own destination"):
            make_plan(org.client(), asked, run_identity("next"), UPath(tmp_path))


def test_a_start_in_the_future_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.checked = False
    manifest = night(world, 0, initial_start=world.now + timedelta(days=365))
    assert manifest["rows"] == 0 and "initial_start (2028-" in caplog.text and "nothing is read" in caplog.text


def test_a_cursor_that_may_be_empty_is_told(said: Wire, root: UPath, caplog: pytest.LogCaptureFixture) -> None:
    for nullable in (True, False):
        said.fields = [
            described("Id", "id"),
            described("SystemModstamp", "datetime", filterable=True, nillable=nullable),
        ]
        caplog.clear()
        extract(said, root / str(nullable), sobject=SOBJECT, mode="incremental", api="rest")
        assert ("SystemModstamp can be empty" in caplog.text) is nullable


@pytest.mark.parametrize(("behind", "way"), [(timedelta(hours=2), "behind"), (-timedelta(hours=2), "ahead of")])
def test_no_window_is_cut_where_this_machines_clock_may_be_hours_off(
    org: RunningOrg, tmp_path: Path, behind: timedelta, way: str
) -> None:
    """A watermark in the org's future would have the next extract pass over what changes until then."""
    org.org.clock.advance(-behind)
    client = org.client()
    client.session.clock._may_be_moved = False  # as of an org that is not on loopback
    assert extract(org, tmp_path / "whole", client=client, sobject="Account", fields=["Name"])["rows"] > 0
    for mode in ("incremental", "full"):
        with pytest.raises(
            UnexpectedResponseError, match=rf"dated (2:00:0|1:59:5)\d {way} this machine's clock"
        ) as failure:
            extract(org, tmp_path, client=client, sobject="Account", mode=mode)
        assert not failure.value.permanent
    assert list(tmp_path.glob("extract=*")) == []


def test_an_object_that_is_gone_says_so(world: World) -> None:
    night(world, 0)
    world.org.hidden_objects.add("Account")
    for mode in ("incremental", "full"):
        with pytest.raises(NotFoundError):
            night(world, 1, mode=mode)


@pytest.mark.parametrize("text", [None, "Spalte Tier__c gibt es nicht auf Entität Account.", ""])
@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_a_field_that_goes_while_the_run_is_under_way_is_explained_and_the_next_try_succeeds(
    world: World, api: str, text: str | None
) -> None:
    """By Salesforce's code, since its text may be in the user's language."""
    world.checked = False
    add_field(world)
    night(world, 0)

    def remove(stage: str) -> None:
        if stage == "read":
            world.org.remove_field("Account", "Tier__c")
            if text is not None:
                route = "query" if api == "rest" else "job_create"
                body = [{"message": text, "errorCode": "INVALID_FIELD"}]
                world.org.faults.add(Fault(route=route, status=400, body=body))

    world.wait(FIRST_NIGHT + DAY + timedelta(minutes=10) - world.now)
    with pytest.raises(FieldVanishedError, match=r"Tier__c of Account was there .* Run it again") as failure:
        world.run(run_of(1, FIRST_NIGHT + DAY), remove, api=api)
    assert not failure.value.permanent
    assert changes_of(night(world, 1, api=api)) == {"Tier__c": "removed"}


def test_formulas_are_named_as_fields_that_can_be_stale(root: UPath) -> None:
    world = World(
        root, sobject="Invoice__c", rows=5, request={"fields": ["Name", "Total_Formula__c", "Account__r.Name"]}
    )
    world.checked = False
    try:
        manifest = night(world, 0)
        assert manifest["stale_fields"] == ["Total_Formula__c", "Account__r.Name"]
        assert {"Id", "SystemModstamp", "IsDeleted"} <= {column["name"] for column in manifest["schema"]}
    finally:
        world.close()


# Deletes


@on_disk_and_slowly_on_s3
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


def test_a_night_that_failed_runs_even_weeks_later_when_others_told_of_its_deletions(world: World) -> None:
    for number in (0, 2, 9, 18, 27):
        night(world, number)
    gone = world.free[0]
    world.hard_delete(gone)
    night(world, 28)
    night(world, 1)
    assert gone not in world.table


def test_a_long_gap_within_the_log_is_read_whole(world: World) -> None:
    night(world, 0)
    gone = world.free[:3]
    for record_id in gone:
        world.hard_delete(record_id)
        world.wait(3 * DAY)
    manifest = night(world, 13)
    assert manifest["deleted_rows"] == 3 and not set(gone) & world.table.keys()


def test_an_object_of_which_nothing_was_removed_for_good(world: World) -> None:
    world.org.faults.add(Fault(route="deleted", set_json={"/earliestDateAvailable": None}, times=None))
    night(world, 0)
    world.delete(gone := world.free[0])
    assert night(world, 1)["deleted_rows"] == 1
    assert gone not in world.table


def test_an_answer_on_deletions_that_is_not_documented_is_told_as_such(world: World) -> None:
    night(world, 0)
    world.org.faults.add(Fault(route="deleted", set_json={"/latestDateCovered": None}, times=None))
    with pytest.raises(UnexpectedResponseError, match="deleted records of Account"):
        night(world, 1)


def test_objects_without_a_log_of_deletions_are_refused_with_the_way_out(world: World) -> None:
    world.org.set_flags("Account", replicateable=False)
    with pytest.raises(QueryError, match="use deletes='soft'"):
        night(world, 0)


# Runs beside each other


def of_another_process(folder: UPath, number: int) -> UPath:
    """The same folder by a filesystem of its own, which knows nothing of what others did."""
    if is_local(folder):
        return folder
    options = {**folder.storage_options, "listings_expiry_time": 10**6 + number}  # any option makes it another one
    same: UPath = UPath(str(folder), **options)
    return same


def backfill(folder: UPath, *, in_parallel: bool) -> dict[str, Any]:
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


@on_disk_and_slowly_on_s3
def test_a_backfill_in_parallel_equals_one_after_another(root: UPath, tmp_path: Path) -> None:
    one_by_one = backfill(UPath(tmp_path / "a"), in_parallel=False)
    side_by_side = backfill(root / "b", in_parallel=True)
    assert side_by_side == one_by_one and len(one_by_one) > 10


@on_all_storages
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
    left = [name for name in files_below(world.destination) if name.startswith("_") and "_describe-" not in name]
    assert left == [], "a refused run leaves nothing"
    world.run(run_of(1, due))


@on_disk_and_slowly_on_s3
def test_a_commit_waits_for_another_and_takes_over_from_a_dead_one(root: UPath) -> None:
    with commit_lock(root, "one") as require_alone:
        with (
            pytest.raises(ConcurrentRunError, match=r"Another run \(one\)"),
            commit_lock(root, "two", waits_for=0),
        ):
            raise AssertionError("both hold the destination")
        require_alone()
        with commit_lock(root, "two", waits_for=0, dead_after=0):  # to whom any other claim is that of a dead worker
            assert [name.split("/")[1].split(".")[0] for name in files_below(root)] == ["two"]
            with pytest.raises(ConcurrentRunError, match="nothing was committed"):
                require_alone()
    assert files_below(root) == {}


@on_disk_and_slowly_on_s3
def test_a_retry_does_not_wait_for_the_claim_of_the_attempt_that_died(root: UPath) -> None:
    with commit_lock(root, "one"), commit_lock(root, "one", waits_for=0) as require:
        with (
            pytest.raises(ConcurrentRunError, match=r"Another run \(one\)"),
            commit_lock(root, "two", waits_for=0),
        ):
            raise AssertionError("both hold the destination")
        require()
    assert files_below(root) == {}


@on_all_storages
def test_never_do_two_hold_the_destination(root: UPath) -> None:
    inside: list[int] = []

    def commit(number: int) -> None:
        with commit_lock(of_another_process(root, number), f"extract-{number}", waits_for=60):
            inside.append(number)
            assert inside == [number]
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(commit, range(12)))


@on_disk_and_slowly_on_s3
def test_a_run_that_was_cut_off_while_it_committed_publishes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(world, 0)
    before = files_below(world.destination)

    def taken_for_dead(source: UPath, target: UPath) -> None:
        """As another worker does that waited long enough."""
        for name in files_below(world.destination):
            if name.startswith("_commits/"):
                (world.destination / name).unlink()
        give_name(source, target)

    monkeypatch.setattr(commit, "give_name", taken_for_dead)
    with pytest.raises(ConcurrentRunError, match="was cut off from the destination"):
        night(world, 1)
    with pytest.raises(ConcurrentRunError, match="was cut off from the destination"):
        night(world, 0)
    assert files_below(world.destination) == before
    monkeypatch.undo()
    night(world, 1)


# Repeats


@on_disk_and_slowly_on_s3
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
    folder = world.destination / f"extract={again['extract_id']}"
    rows = read_rows(folder, again)
    before = {row["Id"] for row in rows}
    assert {changed, gone} <= before and len(before) == first["rows"]
    assert "changed since" not in {row["Name"] for row in rows}
    third = night(world, 0, file_format=file_format)
    assert (third["carried_rows"], third["rows"]) == (2, first["rows"])


@on_disk_and_slowly_on_s3
def test_a_repeat_that_dies_in_its_commit_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> Any:
        raise WorkerDiedError

    first = night(world, 0)
    world.update(world.free[0], {"Name": "changed since"})
    with monkeypatch.context() as dying, pytest.raises(WorkerDiedError):
        dying.setattr(commit, "put_if_absent", die)
        dying.setattr(commit, "_remove_all", lambda paths: None)  # a worker that is shut off removes nothing
        night(world, 0)
    assert len([name for name in files_below(world.destination) if "/part-" in name and "_staging" not in name]) > 1
    (before,) = read_manifests(world.destination)
    assert before["files"] == first["files"]
    again = night(world, 0)
    assert (again["carried_rows"], again["rows"]) == (1, first["rows"])
    kept = {name.rpartition("/")[2] for name in files_below(world.destination) if "/part-" in name}
    assert kept == {file["path"] for file in again["files"]}


@on_disk_and_slowly_on_s3
def test_nothing_but_the_destination_is_needed_and_sources_are_not_mixed(world: World) -> None:
    night(world, 0)
    with pytest.raises(StateError, match="give each condition its own destination"):
        night(world, 1, where="Name != null")
    with pytest.raises(StateError, match="give each object its own destination"):
        night(world, 1, sobject="Contact")
    night(world, 1)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"fields": ["Name"]}, "lacks Id or the cursor field"),
        ({"fields": ["Id", "Name"]}, "lacks Id or the cursor field"),
        ({"sobject": None, "soql": "SELECT Id, Name, SystemModstamp FROM Account LIMIT 5"}, "has LIMIT"),
        ({"sobject": "Contact"}, "give each object its own destination"),
        ({"where": "Name != null"}, "give each condition its own destination"),
        ({"file_format": "csv"}, "give each file_format its own destination"),
    ],
)
def test_a_full_extract_that_incremental_ones_cannot_go_on_from_is_refused_among_them(
    world: World, request_: dict[str, Any], words: str
) -> None:
    night(world, 0)
    asked = world.org.calls.counts.get("query", 0)
    refresh = RunIdentity("quarter", "refresh", "by hand", -1, world.now)
    with pytest.raises(StateError, match=words):
        world.run(refresh, mode="full", deletes="ignore", **request_)
    assert world.org.calls.counts.get("query", 0) == asked
    night(world, 1)


def test_extracts_without_ids_that_were_there_before_do_not_show_in_the_table(world: World) -> None:
    world.checked = False
    world.run(run_of(90, world.now), mode="full", deletes="ignore", fields=["Name"])
    world.wait(timedelta(minutes=1))
    world.checked = True
    night(world, 0)
    assert None not in world.table and len(world.table) == 12


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
        ("Announcement", "a single Id, FeedItemId or ParentId"),
        ("FeedTrackedChange", "as child records"),
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


def test_history_is_read_by_its_date_of_creation(root: UPath) -> None:
    world = World(root, sobject="Account", rows=3)
    world.checked = False
    try:
        manifest = night(world, 0, sobject="AccountHistory", deletes="ignore")
        assert manifest["cursor_field"] == "CreatedDate"
    finally:
        world.close()


# Vacuum


@on_disk_and_slowly_on_s3
def test_vacuum_removes_leftovers_and_what_a_full_extract_supersedes_and_nothing_else(world: World) -> None:
    night(world, 0)
    night(world, 1)
    extracts = files_below(world.destination)
    for folder in ("_staging/extract=dead", "extract=torn"):
        (world.destination / folder).mkdir(parents=True)
        (world.destination / folder / "part-00000.parquet").write_bytes(b"half")
    assert vacuum(world.destination) == []
    assert {folder.files for folder in vacuum(world.destination, dry_run=True, older_than=timedelta(0))} == {1}
    assert len(vacuum(world.destination, older_than=timedelta(0))) == 2
    assert files_below(world.destination) == extracts
    world.wait(timedelta(minutes=1))
    world.run(RunIdentity("quarter", "refresh", "by hand", -1, world.now), mode="full")
    table, state = world.current_table(), latest_state(world.destination).watermark
    assert len(vacuum(world.destination, superseded=True)) == 2
    assert len({name.split("/")[0] for name in files_below(world.destination) if "/" in name}) == 1
    assert world.current_table() == table and latest_state(world.destination).watermark == state
    night(world, 2)


def test_the_vacuum_command_says_what_it_removes(tmp_path: Path) -> None:
    (tmp_path / "_staging" / "extract=dead").mkdir(parents=True)
    (tmp_path / "_staging" / "extract=dead" / "page-00000.parquet").write_bytes(b"half")
    told = CliRunner().invoke(vacuum_command, [str(tmp_path), "--dry-run", "--older-than", "0"])
    assert told.exit_code == 0 and "Would remove 1 folder" in told.output and "4 bytes" in told.output
    assert CliRunner().invoke(vacuum_command, [str(tmp_path), "--older-than", "-1"]).exit_code == 2
    CliRunner().invoke(vacuum_command, [str(tmp_path), "--older-than", "0"])
    assert not list(tmp_path.glob("_*/*"))


def test_no_current_table_without_extracts(tmp_path: Path) -> None:
    with pytest.raises(
        StateError, match=r"holds no extracts\. Name the folder of one object, and land an extract there first"
    ):
        current_table_sql(tmp_path.as_uri())
