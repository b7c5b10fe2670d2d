"""`execution_timeout` ends an attempt: the next one goes on with its Bulk job, and after the last one no job is left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.records import Records
from upath import UPath

from tests.conftest import RunningOrg
from tests.surface.conftest import Connect
from tests.surface.test_durable import RETRIES, TaskInstance
from tests.surface.test_operators import only_job_state


@pytest.fixture
def slow_org(start_org: Callable[..., RunningOrg], connect: Connect) -> RunningOrg:
    """An org that works at a job for an hour of its own time."""
    org = start_org(bulk_timings=BulkTimings(in_progress_seconds=3600))
    connect(org.url, {"max_retries": 0, "request_timeout": 10})
    return org


def timed_out(org: RunningOrg, task: TaskInstance) -> None:
    """One attempt, as Airflow's task runner ends it: by a SIGALRM, once the job is waited for."""
    task.try_number += 1
    operator = task.operator()
    polls = org.calls("job_poll")
    has_ended = threading.Event()

    def end() -> None:
        while org.calls("job_poll") == polls and not has_ended.wait(0.05):
            pass
        if not has_ended.is_set():
            os.kill(os.getpid(), signal.SIGALRM)

    watching = threading.Thread(target=end)
    watching.start()
    try:
        with pytest.raises(AirflowTaskTimeout):
            try:
                with timeout(200):  # type: ignore[no-untyped-call]
                    operator.execute(task.context())  # type: ignore[arg-type]
            except AirflowTaskTimeout:
                operator.on_kill()
                raise
    finally:
        has_ended.set()
        watching.join()


def test_the_next_attempt_goes_on_with_the_job(
    slow_org: RunningOrg, root: UPath, root_url: str, records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    task = TaskInstance(root, url=root_url)
    timed_out(slow_org, task)
    assert only_job_state(slow_org) == "InProgress"
    assert "goes on with Bulk job" in capsys.readouterr().out
    slow_org.org.clock.advance(timedelta(hours=1))
    assert task.run()["rows"] == records.count("Contact") and slow_org.calls("job_create") == 1


def test_after_the_last_attempt_the_job_is_aborted(
    slow_org: RunningOrg, root: UPath, root_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = TaskInstance(root, url=root_url, try_number=RETRIES)
    timed_out(slow_org, task)
    assert only_job_state(slow_org) == "Aborted"
    assert "goes on with Bulk job" not in capsys.readouterr().out
