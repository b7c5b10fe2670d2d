"""Landing a complete Bulk job: result pages side by side, each into a file of its own.

A page counts only when the response is its own (see `page_checks`) and the parsed rows are those that Salesforce reported for
it. A page that breaks off, or is not the one requested, is requested again, the job never. Pages that an earlier attempt
landed are not requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import requests

from airflow_sfcc.errors import ContentChangedError, IncompleteResultError, RowCountError, UnexpectedResponseError
from airflow_sfcc.extract.convert.arrow_types import Hasher
from airflow_sfcc.extract.fetch.page_checks import (
    MOST_UNPROVEN,
    PageIds,
    PageOrder,
    SeenIds,
    Verdict,
    listed_in_order,
)
from airflow_sfcc.extract.fetch.page_file import PageFiles
from airflow_sfcc.extract.land.staging import Landing, StagedFiles
from airflow_sfcc.extract.model import Plan, StagedFile
from airflow_sfcc.extract.progress import Progress
from airflow_sfcc.salesforce.bulk import NO_LOCATOR, BulkJob, ResultPage, next_locator, reported_rows
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.wording import plural

MOST_EMPTY_PAGES = 100
"""Pages without a row, one after another, before a job's pages are taken to be without end."""

MOST_PAGES = 100_000
"""Pages of one job, whatever the number of its rows."""

MOST_ROUNDS = 2
"""How often pages of which some have the same records are requested again."""

_NOT_THE_PAGE = (IncompleteResultError, UnexpectedResponseError)
"""What reading a page ends in when its response breaks off, or is none of the job's."""

_OTHER_PAGE = "The response was that of another page: a cache or proxy mixes up responses. Have result pages bypass it."


@dataclass(frozen=True)
class OpenedPage:
    """A page, with its response when that is already open (its body not read yet)."""

    page: ResultPage
    response: requests.Response | None = None


@dataclass(frozen=True)
class _Fetched:
    """A page's file, and whether the response was proven to be the page's. `ids` is None for what an earlier attempt landed."""

    page: ResultPage
    file: StagedFile
    verdict: Verdict
    ids: PageIds | None = None


OnLanded = Callable[[StagedFile], None]


