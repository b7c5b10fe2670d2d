"""Progress lines: what they say, and that there are few."""

from __future__ import annotations

import logging

import pytest

from airflow_sfcc.extract.progress import Progress
from airflow_sfcc.salesforce.usage import ApiUsage


def test_lines_are_few_and_say_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with caplog.at_level(logging.INFO):
        progress = Progress("Account", 1000, ApiUsage(None), clock=lambda: now[0])
        for _ in range(100):
            now[0] += 0.1
            progress.add(5, 1_000_000)
        progress.finish()
    assert len(caplog.messages) <= 3
    assert caplog.messages[-1] == (
        "Account: 500 of 1,000 rows (50 %), 100 pages, 50 rows/s, 10.0 MB/s written, 0 API calls"
    )


def test_an_unknown_number_of_rows_is_not_made_up() -> None:
    assert Progress("Account", None, ApiUsage(None)).line() == "Account: 0 rows, 0 pages, 0 rows/s, 0 API calls"
