"""One extract from plan to manifest: the flow to read first.

plan -> start (submit the Bulk job) -> pages (of the complete job) -> land (fetch, convert, write) -> commit

The stages can run in one process, or each in its own, and pages can be landed by many workers at once: what one stage
hands to the next is plain JSON (`Plan`, `ResultPage`, `StagedFile`) or lies in the extract's staging folder.

    extraction = Extraction(client, destination, make_plan(client, request, run))
    extraction.start()
    extraction.stage_plan()
    ...                                                         # elsewhere, once the job is complete
    extraction = Extraction.resume(client, destination, extract_id)
    pages = extraction.pages()
    ...                                                         # on as many workers as one likes
    landed = extraction.land_pages(share_of_pages)
    ...                                                         # at last, once
    result = extraction.commit(all_that_was_landed)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from msgspec import structs

from airflow_sfcc.errors import (
    ExtractError,
    JobAbortedError,
    JobFailedError,
    JobTimeoutError,
    ResultsExpiredError,
    RowCountError,
    SalesforceError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract.checkpoint import Checkpoint, fingerprint
from airflow_sfcc.extract.convert.arrow_types import arrow_schema
from airflow_sfcc.extract.convert.writers import EXTENSIONS, part_writer
from airflow_sfcc.extract.fetch.bulk import BulkFetcher
from airflow_sfcc.extract.fetch.rest import RestFetcher
from airflow_sfcc.extract.incremental.increment import require_unchanged
from airflow_sfcc.extract.incremental.schema_drift import vanishing_fields_explained
from airflow_sfcc.extract.incremental.side_files import gather_side_files
from airflow_sfcc.extract.incremental.state import State, check_same_source, latest_state
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.land.manifest import make_manifest
from airflow_sfcc.extract.land.part_builder import PartBuilder
from airflow_sfcc.extract.land.staging import MANIFEST, Landing, StoragePath
from airflow_sfcc.extract.model import Part, Plan, StagedFile, from_plain, part_name, plain
from airflow_sfcc.extract.plan.api_choice import calls_by_rest, is_refusal_of_bulk
from airflow_sfcc.salesforce.bulk import ABORTED, FAILED, BulkJob, ResultPage
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.timestamps import iso
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

_ABANDON_SECONDS = 5.0
_NOT_RESUMABLE = (
    JobFailedError,
    JobAbortedError,
    JobTimeoutError,
    ResultsExpiredError,
    RowCountError,
    UnexpectedResponseError,
)
"""Failures that another look at the same job would only repeat."""


class Extraction:
    """The stages of one extract, bound to a client and a destination.

    `destination` is where the object's extracts live; a failure at any stage leaves there what was there before.
    """

    def __init__(self, client: SalesforceClient, destination: StoragePath, plan: Plan) -> None:
        self.client = client
        self.plan = plan
        self.landing = Landing(destination, plan.extract_id)
        self.continues = False
        """Whether it goes on with the job of an earlier try."""
        self._jobs: dict[str, BulkJob] = {}
        self._stop = Stop()
        self._parts: dict[Part, str] = {}
        self._built: PartBuilder | None = None

    @classmethod
    def resume(cls, client: SalesforceClient, destination: StoragePath, extract_id: str) -> Extraction:
        """The extraction whose plan another process staged. Raises ExtractError when that is gone, or of no use here."""
        landing = Landing(destination, extract_id)
        plan = from_plain(landing.load_plan(), Plan, f"The staged plan in {landing.staging}")
        return cls(client, destination, plan)

    def start(self, earlier: Checkpoint | None = None, *, abandoned: str | None = None) -> None:
        """Go on with the job of an `earlier` try if it is still good for this plan; else prepare the landing, and submit
        the Bulk job if the plan is to use one. `abandoned` is a job that nobody waits for any more.

        Where the plan may fall back, a query that Bulk refuses is planned anew for REST instead of failing.
        """
        if earlier and self._job_is_good(earlier):
            self.continues = True
            self.plan = self.plan.with_calls(earlier.api_calls)
            self.landing.keep_staged()
        else:
            self.start_over(abandoned=earlier.job_id if earlier else abandoned)

    def start_over(self, *, abandoned: str | None = None) -> None:
        """Start from nothing. A job that an earlier try left running (`abandoned`, or the staged plan's) is aborted."""
        staged = self.landing.find_plan() or {}
        left_running = {abandoned, staged.get("job_id"), *staged.get("job_ids", ())} - {None, ""}
        self.client.bulk.abort_all(map(str, left_running))
        self.continues = False
        self._jobs = {}
        self._stop = Stop()
        self.plan = structs.replace(self.plan, starts=self.plan.starts + 1)
        self.landing.start_afresh()
        if self.plan.api == "bulk":
            self._submit()

    @property
    def may_start_over(self) -> bool:
        """Whether the query may be submitted again within this try: not for ever, where each job is gone at once."""
        return self.plan.starts <= 1

    def _submit(self) -> None:
        try:
            with self._vanishing_fields_explained():
                for query in self.plan.queries:
                    self._stop.check()
                    job = self.client.bulk.create(query, include_deleted=self.plan.include_deleted)
                    self._jobs[job.id] = job
                    self.plan = self.plan.submitted(*self._jobs)
                    if self.plan.slices:  # a worker may die between two of them, and the next try is to know them
                        self.stage_plan()
        except SalesforceError as refusal:
            if not is_refusal_of_bulk(refusal):
                raise
            self._fall_back(refusal)

    def _fall_back(self, problem: SalesforceError) -> None:
        """Plan the query anew for REST. Raises the problem itself when it was to be Bulk, or REST would take too many calls."""
        calls, left = calls_by_rest(self.plan.expected_rows), self.client.usage.left
        if not self.plan.may_fall_back:
            raise problem
        if left is not None and calls > left:
            log.warning(
                "REST is not tried instead: it would take some %s, of which %s are left",
                plural(calls, "API call"),
                left,
            )
            raise problem
        log.warning("Bulk API 2.0 did not do it, so REST reads %s instead: %s", self.plan.sobject, problem.message)
        self.abandon_jobs()
        self.plan = self.plan.by_rest("Bulk API 2.0 did not do it")
        self._jobs = {}

    def _job_is_good(self, earlier: Checkpoint) -> bool:
        if self.plan.job_id != earlier.job_id:
            log.warning("What is extracted changed since the last try, so its Bulk job %s is given up", earlier.job_id)
            return False
        try:
            job = self.job()
        except ResultsExpiredError:
            log.warning("Bulk job %s of the last try is gone, so the query is submitted again", earlier.job_id)
            return False
        if job.state in (FAILED, ABORTED):
            log.warning("Bulk job %s of the last try is %s, so the query is submitted again", job.id, job.state)
            return False
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether there is a Bulk job that, as far as is known, Salesforce is still working at."""
        return bool(self.waiting_jobs)

    @property
    def waiting_jobs(self) -> list[str]:
        """The ids of the jobs that are not known to have ended."""
        return [each for each in self.plan.job_ids if each not in self._jobs or self._jobs[each].is_waiting]

    def can_go_on_after(self, problem: BaseException) -> bool:
        """Whether another try can go on with the job and the staged pages after this failure."""
        return self.checkpoint() is not None and not (
            isinstance(problem, _NOT_RESUMABLE) or getattr(problem, "permanent", False)
        )

    def abandon_jobs(self, seconds: float = _ABANDON_SECONDS) -> None:
        """Abort the jobs that are still running, since nobody will read their results; each has `seconds` to be answered."""
        if not self.is_waiting:
            return
        with suppress(SalesforceError):
            for job in self.client.with_options(timeout=seconds, max_retries=0).bulk.abort_all(self.waiting_jobs):
                self._jobs[job.id] = job

    def checkpoint(self) -> Checkpoint | None:
        """What the next try needs to go on from here; None when there is nothing to go on with, and for slices."""
        plan = self.plan
        if plan.job_id is None or plan.slices:
            return None
        return Checkpoint(
            plan.job_id, fingerprint(plan), iso(plan.started_at), iso(plan.increment.read_at), self._calls
        )

    @property
    def _calls(self) -> int:
        return self.plan.api_calls + self.client.usage.calls

    def stage_plan(self) -> None:
        """Leave the plan for the process that goes on from here, with the calls made so far."""
        self.landing.save_plan(plain(self.plan.with_calls(self._calls)))

    def job(self) -> BulkJob:
        """The Bulk job as it is now; of several, the first that is still waiting, else the last."""
        if self.plan.job_id is None:
            raise ExtractError("This extract has no Bulk job.")
        for job_id in self.waiting_jobs or self.plan.job_ids[-1:]:
            job = self._jobs[job_id] = self.client.bulk.get(job_id)
            if job.is_waiting:
                break
        return job

    def _complete_jobs(self) -> list[BulkJob]:
        """All jobs. Raises what BulkJob.require_complete raises."""
        for job_id in self.waiting_jobs:
            self._jobs[job_id] = self.client.bulk.get(job_id)
        jobs = [self._jobs[job_id] for job_id in self.plan.job_ids]
        for job in jobs:
            job.require_complete()
        return jobs

    def committed(self) -> dict[str, Any] | None:
        """What the task returns, if the job of an earlier try was committed before that try ended; else None."""
        manifest = self.landing.find_manifest() if self.continues else None
        if manifest is None or manifest["job_id"] != self.plan.job_id:
            return None
        self.landing.discard()
        return self._result(manifest, self.landing.folder / MANIFEST)

    def pages(self) -> list[ResultPage]:
        """The result pages of the complete Bulk jobs, to be shared out; counted through from the first job to the last."""
        fetcher = self._bulk()
        pages = [page for job in self._complete_jobs() for page in fetcher.pages(job)]
        return [replace(page, index=index) for index, page in enumerate(pages)]

    def land_pages(self, pages: Iterable[ResultPage]) -> list[StagedFile]:
        """Fetch, convert and stage some of the pages; those that are staged already are not fetched."""
        return self._bulk().land_pages(pages)

    def land(self) -> list[StagedFile]:
        """Fetch, convert and stage all rows. A Bulk job must be complete.

        Raises RowCountError when rows are missing or too many.
        """
        with self._vanishing_fields_explained():
            pages = self._land_job() if self.plan.api == "bulk" else None
            if pages is None:
                pages = RestFetcher(self.client, self.plan, self.landing, self._stop).land()
        self._require_every_row(pages)
        return pages

    def _land_job(self) -> list[StagedFile] | None:
        """The rows of the Bulk job; None when it failed and REST is to read them."""
        try:
            with self._building() as builder:
                if self.plan.slices:
                    return self._bulk().land_pages(self.pages(), builder.add)
                return self._bulk().land_job(self.job(), builder.add)
        except JobFailedError as failure:
            if self.plan.slices:
                raise
            self._fall_back(failure)
            return None

    @contextmanager
    def _building(self) -> Iterator[PartBuilder]:
        """Takes staged files as they land; the parts are kept for the commit."""
        builder = PartBuilder(self.landing, self.plan.file_format)
        try:
            yield builder
            self._parts = builder.finish()
        except BaseException:
            builder.give_up()
            raise
        self._built = builder

    def _parts_of(self, pages: Sequence[StagedFile]) -> dict[Part, str]:
        """The parts of these pages, built now unless they are already."""
        in_order = sorted(pages, key=lambda page: page.index)
        if self._built is None or sorted(self._built.added, key=lambda page: page.index) != in_order:
            with self._building() as builder:
                for page in in_order:
                    builder.add(page)
        return self._parts

    def _bulk(self) -> BulkFetcher:
        return BulkFetcher(self.client, self.plan, self.landing, self._stop)

    def stop(self) -> None:
        """End all downloads, from another thread or a signal handler; `land` and `land_pages` raise StoppedError."""
        self._stop.set()

    def commit(self, pages: Sequence[StagedFile], *, other_calls: int = 0) -> dict[str, Any]:
        """Publish all rows with their manifest; returns what the task returns (see `_result`).

        `other_calls` are API calls made for this extract by others, such as a trigger's polls. Raises RowCountError
        unless `pages` are all pages of the job, with all of its rows.
        """
        self._require_every_row(pages)
        parts = self._parts_of(pages) or self._empty_part()
        side_files = gather_side_files(self.client, self.landing, self.plan, parts)
        manifest = make_manifest(self.plan, list(parts), side_files, api_calls=self._calls + other_calls)
        files = {part.name: staged for part, staged in parts.items()}
        with self._alone() as require_alone:
            path = self.landing.commit(manifest, {**files, **side_files.files}, require_alone)
        return self._result(manifest, path)

    @contextmanager
    def _alone(self) -> Iterator[Callable[[], None]]:
        """No other commit to the destination at the same time, and none since this extract was planned from its state.

        Yields what raises ConcurrentRunError when that is no longer so. Raises the same.
        """
        increment, destination = self.plan.increment, self.landing.destination
        if increment.mode == "full":
            self._require_own_destination(latest_state(destination))
            yield lambda: None
            return
        with commit_lock(destination, self.plan.extract_id) as require_alone:
            state = latest_state(destination, initial_start=increment.initial_start)
            self._require_own_destination(state)
            require_unchanged(increment, state, self.plan.extract_id)
            yield require_alone

    def _require_own_destination(self, state: State) -> None:
        """Raise StateError when extracts of another object or org were committed since this one was planned."""
        others = state.without(self.plan.extract_id).manifests
        check_same_source(others, {"org_id": self.plan.org_id, "sobject": self.plan.sobject})

    def _require_every_row(self, pages: Sequence[StagedFile]) -> None:
        if self.plan.api != "bulk":
            return
        jobs = self._complete_jobs()
        name = f"Bulk job {', '.join(job.id for job in jobs)}"
        if sorted(page.index for page in pages) != list(range(len(pages))):
            raise RowCountError(
                f"Of {name}'s result pages some are missing or doubled; nothing was landed. Clear the task to "
                "run it again."
            )
        rows = sum(page.rows for page in pages)
        if _reported(jobs) in (None, rows):
            return
        # A job's count may come later than its state.
        self._jobs.update({job.id: self.client.bulk.get(job.id) for job in jobs})
        reported = _reported(self._complete_jobs())
        if reported not in (None, rows):
            raise RowCountError(
                f"{name} reported {plural(reported, 'row')} and its pages hold {rows:,}; nothing was landed. "
                "Clear the task to run it again."
            )

    def _empty_part(self) -> dict[Part, str]:
        """A file with the schema and no rows, so that readers find the columns of an empty result."""
        name = part_name(0, EXTENSIONS[self.plan.file_format])
        with self.landing.open_file(name) as file:
            part_writer(self.plan.file_format, file, arrow_schema(self.plan.columns)).finish()
        return {Part(name, 0, file.bytes, file.sha256): name}

    def _result(self, manifest: dict[str, Any], path: StoragePath) -> dict[str, Any]:
        folder = str(self.landing.folder)
        return {
            "manifest": str(path),
            "path": folder,
            "files": [f"{folder}/{file['path']}" for file in manifest["files"]],
            **{
                name: manifest[name]
                for name in ("rows", "bytes", "deleted_rows", "api", "job_id", "window", "watermark")
            },
            "api_calls": manifest["api_calls"],
            "seconds": round(_seconds_between(manifest["started_at"], manifest["finished_at"]), 3),
        }

    def _vanishing_fields_explained(self) -> AbstractContextManager[None]:
        return vanishing_fields_explained(self.plan.sobject, self.plan.columns)

    def discard(self) -> None:
        """Remove what was staged."""
        self.landing.discard()


def _seconds_between(start: str, end: str) -> float:
    first, last = (datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (start, end))
    return (last - first).total_seconds()


def _reported(jobs: Iterable[BulkJob]) -> int | None:
    """How many rows the jobs say they have; None when one of them does not say."""
    counts = [job.records_processed for job in jobs]
    return None if None in counts else sum(count or 0 for count in counts)
