"""One extract from plan to manifest: the flow to read first.

    Planned     what is to be read: `Extraction.planned`
    Submitted   the Bulk job runs, where the plan is to use one: `start`, or `resume` in another process
    Staged      each result page is a verified file: `land`, or `pages` and `land_pages` on as many workers as one likes
    Committed   the parts and their manifest are published: `commit`

What one stage hands to the next is plain JSON (`Plan`, `ResultPage`, `StagedFile`) or lies in the extract's staging folder.
The staged plan is the only memory between attempts: a retry goes on with its job and its pages; a task that was cleared has
another `run_key`, and starts over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

from msgspec import structs

from airflow_sfcc.errors import (
    ConcurrentRunError,
    ConfigurationError,
    ExtractError,
    JobAbortedError,
    JobFailedError,
    JobTimeoutError,
    ResultsExpiredError,
    RowCountError,
    SalesforceError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract.convert.arrow_types import arrow_schema
from airflow_sfcc.extract.convert.writers import EXTENSIONS, part_writer
from airflow_sfcc.extract.fetch.bulk import BulkFetcher
from airflow_sfcc.extract.fetch.rest import RestFetcher
from airflow_sfcc.extract.incremental.increment import require_unchanged
from airflow_sfcc.extract.incremental.side_files import SideFiles, gather_side_files
from airflow_sfcc.extract.incremental.state import State, check_same_source, latest_state, refuse_sibling
from airflow_sfcc.extract.land import describe_file
from airflow_sfcc.extract.land.commit import finish, publish
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.land.manifest import make_manifest
from airflow_sfcc.extract.land.part_builder import PartBuilder
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.manifests import MANIFEST, Manifest
from airflow_sfcc.extract.model import NO_ID, Part, Plan, Request, RunIdentity, StagedFile, part_name
from airflow_sfcc.extract.plan.api_choice import calls_by_rest, is_refusal_of_bulk
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.plan.vanished import vanishing_fields_explained
from airflow_sfcc.extract.protect.apply import hashed_by
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.extract.storage import StoragePath, require_content
from airflow_sfcc.salesforce.bulk import ABORTED, FAILED, BulkJob, ResultPage
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.timestamps import timestamp
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

_ABANDON_SECONDS = 5.0
_COMMIT_ATTEMPTS = 5
_NOT_RESUMABLE = (
    JobFailedError,
    JobAbortedError,
    JobTimeoutError,
    ResultsExpiredError,
    RowCountError,
    UnexpectedResponseError,
)
"""Failures that the same job would only repeat."""


class Extraction:
    """The stages of one extract, bound to a client and a destination.

    `destination` is where the object's extracts live; a failure at any stage leaves there what was there before.
    """

    def __init__(
        self, client: SalesforceClient, destination: StoragePath, plan: Plan, *, hash_key: HashKey | None = None
    ) -> None:
        """`hash_key` is what the plan's hashed columns are hashed by; stages that read no rows do without."""
        self.client = client
        self.plan = plan
        self._hash_key = hash_key
        self.landing = Landing(destination, plan.extract_id)
        self.continues = False
        """Whether it goes on with the job of an earlier attempt."""
        self.calls_before = 0
        """Calls that the client had made for others before."""
        self._jobs: dict[str, BulkJob] = {}
        self._stop = Stop()
        self._parts: dict[Part, str] = {}
        self._built: PartBuilder | None = None

    # Planned

    @classmethod
    def planned(
        cls,
        client: SalesforceClient,
        request: Request,
        run: RunIdentity,
        destination: Callable[[str], StoragePath],
        *,
        durable: bool = True,
        hash_key: HashKey | None = None,
    ) -> Extraction:
        """An extraction whose plan is made now; `destination` says where the extracts of an object of that name live.

        With `durable` it takes over the Bulk job of an earlier attempt of the same run, where the plan comes out the same.
        Raises what make_plan raises.
        """

        def earlier(place: StoragePath) -> Plan | None:
            return _earlier_plan(Landing(place, run.extract_id), run.run_key) if durable else None

        plan = make_plan(client, request, run, destination, earlier=earlier, hash_key=hash_key)
        return cls(client, destination(plan.sobject), plan, hash_key=hash_key)

    @classmethod
    def resume(
        cls,
        client: SalesforceClient,
        destination: StoragePath,
        extract_id: str,
        *,
        job_id: str | None = None,
        hash_key: HashKey | None = None,
    ) -> Extraction:
        """A new attempt that goes on from the plan that another process staged last.

        Raises ExtractError when that is gone, of no use here, or has another job than `job_id` (None: any).
        """
        extraction, _ = cls._of_staged_plan(client, destination, extract_id, job_id)
        extraction._hash_key = hash_key
        extraction.continues = True
        extraction.landing.begin(extraction.plan)
        extraction.landing.adopt()
        return extraction

    @classmethod
    def share(
        cls,
        client: SalesforceClient,
        destination: StoragePath,
        extract_id: str,
        job_id: str,
        *,
        hash_key: HashKey | None = None,
    ) -> Extraction:
        """The part of one of several workers in what the plan staged last has begun; it only lands pages. Raises the same."""
        extraction, attempt = cls._of_staged_plan(client, destination, extract_id, job_id)
        extraction._hash_key = hash_key
        extraction.landing.begin_share(attempt)
        return extraction

    @classmethod
    def _of_staged_plan(
        cls, client: SalesforceClient, destination: StoragePath, extract_id: str, job_id: str | None
    ) -> tuple[Extraction, str]:
        landing = Landing(destination, extract_id)
        for attempt in landing.attempts():
            plan = landing.plan_of(attempt)
            if plan is None:
                continue
            if job_id not in (None, plan.job_id):
                raise ExtractError(
                    "The extract was planned anew since this task got its share: clear the task `plan` with everything "
                    "downstream."
                )
            return cls(client, destination, plan), attempt
        raise ExtractError(
            f"The plan that was staged in {landing.staging} is gone, so this extract cannot go on: clear the task to run it "
            "from the start."
        )

    # Submitted

    def start(self) -> None:
        """Go on with the job of an earlier attempt, where the plan took it over and it is still good; else submit the Bulk
        job, if the plan is to use one.

        Where the plan may fall back, a query that Bulk refuses is planned anew for REST instead of failing.
        """
        if self.plan.job_id is not None and self._job_is_good():
            self.continues = True
            self.landing.begin(self.plan)
            self.landing.adopt()
        else:
            self.start_over()

    def start_over(self) -> None:
        """Start from nothing. Jobs that earlier attempts left running are aborted, for nobody waits for them any more."""
        left_running = [*self.plan.job_ids, *_jobs_of(self.landing)]
        self.client.bulk.abort_all(dict.fromkeys(left_running))
        self.continues = False
        self._jobs = {}
        self._stop = Stop()
        self.plan = structs.replace(self.plan, starts=self.plan.starts + 1, job_id=None, job_ids=())
        if self.landing.attempt:
            self.landing.start_afresh()
            self.stage_plan()
        else:
            self.landing.begin(self.plan)
        if self.plan.api == "bulk":
            self._submit()
            self.stage_plan()

    @property
    def may_start_over(self) -> bool:
        """Whether the query may be submitted again within this attempt: not for ever, where each job is gone at once."""
        return self.plan.starts <= 1

    def _submit(self) -> None:
        try:
            with self._vanishing_fields_explained():
                for query in self.plan.queries:
                    self._stop.check()
                    job = self.client.bulk.create(query, include_deleted=self.plan.include_deleted)
                    self._jobs[job.id] = job
                    self.plan = self.plan.submitted(*self._jobs)
                    if self.plan.slices:  # a worker may die between two of them, and the next attempt is to know them
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

    def _job_is_good(self) -> bool:
        try:
            job = self.job()
        except ResultsExpiredError:
            log.warning("Bulk job %s of the last attempt is gone, so the query is submitted again", self.plan.job_id)
            return False
        if job.state in (FAILED, ABORTED):
            log.warning("Bulk job %s of the last attempt is %s, so the query is submitted again", job.id, job.state)
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
        """Whether another attempt can go on with the job and the staged pages after this failure."""
        has_job = self.plan.job_id is not None and not self.plan.slices
        return has_job and not (isinstance(problem, _NOT_RESUMABLE) or getattr(problem, "permanent", False))

    def abandon_jobs(self, seconds: float = _ABANDON_SECONDS) -> None:
        """Abort the jobs that are still running, since nobody will read their results; each request has `seconds`.

        A newer attempt may have taken them over; then they stay.
        """
        if not self.is_waiting or self._is_superseded():
            return
        with suppress(SalesforceError):
            for job in self.client.with_options(timeout=seconds, max_retries=0).bulk.abort_all(self.waiting_jobs):
                self._jobs[job.id] = job

    def _is_superseded(self) -> bool:
        with suppress(Exception):  # a storage that does not respond must not keep jobs running
            return self.landing.newer_attempt() is not None
        return False

    @property
    def api_calls(self) -> int:
        """Made for this extract so far, by all of its processes."""
        return self.plan.api_calls + self.client.usage.calls - self.calls_before

    def stage_plan(self) -> None:
        """Leave the plan for the process that goes on from here, with the calls made so far."""
        self.landing.save_plan(self.plan.with_calls(self.api_calls))

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
        """What the task returns, if an earlier attempt committed this job's rows before it ended; else None."""
        manifest = self.landing.committed() if self.continues else None
        if manifest is None or manifest["job_id"] != self.plan.job_id:
            return None
        finish(self.landing)
        self.landing.discard_all()
        return result_of(manifest, self.landing.folder)

    # Staged

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
        with self._missing_files_explained(), self._vanishing_fields_explained():
            pages = self._land_job() if self.plan.api == "bulk" else None
            if pages is None:
                pages = self._rest().land()
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
        builder = PartBuilder(self.landing, self.plan.file_format, self.landing.own(""))
        try:
            yield builder
            self._parts = builder.finish()
        except BaseException:
            builder.give_up()
            raise
        self._built = builder

    def _parts_of(self, pages: Sequence[StagedFile]) -> dict[Part, str]:
        """The parts of these pages, built now unless they are already. Raises DamagedFileError for what others staged and
        does not hold any more what it held."""
        in_order = sorted(pages, key=lambda page: page.index)
        if self._built is None or sorted(self._built.added, key=lambda page: page.index) != in_order:
            with self._building() as builder:
                for page in in_order:
                    require_content(self.landing.open_staged(page.name), page.bytes, page.sha256)
                    builder.add(page)
        return self._parts

    def _rest(self) -> RestFetcher:
        return RestFetcher(
            self.client, self.plan, self.landing, self._stop, self._hasher(), calls=lambda: self.api_calls
        )

    def _bulk(self) -> BulkFetcher:
        return BulkFetcher(
            self.client, self.plan, self.landing, self._stop, self._hasher(), calls=lambda: self.api_calls
        )

    def _hasher(self) -> HashKey | None:
        """The key, if it is that which the plan was made with. Raises ConfigurationError for another one."""
        planned = {column.hashed for column in self.plan.columns if column.hashed}
        if self._hash_key is not None and planned - {hashed_by(self._hash_key)}:
            raise ConfigurationError(
                f"The key for hashing was changed since this extract of {self.plan.sobject} was planned; nothing was landed. "
                "Clear the task, with everything upstream that belongs to the extract, to run it from the start."
            )
        return self._hash_key

    def stop(self) -> None:
        """End all downloads, from another thread or a signal handler; `land` and `land_pages` raise StoppedError."""
        self._stop.set()

    # Committed

    def commit(self, pages: Sequence[StagedFile], *, other_calls: int = 0) -> dict[str, Any]:
        """Publish all rows with their manifest; returns what the task returns (see `result_of`).

        `other_calls` are API calls made for this extract by others, such as a trigger's polls. Raises RowCountError
        unless `pages` are all pages of the job, with all of its rows, and ConcurrentRunError when it is not this attempt's
        turn to publish.
        """
        self._require_every_row(pages)
        if not all(page.own_ids for page in pages):
            self._stop_counting()
        with self._missing_files_explained():
            parts = self._parts_of(pages) or self._empty_part()
            manifest = self._published(parts, other_calls)
        finish(self.landing)
        self._tidy()
        return result_of(manifest, self.landing.folder)

    def _stop_counting(self) -> None:
        """Have the extract count for no current table, since its rows cannot be told apart there."""
        if self.plan.increment.watermark is not None:
            log.warning(
                "%s: rows have no Ids of their own (null or %s), so this full extract is complete by itself, but no current "
                "table is made of it, and no incremental extract goes on from it.",
                self.plan.sobject,
                NO_ID,
            )
        increment = structs.replace(self.plan.increment, watermark=None, cursor_field=None, stale_fields=())
        self.plan = structs.replace(self.plan, increment=increment)

    def _published(self, parts: dict[Part, str], other_calls: int) -> Manifest:
        for _ in range(_COMMIT_ATTEMPTS):
            before = self.landing.committed()
            try:
                side_files = self._side_files(parts, before)
            except FileNotFoundError:
                if before is None or self.landing.committed() == before:
                    raise
                continue  # an earlier attempt has just committed, so what is beside the rows is another
            manifest = make_manifest(self.plan, list(parts), side_files, api_calls=self.api_calls + other_calls)
            own = {part.name: self.landing.own(part.name) for part in side_files.parts}
            files = {**{part.name: staged for part, staged in parts.items()}, **own}
            with self._commit_lock() as require_lock:
                describe_file.keep(self.landing.destination, self.plan.described)
                published = publish(self.landing, manifest, files, before, require_lock)
            if published is not None:
                return published
        raise ConcurrentRunError(
            f"Other attempts committed {self.landing.folder} again and again, so this one committed nothing. Run this task "
            "again."
        )

    def _side_files(self, parts: dict[Part, str], before: Manifest | None) -> SideFiles:
        return gather_side_files(
            self.client,
            self.plan,
            {part: self.landing.open_staged(staged) for part, staged in parts.items()},
            before,
            self.landing.folder,
            lambda name: self.landing.open_file(self.landing.own(name)),
        )

    def _tidy(self) -> None:
        """Remove what is staged. The commit is done, so a storage that does not let us only costs room."""
        try:
            self.landing.discard_all()
        except OSError as problem:
            log.warning("What is staged in %s could not be removed (%s): a vacuum will", self.landing.staging, problem)

    @contextmanager
    def _commit_lock(self) -> Iterator[Callable[[], None]]:
        """No other run commits to the destination meanwhile, and none has since this extract was planned from its state.

        Yields what raises ConcurrentRunError when that is no longer so. Raises the same.
        """
        increment, destination = self.plan.increment, self.landing.destination
        if increment.mode == "full":
            self._require_own_destination(latest_state(destination))
            yield lambda: None
            return
        with commit_lock(destination, self.plan.extract_id) as require_lock:
            state = latest_state(destination, initial_start=increment.initial_start)
            self._require_own_destination(state)
            require_unchanged(increment, state, self.plan.extract_id)
            yield require_lock

    def _require_own_destination(self, state: State) -> None:
        """Raise StateError when extracts of another object, org or condition were committed since this one was planned."""
        others, increment = state.without(self.plan.extract_id), self.plan.increment
        check_same_source(others.manifests, {"org_id": self.plan.org_id, "sobject": self.plan.sobject})
        if increment.kind == "extract":
            refuse_sibling(others.manifests, self.plan, increment.where, self.plan.columns)
        if increment.mode == "incremental" or any(each.get("window") for each in others.manifests):
            check_same_source(others.relevant, {"where": increment.where})

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
        staged = self.landing.own(name)
        with self.landing.open_file(staged) as file:
            part_writer(self.plan.file_format, file, arrow_schema(self.plan.columns)).finish()
        return {Part(name, 0, file.bytes, file.sha256): staged}

    @contextmanager
    def _missing_files_explained(self) -> Iterator[None]:
        """Files that are gone were removed by a newer attempt, if there is one: then raise ConcurrentRunError instead."""
        try:
            yield
        except FileNotFoundError:
            self.landing.require_newest(self.landing.committed())
            raise

    def _vanishing_fields_explained(self) -> AbstractContextManager[None]:
        return vanishing_fields_explained(self.client, self.plan.sobject, self.plan.columns)

    # Given up

    def leave(self) -> None:
        """Leave what is staged for the attempt that goes on from here."""
        self.landing.leave()

    def discard(self) -> None:
        """Remove what was staged by this attempt, and by earlier ones that have ended."""
        if self.landing.attempt:
            self.landing.discard()


