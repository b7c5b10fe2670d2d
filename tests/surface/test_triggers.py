"""Waiting in the triggerer: hundreds at once, restarts, faults, and a person who ends the task."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from salesforce_localorg.jobs import BulkTimings

from airflow_sfcc import triggers
from airflow_sfcc._airflow import shared_clients, versions
from airflow_sfcc._airflow.shared_clients import SharedClients
from airflow_sfcc.salesforce.bulk import BulkQueryJobs
from airflow_sfcc.salesforce.usage import Tally
from airflow_sfcc.triggers import BulkJobTrigger
from tests.conftest import KEY, SECRET, RunningOrg
from tests.surface.conftest import Connect


@pytest.fixture
def slow_org(start_org: Callable[..., RunningOrg], connect: Connect) -> RunningOrg:
    """An org whose Bulk jobs end when its clock is moved."""
    org = start_org(bulk_timings=BulkTimings(in_progress_seconds=3600))
    connect(org.url, {"request_timeout": 60})
    return org


def finish_jobs(org: RunningOrg) -> None:
    org.org.clock.advance(timedelta(seconds=3601))  # sessions live on


def trigger(job_id: str, **changes: Any) -> BulkJobTrigger:
    arguments = {"poll_interval": 0.05, "end_time": time.time() + 300, **changes}
    return BulkJobTrigger("sfcc_default", job_id, **arguments)


async def first(waiting: BulkJobTrigger) -> dict[str, Any]:
    async for event in waiting.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


class Polls(Counter[str]):
    """How often each job was polled (the org itself remembers its most recent calls only)."""

    def __init__(self, org: RunningOrg) -> None:
        super().__init__()
        remember = org.org.calls.add

        def counting(call: Any) -> None:
            if call.route == "job_poll":
                self[call.path.rpartition("/")[2]] += 1
            remember(call)

        org.org.calls.add = counting  # type: ignore[method-assign]


async def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def test_five_hundred_triggers_share_one_login_and_a_few_threads(slow_org: RunningOrg) -> None:
    client = slow_org.client()
    jobs = [client.bulk.create("SELECT Id FROM Profile").id for _ in range(500)]
    logins, polls, most_threads = slow_org.calls("token"), Polls(slow_org), 0
    others = threads_of_ours()  # of event loops of tests before this one, until they are collected

    async def triggerer() -> list[dict[str, Any]]:
        nonlocal most_threads
        waiting = [asyncio.create_task(first(trigger(job, poll_interval=1.0))) for job in jobs]
        for wanted in (1, 2):
            await until(lambda least=wanted: all(polls[job] >= least for job in jobs))  # type: ignore[misc]
            most_threads = max(most_threads, len(threads_of_ours() - others))
            # Nobody polls much ahead of the others: no trigger is starved while its neighbours ask again and again.
            assert max(polls.values()) <= wanted + 2
        finish_jobs(slow_org)
        return await asyncio.gather(*waiting)

    events = asyncio.run(triggerer())
    assert Counter(event["status"] for event in events) == {"finished": 500}
    assert {event["job_id"]: event["api_calls"] for event in events} == dict(polls)
    assert 0 < most_threads <= shared_clients.THREADS
    assert slow_org.calls("token") == logins + 1


def threads_of_ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("airflow-sfcc-")}


def test_transient_errors_are_waited_for(slow_org: RunningOrg) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    slow_org.fail("job_poll", status=503, times=2)
    limit = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
    slow_org.fail("job_poll", status=403, body=limit, skip=2)

    async def waiting() -> dict[str, Any]:
        task = asyncio.create_task(first(trigger(job)))
        await until(lambda: slow_org.calls("job_poll") > 3)
        finish_jobs(slow_org)
        return await task

    event = asyncio.run(waiting())
    assert event["status"] == "finished" and event["api_calls"] == slow_org.calls("job_poll")


def test_patience_ends(slow_org: RunningOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    monkeypatch.setattr(triggers, "PATIENCE", 0.0)
    slow_org.fail("job_poll", status=503, times=None)
    event = asyncio.run(first(trigger(job)))
    assert (event["status"], event["error"], event["permanent"]) == ("error", "UnavailableError", False)


def test_a_refused_login_is_not_tried_by_every_trigger(slow_org: RunningOrg) -> None:
    jobs = [slow_org.client().bulk.create("SELECT Id FROM Profile").id] * 100
    slow_org.org.run_as = None
    logins = slow_org.calls("token")

    async def triggerer() -> list[dict[str, Any]]:
        return await asyncio.gather(*(first(trigger(job)) for job in jobs))

    events = asyncio.run(triggerer())
    assert all(event["error"] == "AuthenticationError" and event["permanent"] for event in events)
    assert slow_org.calls("token") - logins <= shared_clients.THREADS


def test_a_connection_that_is_gone_is_said_so(slow_org: RunningOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    monkeypatch.delenv("AIRFLOW_CONN_SFCC_DEFAULT")
    event = asyncio.run(first(trigger(job)))
    assert event["permanent"] and "knows no connection 'sfcc_default': add it" in event["message"]


def test_a_changed_connection_is_noticed(
    slow_org: RunningOrg, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    monkeypatch.setattr(shared_clients, "CONNECTION_SECONDS", 0.0)

    async def conversation() -> list[int]:
        logins = []
        for extra in ({}, {}, {"api_version": "67.0"}):
            connect(slow_org.url, extra)
            await SharedClients.here().call("sfcc_default", lambda client: client.describe_global(), Tally())
            logins.append(slow_org.calls("token"))
        return logins

    first_time, unchanged, changed = asyncio.run(conversation())
    assert first_time == unchanged < changed
    assert job


def test_who_begins_after_a_correction_does_not_meet_what_was_before(slow_org: RunningOrg, connect: Connect) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    finish_jobs(slow_org)

    async def triggerer() -> list[dict[str, Any]]:
        run_as, slow_org.org.run_as = slow_org.org.run_as, None
        refused = await first(trigger(job))
        slow_org.org.run_as = run_as
        corrected = await first(trigger(job))
        connect("http://127.0.0.1:9", {})  # nobody responds there
        return [refused, corrected, await first(trigger(job, end_time=time.time() + 2))]

    refused, corrected, edited = asyncio.run(triggerer())
    assert refused["error"] == "AuthenticationError"
    assert (corrected["status"], edited["status"]) == ("finished", "timeout")


def test_the_end_time_holds_across_a_restart(slow_org: RunningOrg) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    stored = trigger(job, end_time=time.time() + 1).serialize()[1]

    async def triggerer(seconds: float) -> dict[str, Any] | None:
        try:
            return await asyncio.wait_for(first(BulkJobTrigger(**stored)), seconds)
        except asyncio.TimeoutError:
            return None  # the triggerer was stopped

    assert asyncio.run(triggerer(0.3)) is None
    event = asyncio.run(triggerer(60))
    assert event is not None and event["status"] == "timeout"
    assert slow_org.org.bulk_jobs.all()[0].state == "InProgress", "a restart aborts nothing"


@pytest.mark.parametrize(("task_state", "job_state"), [("failed", "Aborted"), ("deferred", "InProgress")])
def test_before_3_3_a_cancelled_trigger_asks_whether_a_person_did_it(
    slow_org: RunningOrg, monkeypatch: pytest.MonkeyPatch, task_state: str, job_state: str
) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    monkeypatch.setattr(versions, "HAS_3_3", False)
    states = {"run": {"extract_3": task_state, "extract": "running"}}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **asked: states))

    async def triggerer() -> None:
        waiting = trigger(job)
        waiting.task_instance = SimpleNamespace(dag_id="d", task_id="extract", run_id="run", map_index=3)  # type: ignore[assignment]
        task = asyncio.create_task(first(waiting))
        await until(lambda: slow_org.calls("job_poll") > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(triggerer())
    assert slow_org.org.bulk_jobs.all()[0].state == job_state


@pytest.fixture
def silent_host() -> Iterator[str]:
    """Accepts connections, and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_org_holds_up_no_other(
    slow_org: RunningOrg, silent_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    finish_jobs(slow_org)
    fields = {"conn_type": "sfcc", "host": silent_host, "login": KEY, "password": SECRET, "extra": {}}
    monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps(fields))

    async def triggerer() -> tuple[dict[str, Any], int]:
        end = time.time() + 300
        stuck = [asyncio.create_task(first(BulkJobTrigger("silent", job, 0.01, end))) for _ in range(16)]
        others = threads_of_ours()
        await until(lambda: len(threads_of_ours() - others) >= shared_clients.THREADS)
        event = await asyncio.wait_for(first(trigger(job)), 60)
        still_stuck = sum(not task.done() for task in stuck)
        for task in stuck:
            task.cancel()
        return event, still_stuck

    event, still_stuck = asyncio.run(triggerer())
    assert (event["status"], still_stuck) == ("finished", 16)


