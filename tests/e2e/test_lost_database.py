"""Incremental extracts need nothing of Airflow's metadata database: another Airflow goes on from the files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer

from airflow_sfcc.extract import current_table_sql, latest_state
from dev.local_airflow import LocalAirflow
from tests.conftest import CONFIG, KEY, SECRET, RunningOrg

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FIELDS = ["Id", "Name", "Phone", "AnnualRevenue", "SystemModstamp"]
DAY = timedelta(days=1)
TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = [TODAY - days * DAY for days in (4, 3, 2)]

DAG = """
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG
from airflow_sfcc.operators import SalesforceExtractOperator

with DAG("incremental", schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False):
    SalesforceExtractOperator(
        task_id="extract",
        sobject="Account",
        fields={fields},
        destination="file://{folder}",
        mode="incremental",
        deletes="hard",
        lag=0,
        salesforce_conn_id="sfcc_changing",
    )
"""


@pytest.fixture(scope="module")
def org() -> Iterator[RunningOrg]:
    """An org in which five accounts came on each of some days."""
    with LocalOrg(replace(CONFIG, counts={"User": 3, "Account": 0})) as org:
        org.generate()
        for day in DAYS:
            for hour in range(1, 6):
                org.clock.set(day + timedelta(hours=hour))
                org.records.insert("Account", {"Name": f"{day:%a} {hour}", "Phone": "1"})
        org.clock.set(datetime.now(timezone.utc))
        with OrgServer(org) as server:
            yield RunningOrg(org, server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the DAG lands."""
    return tmp_path_factory.mktemp("incremental")


def set_up(airflow: LocalAirflow, org: RunningOrg, folder: Path) -> None:
    airflow.api.put_connection(
        "sfcc_changing", {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    )
    (airflow.dags / "incremental.py").write_text(DAG.format(folder=folder, fields=FIELDS))


@pytest.fixture(scope="module")
def airflow(local_airflow: LocalAirflow, org: RunningOrg, folder: Path) -> LocalAirflow:
    set_up(local_airflow, org, folder)
    return local_airflow


def run(airflow: LocalAirflow, dag_id: str) -> None:
    assert airflow.wait(dag_id, airflow.trigger(dag_id)) == "success"


def current_table(destination: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        query = current_table_sql(destination.as_uri())
        return connection.execute(f"SELECT Id, Name, Phone, AnnualRevenue FROM ({query}) ORDER BY Id").fetchall()


def table_of(org: RunningOrg) -> list[tuple[Any, ...]]:
    names = ["Id", "Name", "Phone", "AnnualRevenue"]
    found = org.client().query(f"SELECT {', '.join(names)} FROM Account ORDER BY Id")
    return [tuple(record[name] for name in names) for record in found]


def test_deleting_the_metadata_database_between_two_nights_loses_no_row(
    airflow: LocalAirflow, org: RunningOrg, folder: Path, tmp_path: Path
) -> None:
    records = org.org.records
    run(airflow, "incremental")
    assert current_table(folder) == table_of(org)
    first = latest_state(str(folder)).newest
    ids = [row[0] for row in current_table(folder)]
    records.update("Account", ids[0], {"Phone": "2", "AnnualRevenue": 0.1})
    records.delete("Account", ids[1])
    records.hard_delete("Account", ids[2])
    records.merge("Account", ids[3], ids[4], values={"Name": "merged"})
    records.insert("Account", {"Name": "new"})
    time.sleep(1.1)  # a run's window ends with the second before it
    (tmp_path / "dags").mkdir()
    with LocalAirflow(tmp_path / "home", tmp_path / "dags") as another:
        set_up(another, org, folder)
        run(another, "incremental")
    assert current_table(folder) == table_of(org) and len(current_table(folder)) == len(ids) - 2
    second = latest_state(str(folder)).newest
    assert first and second and first["extract_id"] != second["extract_id"]
    assert second["window"]["start"] is not None and second["watermark"] > first["watermark"]
    assert second["rows"] < first["rows"], "it went on from where the files end"
