"""What a task does in its second try: it goes on where the first one ended, or starts over where it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from salesforce_localorg.faults import Fault
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.errors import (
    ApiBudgetError,
    ConcurrentRunError,
    JobFailedError,
    ResultsExpiredError,
    RowCountError,
    SalesforceError,
    UnavailableError,
)
from airflow_sfcc.extract import extraction
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.incremental.side_files import gather_side_files
from airflow_sfcc.operators import SalesforceExtractOperator
from tests.conftest import KEY, SECRET, RunningOrg
from tests.extract.runs import NIGHT, read_rows
from tests.storages import files_below, on_all_storages
from tests.surface.conftest import Connect
from tests.surface.test_operators import fire, only_job_state

RETRIES = 2
PAGE_ROWS = 100


@dataclass
class TaskInstance:
    """One task instance through its tries, as Airflow numbers them."""

    destination: Path | UPath
    try_number: int = 0
    max_tries: int = RETRIES
    clear_number: int = 0
    url: str = ""

    def context(self) -> dict[str, Any]:
        ti = SimpleNamespace(
            dag_id="nightly",
            task_id="extract",
            run_id="scheduled__2026-11-23",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
        )
        run = SimpleNamespace(logical_date=NIGHT, run_after=NIGHT, clear_number=self.clear_number)
        return {"ti": ti, "dag_run": run}

    def operator(self, **options: Any) -> SalesforceExtractOperator:
        settings: dict[str, Any] = {"sobject": "Contact", "fields": ["Id", "LastName"], "api": "bulk"}
        settings |= {"poll_interval": 0.05, "retries": RETRIES, "page_size": PAGE_ROWS, "deferrable": False}
        return SalesforceExtractOperator(
            task_id="extract", destination=self.url or f"file://{self.destination}", **{**settings, **options}
        )

    def run(self, **options: Any) -> dict[str, Any]:
        """The next try."""
        self.try_number += 1
        return self.operator(**options).execute(self.context())  # type: ignore[arg-type]

    def resume(self, event: dict[str, Any], **options: Any) -> dict[str, Any]:
        """The same try after its deferral."""
        return self.operator(**options).execute_complete(self.context(), event)  # type: ignore[arg-type]

    def clear(self) -> None:
        """As a person clears it."""
        self.max_tries = self.try_number + RETRIES
        self.clear_number += 1

    @property
    def staged(self) -> list[str]:
        return sorted(name.rsplit("/", 1)[-1] for name in files_below(UPath(self.destination)) if "_staging/" in name)


@pytest.fixture
def paged_org(start_org: Callable[..., RunningOrg], connect: Connect, shape: str) -> RunningOrg:
    """An org whose jobs have nine pages."""
    org = start_org(result_page_rows=PAGE_ROWS, result_pages_shape=shape)
    connect(org.url, {"max_retries": 0, "request_timeout": 10})
    return org


@pytest.fixture
def shape() -> str:
    return "documented"


@pytest.fixture
def task(root: UPath, root_url: str) -> TaskInstance:
    return TaskInstance(root, url=root_url)


BROKEN: dict[str, Any] = {"status": 503, "body": "<html>"}
GONE: dict[str, Any] = {"status": 404, "body": [{"errorCode": "NOT_FOUND", "message": "gone"}]}


def broken_off(org: RunningOrg, task: TaskInstance, *, good_pages: int = 3, **options: Any) -> None:
    """A first try that fails at a page after some that are good."""
    fault = org.org.faults.add(Fault(route="job_results", skip=good_pages, times=None, **BROKEN))
    with pytest.raises(UnavailableError):
        task.run(parallel_pages=1, **options)
    org.org.faults.remove(fault.id)


@on_all_storages
@pytest.mark.parametrize("shape", ["documented", "observed", "absent"])
@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_retry_asks_for_the_missing_pages_only(
    paged_org: RunningOrg, task: TaskInstance, records: Records, file_format: str
) -> None:
    broken_off(paged_org, task, file_format=file_format)
    asked = paged_org.calls("job_results")
    result = task.run(file_format=file_format)
    assert result["rows"] == records.count("Contact")
    assert paged_org.calls("job_create") == 1
    assert paged_org.calls("job_results") - asked == -(-records.count("Contact") // PAGE_ROWS) - 3
    assert not task.staged, "nothing is left behind"


def test_what_is_kept_holds_no_secret(paged_org: RunningOrg, task: TaskInstance) -> None:
    broken_off(paged_org, task)
    kept = [UPath(task.destination / name).read_bytes() for name in files_below(UPath(task.destination))]
    (job,) = paged_org.org.bulk_jobs.all()
    assert any(job.id.encode() in content for content in kept)
    assert not [content for content in kept if SECRET.encode() in content or KEY.encode() in content]


def test_a_cleared_task_starts_over(paged_org: RunningOrg, task: TaskInstance, records: Records) -> None:
    broken_off(paged_org, task)
    task.clear()
    asked = paged_org.calls("job_results")
    assert task.run()["rows"] == records.count("Contact")
    assert paged_org.calls("job_create") == 2
    assert paged_org.calls("job_results") - asked == -(-records.count("Contact") // PAGE_ROWS)


def test_a_window_that_ends_at_the_present_is_the_same_in_the_next_try(
    paged_org: RunningOrg, task: TaskInstance
) -> None:
    """Though the worker's clock is wrong, and each answer tells by how much to the second only."""
    paged_org.org.clock.advance(timedelta(hours=1))
    options: dict[str, Any] = {"mode": "incremental", "lag": timedelta(days=10)}
    broken_off(paged_org, task, **options)
    paged_org.org.clock.advance(timedelta(seconds=2))
    assert task.run(**options)["rows"] > 0 and paged_org.calls("job_create") == 1


