"""How far an extract is, as log lines that a person can follow: at most one every few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from airflow_sfcc.salesforce.bulk import BulkJob
from airflow_sfcc.salesforce.retry import RetryPolicy
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts what has landed of one object; safe to share between threads.

    `Account: 240,000 of 900,000 rows (26 %), 12 pages, 48,000 rows/s, 4.1 MB/s written, 21 API calls`,
    and `, 2 retries` if there were any. `calls` tells how many API calls were made for the object so far.
    """

    def __init__(
        self,
        sobject: str,
        expected_rows: int | None,
        calls: Callable[[], int],
        retries: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expected_rows = expected_rows
        self._sobject = sobject
        self._calls = calls
        self._retries = retries
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._said = self._began
        self._rows = self._pages = self._bytes = 0

    def add(self, rows: int, written: int = 0) -> None:
        """One more page, of so many rows and bytes; says so when the last line is old enough."""
        with self._lock:
            self._rows += rows
            self._bytes += written
            self._pages += 1
            now = self._clock()
            if now - self._said >= SECONDS_BETWEEN_LINES:
                self._said = now
                log.info("%s", self.line())

    def finish(self) -> None:
        """The last line, always said."""
        log.info("%s", self.line())

    def line(self) -> str:
        """What there is to say now."""
        seconds = max(self._clock() - self._began, 1e-3)
        expected = self.expected_rows
        rows = plural(self._rows, "row") if expected is None else f"{self._rows:,} of {plural(expected, 'row')}"
        share = f" ({100 * self._rows // expected} %)" if expected else ""
        written = f", {self._bytes / seconds / 1e6:.1f} MB/s written" if self._bytes else ""
        retried = f", {plural(self._retries.retried, 'retry', 'retries')}" if self._retries.retried else ""
        return (
            f"{self._sobject}: {rows}{share}, {plural(self._pages, 'page')}, "
            f"{self._rows / seconds:,.0f} rows/s{written}, {plural(self._calls(), 'API call')}{retried}"
        )


class WaitingProgress:
    """How a Bulk job that is waited for progresses, however often it is polled.

    `Bulk job 750xx on Account: InProgress, 240,000 rows, after 35 s, 6 API calls`; `say` is the `info` of the task's logger.
    """

    def __init__(self, say: Callable[..., object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._began = clock()
        self._said: float | None = None
        self._state = ""

    def seen(self, job: BulkJob, calls: int) -> None:
        """Log the job's state, when it has changed, or the last line is old enough."""
        now = self._clock()
        if job.state == self._state and self._said is not None and now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said, self._state = now, job.state
        self._say(
            "Bulk job %s on %s: %s, after %.0f s, %s",
            job.id,
            job.sobject,
            job.progress,
            now - self._began,
            plural(calls, "API call"),
        )
