"""Calculated fields: the table gets the org's values, for a small part of a full extract's bytes.

tests/quarter has whole nights of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_sfcc.errors import OptionError
from airflow_sfcc.extract import read_manifests
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.loading import load
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.reconcile.refresh import refresh
from airflow_sfcc.testing import RunDag, StartOrg
from tests.extract.runs import run_identity, wait_for_job
from tests.quarter.history import row_of
from tests.quarter.world import World, run_of

DAY = timedelta(days=1)
DROPPED = ["PhotoUrl", "Jigsaw", "JigsawCompanyId", "DandbCompanyId", "OperatingHoursId"]
"""Of Account's 62 fields that an extract carries; with three formulas, 60 are left."""


FORMULAS = {
    "Age_In_Days__c": ("double", "date_diff('day', \"CreatedDate\", TIMESTAMP '2027-02-01')"),
    "Tier__c": ("string", "CASE WHEN \"NumberOfEmployees\" > 1000 THEN 'Gold' ELSE 'Silver' END"),
    "Margin__c": ("percent", 'round(coalesce("AnnualRevenue", 0) % 1000 / 10, 1)'),
}
"""Three formulas, as SQL."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "lake", rows=2_000, checked=False, request={"exclude_fields": DROPPED})
    for name, (kind, formula) in FORMULAS.items():
        world.org.add_field("Account", {"name": name, "type": kind, "calculated": True}, formula=formula)
    world.wait(DAY)
    yield world
    world.close()


def sent(world: World, since: int) -> int:
    """Bytes of rows, as they are sent, since that many calls; how often a job is polled is no matter of the rows."""
    return sum(call.sent for call in list(world.org.calls)[since:] if call.route in ("job_results", "query"))


def test_the_narrow_reading_takes_a_small_part_of_the_bytes(world: World, tmp_path: Path) -> None:
    manifest = world.run(run_of(0, world.now), api="bulk")
    assert len(manifest["schema"]) == 60 and manifest["stale_fields"] == list(FORMULAS)
    full, calls = sent(world, 0), len(world.org.calls)
    for name, (_, formula) in FORMULAS.items():
        other = "'Platinum'" if name == "Tier__c" else "4711"
        world.org.change_formula("Account", name, f'CASE WHEN hash("Id") % 100 = 7 THEN {other} ELSE {formula} END')
    world.clock.freeze(world.now + timedelta(minutes=10))
    landed = refresh(world.client(), world.destination, run_of(1, world.now), wait=wait_for_job, api="bulk")
    assert landed is not None and 0 < landed["rows"] < 0.03 * 2_000
    share = sent(world, calls) / full
    assert share <= 0.05, f"{share:.1%}"
    world.clock.freeze(world.now + timedelta(minutes=10))
    again = refresh(world.client(), world.destination, run_of(2, world.now), wait=wait_for_job)
    assert again is None, "nothing differs any more"
    (newest,) = [each for each in read_manifests(world.destination) if each["kind"] == "refresh"]
    assert (newest["kind"], newest["window"], len(newest["schema"])) == ("refresh", None, 60)
    rows = load(world.destination, DuckDBTable(tmp_path / "crm.duckdb", "accounts"))["rows"]
    there = dict(
        world.records.raw().execute('SELECT "Id", "Margin__c" FROM "Account" WHERE NOT "IsDeleted"').fetchall()
    )
    here = {key: row["Margin__c"] for key, row in world.current_table().items()}
    assert here == row_of(there) and len(here) == rows > 1_900


def test_what_a_query_makes_of_a_field_is_read_again_as_that(tmp_path: Path) -> None:
    """`FORMAT(Total__c)` is called Total__c in the result, and the field itself is another value."""
    soql = (
        "SELECT Id, SystemModstamp, FORMAT(Total__c), toLabel(Owner.UserType), (SELECT Id FROM Contacts) FROM Account"
    )
    world = World(tmp_path, rows=20, checked=False, request={"sobject": None, "soql": soql, "deletes": "ignore"})
    try:
        total = {"name": "Total__c", "type": "double", "precision": 18, "scale": 2, "calculated": True}
        world.org.add_field("Account", total, formula="12345.5")
        world.wait(DAY)
        manifest = world.run(run_of(0, world.now))
        assert manifest["stale_fields"] == ["Total__c", "Owner.UserType", "Contacts"]
        before = world.current_table()
        assert refresh(world.client(), world.destination, run_of(1, world.now), wait=wait_for_job) is None
        world.org.change_formula("Account", "Total__c", "54321.5")
        world.clock.freeze(world.now + timedelta(minutes=10))
        landed = refresh(world.client(), world.destination, run_of(2, world.now), wait=wait_for_job)
        assert landed is not None and landed["rows"] == 20
        after = world.current_table()
        assert {row["Total__c"] for row in before.values()} == {"text 12,345.50"}
        assert {row["Total__c"] for row in after.values()} == {"text 54,321.50"}
        assert [row["Owner.UserType"] for row in after.values()] == [row["Owner.UserType"] for row in before.values()]
    finally:
        world.close()


def test_fields_are_read_again_of_the_records_that_extracts_from_initial_start_on_have(tmp_path: Path) -> None:
    world = World(tmp_path, rows=200, checked=False)
    try:
        world.org.add_field("Account", {"name": "Tier__c", "type": "string", "calculated": True}, formula="'Silver'")
        world.wait(DAY)
        begins: dict[str, Any] = {"initial_start": world.now - timedelta(days=400)}
        for night in (0, 1):
            world.run(run_of(night, world.now), **begins)
            world.wait(DAY)
        before = world.current_table()
        world.org.change_formula("Account", "Tier__c", "'Gold'")
        landed = refresh(world.client(), world.destination, run_of(2, world.now), wait=wait_for_job)
        assert landed is not None and landed["rows"] == len(before) and 0 < len(before) < 200
        assert {row["Tier__c"] for row in world.current_table().values()} == {"text Gold"}
    finally:
        world.close()


def test_an_extract_without_calculated_fields_is_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, checked=False, request={"fields": ["Id", "Name", "SystemModstamp"]})
    try:
        world.wait(DAY)
        world.run(run_of(0, world.now))
        calls = len(world.org.calls)
        assert refresh(world.client(), world.destination, run_identity(), wait=wait_for_job) is None
        assert not world.org.calls.of("query")[calls:]
    finally:
        world.close()


def test_the_operator_refreshes_after_its_extract(start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path) -> None:
    org = start_sfcc_org(rows={"Invoice__c": 60, "Account": 5})
    with DAG("refreshed", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        SalesforceExtractOperator(
            task_id="extract",
            sobject="Invoice__c",
            mode="incremental",
            calculated="refresh",
            destination=f"file://{tmp_path}/{{sobject}}",
        )
    assert run_dag(dag).xcom("extract")["refreshed"] is None
    org.local_org.change_formula("Invoice__c", "Total_Formula__c", '"Amount__c" + 4711')
    refreshed = run_dag(dag).xcom("extract")["refreshed"]
    assert refreshed["rows"] > 50 and Path(str(refreshed["manifest"]).removeprefix("file://")).exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "full"}, "calculated goes with mode='incremental'"),
        ({"mode": "incremental", "file_format": "csv"}, "made of Parquet"),
        ({"mode": "incremental", "skip_if_empty": True}, "leave skip_if_empty out"),
        ({"mode": "incremental", "calculated": "always"}, "calculated must be one of as_read, refresh"),
    ],
)
def test_options_that_it_cannot_go_with(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        SalesforceExtractOperator(
            task_id="extract", sobject="Account", destination="file:///lake", **{"calculated": "refresh", **options}
        )


def test_calls_that_were_made_for_others_are_not_the_refreshs(world: World) -> None:
    world.run(run_of(0, world.now))
    world.org.change_formula("Account", "Tier__c", "'Platinum'")
    world.clock.freeze(world.now + timedelta(minutes=10))
    client = world.client()
    for _ in range(4):
        list(client.query("SELECT Id FROM Account LIMIT 1"))
    calls = client.usage.calls
    landed = refresh(client, world.destination, run_of(1, world.now), wait=wait_for_job, api="rest")
    assert landed is not None and landed["api_calls"] == client.usage.calls - calls
