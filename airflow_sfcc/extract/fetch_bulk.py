"""Landing a complete Bulk job: result pages side by side, each into a part file of its own.

A page counts only when its parsed rows are the rows that Salesforce reported for it; a page that breaks off is asked
for again, the job never.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import requests

from airflow_sfcc.extract.convert import Converter
from airflow_sfcc.extract.csv_pages import BLOCK_BYTES, LARGEST_BLOCK_BYTES, RowTooLongError, text_batches
from airflow_sfcc.extract.landing import Landing, Part
from airflow_sfcc.extract.page_stream import PageStream
from airflow_sfcc.extract.parts import EXTENSIONS, part_writer
from airflow_sfcc.extract.plan import ExtractPlan
from airflow_sfcc.salesforce.bulk import BulkJob, ResultPage, next_locator, reported_rows
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.errors import IncompleteResultError, UnexpectedAnswerError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedPage:
    """A page, with its answer when that is already open (its body not read yet)."""

    page: ResultPage
    response: requests.Response | None = None


class BulkFetcher:
    """Lands the pages of one job."""

    def __init__(self, client: SalesforceClient, plan: ExtractPlan, landing: Landing) -> None:
        self._client = client
        self._plan = plan
        self._landing = landing
        self._converter = Converter(plan.columns)
        self._block_bytes = BLOCK_BYTES
        self._stopped = threading.Event()

    def land(self, job: BulkJob) -> list[Part]:
        """All pages as parts, in page order. Raises IncompleteResultError when rows are missing or too many."""
        job.require_complete()
        parts = self._land_side_by_side(job)
        rows = sum(part.rows for part in parts)
        if job.records_processed is not None and rows != job.records_processed:
            raise IncompleteResultError(
                f"Bulk job {job.id} reported {job.records_processed:,} rows and its pages hold {rows:,}; nothing was landed. "
                "Clear the task to run it again."
            )
        return parts

    def _land_side_by_side(self, job: BulkJob) -> list[Part]:
        landed: dict[int, Part | None] = {}
        futures: dict[Future[Part | None], int] = {}
        with ThreadPoolExecutor(self._plan.parallel_pages, thread_name_prefix="result-page") as pool:
            try:
                for opened in self._pages(job):
                    futures[pool.submit(self._land_page, opened)] = opened.page.index
                    while len(futures) >= self._plan.parallel_pages:
                        self._collect(futures, landed, job)
                while futures:
                    self._collect(futures, landed, job)
            except BaseException:
                self._stopped.set()
                raise
        return [part for _, part in sorted(landed.items()) if part is not None]

    def _collect(self, futures: dict[Future[Part | None], int], landed: dict[int, Part | None], job: BulkJob) -> None:
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
        for future in done:
            landed[futures.pop(future)] = future.result()
        rows = sum(part.rows for part in landed.values() if part)
        expected = f" of {job.records_processed:,}" if job.records_processed is not None else ""
        log.info("%s: %s pages landed, %s%s rows", self._plan.sobject, len(landed), f"{rows:,}", expected)

    def _pages(self, job: BulkJob) -> Iterator[OpenedPage]:
        listed = self._client.bulk.result_pages(job)
        if listed is None:
            yield from self._pages_by_locator(job)
        else:
            yield from (OpenedPage(page) for page in listed)

    def _pages_by_locator(self, job: BulkJob) -> Iterator[OpenedPage]:
        """The next page's locator stands in this page's headers, so it can be asked for while this body is being read."""
        locator: str | None = None
        seen: set[str] = set()
        index = 0
        while True:
            page = self._client.bulk.page_at(job, index, locator, self._plan.page_size)
            response = self._client.bulk.open_page(page)
            locator = next_locator(response)
            yield OpenedPage(page, response)
            if locator is None:
                return
            if locator in seen:
                raise UnexpectedAnswerError(f"Bulk job {job.id} answered the same locator twice; nothing was landed.")
            seen.add(locator)
            index += 1

    def _land_page(self, opened: OpenedPage) -> Part | None:
        first = [opened.response] if opened.response is not None else []

        def attempt() -> Part | None:
            response = first.pop() if first else self._client.bulk.open_page(opened.page)
            with response:
                return self._read_page(opened.page, response)

        what = f"result page {opened.page.index}"
        return self._client.session.retries.run(attempt, what=what, also=(IncompleteResultError, RowTooLongError))

    def _read_page(self, page: ResultPage, response: requests.Response) -> Part | None:
        """The page as a staged part; None for a page without rows."""
        name = f"part-{page.index:05d}.{EXTENSIONS[self._plan.file_format]}"
        expected = reported_rows(response)
        stream = PageStream(response)
        with self._landing.open_part(name) as file:
            writer = part_writer(self._plan.file_format, file, self._converter.schema)
            rows = 0
            try:
                for batch in text_batches(stream, self._plan.columns, self._block_bytes):
                    if self._stopped.is_set():
                        raise IncompleteResultError("Another page failed, so this one was given up.")
                    writer.write(self._converter.from_text(batch, rows))
                    rows += batch.num_rows
            except RowTooLongError:
                self._enlarge_blocks()
                raise
            writer.finish()
            if expected is not None and rows != expected:
                raise IncompleteResultError(
                    f"Result page {page.index} was reported to hold {expected:,} rows and holds {rows:,}; nothing was landed."
                )
        if rows == 0:
            self._landing.remove_part(name)
            return None
        return Part(name, rows, file.bytes, file.sha256)

    def _enlarge_blocks(self) -> None:
        if self._block_bytes >= LARGEST_BLOCK_BYTES:
            raise UnexpectedAnswerError(
                f"A row is longer than {LARGEST_BLOCK_BYTES:,} bytes, which an extract does not carry."
            )
        self._block_bytes = min(self._block_bytes * 16, LARGEST_BLOCK_BYTES)