def test_a_changed_query_starts_over(paged_org: RunningOrg, task: TaskInstance) -> None:
    broken_off(paged_org, task)
    result = task.run(fields=["Id", "FirstName"])
    assert paged_org.calls("job_create") == 2 and result["job_id"] == paged_org.org.bulk_jobs.all()[0].id


@pytest.mark.parametrize("loss", ["deleted", "aborted", "failed", "results"])
def test_a_job_that_is_no_good_any_more_is_submitted_again(
    paged_org: RunningOrg, task: TaskInstance, records: Records, loss: str
) -> None:
    broken_off(paged_org, task)
    (job,) = paged_org.org.bulk_jobs.all()
    if loss == "deleted":
        paged_org.org.bulk_jobs.delete(job.id)
    elif loss == "results":
        gone = [{"errorCode": "NOT_FOUND", "message": "gone"}]
        paged_org.fail("job_results", path=job.id, status=404, body=gone, times=None)
    else:
        job.state = "Aborted" if loss == "aborted" else "Failed"
    assert task.run()["rows"] == records.count("Contact")
    assert paged_org.calls("job_create") == 2


@pytest.mark.parametrize("is_durable", [True, False])
@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("what", ["job_poll", "job_results"])
def test_a_job_that_disappears_is_submitted_again_by_the_same_try(
    paged_org: RunningOrg, task: TaskInstance, records: Records, is_durable: bool, deferrable: bool, what: str
) -> None:
    paged_org.org.bulk_jobs.timings = BulkTimings(in_progress_polls=1)
    options: dict[str, Any] = {"durable": is_durable, "deferrable": deferrable, "parallel_pages": 1}
    paged_org.fail(what, **GONE)
    result, deferrals = None, 0
    try:
        result = task.run(**options)
    except TaskDeferred as deferred:
        event = fire(deferred)
    while result is None:
        try:
            deferrals += 1
            result = task.resume(event, **options)
        except TaskDeferred as deferred:
            event = fire(deferred)
    assert result["rows"] == records.count("Contact") and deferrals == (2 if deferrable else 0)
    assert paged_org.calls("job_create") == 2
    asked = [call for call in paged_org.org.calls if call.route not in ("token", "versions")]
    # Those of the job that is gone count too.
    assert result["api_calls"] == len(asked), [f"{call.method} {call.path} {call.status}" for call in asked]
    assert not task.staged


