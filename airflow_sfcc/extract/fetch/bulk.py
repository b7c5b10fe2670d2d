"""Landing a complete Bulk job: result pages side by side, each into a file of its own.

A page counts only when its parsed rows are the rows that Salesforce reported for it; a page that breaks off is asked
for again, the job never. Pages that an earlier try landed are not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import requests

from airflow_sfcc.errors import ContentChangedError, IncompleteResultError, RowCountError, UnexpectedResponseError
from airflow_sfcc.extract.fetch.page_file import PageFiles
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import Plan, StagedFile
from airflow_sfcc.extract.progress import Progress
from airflow_sfcc.salesforce.bulk import BulkJob, ResultPage, next_locator
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.stopping import Stop


@dataclass(frozen=True)
class OpenedPage:
    """A page, with its answer when that is already open (its body not read yet)."""

    page: ResultPage
    response: requests.Response | None = None


OnLanded = Callable[[StagedFile], None]


class _Landed:
    """The pages that have landed so far."""

    def __init__(self, progress: Progress, on_landed: OnLanded | None) -> None:
        self._progress = progress
        self._on_landed = on_landed
        self._pages: list[StagedFile] = []

    def add(self, page: StagedFile, *, fetched: int) -> None:
        self._pages.append(page)
        self._progress.add(page.rows, fetched)
        if self._on_landed:
            self._on_landed(page)

    def finish(self) -> list[StagedFile]:
        """All of them, in page order."""
        self._progress.finish()
        return sorted(self._pages, key=lambda page: page.index)


class BulkFetcher:
    """Lists and lands the pages of one job, until `stop` is set; a page that fails sets it."""

    def __init__(self, client: SalesforceClient, plan: Plan, landing: Landing, stop: Stop) -> None:
        self._client = client.with_options(stop=stop)
        self._plan = plan
        self._landing = landing
        self._stop = stop
        self._files = PageFiles(plan, landing)

    def pages(self, job: BulkJob) -> list[ResultPage]:
        """Every page of a complete job.

        An org that does not list them (before API 58.0) names each page only in the answer for the one before, so
        there this costs a call for each page.
        """
        job.require_complete()
        pages = []
        for opened in self._pages(job, {}):
            if opened.response is not None:
                opened.response.close()
            pages.append(opened.page)
        return pages

    def land_job(self, job: BulkJob, on_landed: OnLanded | None = None) -> list[StagedFile]:
        """All pages of a complete job, in page order; `on_landed` gets each as soon as it is complete."""
        job.require_complete()
        finished = self._landing.landed_pages()
        landed = self._gathering(job.records_processed, on_landed)
        return self._land_side_by_side(self._pages(job, finished), finished, landed)

    def land_pages(self, pages: Iterable[ResultPage], on_landed: OnLanded | None = None) -> list[StagedFile]:
        """These pages, in page order; `on_landed` gets each as soon as it is complete."""
        landed = self._gathering(None, on_landed)
        return self._land_side_by_side((OpenedPage(page) for page in pages), self._landing.landed_pages(), landed)

    def _gathering(self, expected_rows: int | None, on_landed: OnLanded | None) -> _Landed:
        progress = Progress(self._plan.sobject, expected_rows, self._client.usage, self._client.session.retries)
        return _Landed(progress, on_landed)

    def _land_side_by_side(
        self, pages: Iterator[OpenedPage], finished: dict[int, StagedFile], landed: _Landed
    ) -> list[StagedFile]:
        futures: set[Future[StagedFile]] = set()
        with (
            ThreadPoolExecutor(self._plan.parallel_pages, thread_name_prefix="result-page") as pool,
            self._stop.set_by_failure(),
        ):
            for opened in pages:
                before = finished.get(opened.page.index)
                if before and before.url == opened.page.url:
                    landed.add(before, fetched=0)
                    continue
                futures.add(pool.submit(self._land_page, opened))
                while len(futures) >= self._plan.parallel_pages:
                    self._collect(futures, landed)
            while futures:
                self._collect(futures, landed)
        return landed.finish()

    def _collect(self, futures: set[Future[StagedFile]], landed: _Landed) -> None:
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
        futures -= done
        for page in [future.result() for future in done]:
            landed.add(page, fetched=page.bytes)

    def _pages(self, job: BulkJob, finished: dict[int, StagedFile]) -> Iterator[OpenedPage]:
        listed = self._client.bulk.result_pages(job)
        if listed is None:
            yield from self._pages_by_locator(job, finished)
        else:
            yield from (OpenedPage(page) for page in listed)

    def _pages_by_locator(self, job: BulkJob, finished: dict[int, StagedFile]) -> Iterator[OpenedPage]:
        """The next page's locator stands in this page's headers, so it can be asked for while this body is being read."""
        locator: str | None = None
        seen: set[str] = set()
        index = 0
        while True:
            page = self._client.bulk.page_at(job, index, locator, self._plan.page_size)
            before = finished.get(index)
            if before and before.url == page.url:
                locator = before.next_locator
                yield OpenedPage(page)
            else:
                response = self._client.bulk.open_page(page)
                locator = next_locator(response)
                yield OpenedPage(page, response)
            if locator is None:
                return
            if locator in seen:
                raise UnexpectedResponseError(
                    f"Bulk job {job.id} answered the same locator twice; nothing was landed. "
                    "Clear the task to run the query anew."
                )
            seen.add(locator)
            index += 1

    def _land_page(self, opened: OpenedPage) -> StagedFile:
        first = [opened.response] if opened.response is not None else []

        def attempt() -> StagedFile:
            response = first.pop() if first else self._client.bulk.open_page(opened.page)
            with response:
                return self._read(opened.page, response)

        what = f"result page {opened.page.index}"
        while True:
            with suppress(ContentChangedError), _naming(opened.page):
                page = self._client.session.retries.run(attempt, what=what, also=(IncompleteResultError,))
                self._landing.save_receipt(page)
                return page

    def _read(self, page: ResultPage, response: requests.Response) -> StagedFile:
        try:
            return self._files.write(page, response)
        except Exception:
            self._stop.check()  # an answer that we broke off ourselves fails in many ways
            raise


@contextmanager
def _naming(page: ResultPage) -> Iterator[None]:
    """Say in an error which page could not be read whole."""
    try:
        yield
    except RowCountError:
        raise
    except IncompleteResultError as problem:
        raise IncompleteResultError(
            f"Result page {page.index} could not be read whole, however often it was asked for; nothing was landed. "
            f"{problem.message} Run the task again."
        ) from None