def result_of(manifest: Manifest, folder: StoragePath) -> dict[str, Any]:
    """What the task returns of the extract that is committed in `folder`."""
    started, finished = (timestamp(manifest[name]) for name in ("started_at", "finished_at"))
    return {
        "manifest": str(folder / MANIFEST),
        "path": str(folder),
        "files": [f"{folder}/{file['path']}" for file in manifest["files"]],
        **{name: manifest[name] for name in ("rows", "bytes", "deleted_rows", "api", "job_id", "window", "watermark")},
        "api_calls": manifest["api_calls"],
        "seconds": round((finished - started).total_seconds(), 3),
    }


def _reported(jobs: Iterable[BulkJob]) -> int | None:
    """How many rows the jobs say they have; None when one of them does not say."""
    counts = [job.records_processed for job in jobs]
    return None if None in counts else sum(count or 0 for count in counts)


def _earlier_plan(landing: Landing, run_key: str) -> Plan | None:
    """The plan of the newest attempt, if it is one of the same run and has a job to go on with."""
    for attempt in landing.attempts():
        try:
            plan = landing.plan_of(attempt)
        except ExtractError as problem:
            log.warning("An earlier attempt cannot be gone on with: %s", problem.message)
            return None
        if plan is not None:
            return plan if plan.run_key == run_key and plan.job_id and not plan.slices else None
    return None


def _jobs_of(landing: Landing) -> list[str]:
    """The Bulk jobs of all earlier attempts."""
    jobs: list[str] = []
    for attempt in landing.attempts():
        with suppress(ExtractError):
            plan = landing.plan_of(attempt) if attempt != landing.attempt else None
            jobs += plan.job_ids if plan else ()
    return jobs