def test_jobs_that_disappear_again_and_again_end_the_try(paged_org: RunningOrg, task: TaskInstance) -> None:
    paged_org.fail("job_poll", times=None, **GONE)
    with pytest.raises(ResultsExpiredError, match="Clear the task"):
        task.run()
    assert paged_org.calls("job_create") == 2
    with pytest.raises(TaskDeferred) as first:
        task.run(deferrable=True)
    with pytest.raises(TaskDeferred) as second:
        task.resume(fire(first.value), deferrable=True)
    with pytest.raises(ResultsExpiredError, match="Clear the task"):
        task.resume(fire(second.value), deferrable=True)
    assert paged_org.calls("job_create") == 2 + 2
    assert not task.staged


def test_durable_can_be_switched_off(paged_org: RunningOrg, task: TaskInstance) -> None:
    broken_off(paged_org, task, durable=False)
    assert not task.staged
    task.run(durable=False)
    assert paged_org.calls("job_create") == 2


def test_the_last_try_leaves_nothing(paged_org: RunningOrg, task: TaskInstance) -> None:
    task.try_number = RETRIES
    broken_off(paged_org, task)
    assert not task.staged


@pytest.mark.parametrize(
    ("route", "effects", "error"),
    [
        ("job_create", {"job_error": "x"}, JobFailedError),
        ("job_results", {"number_of_records": 1}, RowCountError),
    ],
)
def test_failures_that_the_same_job_would_repeat_are_not_kept(
    paged_org: RunningOrg, task: TaskInstance, route: str, effects: dict[str, Any], error: type[SalesforceError]
) -> None:
    paged_org.fail(route, **effects)
    with pytest.raises(error):
        task.run()
    assert not task.staged
    assert task.run()["rows"] > 0 and paged_org.calls("job_create") == 2


def test_nothing_is_kept_of_a_failure_that_lasts_or_of_a_skip(paged_org: RunningOrg, task: TaskInstance) -> None:
    with pytest.raises(AirflowSkipException):
        task.run(where="Id = null", skip_if_empty=True)
    with pytest.raises(AirflowFailException):
        task.run(fields=["Lastnam"])
    assert not task.staged


def test_an_attempt_that_died_after_its_commit_is_not_repeated(
    paged_org: RunningOrg, task: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Extraction, "_tidy", lambda self: None)
    first = task.run()
    calls = len(paged_org.org.calls)
    second = task.run()
    assert {**second, "api_calls": 0} == {**first, "api_calls": 0} and not task.staged
    assert paged_org.calls("job_create") == 1 and paged_org.calls("job_results") == 9
    assert len(paged_org.org.calls) - calls <= 5, "login, versions, describe, job"


