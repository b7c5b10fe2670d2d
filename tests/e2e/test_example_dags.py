"""Every DAG in dags/, in a real Airflow: scheduler, triggerer, dag-processor and API server on SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer

from dev.airflow_api import AirflowApi, AirflowApiError, TaskState, run_path
from dev.local_airflow import LocalAirflow
from tests.conftest import CONFIG, KEY, SECRET, RunningOrg
from tests.e2e.conftest import EXAMPLE_DAGS
from tests.secret_search import SecretForms, files, tables

pytestmark = pytest.mark.e2e

SLOW = ("salesforce_sync", "salesforce_task_group", "salesforce_incremental")
"""In `make test` they run without a scheduler only."""

OTHERS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
    for path in sorted(EXAMPLE_DAGS.glob("*.py"))
    if path.stem != "salesforce_nightly"
]
"""The example DAGs but for the nightly one, which has a test of its own."""

OBJECTS = ["Account", "Contact", "Opportunity", "Case", "Invoice__c"]
# More than FEWEST_BULK_ROWS each, so that the nightly DAG waits for Bulk jobs.
COUNTS = {"User": 20, **dict.fromkeys(OBJECTS, 10_500)}


@pytest.fixture(scope="module")
def big_org(local_airflow: LocalAirflow) -> Iterator[RunningOrg]:
    """An org that the Airflow's connection `sfcc_default` points to."""
    with LocalOrg(replace(CONFIG, counts=COUNTS)) as org:
        org.generate()
        with OrgServer(org) as server:
            connection = {"conn_type": "sfcc", "host": server.url, "login": KEY, "password": SECRET}
            local_airflow.api.put_connection("sfcc_default", connection)
            yield RunningOrg(org, server)


@pytest.fixture(scope="module", autouse=True)
def watched_tables(local_airflow: LocalAirflow) -> Iterator[set[tuple[str, bytes]]]:
    """All that stood at any time in the tables whose rows do not last, to be searched for secrets at the end."""
    seen: set[tuple[str, bytes]] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            with suppress(sqlite3.OperationalError):  # a busy database is read the next time
                seen.update(tables(local_airflow.home / "airflow.db", only=FLEETING_TABLES))

    watching = threading.Thread(target=watch)
    watching.start()
    yield seen
    ended.set()
    watching.join()


@pytest.fixture
def slow_jobs(big_org: RunningOrg) -> Iterator[RunningOrg]:
    """The same org, while its Bulk jobs do not end."""
    usual = big_org.org.bulk_jobs.timings
    big_org.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    yield big_org
    big_org.org.bulk_jobs.timings = usual


def run(airflow: LocalAirflow, dag_id: str) -> tuple[str, str, set[str]]:
    """Trigger a DAG and wait; returns its run id, its state, and all task states seen on the way."""
    run_id = airflow.trigger(dag_id)
    seen: set[str] = set()
    state = airflow.wait(dag_id, run_id, on_change=lambda task: seen.add(str(task.state)))
    return run_id, state, seen


def test_the_nightly_dag_defers_and_lands_every_row_and_the_dag_on_its_asset_follows(
    big_org: RunningOrg, local_airflow: LocalAirflow, landing: Path
) -> None:
    unpause(local_airflow, "salesforce_asset_triggered")
    usual = big_org.org.bulk_jobs.timings
    big_org.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    run_id = local_airflow.trigger("salesforce_nightly")
    wait_until(lambda: sum("InProgress" in log for log in trigger_logs(local_airflow, run_id)) == len(OBJECTS))
    big_org.org.bulk_jobs.timings = usual
    assert local_airflow.wait("salesforce_nightly", run_id) == "success"
    tasks = {task.map_index: task.label for task in local_airflow.task_states("salesforce_nightly", run_id)}
    assert sorted(tasks.values()) == sorted(OBJECTS), "each mapped task shows its object's name"
    for map_index, sobject in tasks.items():
        result = local_airflow.xcom("salesforce_nightly", run_id, "extract", map_index=map_index)
        (folder,) = (landing / sobject).glob("extract=*")
        manifest = json.loads((folder / "_manifest.json").read_text(encoding="utf-8"))
        assert result["rows"] == manifest["rows"] == big_org.org.records.count(sobject)
        assert sum(pq.read_metadata(folder / file["path"]).num_rows for file in manifest["files"]) == manifest["rows"]
        assert manifest["api"] == "bulk" and manifest["run_id"] == run_id and manifest["map_index"] == map_index
        if sobject == "Account":
            accounts = {name: result[name] for name in ("rows", "bytes", "watermark", "manifest")}
            job_page = f"/lightning/setup/AsyncApiJobStatus/page?address=%2F{result['job_id']}"
            assert extra_links(local_airflow, run_id, map_index) == {
                "Bulk job in Salesforce": f"{big_org.url}{job_page}",
                "Object in Salesforce": f"{big_org.url}/lightning/o/Account/list",
            }
    (event,) = asset_events(local_airflow, run_id, landing / "Account")
    assert {name: event[name] for name in accounts} == accounts
    triggered = next_run(local_airflow, "salesforce_asset_triggered", before=set())
    assert triggered["run_type"] == "asset_triggered"
    assert local_airflow.wait("salesforce_asset_triggered", triggered["dag_run_id"]) == "success"
    assert local_airflow.xcom("salesforce_asset_triggered", triggered["dag_run_id"], "report") == [event]