class _Landed:
    """The pages that have landed so far. `bound` is the number of the job's rows, if it is known, and `renewed` asks for it
    again, since it may be reported later than the job's state."""

    def __init__(
        self,
        progress: Progress,
        on_landed: OnLanded | None,
        bound: int | None = None,
        renewed: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._progress = progress
        self._on_landed = on_landed
        self._bound = bound
        self._renewed = renewed
        self._rows = self._empty = 0
        self._pages: list[StagedFile] = []

    def add(self, page: StagedFile, *, fetched: int) -> None:
        """Raises RowCountError when the job has fewer rows, UnexpectedResponseError for empty pages without end."""
        self._rows += page.rows
        self._empty = 0 if page.rows else self._empty + 1
        _require_rows_in(self._empty)
        if self._bound is not None and self._rows > self._bound:
            self._bound = self._renewed()
        if self._bound is not None and self._rows > self._bound:
            raise _too_many_rows(self._bound)
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

    def __init__(
        self,
        client: SalesforceClient,
        plan: Plan,
        landing: Landing,
        stop: Stop,
        hasher: Hasher | None = None,
        *,
        calls: Callable[[], int],
    ) -> None:
        """`calls` tells how many API calls were made for the extract so far."""
        self._client = client.with_options(stop=stop)
        self._plan = plan
        self._calls = calls
        self._landing = landing
        self._stop = stop
        self._files = PageFiles(plan, landing, hasher)
        self._order = PageOrder()
        self._seen = SeenIds()

    def pages(self, job: BulkJob) -> list[ResultPage]:
        """Every page of a complete job.

        An org that does not list them (before API 58.0) names each page only in the response for the one before, so
        there this costs a call for each page. Raises UnexpectedResponseError for pages without end.
        """
        job.require_complete()
        pages = []
        rows = empty = 0
        for opened in self._pages(job, self._landing.staged_files()):
            if opened.response is not None:
                opened.response.close()
                told = reported_rows(opened.response)
                rows, empty = rows + (told or 0), empty + 1 if told == 0 else 0
                _require_rows_in(empty)
                if job.records_processed and rows > job.records_processed:
                    raise _too_many_rows(job.records_processed)
            pages.append(opened.page)
            if job.records_processed and len(pages) > job.records_processed + MOST_EMPTY_PAGES:
                raise _endless(f"more than {plural(len(pages), 'page')} for {plural(job.records_processed, 'row')}")
        return pages

    def land_job(self, job: BulkJob, on_landed: OnLanded | None = None) -> list[StagedFile]:
        """All pages of a complete job, in page order; `on_landed` gets each as soon as it is complete."""
        job.require_complete()
        landed = _Landed(
            self._progress(job.records_processed),
            on_landed,
            job.records_processed,
            lambda: self._client.bulk.get(job.id).records_processed,
        )
        finished = self._landing.staged_files()
        return self._land_side_by_side(self._pages(job, finished), finished, landed)

    def land_pages(self, pages: Iterable[ResultPage], on_landed: OnLanded | None = None) -> list[StagedFile]:
        """These pages, in page order; `on_landed` gets each as soon as it is complete."""
        landed = _Landed(self._progress(None), on_landed)
        pages = list(pages)
        self._order.know(pages)
        return self._land_side_by_side((OpenedPage(page) for page in pages), self._landing.staged_files(), landed)

    def _progress(self, expected_rows: int | None) -> Progress:
        return Progress(self._plan.sobject, expected_rows, self._calls, self._client.session.retries)

    def _land_side_by_side(
        self, pages: Iterator[OpenedPage], finished: StagedFiles, landed: _Landed
    ) -> list[StagedFile]:
        futures: set[Future[_Fetched]] = set()
        unproven = _Unproven(self._order, landed)
        with (
            ThreadPoolExecutor(self._plan.parallel_pages, thread_name_prefix="result-page") as pool,
            self._stop.set_by_failure(),
        ):
            for opened in pages:
                before = self._judged(opened, finished.get(opened.page.index, opened.page.url))
                if before is not None:
                    unproven.take(before)
                else:
                    futures.add(pool.submit(self._land_page, opened))
                while len(futures) >= self._plan.parallel_pages:
                    _collect(futures, unproven)
            again: list[ResultPage] | None = None
            while again is None or again:
                while futures:
                    _collect(futures, unproven)
                again = list(unproven.to_request_again())
                futures |= {pool.submit(self._land_page, OpenedPage(page)) for page in again}
        unproven.release()
        return landed.finish()

    def _judged(self, opened: OpenedPage, before: StagedFile | None) -> _Fetched | None:
        """The page as an earlier attempt landed it; None when it did not, or that was another page."""
        if before is None or before.url != opened.page.url:
            return None
        verdict = self._order.judge(opened.page, before.next_locator)
        return None if verdict == "wrong" else _Fetched(opened.page, before, verdict)

    def _pages(self, job: BulkJob, finished: StagedFiles) -> Iterator[OpenedPage]:
        listed = self._client.bulk.result_pages(job)
        pages = (
            self._pages_by_locator(job, finished)
            if listed is None
            else (OpenedPage(page) for page in listed_in_order(listed))
        )
        for opened in pages:
            if opened.page.index >= MOST_PAGES:
                raise _endless(f"more than {MOST_PAGES:,} pages")
            yield opened

    def _pages_by_locator(self, job: BulkJob, finished: StagedFiles) -> Iterator[OpenedPage]:
        """The next page's locator stands in this page's headers, so it can be requested while this body is being read."""
        locator: str | None = None
        seen: set[str] = set()
        index = 0
        while True:
            page = self._client.bulk.page_at(job, index, locator, self._plan.page_size)
            before = finished.get(index, page.url)
            response = None
            if before:
                locator = before.next_locator
            else:
                response = self._opened_after(page, seen)
                locator = next_locator(response)
            yield OpenedPage(replace(page, following=locator or NO_LOCATOR), response)
            if locator is None:
                return
            seen.add(locator)
            index += 1

    def _opened(self, page: ResultPage) -> requests.Response:
        """The response to a page. Raises IncompleteResultError when it is of a kind that result pages are not."""
        response = self._client.bulk.open_page(page)
        kind = response.headers.get("Content-Type", "").lower()
        if "json" in kind or "html" in kind:
            response.close()
            raise IncompleteResultError(f"The response is of type {kind} instead of CSV. {_OTHER_PAGE}")
        return response

    def _opened_after(self, page: ResultPage, seen: set[str]) -> requests.Response:
        """The response to a page, with a locator that no page before had. Raises UnexpectedResponseError when none comes."""

        def attempt() -> requests.Response:
            response = self._opened(page)
            if next_locator(response) in seen:
                response.close()
                raise IncompleteResultError(_OTHER_PAGE)
            return response

        what = f"result page {page.index}"
        try:
            return self._client.session.retries.run(attempt, what=what, also=(IncompleteResultError,))
        except IncompleteResultError:
            raise UnexpectedResponseError(
                f"Bulk job {page.job_id} answered the same locator twice; nothing was landed. Clear the task to run the query "
                f"anew. {_OTHER_PAGE}"
            ) from None

    def _land_page(self, opened: OpenedPage) -> _Fetched:
        first = [opened.response] if opened.response is not None else []

        def attempt() -> _Fetched:
            response = first.pop() if first else self._opened(opened.page)
            with response:
                return self._read(opened.page, response)

        what = f"result page {opened.page.index}"
        while True:
            with suppress(ContentChangedError), _naming(opened.page):
                fetched = self._client.session.retries.run(attempt, what=what, also=_NOT_THE_PAGE)
                self._landing.save_receipt(fetched.file)
                return fetched

    def _read(self, page: ResultPage, response: requests.Response) -> _Fetched:
        verdict = self._order.judge(page, next_locator(response))
        if verdict == "wrong":
            raise IncompleteResultError(_OTHER_PAGE)
        ids = PageIds(self._seen, self._plan.columns)
        try:
            file = self._files.write(page, response, ids)
        except Exception:
            self._stop.check()  # a response that we broke off ourselves fails in many ways
            raise
        return _Fetched(page, file, verdict, ids)


class _Unproven:
    """Keeps pages back until it is known whether they are those requested: until a response has the listed locator in it, or so
    many have not that the org does not tie its pages to one another."""

    def __init__(self, order: PageOrder, landed: _Landed) -> None:
        self._order = order
        self._landed = landed
        self._kept: list[_Fetched] = []
        self._rounds = 0
        self._gave_up = False

    def take(self, fetched: _Fetched) -> None:
        if fetched.verdict == "right" or self._gave_up:
            self._pass_on(fetched)
        else:
            self._kept.append(fetched)
        if self._gave_up and self._order.is_proven:
            raise RowCountError(
                f"Result pages of one Bulk job contradict each other; nothing was landed. {_OTHER_PAGE}"
            )
        if len(self._kept) > MOST_UNPROVEN and not self._order.is_proven:
            self.release()
            self._gave_up = True

    def to_request_again(self) -> Iterator[ResultPage]:
        """Pages whose responses turned out to be those of other pages, or of the same page."""
        kept, self._kept = self._kept, []
        if self._order.is_proven:
            for each in kept:
                if self._order.judge(each.page, each.file.next_locator) == "right":
                    self._pass_on(each)
                else:
                    yield each.page
        elif self._rounds < MOST_ROUNDS and _share_ids(kept):
            self._rounds += 1
            yield from (each.page for each in kept)
        else:
            self._kept = kept

    def release(self) -> None:
        """Pass on what was kept: nothing proves anything about it."""
        for fetched in self._kept:
            self._pass_on(fetched)
        self._kept = []

    def _pass_on(self, fetched: _Fetched) -> None:
        if fetched.ids is not None:
            fetched.ids.require_new(fetched.page)
        self._landed.add(fetched.file, fetched=fetched.file.bytes if fetched.ids else 0)


def _share_ids(pages: Iterable[_Fetched]) -> bool:
    """Whether two of the pages have a record in common."""
    seen = SeenIds()
    return any(seen.add(each.ids.ids) for each in pages if each.ids is not None)


def _collect(futures: set[Future[_Fetched]], unproven: _Unproven) -> None:
    done, _ = wait(futures, return_when=FIRST_COMPLETED)
    futures -= done
    for fetched in [future.result() for future in done]:
        unproven.take(fetched)


def _require_rows_in(empty_pages: int) -> None:
    if empty_pages > MOST_EMPTY_PAGES:
        raise _endless(f"more than {MOST_EMPTY_PAGES} pages without a row, one after another")


def _endless(what: str) -> UnexpectedResponseError:
    return UnexpectedResponseError(
        f"The Bulk job has {what}, so its result pages are taken to be without end; nothing was landed. Clear the task to run "
        "the query again, or use api='rest'."
    )


def _too_many_rows(reported: int) -> RowCountError:
    return RowCountError(
        f"The result pages hold more than the {plural(reported, 'row')} that Salesforce reported for the Bulk job; nothing was "
        "landed. Clear the task to run it again."
    )


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