def test_an_attempt_that_died_in_its_commit_goes_on_there(
    paged_org: RunningOrg, task: TaskInstance, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(extraction, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            task.run()
    asked = paged_org.calls("job_results")
    assert task.run()["rows"] == records.count("Contact") and paged_org.calls("job_results") == asked


def test_an_older_attempt_that_wakes_up_publishes_nothing_and_spares_the_newer_one(
    paged_org: RunningOrg, task: TaskInstance, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    """It wakes up while the retry lands, goes on to its commit, fails there, and removes what is its own."""
    older = TaskInstance(task.destination, url=task.url)
    retried: list[dict[str, Any]] = []
    gather = gather_side_files

    def retry_meanwhile(*arguments: Any) -> Any:
        if not retried:
            retried.append({})
            task.try_number = 1
            with monkeypatch.context() as sleeping:
                sleeping.setattr(extraction, "gather_side_files", wake_the_older)
                retried.append(task.run())
        return gather(*arguments)

    def wake_the_older(*arguments: Any) -> Any:
        """The retry is about to commit: now the older attempt tries to, and is cleaned up after."""
        monkeypatch.setattr(extraction, "gather_side_files", gather)
        other = TaskInstance(task.destination, url=task.url, try_number=0, max_tries=1)
        with pytest.raises(ConcurrentRunError):
            other.run()
        return gather(*arguments)

    monkeypatch.setattr(extraction, "gather_side_files", retry_meanwhile)
    with pytest.raises(ConcurrentRunError, match="commits nothing"):
        older.run()
    assert retried[-1]["rows"] == records.count("Contact")
    (manifest,) = UPath(task.destination).glob("extract=*/_manifest.json")
    assert len(read_rows(manifest.parent, json.loads(manifest.read_bytes()))) == records.count("Contact")


def test_a_page_whose_file_was_damaged_is_asked_for_again(
    paged_org: RunningOrg, task: TaskInstance, records: Records
) -> None:
    broken_off(paged_org, task)
    (staging,) = UPath(task.destination / "_staging").glob("*/*")
    page = (staging / "page-00000.parquet").read_bytes()
    (staging / "page-00000.parquet").write_bytes(page[:-200] + bytes(100) + page[-100:])
    (staging / "page-00001.parquet").write_bytes(b"half")
    (staging / "page-00002.json").write_bytes(b'{"ind')
    asked = paged_org.calls("job_results")
    assert task.run()["rows"] == records.count("Contact") and paged_org.calls("job_results") - asked == 9


def test_a_spent_budget_leaves_what_is_landed(
    start_org: Callable[..., RunningOrg], connect: Connect, task: TaskInstance, records: Records
) -> None:
    org = start_org(result_page_rows=PAGE_ROWS, daily_api_requests=100)
    connect(org.url, {"max_retries": 0, "api_call_budget": 8})
    with pytest.raises(ApiBudgetError, match=r"stops at 8 %.*raise the budget"):
        task.run(parallel_pages=1)
    assert org.org.usage.api_requests.total() <= 8
    pages = [name for name in task.staged if name.endswith(".parquet")]
    assert 0 < len(pages) < 9
    connect(org.url, {"max_retries": 0, "api_call_budget": 80})
    asked = org.calls("job_results")
    assert task.run()["rows"] == records.count("Contact")
    assert org.calls("job_results") - asked == 9 - len(pages) and org.calls("job_create") == 1


def test_deferred_tasks_go_on_too(paged_org: RunningOrg, task: TaskInstance, records: Records) -> None:
    paged_org.org.bulk_jobs.timings = BulkTimings(in_progress_polls=1)
    with pytest.raises(TaskDeferred) as deferred:
        task.run(deferrable=True, parallel_pages=1)
    event = fire(deferred.value)
    fault = paged_org.org.faults.add(Fault(route="job_results", skip=3, times=None, **BROKEN))
    with pytest.raises(UnavailableError):
        task.resume(event, deferrable=True)
    paged_org.org.faults.remove(fault.id)
    asked = paged_org.calls("job_results")
    assert task.run(deferrable=True)["rows"] == records.count("Contact"), "a complete job is not waited for"
    assert paged_org.calls("job_create") == 1 and paged_org.calls("job_results") - asked == 9 - 3


def test_a_retry_waits_on_for_a_job_that_is_still_running(
    paged_org: RunningOrg, task: TaskInstance, records: Records
) -> None:
    paged_org.org.bulk_jobs.timings = BulkTimings(in_progress_polls=4)
    paged_org.fail("job_poll", **BROKEN)
    with pytest.raises(UnavailableError):
        task.run()
    assert only_job_state(paged_org) == "InProgress"
    with pytest.raises(TaskDeferred) as deferred:
        task.run(deferrable=True)
    assert task.resume(fire(deferred.value), deferrable=True)["rows"] == records.count("Contact")
    assert paged_org.calls("job_create") == 1


@pytest.mark.parametrize("how", ["cleared", "changed", "not durable"])
def test_a_job_that_nobody_waits_for_any_more_is_aborted(paged_org: RunningOrg, task: TaskInstance, how: str) -> None:
    paged_org.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    with pytest.raises(TaskDeferred):
        task.run(deferrable=True)
    if how == "cleared":
        task.clear()
    with pytest.raises(TaskDeferred):
        task.run(
            deferrable=True, fields=["Id"] if how == "changed" else ["Id", "LastName"], durable=how != "not durable"
        )
    assert [job.state for job in paged_org.org.bulk_jobs.all()] == ["InProgress", "Aborted"]
