"""Progress lines: what they say, and that there are few."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from upath import UPath

from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.progress import Progress, WaitingProgress
from airflow_sfcc.salesforce.bulk import BulkJob
from airflow_sfcc.salesforce.retry import RetryPolicy
from tests.conftest import RunningOrg
from tests.extract.runs import run_identity, wait_for_job


def test_lines_are_few_and_say_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with caplog.at_level(logging.INFO):
        progress = Progress("Account", 1000, lambda: 0, RetryPolicy(1), clock=lambda: now[0])
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
        Progress("Account", None, lambda: 0, RetryPolicy(1)).line() == "Account: 0 rows, 0 pages, 0 rows/s, 0 API calls"
    )


def test_one_is_one() -> None:
    progress = Progress("Account", 1, lambda: 1, RetryPolicy(1), clock=lambda: 0.0)
    progress.add(1)
    assert progress.line() == "Account: 1 of 1 row (100 %), 1 page, 1,000 rows/s, 1 API call"


def test_retries_are_told() -> None:
    retries = RetryPolicy(1)
    progress = Progress("Account", None, lambda: 0, retries)
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


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_calls_that_a_shared_client_made_for_others_are_not_told(
    org: RunningOrg, tmp_path: Path, caplog: pytest.LogCaptureFixture, api: str
) -> None:
    client = org.client()
    for _ in range(5):
        list(client.query("SELECT Id FROM Account LIMIT 1"))
    before = client.usage.calls
    request = Request(sobject="Account", api=api)  # type: ignore[arg-type]
    extraction = Extraction(client, UPath(tmp_path), make_plan(client, request, run_identity(), UPath(tmp_path)))
    extraction.calls_before = before
    with caplog.at_level(logging.INFO):
        extraction.start()
        wait_for_job(extraction)
        extraction.land()
    (line,) = [message for message in caplog.messages if "rows/s" in message]
    assert line.endswith(f"{client.usage.calls - before} API calls"), line
