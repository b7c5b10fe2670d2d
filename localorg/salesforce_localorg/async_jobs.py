"""Bulk API 1.0 jobs: a job holds batches, each of which is one query with its own result files, or records to save.

Older clients extract this way (dlt, Singer taps, jsforce's `bulk`); Bulk API 2.0 has `bulk_jobs`. Facts: Bulk API Developer
Guide, "Bulk Query".
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from salesforce_localorg.clock import Clock
from salesforce_localorg.ids import record_id
from salesforce_localorg.jobs import RETENTION, BulkTimings
from salesforce_localorg.records import CsvExport, Cursor, Records
from salesforce_localorg.schema import Viewer
from salesforce_localorg.soql import SoqlError, parse
from salesforce_localorg.soql.added_condition import with_condition

AsyncJobState = Literal["Open", "Closed", "Aborted"]
BatchState = Literal["Queued", "InProgress", "Completed", "Failed", "NotProcessed"]
KEPT = 100  # jobs; JSON results are held in the database until their job is forgotten
FIRST_NUMBER = 1_000_000  # of jobs, apart from those of Bulk API 2.0, which have ids of the same kind


@dataclass
class AsyncBatch:
    """One query, or records to save. A query's rows are those of the time when it came: CSV pages, or a cursor for JSON."""

    id: str
    soql: str
    created: datetime
    rows: int = 0
    result_ids: tuple[str, ...] = ()
    export: CsvExport | None = None
    cursor: Cursor | None = None
    error: str | None = None
    failed_rows: int = 0
    saved: str | list[dict[str, Any]] | None = None  # the results of records that were saved, in the job's format
    is_chunked: bool = False  # other batches read what this one asked for


@dataclass
class AsyncJob:
    """`content_type` is CSV or JSON, `operation` query, queryAll, insert, update, upsert or delete."""

    id: str
    operation: str
    sobject: str
    content_type: str
    concurrency_mode: str
    api_version: str
    created_by: str
    created: datetime
    changed: datetime
    state: AsyncJobState = "Open"
    external_id_field: str | None = None
    chunk_size: int | None = None  # records per batch, where the job asked for PK chunking
    batches: dict[str, AsyncBatch] = field(default_factory=dict)