def test_the_context_goes_along_into_the_thread(slow_org: RunningOrg) -> None:
    task: ContextVar[str] = ContextVar("task")

    async def bound_to(name: str) -> str:
        task.set(name)
        return await SharedClients.here().call("sfcc_default", lambda client: task.get("nobody's"), Tally())

    async def triggerer() -> list[str]:
        return await asyncio.gather(*(bound_to(f"task {number}") for number in range(20)))

    assert asyncio.run(triggerer()) == [f"task {number}" for number in range(20)]


def test_an_unforeseen_error_is_logged_with_its_traceback(
    slow_org: RunningOrg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise LookupError(f"something with {SECRET} in it")

    monkeypatch.setattr(BulkQueryJobs, "get", broken)
    event = asyncio.run(first(trigger("750xx0000000001AAA")))
    assert event["status"] == "error" and "LookupError" in event["message"] and "Clear the task" in event["message"]
    logged = capsys.readouterr().out
    assert "Traceback" in logged and "in broken" in logged
    assert SECRET not in logged + str(event)


OTHER_CONNECTION_CLASS = """
import asyncio, sys, time
from airflow_sfcc.triggers import BulkJobTrigger

async def triggerer():
    waiting = BulkJobTrigger("sfcc_default", sys.argv[1], 0.01, time.time() + 60)
    return [event.payload async for event in waiting.run()]

print(asyncio.run(triggerer()))
"""


def test_a_secrets_backend_may_return_another_class_of_connection(slow_org: RunningOrg, tmp_path: Path) -> None:
    job = slow_org.client().bulk.create("SELECT Id FROM Profile").id
    finish_jobs(slow_org)
    file = tmp_path / "connections.json"
    file.write_text(
        json.dumps({"sfcc_default": {"conn_type": "sfcc", "host": slow_org.url, "login": KEY, "password": SECRET}})
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")},
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(file)}),
    }
    ran = subprocess.run(
        [sys.executable, "-c", OTHER_CONNECTION_CLASS, job],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "'status': 'finished'" in ran.stdout, ran.stdout + ran.stderr[-2000:]


IMPORTS = """
import asyncio, sys, threading, time

on_the_loop = []

class Watch:
    def find_spec(self, name, path, target=None):
        if name.startswith(("airflow_sfcc.salesforce", "requests")) and threading.current_thread() is threading.main_thread():
            on_the_loop.append(name)

import airflow.triggers.base
sys.meta_path.insert(0, Watch())

async def triggerer():
    from airflow_sfcc.triggers import BulkJobTrigger, QueryTrigger
    end = time.time() + 0.2
    waiting = [BulkJobTrigger("sfcc_default", "750", 0.01, end), QueryTrigger("sfcc_default", "SELECT Id FROM A", 0.01, end)]
    told = []
    for each in waiting:  # Python 3.10 knows no asynchronous comprehension within another
        told.append([event.payload["status"] async for event in each.run()])
    return told

events = asyncio.run(triggerer())
assert "airflow_sfcc.salesforce.client" in sys.modules, events
print(on_the_loop)
"""


def test_the_client_is_not_imported_on_the_event_loop(connected_org: RunningOrg) -> None:
    told = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert told.stdout.strip().endswith("[]"), told.stdout + told.stderr[-2000:]
