"""Bulk API 2.0 ingest jobs: their states over the org's time, and what became of their records."""

from __future__ import annotations

from dataclasses import dataclass

from salesforce_localorg.clock import Clock
from salesforce_localorg.jobs import BulkTimings, Job, Jobs, JobState

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


@dataclass(kw_only=True)
class IngestJob(Job):
    """One ingest job. `results` are there from when the upload was complete."""

    request: IngestRequest
    state: JobState = "Open"
    upload: bytes | None = None
    results: IngestResults | None = None


class IngestJobs(Jobs[IngestJob]):
    """All ingest jobs of the org."""

    def __init__(self, clock: Clock, timings: BulkTimings) -> None:
        super().__init__(clock, timings, FIRST_NUMBER)

    def create(self, request: IngestRequest, user_id: str) -> IngestJob:
        """Open a job."""
        now = self._clock.now()
        with self._lock:
            job = IngestJob(
                id=self._new_id(), created_by=user_id, created=now, changed=now, closed=now, request=request
            )
            self._jobs[job.id] = job
        return job

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
            self._forget(job)
            return True
