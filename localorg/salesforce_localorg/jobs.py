"""What jobs of Bulk API 2.0 have in common, queries and ingests alike: their states over the org's time, and how long they are
kept."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from salesforce_localorg.clock import Clock
from salesforce_localorg.ids import record_id

JobState = Literal["Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"]
TERMINAL: frozenset[JobState] = frozenset({"JobComplete", "Failed", "Aborted"})
RETENTION = timedelta(days=7)


@dataclass(frozen=True)
class BulkTimings:
    """How long a job stays in each state.

    Seconds of the org's time and polls that must have seen it. A job is never complete before its work is.
    """

    upload_seconds: float = 0.0
    in_progress_seconds: float = 0.0
    upload_polls: int = 0
    in_progress_polls: int = 0


@dataclass(kw_only=True)
class Job:
    """One job; times are the org's, and its states are timed from `closed` on, when its work could begin."""

    id: str
    created_by: str
    created: datetime
    changed: datetime
    closed: datetime
    state: JobState = "UploadComplete"
    polls: int = 0
    error_message: str | None = None

    @property
    def finished(self) -> bool:
        return self.state in TERMINAL


AnyJob = TypeVar("AnyJob", bound=Job)


class Jobs(Generic[AnyJob]):
    """All jobs of one kind. Every look moves a job through its states first."""

    def __init__(self, clock: Clock, timings: BulkTimings, first_number: int) -> None:
        self.timings = timings
        self._clock = clock
        self._jobs: dict[str, AnyJob] = {}
        self._numbers: Iterator[int] = itertools.count(first_number)
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, job_id: str, *, poll: bool = False) -> AnyJob | None:
        """The job in its state of now, or None when it never was, was deleted or is older than the retention.

        A `poll` counts for the timings.
        """
        with self._lock:
            self._forget_old()
            job = self._jobs.get(job_id)
            if job is not None:
                self._advance(job)
                job.polls += poll
            return job

    def all(self) -> list[AnyJob]:
        """Every job, newest first, each in its state of now."""
        with self._lock:
            self._forget_old()
            for job in self._jobs.values():
                self._advance(job)
            return list(reversed(self._jobs.values()))

    def _new_id(self) -> str:
        return record_id("750", next(self._numbers))

    def _advance(self, job: AnyJob) -> None:
        timings = self.timings
        age = (self._clock.now() - job.closed).total_seconds()
        if job.state == "UploadComplete" and age >= timings.upload_seconds and job.polls >= timings.upload_polls:
            self._enter(job, "InProgress")
        due = age >= timings.upload_seconds + timings.in_progress_seconds
        seen = job.polls >= timings.upload_polls + timings.in_progress_polls
        if job.state == "InProgress" and due and seen:
            self._finish(job)

    def _finish(self, job: AnyJob) -> None:
        """Enter the state that the job ends in, unless its work is not done."""
        self._enter(job, "JobComplete" if job.error_message is None else "Failed")

    def _enter(self, job: AnyJob, state: JobState) -> None:
        job.state, job.changed = state, self._clock.now()

    def _forget_old(self) -> None:
        now = self._clock.now()
        for job in list(self._jobs.values()):
            if job.finished and now - job.changed >= RETENTION:
                self._forget(job)

    def _forget(self, job: AnyJob) -> None:
        """Remove a job with its results."""
        del self._jobs[job.id]
