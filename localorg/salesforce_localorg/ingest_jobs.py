"""Bulk API 2.0 ingest jobs: their states over the org's time, and what became of their records."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from salesforce_localorg.bulk_jobs import RETENTION, BulkTimings
from salesforce_localorg.clock import Clock
from salesforce_localorg.ids import record_id

IngestState = Literal["Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"]
TERMINAL: frozenset[IngestState] = frozenset({"JobComplete", "Failed", "Aborted"})
FIRST_NUMBER = 2_000_000  # of jobs, apart from those of queries and of Bulk API 1.0, which have ids of the same kind


@dataclass(frozen=True)
class IngestRequest:
    """What a client asked for; delimiter and line ending as the characters themselves with the names they were asked by."""

    operation: str
    sobject: str
    external_id_field: str | None
    api_version: str
    column_delimiter: str
    delimiter: str
    line_ending_name: str
    line_ending: str


@dataclass
class IngestResults:
    """What became of the records, as the CSV of each resource."""

    successful: str
    failed: str
    unprocessed: str
    rows: int = 0
    failed_rows: int = 0


@dataclass
class IngestJob:
    """One ingest job; times are the org's. `results` are there from when the upload was complete."""

    id: str
    request: IngestRequest
    created_by: str
    created: datetime
    changed: datetime
    closed: datetime
    state: IngestState = "Open"
    polls: int = 0
    upload: bytes | None = None
    error_message: str | None = None
    results: IngestResults | None = None

    @property
    def finished(self) -> bool:
        return self.state in TERMINAL


class IngestJobs:
    """All ingest jobs of the org. Every look moves a job through its states first."""

    def __init__(self, clock: Clock, timings: BulkTimings) -> None:
        self._clock = clock
        self._timings = timings
        self._jobs: dict[str, IngestJob] = {}
        self._numbers: Iterator[int] = itertools.count(FIRST_NUMBER)
        self._lock = threading.RLock()

    def create(self, request: IngestRequest, user_id: str) -> IngestJob:
        """Open a job."""
        now = self._clock.now()
        with self._lock:
            job = IngestJob(record_id("750", next(self._numbers)), request, user_id, now, now, now)
            self._jobs[job.id] = job
        return job

    def find(self, job_id: str, *, poll: bool = False) -> IngestJob | None:
        """The job in its state of now; None when it never was, was deleted or is older than the retention."""
        with self._lock:
            self._forget_old()
            job = self._jobs.get(job_id)
            if job is not None:
                self._advance(job)
                job.polls += poll
            return job

    def all(self) -> list[IngestJob]:
        """Every job, newest first, each in its state of now."""
        with self._lock:
            self._forget_old()
            for job in self._jobs.values():
                self._advance(job)
            return list(reversed(self._jobs.values()))

    def close(self, job: IngestJob) -> bool:
        """Say that the upload of an open job is complete; False where the job is not open (any more)."""
        with self._lock:
            if job.state != "Open":
                return False
            self._enter(job, "UploadComplete")
            job.closed = job.changed
            return True

    def abort(self, job: IngestJob) -> bool:
        """Stop a job; False when it is finished already."""
        with self._lock:
            if job.finished:
                return False
            self._enter(job, "Aborted")
            return True

    def delete(self, job: IngestJob) -> bool:
        """Forget a job and its results; False while data may still be uploaded or is being processed."""
        with self._lock:
            if job.state in ("Open", "InProgress"):
                return False
            del self._jobs[job.id]
            return True

    def _advance(self, job: IngestJob) -> None:
        timings = self._timings
        age = (self._clock.now() - job.closed).total_seconds()
        if job.state == "UploadComplete" and age >= timings.upload_seconds and job.polls >= timings.upload_polls:
            self._enter(job, "InProgress")
        due = age >= timings.upload_seconds + timings.in_progress_seconds
        seen = job.polls >= timings.upload_polls + timings.in_progress_polls
        if job.state == "InProgress" and due and seen:
            self._enter(job, "JobComplete" if job.error_message is None else "Failed")

    def _enter(self, job: IngestJob, state: IngestState) -> None:
        job.state, job.changed = state, self._clock.now()

    def _forget_old(self) -> None:
        now = self._clock.now()
        for job in list(self._jobs.values()):
            if job.finished and now - job.changed >= RETENTION:
                del self._jobs[job.id]
