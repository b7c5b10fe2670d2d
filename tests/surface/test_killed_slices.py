"""An extract of several Bulk jobs is ended by a person, a refusal or its worker's death: no job that is known is left running."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG
from salesforce_localorg.jobs import BulkTimings
from upath import UPath

from airflow_sfcc.errors import ApiLimitError, SalesforceError
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.taskgroups import CommitOperator, DownloadOperator, PlanOperator, salesforce_extract
from airflow_sfcc.triggers import BulkJobTrigger
from tests.conftest import RunningOrg
from tests.storages import files_below
from tests.surface.conftest import Connect
from tests.surface.test_durable import TaskInstance
from tests.surface.test_operators import extract_operator

MOMENTS = ["2020-01-01T00:00:00Z", "2022-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]
SLICES = len(MOMENTS) + 1


@pytest.fixture
def slow_org(start_org: Callable[..., RunningOrg], connect: Connect) -> RunningOrg:
    """An org whose Bulk jobs are not done before the test is."""
    org = start_org(bulk_timings=BulkTimings(in_progress_seconds=3600))
    connect(org.url, {"max_retries": 1, "request_timeout": 10})
    return org


def plan_task(root_url: str, **options: Any) -> PlanOperator:
    """The first task of a sliced task group."""
    with DAG("first_load", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        salesforce_extract(
            "contacts", sobject="Contact", fields=["Id"], destination=root_url, slice_at=MOMENTS, poll_interval=0.05,
            **options,
        )  # fmt: skip
    task = dag.get_task("contacts.plan")
    assert isinstance(task, PlanOperator)
    return task


def states(org: RunningOrg) -> list[str]:
    """Of all jobs, the first one created first."""
    return [job.state for job in reversed(org.org.bulk_jobs.all())]


def deferred_by(try_it: Callable[[], object]) -> BulkJobTrigger:
    """The trigger as the triggerer makes it, from what is stored of it."""
    with pytest.raises(TaskDeferred) as deferred:
        try_it()
    return BulkJobTrigger(**json.loads(json.dumps(deferred.value.trigger.serialize()[1])))


class Running:
    """A task that runs beside the test, as it would in its worker."""

    def __init__(self, operator: SalesforceExtractOperator, context: Any) -> None:
        self.failures: list[BaseException] = []
        self._operator, self._context = operator, context
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._operator.execute(self._context)
        except BaseException as failure:
            self.failures.append(failure)

    def kill_when(self, holds: Callable[[], bool]) -> None:
        """As Airflow does it: on_kill, while the task goes on until it notices."""
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"it did not happen in time; {self.failures}"
            time.sleep(0.01)
        self._operator.on_kill()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_killed_while_deferred(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    trigger = deferred_by(lambda: plan_task(root_url).execute(context))
    assert states(slow_org) == ["InProgress"] * SLICES
    asyncio.run(trigger.on_kill())
    assert states(slow_org) == ["Aborted"] * SLICES


def test_killed_while_deferred_for_a_later_slice(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    first = deferred_by(lambda: plan_task(root_url).execute(context))
    slow_org.org.bulk_jobs.timings = BulkTimings(in_progress_polls=1)
    event = {"status": "finished", "job_id": first.job_id, "api_calls": 1}
    for _ in range(2):  # so that this one has ended, and the others have not
        slow_org.client().bulk.get(first.job_id)
    slow_org.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    later = deferred_by(lambda: plan_task(root_url).execute_complete(context, event))
    assert later.job_id != first.job_id
    asyncio.run(later.on_kill())
    assert states(slow_org) == ["JobComplete", *["Aborted"] * (SLICES - 1)]


def test_one_that_cannot_be_aborted_does_not_save_the_others(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    trigger = deferred_by(lambda: plan_task(root_url).execute(context))
    slow_org.fail("job_update", skip=1, status=503, body="<html>")
    asyncio.run(trigger.on_kill())
    assert sorted(states(slow_org)) == ["Aborted"] * (SLICES - 1) + ["InProgress"]


def test_killed_while_it_holds_a_worker(slow_org: RunningOrg, context: Any, root: UPath, root_url: str) -> None:
    task = Running(plan_task(root_url, deferrable=False), context)
    task.kill_when(lambda: slow_org.calls("job_poll") > 0)
    assert states(slow_org) == ["Aborted"] * SLICES
    assert isinstance(task.failures[0], SalesforceError)
    assert files_below(root) == {}


@pytest.mark.parametrize("deferrable", [True, False])
def test_killed_while_a_job_is_submitted(
    slow_org: RunningOrg, context: Any, root: UPath, root_url: str, deferrable: bool
) -> None:
    """The answer that tells the job's id is on its way, so on_kill cannot know it; the task goes on and aborts it."""
    slow_org.fail("job_create", skip=1, stall_seconds=1.0)
    task = Running(plan_task(root_url, deferrable=deferrable), context)
    task.kill_when(lambda: len(states(slow_org)) == 2)
    assert states(slow_org) == ["Aborted"] * 2, "none is submitted after the kill"
    assert isinstance(task.failures[0], SalesforceError)
    assert files_below(root) == {}