def trigger_logs(airflow: LocalAirflow, run_id: str) -> list[str]:
    """What the tasks of a nightly run logged while they were deferred, which Airflow writes to files of their own."""
    folder = airflow.logs / "dag_id=salesforce_nightly" / f"run_id={run_id}"
    return [path.read_text(encoding="utf-8") for path in folder.rglob("*.trigger.*")]


def test_changed_cases_start_the_watching_dag(big_org: RunningOrg, local_airflow: LocalAirflow) -> None:
    unpause(local_airflow, "salesforce_watcher")
    reparse(local_airflow, "salesforce_watcher")
    before = runs_of(local_airflow, "salesforce_watcher")
    case = next(iter(big_org.client().query("SELECT Id FROM Case LIMIT 1")))["Id"]
    deadline = time.monotonic() + 300
    # Changes made before the watcher's first look are not new to it, so there is one every few seconds.
    while runs_of(local_airflow, "salesforce_watcher") == before:
        assert time.monotonic() < deadline, "the watcher started no run"
        big_org.org.records.update("Case", case, {"Subject": f"changed at {time.time()}"})
        time.sleep(2)
    started = next_run(local_airflow, "salesforce_watcher", before)
    assert started["run_type"] == "asset_triggered"
    assert local_airflow.wait("salesforce_watcher", started["dag_run_id"]) == "success"
    assert local_airflow.xcom("salesforce_watcher", started["dag_run_id"], "report") >= 1


def test_no_dag_runs_because_of_the_time(local_airflow: LocalAirflow) -> None:
    """The schedules of the tests' Airflow are off, so that a test at the full hour sees what every other test sees."""
    scheduled = local_airflow.api.call("GET", "/dags/~/dagRuns", params={"run_type": "scheduled"})
    assert scheduled["total_entries"] == 0


def unpause(airflow: LocalAirflow, dag_id: str) -> None:
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)


def reparse(airflow: LocalAirflow, dag_id: str) -> None:
    """Parse a DAG's file now: what watches for a DAG starts when its file is parsed while the DAG is not paused."""
    token = airflow.api.call("GET", f"/dags/{dag_id}")["file_token"]
    airflow.api.call("PUT", f"/parseDagFile/{token}")


def runs_of(airflow: LocalAirflow, dag_id: str) -> set[str]:
    runs = airflow.api.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"]
    return {run["dag_run_id"] for run in runs}


def next_run(airflow: LocalAirflow, dag_id: str, before: set[str]) -> dict[str, Any]:
    """The run that is there now and was not before."""
    wait_until(lambda: bool(runs_of(airflow, dag_id) - before))
    run: dict[str, Any] = airflow.api.call("GET", run_path(dag_id, min(runs_of(airflow, dag_id) - before)))
    return run


def extra_links(airflow: LocalAirflow, run_id: str, map_index: int) -> Any:
    path = f"/dags/salesforce_nightly/dagRuns/{quote(run_id, safe='')}/taskInstances/extract/links"
    return airflow.api.call("GET", path, params={"map_index": map_index})["extra_links"]


def asset_events(airflow: LocalAirflow, run_id: str, destination: Path) -> list[dict[str, Any]]:
    """What the events of one asset say that a run has landed."""
    path = "/assets/events"
    events = airflow.api.call("GET", path, params={"source_run_id": run_id, "limit": 100})["asset_events"]
    return [event["extra"] for event in events if event["uri"] == f"file://{destination}"]


@pytest.mark.parametrize("path", OTHERS)
def test_every_other_example_dag_runs(big_org: RunningOrg, local_airflow: LocalAirflow, path: Path) -> None:
    assert run(local_airflow, path.stem)[1] == "success"


KILLED_OPERATOR = "SalesforceExtractOperator(task_id='plan', api='bulk', "
KILLED_GROUP = "salesforce_extract('first_load', slice_at=['2022-01-01T00:00:00Z', '2024-01-01T00:00:00Z'], "


