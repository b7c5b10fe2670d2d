"""Every DAG in dags/, in a real Airflow: scheduler, triggerer, dag-processor and API server on SQLite."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from airflow_sfcc.localorg.bulk_jobs import BulkTimings
from airflow_sfcc.localorg.org import LocalOrg
from airflow_sfcc.localorg.server import OrgServer
from demo.local_airflow import LocalAirflow
from tests.conftest import CONFIG, KEY, SECRET, RunningOrg
from tests.e2e.conftest import EXAMPLE_DAGS

pytestmark = pytest.mark.e2e

OBJECTS = ["Account", "Contact", "Opportunity", "Case", "Invoice__c"]
# More than FEWEST_BULK_ROWS each, so that the nightly DAG waits for Bulk jobs.
COUNTS = {"User": 20, **dict.fromkeys(OBJECTS, 10_500)}


@pytest.fixture(scope="module")
def big_org(local_airflow: LocalAirflow) -> Iterator[RunningOrg]:
    """An org that the Airflow's connection `sfcc_default` points to."""
    with LocalOrg(replace(CONFIG, counts=COUNTS)) as org:
        org.generate()
        remember_tokens(org)
        with OrgServer(org) as server:
            connection = {"conn_type": "sfcc", "host": server.url, "login": KEY, "password": SECRET}
            local_airflow.api.put_connection("sfcc_default", connection)
            yield RunningOrg(org, server)


TOKENS: list[str] = []
"""Every token that the org gave out."""


def remember_tokens(org: LocalOrg) -> None:
    open_session = org.sessions.open

    def remembering(**who: str) -> Any:
        session = open_session(**who)
        TOKENS.append(session.token)
        return session

    org.sessions.open = remembering  # type: ignore[method-assign]


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
    state = airflow.wait(dag_id, run_id, on_change=lambda task: seen.add(str(task.state)), timeout=240)
    return run_id, state, seen


def test_the_nightly_dag_defers_and_lands_every_row(
    big_org: RunningOrg, local_airflow: LocalAirflow, landing: Path
) -> None:
    big_org.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3)
    run_id, state, seen = run(local_airflow, "salesforce_nightly")
    assert state == "success" and "deferred" in seen
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
    # What DAGs scheduled on the asset of one of the objects are told; this Airflow starts no run by itself.
    assert asset_events(local_airflow, run_id, landing / "Account") == [accounts]


def extra_links(airflow: LocalAirflow, run_id: str, map_index: int) -> Any:
    path = f"/dags/salesforce_nightly/dagRuns/{quote(run_id, safe='')}/taskInstances/extract/links"
    return airflow.api.call("GET", path, params={"map_index": map_index})["extra_links"]


def asset_events(airflow: LocalAirflow, run_id: str, destination: Path) -> list[dict[str, Any]]:
    """What the events of one asset say that a run has landed."""
    path = "/assets/events"
    events = airflow.api.call("GET", path, params={"source_run_id": run_id, "limit": 100})["asset_events"]
    return [event["extra"] for event in events if event["uri"] == f"file://{destination}"]


@pytest.mark.parametrize("path", sorted(EXAMPLE_DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_dag_runs(big_org: RunningOrg, local_airflow: LocalAirflow, path: Path) -> None:
    assert run(local_airflow, path.stem)[1] == "success"


@pytest.mark.parametrize("deferrable", [False, True], ids=["holding a worker", "deferred"])
def test_killing_the_task_aborts_the_job_in_the_org(
    slow_jobs: RunningOrg, local_airflow: LocalAirflow, tmp_path: Path, deferrable: bool
) -> None:
    dag_id = f"killed_{'deferred' if deferrable else 'running'}"
    (local_airflow.dags / f"{dag_id}.py").write_text(
        "from datetime import datetime, timezone\n"
        "from airflow.sdk import DAG\n"
        "from airflow_sfcc.operators import SalesforceExtractOperator\n"
        f"with DAG('{dag_id}', schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):\n"
        f"    SalesforceExtractOperator(task_id='extract', sobject='Account', destination='file://{tmp_path}', api='bulk',\n"
        f"                              deferrable={deferrable}, poll_interval=0.5)\n"
    )
    before = len(slow_jobs.org.bulk_jobs)
    run_id = local_airflow.trigger(dag_id)
    wait_until(lambda: len(slow_jobs.org.bulk_jobs) == before + 1)
    local_airflow.wait_for_task(dag_id, run_id, "extract", {"deferred" if deferrable else "running"})
    polls = slow_jobs.calls("job_poll")
    wait_until(lambda: slow_jobs.calls("job_poll") > polls)
    local_airflow.api.set_task_state(dag_id, run_id, "extract", "failed")
    wait_until(lambda: slow_jobs.org.bulk_jobs.all()[0].state == "Aborted")


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_failing_run_and_then_no_secret_anywhere(
    big_org: RunningOrg, local_airflow: LocalAirflow, landing: Path
) -> None:
    """All logs, the whole metadata database, and all files of every run of this module are searched."""
    big_org.org.run_as = None
    try:
        big_org.org.expire_sessions()
        local_airflow.trigger("salesforce_query")
        run_id = local_airflow.trigger("salesforce_query")
        local_airflow.wait_for_task("salesforce_query", run_id, "best_open_opportunities", {"failed"})
    finally:
        big_org.org.run_as = CONFIG.run_as_username
    searched = [path for root in (local_airflow.home, landing) for path in root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in searched) and any("attempt=1" in path.name for path in searched)
    secrets = secret_forms()
    assert len(TOKENS) > 3
    found = [(path, name) for path in searched for name, secret in secrets.items() if secret in path.read_bytes()]
    assert not found


def secret_forms() -> dict[str, bytes]:
    """The consumer secret and all tokens that the org gave out: plain, URL-encoded, in base64 and as Basic credentials."""
    plain: dict[str, Any] = {
        "secret": SECRET,
        **{f"token {i}": token for i, token in enumerate(TOKENS)},
    }
    forms: dict[str, bytes] = {"basic": base64.b64encode(f"{KEY}:{SECRET}".encode())}
    for name, value in plain.items():
        forms[name] = value.encode()
        forms[f"{name}, URL-encoded"] = quote(value, safe="").encode()
        forms[f"{name}, base64"] = base64.b64encode(value.encode()).rstrip(b"=")
    return forms