def test_one_that_cannot_be_submitted_ends_the_others(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    limit = [{"errorCode": "LIMIT_EXCEEDED", "message": "Max bulk v2 query jobs 10000"}]
    slow_org.fail("job_create", skip=2, status=400, body=limit)
    with pytest.raises(ApiLimitError):
        plan_task(root_url).execute(context)
    assert states(slow_org) == ["Aborted"] * 2


def test_jobs_of_a_worker_that_died_between_two_submissions_are_aborted_by_the_next_try(
    slow_org: RunningOrg, root_url: str
) -> None:
    slow_org.fail("job_create", skip=2, stall_seconds=60)
    first_try = subprocess.Popen([sys.executable, "-c", f"import {__name__} as tests; tests.run({root_url!r})"])
    deadline = time.monotonic() + 120
    while len(states(slow_org)) < 3:
        assert time.monotonic() < deadline and first_try.poll() is None
        time.sleep(0.05)
    first_try.kill()
    first_try.wait()
    deferred_by(lambda: run(root_url))
    assert states(slow_org) == ["Aborted"] * 2 + ["InProgress"] * (1 + SLICES), "the third one's id had not arrived"


def run(root_url: str) -> None:
    """A try, in whatever process."""
    plan_task(root_url).execute(TaskInstance(Path()).context())  # type: ignore[arg-type]


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_operator_killed_while_its_job_is_submitted(
    slow_org: RunningOrg, context: Any, root_url: str, deferrable: bool
) -> None:
    slow_org.fail("job_create", stall_seconds=1.0)
    task = Running(extract_operator(root_url, deferrable=deferrable), context)
    task.kill_when(lambda: len(states(slow_org)) == 1)
    assert states(slow_org) == ["Aborted"]
    assert isinstance(task.failures[0], SalesforceError)


def test_jobs_stay_with_cancel_on_kill_switched_off(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    trigger = deferred_by(lambda: plan_task(root_url, cancel_on_kill=False).execute(context))
    asyncio.run(trigger.on_kill())
    assert states(slow_org) == ["InProgress"] * SLICES


def test_a_commit_leaves_out_downloads_from_before_the_run_was_cleared(
    connected_org: RunningOrg, root_url: str
) -> None:
    """Where there are fewer now, Airflow keeps what the others returned."""
    place: dict[str, Any] = {"destination": root_url, "salesforce_conn_id": "sfcc_default"}
    plan = PlanOperator(
        task_id="plan", sobject="Contact", fields=["Id"], api="bulk", page_size=300, shares=3, deferrable=False,
        poll_interval=0.05, **place,
    )  # fmt: skip
    task = TaskInstance(Path(), try_number=1)
    shares: Any = plan.execute(task.context())  # type: ignore[arg-type]
    downloads = [
        DownloadOperator(task_id="download", share=share, **place).execute(task.context())  # type: ignore[arg-type]
        for share in shares
    ]
    commit = CommitOperator(
        task_id="commit", sobject="Contact", shares=shares, downloads=[*downloads, downloads[0]], **place
    )
    landed = commit.execute(task.context())  # type: ignore[arg-type]
    assert landed["rows"] == sum(each["rows"] for each in downloads) > 800
