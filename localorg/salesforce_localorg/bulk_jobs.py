"""Bulk API 2.0 query jobs: their states over the org's time, their work in the background, their results."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from salesforce_localorg.clock import Clock
from salesforce_localorg.jobs import BulkTimings, Job, Jobs
from salesforce_localorg.records import CsvExport, Records
from salesforce_localorg.result_pages import JobResults, PlainPages, plain_bytes_of
from salesforce_localorg.schema import Viewer
from salesforce_localorg.soql import SoqlError
from salesforce_localorg.usage import Usage

WORKERS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobRequest:
    """What a client asked for.

    `api_version` such as "67.0"; delimiter and line ending as the characters themselves with the names they were asked
    by.
    """

    operation: str
    query: str
    sobject: str
    api_version: str
    column_delimiter: str
    delimiter: str
    line_ending_name: str
    line_ending: str


@dataclass(kw_only=True)
class BulkJob(Job):
    """One query job. `job_error` is the failure that a fault has decided, an empty text for one without a message."""

    request: JobRequest
    directory: Path
    job_error: str | None = None
    work_milliseconds: int = 0
    results: JobResults | None = None
    aborted: threading.Event = field(default_factory=threading.Event)
    work: Future[None] | None = None


class BulkJobs(Jobs[BulkJob]):
    """All query jobs of the org."""

    def __init__(
        self,
        records: Records,
        clock: Clock,
        usage: Usage,
        directory: Path,
        timings: BulkTimings,
        page_rows: int,
        largest_page: int,
    ) -> None:
        super().__init__(clock, timings, 1)
        self._records = records
        self._usage = usage
        self._directory = directory
        self._page_rows = page_rows
        self._largest_page = largest_page
        self._plain = PlainPages()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="bulk-job")

    def create(self, request: JobRequest, viewer: Viewer, job_error: str | None = None) -> BulkJob:
        """Start a job; its rows are read and written in the background."""
        now = self._clock.now()
        with self._lock:
            job_id = self._new_id()
            job = BulkJob(
                id=job_id,
                created_by=viewer.user_id,
                created=now,
                changed=now,
                closed=now,
                request=request,
                directory=self._directory / job_id,
                job_error=job_error,
            )
            self._jobs[job.id] = job
        job.work = self._workers.submit(self._run, job, viewer)
        return job

    def abort(self, job_id: str) -> bool:
        """Stop a job; False when it is finished already.

        Raises KeyError for an unknown job.
        """
        with self._lock:
            job = self._jobs[job_id]
            self._advance(job)
            if job.finished:
                return False
            job.aborted.set()
            if job.work is not None:
                job.work.cancel()
            self._enter(job, "Aborted")
            return True

    def delete(self, job_id: str) -> bool:
        """Remove a finished job with its results; False when it is not finished.

        Raises KeyError for an unknown job.
        """
        with self._lock:
            job = self._jobs[job_id]
            self._advance(job)
            if not job.finished:
                return False
            self._forget(job)
            return True

    def processed(self, job: BulkJob) -> int:
        """Records processed so far: grows with the time in progress, and is the row count at the end."""
        if job.results is None or job.state in ("UploadComplete", "Failed"):
            return 0
        if job.state == "JobComplete":
            return job.results.rows
        end = self._clock.now() if job.state == "InProgress" else job.changed
        seconds = (end - job.created).total_seconds() - self.timings.upload_seconds
        share = seconds / self.timings.in_progress_seconds if self.timings.in_progress_seconds else 0.0
        return int(job.results.rows * min(max(share, 0.0), 0.99))

    def close(self) -> None:
        with self._lock:
            for job in self._jobs.values():
                job.aborted.set()
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: BulkJob, viewer: Viewer) -> None:
        if job.aborted.is_set():
            return
        started = time.monotonic()
        try:
            export = self._export(job, viewer)
        except SoqlError as error:
            job.error_message = f"InvalidBatch : Failed to process query: {error.code}: {error.message}"
        except Exception:
            logger.exception("The work of Bulk job %s failed.", job.id)
            job.error_message = (
                "Unexpected exception encountered in query processing. "
                f"Please contact support with the following id: {job.id} (-1)"
            )
        else:
            job.work_milliseconds = max(1, int((time.monotonic() - started) * 1000))
            job.results = JobResults(export, job.directory, self._largest_page, self._plain)
            self._usage.bulk_result_kilobytes.add(plain_bytes_of(export.pages) // 1024)
        if job.aborted.is_set():
            shutil.rmtree(job.directory, ignore_errors=True)

    def _export(self, job: BulkJob, viewer: Viewer) -> CsvExport:
        job.directory.mkdir(parents=True, exist_ok=True)
        return self._records.export_csv(
            job.request.query,
            include_deleted=job.request.operation == "queryAll",
            viewer=viewer,
            directory=job.directory,
            page_rows=self._page_rows,
            delimiter=job.request.delimiter,
            line_ending=job.request.line_ending,
        )

    def _finish(self, job: BulkJob) -> None:
        if job.work is None or not job.work.done():
            return
        if job.job_error is not None:
            job.error_message = job.job_error or None
        failed = job.job_error is not None or job.results is None
        self._enter(job, "Failed" if failed else "JobComplete")

    def _forget(self, job: BulkJob) -> None:
        super()._forget(job)
        shutil.rmtree(job.directory, ignore_errors=True)
