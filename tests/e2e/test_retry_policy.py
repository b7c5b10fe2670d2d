"""The ready retry policy in a real Airflow: what waits, what fails at once, and what is asked for anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from salesforce_localorg.faults import ActiveFault, Fault
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer

from airflow_sfcc._airflow import versions
from dev.local_airflow import LocalAirflow
from tests.conftest import CONFIG, KEY, SECRET, RunningOrg

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not versions.HAS_3_3, reason="retry policies came with Airflow 3.3"),
]

DAG_ID = "failing_each_in_its_way"
AT_ONCE = ("misspelt", "wrong_secret", "code_of_ones_own")
DAG = """
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, task
from airflow_sfcc.hooks import SalesforceClientCredentialsHook
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceQueryOperator
from airflow_sfcc.retry_policy import SALESFORCE_RETRY_POLICY

ARGUMENTS = {{"retries": 3, "retry_delay": timedelta(seconds=1), "retry_policy": SALESFORCE_RETRY_POLICY,
             "salesforce_conn_id": "sfcc_failing"}}

with DAG({dag_id!r}, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), default_args=ARGUMENTS):
    SalesforceQueryOperator(task_id="limited", soql="SELECT Id FROM Account LIMIT 1")
    SalesforceExtractOperator(task_id="expired", sobject="Contact", fields=["Id", "Name"], api="bulk", poll_interval=0.5,
                              deferrable=False, destination={destination!r}, retry_delay=timedelta(hours=1))
    SalesforceQueryOperator(task_id="misspelt", soql="SELECT Id FROM Acount")
    SalesforceQueryOperator(task_id="wrong_secret", soql="SELECT Id FROM Lead", salesforce_conn_id="sfcc_wrong_secret")

    @task
    def code_of_ones_own():
        return SalesforceClientCredentialsHook("sfcc_failing").query_all("SELECT Nme FROM Account")

    code_of_ones_own()
"""
NOT_FOUND = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]


@dataclass(frozen=True)
class FailingOrg(RunningOrg):
    """An org without API calls for queries of accounts, and without the results of the first two Bulk jobs."""

    limit: ActiveFault


@pytest.fixture
def failing_org(local_airflow: LocalAirflow) -> Iterator[FailingOrg]:
    with LocalOrg(replace(CONFIG, counts={"User": 3, "Account": 5, "Contact": 40})) as org:
        org.generate()
        exhausted = replace(Fault.named("requests_exhausted"), route="query", path=r"q=SELECT\+Id\+FROM\+Account")
        limit = org.faults.add(exhausted)
        org.faults.add(Fault(route="job_results", status=404, body=NOT_FOUND, times=2))
        with OrgServer(org) as server:
            connection = {"conn_type": "sfcc", "host": server.url, "login": KEY, "password": SECRET}
            local_airflow.api.put_connection("sfcc_failing", connection)
            local_airflow.api.put_connection("sfcc_wrong_secret", {**connection, "password": "not-the-secret"})
            yield FailingOrg(org, server, limit)


def test_each_failure_is_retried_as_it_deserves(
    failing_org: FailingOrg, local_airflow: LocalAirflow, tmp_path: Path
) -> None:
    destination = f"file://{tmp_path / 'landed'}"
    (local_airflow.dags / f"{DAG_ID}.py").write_text(DAG.format(dag_id=DAG_ID, destination=destination))
    run_id = local_airflow.trigger(DAG_ID)

    expired = local_airflow.wait_for_task(DAG_ID, run_id, "expired", {"success", "failed"})
    assert (expired.state, expired.try_number) == ("success", 2), "its results were gone twice, so it asked again"
    assert failing_org.calls("job_create") == 3
    assert local_airflow.xcom(DAG_ID, run_id, "expired")["rows"] == failing_org.org.records.count("Contact")
    assert decisions(local_airflow, "expired", "task_instance_history") == [
        (10, "The results are gone or incomplete: the next try asks for what is missing, or submits the query again.")
    ]

    for task_id in AT_ONCE:
        failed = local_airflow.wait_for_task(DAG_ID, run_id, task_id, {"failed", "up_for_retry"})
        assert (failed.state, failed.try_number) == ("failed", 1), f"{task_id}: no retry can help"
        log = local_airflow.task_log(DAG_ID, run_id, failed).read_text()
        # Our operators tell Airflow themselves; code of one's own needs the policy for it.
        assert ("somebody has to change something" in log) == (task_id == "code_of_ones_own")

    limited = local_airflow.wait_for_task(DAG_ID, run_id, "limited", {"up_for_retry"})
    assert failing_org.limit.hits == 1 and limited.try_number == 1, "its retry_delay of a second is long over"
    assert decisions(local_airflow, "limited") == [
        (1800, "The org's API calls, or this connection's share of them, are used up for now.")
    ]
    failing_org.org.faults.clear()
    half_an_hour_passes(local_airflow, "limited")
    limited = local_airflow.wait_for_task(DAG_ID, run_id, "limited", {"success", "failed"})
    assert (limited.state, limited.try_number) == ("success", 2)


def decisions(airflow: LocalAirflow, task_id: str, table: str = "task_instance") -> list[tuple[float, str]]:
    """Delay in seconds and reason, as the policy's decision stands in Airflow's database; no API tells them."""
    query = f"SELECT retry_delay_override, retry_reason FROM {table} WHERE dag_id = ? AND task_id = ?"
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60)) as database:
        return database.execute(query, (DAG_ID, task_id)).fetchall()


def half_an_hour_passes(airflow: LocalAirflow, task_id: str) -> None:
    change = "UPDATE task_instance SET end_date = datetime(end_date, '-30 minutes') WHERE dag_id = ? AND task_id = ?"
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60)) as database, database:
        assert database.execute(change, (DAG_ID, task_id)).rowcount == 1
