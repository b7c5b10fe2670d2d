"""A task whose process dies (SIGKILL) in a real Airflow: its retry goes on.

The operator finds its job in the staged plan of the attempt before; a download of the task group is told it by its share.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer

from dev.local_airflow import LocalAirflow
from tests.conftest import CONFIG, KEY, SECRET, RunningOrg

pytestmark = pytest.mark.e2e

ROWS, PAGE_ROWS = 1_200, 100
CONN_ID = "sfcc_paged"
DAG = """
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from airflow.sdk import DAG
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.taskgroups import salesforce_extract

def note(context):
    ti = context["ti"]
    Path({pids!r}).joinpath(f"{{ti.task_id}}.{{ti.map_index}}.{{os.getpid()}}").touch()

noted = {{"on_execute_callback": note, "retries": 2, "retry_delay": timedelta(seconds={retry_seconds})}}
extract = dict(
    sobject="Account", fields=["Id", "Name"], destination={destination!r}, salesforce_conn_id={conn_id!r},
    deferrable=False, poll_interval=0.5, parallel_pages=1, default_args=noted,
)
with DAG({dag_id!r}, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    {task}
"""
OPERATOR = 'SalesforceExtractOperator(task_id="extract", api="bulk", **extract)'
GROUP = 'salesforce_extract("accounts", shares=2, **extract)'


@pytest.fixture
def paged_org(local_airflow: LocalAirflow) -> Iterator[RunningOrg]:
    """An org whose jobs have a dozen pages, each of which takes half a second."""
    config = replace(CONFIG, counts={"User": 3, "Account": ROWS}, result_page_rows=PAGE_ROWS)
    with LocalOrg(config) as org:
        org.generate()
        org.faults.add(Fault(route="job_results", times=None, stall_seconds=0.5, stall_after=400))
        with OrgServer(org) as server:
            connection = {"conn_type": "sfcc", "host": server.url, "login": KEY, "password": SECRET}
            local_airflow.api.put_connection(CONN_ID, connection)
            yield RunningOrg(org, server)


@dataclass
class Dying:
    """A DAG run whose task is killed while it lands pages."""

    airflow: LocalAirflow
    org: RunningOrg
    folder: Path
    dag_id: str
    retry_seconds: int = 1
    task: str = OPERATOR
    run_id: str = ""

    def start_and_kill(self, task_id: str = "extract", map_index: int = -1) -> None:
        pids = self.folder / "pids"
        pids.mkdir()
        (self.airflow.dags / f"{self.dag_id}.py").write_text(
            DAG.format(
                pids=str(pids),
                dag_id=self.dag_id,
                destination=f"file://{self.folder / 'landed'}",
                conn_id=CONN_ID,
                retry_seconds=self.retry_seconds,
                task=self.task,
            )
        )
        self.run_id = self.airflow.trigger(self.dag_id)
        staged = self.folder / "landed" / "_staging"
        wait_until(lambda: self.process_ids(task_id, map_index) and len(list(staged.glob("*/*/page-*.json"))) >= 3)
        os.kill(self.process_ids(task_id, map_index)[0], signal.SIGKILL)

    def process_ids(self, task_id: str, map_index: int = -1) -> list[int]:
        """Of a task's tries."""
        noted = sorted((self.folder / "pids").glob(f"{task_id}.{map_index}.*"), key=lambda path: path.stat().st_mtime)
        return [int(path.suffix.lstrip(".")) for path in noted]

    def landed_ids(self) -> list[str]:
        """By the one manifest that there is."""
        (manifest,) = self.folder.glob("landed/extract=*/_manifest.json")
        files = [manifest.parent / file["path"] for file in json.loads(manifest.read_text())["files"]]
        return [record_id for file in files for record_id in pq.read_table(file)["Id"].to_pylist()]

    def end(self, returning: str = "extract") -> dict[str, Any]:
        """What the task `returning` it returned."""
        assert self.airflow.wait(self.dag_id, self.run_id) == "success"
        result: dict[str, Any] = self.airflow.xcom(self.dag_id, self.run_id, returning)
        ids = self.landed_ids()
        assert len(ids) == len(set(ids)) == result["rows"] == self.org.org.records.count("Account")
        assert not (self.folder / "landed" / "_staging").exists()
        return result


def test_a_retry_goes_on_with_the_missing_pages(
    paged_org: RunningOrg, local_airflow: LocalAirflow, tmp_path: Path
) -> None:
    run = Dying(local_airflow, paged_org, tmp_path, "worker_dies")
    run.start_and_kill()
    pages = -(-run.end()["rows"] // PAGE_ROWS)
    assert len(run.process_ids("extract")) == 2, "one try died, the next one did it"
    assert paged_org.calls("job_create") == 1
    assert pages <= paged_org.calls("job_results") <= pages + 1, "only the page in flight is fetched again"


@pytest.mark.slow
def test_a_task_that_is_cleared_starts_over(paged_org: RunningOrg, local_airflow: LocalAirflow, tmp_path: Path) -> None:
    run = Dying(local_airflow, paged_org, tmp_path, "worker_dies_and_is_cleared", retry_seconds=3600)
    run.start_and_kill()
    local_airflow.wait_for_task(run.dag_id, run.run_id, "extract", {"up_for_retry"})
    asked = paged_org.calls("job_results")
    clear = {"dry_run": False, "dag_run_id": run.run_id, "task_ids": ["extract"], "only_failed": False}
    local_airflow.api.call("POST", f"/dags/{run.dag_id}/clearTaskInstances", json=clear)
    pages = -(-run.end()["rows"] // PAGE_ROWS)
    assert paged_org.calls("job_create") == 2
    assert paged_org.calls("job_results") - asked == pages


@pytest.mark.slow
def test_a_download_of_the_task_group_goes_on_with_its_missing_pages(
    paged_org: RunningOrg, local_airflow: LocalAirflow, tmp_path: Path
) -> None:
    run = Dying(local_airflow, paged_org, tmp_path, "download_dies", task=GROUP)
    run.start_and_kill("accounts.download", 0)
    pages = -(-run.end("accounts.commit")["rows"] // PAGE_ROWS)
    tries = [len(run.process_ids("accounts.download", index)) for index in range(2)]
    assert tries == [2, 1], "one download died and was tried again, the other one was left alone"
    assert paged_org.calls("job_create") == 1
    assert pages <= paged_org.calls("job_results") <= pages + 1, "only the page in flight is fetched again"


def wait_until(holds: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
