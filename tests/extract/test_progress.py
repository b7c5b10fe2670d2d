"""Progress lines: what they say, and that there are few."""

from __future__ import annotations

import logging

import pytest

from airflow_sfcc.extract.progress import Progress, WaitingProgress
from airflow_sfcc.salesforce.bulk import BulkJob
from airflow_sfcc.salesforce.retry import RetryPolicy
from airflow_sfcc.salesforce.usage import ApiUsage


def test_lines_are_few_and_say_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with caplog.at_level(logging.INFO):
        progress = Progress("Account", 1000, ApiUsage(None), RetryPolicy(1), clock=lambda: now[0])
        for _ in range(100):
            now[0] += 0.1
            progress.add(5, 1_000_000)
        progress.finish()
    assert len(caplog.messages) <= 3
    assert caplog.messages[-1] == (
        "Account: 500 of 1,000 rows (50 %), 100 pages, 50 rows/s, 10.0 MB/s written, 0 API calls"
    )


def test_an_unknown_number_of_rows_is_not_made_up() -> None:
    assert (
        Progress("Account", None, ApiUsage(None), RetryPolicy(1)).line()
        == "Account: 0 rows, 0 pages, 0 rows/s, 0 API calls"
    )


def test_one_is_one() -> None:
    usage = ApiUsage(None)
    usage.before_call("GET", "/services/data/v68.0/query/")
    progress = Progress("Account", 1, usage, RetryPolicy(1), clock=lambda: 0.0)
    progress.add(1)
    assert progress.line() == "Account: 1 of 1 row (100 %), 1 page, 1,000 rows/s, 1 API call"


def test_retries_are_told() -> None:
    retries = RetryPolicy(1)
    progress = Progress("Account", None, ApiUsage(None), retries)
    with pytest.raises(ConnectionError):
        retries.run(_fail, what="a page", also=(ConnectionError,))
    assert progress.line().endswith("0 API calls, 1 retry")


def _fail() -> None:
    raise ConnectionError


def test_a_job_that_is_asked_often_says_little(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    progress = WaitingProgress(logging.getLogger("task").info, clock=lambda: now[0])
    with caplog.at_level(logging.INFO):
        for poll in range(41):
            state = "InProgress" if poll < 40 else "JobComplete"
            progress.seen(
                BulkJob.from_wire({"id": "750", "object": "Account", "state": state}, requested_with="68.0"), poll
            )
            now[0] += 0.2
    assert [message.split(", after ")[0] for message in caplog.messages] == [
        "Bulk job 750 on Account: InProgress",
        "Bulk job 750 on Account: InProgress",
        "Bulk job 750 on Account: JobComplete",
    ]
    assert caplog.messages[-1].endswith("after 8 s, 40 API calls")