class AsyncJobs:
    """All Bulk API 1.0 jobs of the org."""

    def __init__(self, records: Records, clock: Clock, directory: Path, timings: BulkTimings, page_rows: int) -> None:
        self._records = records
        self._clock = clock
        self._directory = directory
        self._timings = timings
        self._page_rows = page_rows
        self._jobs: dict[str, AsyncJob] = {}
        self._lock = threading.RLock()
        self._job_numbers: Iterator[int] = itertools.count(FIRST_NUMBER)
        self._batch_numbers: Iterator[int] = itertools.count()
        self._result_numbers: Iterator[int] = itertools.count()

    def create(
        self,
        operation: str,
        sobject: str,
        content_type: str,
        concurrency_mode: str,
        api_version: str,
        user_id: str,
        external_id_field: str | None = None,
    ) -> AsyncJob:
        """Open a job; the oldest of more than KEPT is forgotten."""
        now = self._clock.now()
        with self._lock:
            job_id = record_id("750", next(self._job_numbers))
            job = AsyncJob(job_id, operation, sobject, content_type, concurrency_mode, api_version, user_id, now, now)
            job.external_id_field = external_id_field
            self._jobs[job.id] = job
            if len(self._jobs) > KEPT:
                self._forget(next(iter(self._jobs.values())))
        return job

    def find(self, job_id: str) -> AsyncJob | None:
        """The job, None when it never was, is older than the retention or has too many after it."""
        with self._lock:
            for job in list(self._jobs.values()):
                if self._clock.now() - job.changed >= RETENTION:
                    self._forget(job)
            return self._jobs.get(job_id)

    def add_batch(self, job: AsyncJob, soql: str, viewer: Viewer) -> AsyncBatch:
        """Run a query for the job; a query that cannot be run makes a failed batch."""
        batch = self.new_batch(soql)
        try:
            self._read(job, batch, viewer)
        except SoqlError as error:
            failed = f"InvalidBatch : Failed to process query: {error.code}: {error.message}"
            batch.error = f"{error.code} : {error.message}" if error.code == "FeatureNotEnabled" else failed
        job.batches[batch.id] = batch
        return batch

    def add_chunks(self, job: AsyncJob, soql: str, viewer: Viewer) -> AsyncBatch:
        """Run a query in batches by ranges of ids (PK chunking); the first batch, which is returned, is not processed.

        A query that cannot be run makes one failed batch, one with other clauses than WHERE is not cut into pieces.
        """
        try:
            self._records.check_bulk_batch(soql, viewer=viewer, sobject=job.sobject, content_type=job.content_type)
        except SoqlError:
            return self.add_batch(job, soql, viewer)
        query = parse(soql)
        if query.order_by or query.limit is not None or query.offset is not None:
            return self.add_batch(job, soql, viewer)
        first = self.new_batch(soql)
        first.is_chunked = True
        job.batches[first.id] = first
        for condition in self._records.id_ranges(job.sobject, job.chunk_size or 1):
            self.add_batch(job, with_condition(soql, condition), viewer)
        return first

    def new_batch(self, text: str) -> AsyncBatch:
        """A batch that belongs to no job yet."""
        with self._lock:
            return AsyncBatch(record_id("751", next(self._batch_numbers)), text, self._clock.now())

    def _read(self, job: AsyncJob, batch: AsyncBatch, viewer: Viewer) -> None:
        self._records.check_bulk_batch(batch.soql, viewer=viewer, sobject=job.sobject, content_type=job.content_type)
        include_deleted = job.operation == "queryAll"
        if job.content_type == "JSON":
            batch.cursor = self._records.open_cursor(batch.soql, include_deleted=include_deleted, viewer=viewer)
            batch.rows = batch.cursor.total_size
            pages = max(1, -(-batch.rows // self._page_rows))
        else:
            directory = self._directory / batch.id
            directory.mkdir(parents=True, exist_ok=True)
            batch.export = self._records.export_csv(
                batch.soql,
                include_deleted=include_deleted,
                viewer=viewer,
                directory=directory,
                page_rows=self._page_rows,
            )
            batch.rows = batch.export.rows
            pages = len(batch.export.pages)
        with self._lock:
            batch.result_ids = tuple(record_id("752", next(self._result_numbers)) for _ in range(pages))

    def state(self, job: AsyncJob, batch: AsyncBatch) -> BatchState:
        """The batch's state of now: it goes by the same times as jobs of Bulk API 2.0 do."""
        if batch.is_chunked:
            return "NotProcessed"
        age = self._clock.now() - batch.created
        queued = timedelta(seconds=self._timings.upload_seconds)
        if age < queued:
            return "NotProcessed" if job.state == "Aborted" else "Queued"
        if age < queued + timedelta(seconds=self._timings.in_progress_seconds):
            return "NotProcessed" if job.state == "Aborted" else "InProgress"
        return "Completed" if batch.error is None else "Failed"

    def page(self, batch: AsyncBatch, number: int) -> tuple[int, int]:
        """The first row of a result file, and the one after its last."""
        return number * self._page_rows, min((number + 1) * self._page_rows, batch.rows)

    def end(self, job: AsyncJob, state: AsyncJobState) -> None:
        """Close or abort the job."""
        job.state, job.changed = state, self._clock.now()

    def close(self) -> None:
        """Give back what the jobs hold."""
        with self._lock:
            for job in list(self._jobs.values()):
                self._forget(job)

    def _forget(self, job: AsyncJob) -> None:
        del self._jobs[job.id]
        for batch in job.batches.values():
            if batch.cursor is not None:
                batch.cursor.close()
            shutil.rmtree(self._directory / batch.id, ignore_errors=True)