@pytest.mark.parametrize(
    ("task_id", "begins", "deferrable", "jobs"),
    [
        pytest.param("plan", KILLED_OPERATOR, False, 1, id="holding a worker"),
        pytest.param("plan", KILLED_OPERATOR, True, 1, id="deferred"),
        pytest.param("first_load.plan", KILLED_GROUP, True, 3, id="deferred, in slices"),
    ],
)
def test_killing_the_task_aborts_its_jobs_in_the_org(
    slow_jobs: RunningOrg,
    local_airflow: LocalAirflow,
    tmp_path: Path,
    task_id: str,
    begins: str,
    deferrable: bool,
    jobs: int,
) -> None:
    dag_id = f"killed_{'deferred' if deferrable else 'running'}_{jobs}"
    (local_airflow.dags / f"{dag_id}.py").write_text(
        "from datetime import datetime, timezone\n"
        "from airflow.sdk import DAG\n"
        "from airflow_sfcc.operators import SalesforceExtractOperator\n"
        "from airflow_sfcc.taskgroups import salesforce_extract\n"
        f"with DAG('{dag_id}', schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):\n"
        f"    {begins} sobject='Account', destination='file://{tmp_path}',\n"
        f"        deferrable={deferrable}, poll_interval=0.5)\n"
    )
    before = len(slow_jobs.org.bulk_jobs)
    run_id = local_airflow.trigger(dag_id)
    wait_until(lambda: len(slow_jobs.org.bulk_jobs) == before + jobs)
    local_airflow.wait_for_task(dag_id, run_id, task_id, {"deferred" if deferrable else "running"})
    polls = slow_jobs.calls("job_poll")
    wait_until(lambda: slow_jobs.calls("job_poll") > polls)
    local_airflow.api.set_task_state(dag_id, run_id, task_id, "failed")
    wait_until(lambda: {job.state for job in slow_jobs.org.bulk_jobs.all()[:jobs]} == {"Aborted"})


def wait_until(holds: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_failing_run_and_then_no_secret_anywhere(
    big_org: RunningOrg, local_airflow: LocalAirflow, landing: Path, watched_tables: set[tuple[str, bytes]]
) -> None:
    """All logs, the metadata database, all files and the API server's answers on every run of this module are searched."""
    big_org.org.run_as = None
    try:
        big_org.org.expire_sessions()
        run_id = local_airflow.trigger("salesforce_query")
        local_airflow.wait_for_task("salesforce_query", run_id, "best_open_opportunities", {"failed"})
    finally:
        big_org.org.run_as = CONFIG.run_as_username
    tokens = big_org.org.sessions.issued
    assert len(tokens) > 3
    database = local_airflow.home / "airflow.db"
    searched = [*files(local_airflow.home, landing), *tables(database), *watched_tables, *answers(local_airflow.api)]
    assert SecretForms(KEY, SECRET, tokens).found_in(searched) == []
    assert any(place == "table trigger" and b"BulkJobTrigger" in row for place, row in watched_tables)
    text = b"\n".join(text for _, text in searched)
    for wanted in LOOKED_AT:
        assert wanted in text, f"the search did not see {wanted!r}"


LOOKED_AT = [
    b"cancel_on_kill",  # arguments of triggers
    b"choose a Run As user",  # the log of the failure
    b"schema_fingerprint",  # manifests
    b"asset_triggered",  # the API server's answers
]

FLEETING_TABLES = {
    "trigger",
    "task_instance",
    "rendered_task_instance_fields",
    "xcom",
    "task_state_store",
    "callback_request",
}


def answers(api: AirflowApi) -> Iterator[tuple[str, bytes]]:
    """What the API server tells about every run, task instance and connection, as its UI asks for it."""
    fixed = ["/connections", "/connections/sfcc_default", "/assets", "/assets/events", "/eventLogs", "/importErrors"]
    fixed += ["/dags", "/variables", "/jobs", "/dags/~/dagRuns", "/dags/~/dagRuns/~/taskInstances"]
    for path in fixed:
        yield path, json.dumps(api.call("GET", path, params=ALL)).encode()
    for run in api.call("GET", "/dags/~/dagRuns", params=ALL)["dag_runs"]:
        path = run_path(run["dag_id"], run["dag_run_id"])
        for task in api.task_states(run["dag_id"], run["dag_run_id"]):
            yield from _answers_on_task(api, f"{path}/taskInstances/{task.task_id}", task)


def _answers_on_task(api: AirflowApi, path: str, task: TaskState) -> Iterator[tuple[str, bytes]]:
    mapped = f"{path}/{task.map_index}" if task.map_index >= 0 else path
    of_index = {"map_index": task.map_index}
    asked = [(mapped, {}), (f"{mapped}/tries", {}), (f"{path}/links", of_index), (f"{path}/xcomEntries", of_index)]
    asked += [(f"{path}/logs/{number}", of_index) for number in range(1, task.try_number + 1)]
    asked += [(f"{path}/xcomEntries/return_value", of_index), (f"{path}/state-store", of_index)]
    for address, params in asked:
        with suppress(AirflowApiError):  # a task without a log or a result
            yield address, json.dumps(api.call("GET", address, params={**ALL, **params})).encode()


ALL = {"limit": 100}
