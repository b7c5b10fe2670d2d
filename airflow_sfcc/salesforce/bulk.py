"""Bulk API 2.0 query jobs: create, poll, result pages, abort, delete.

Source: "Bulk API 2.0 and Bulk API Developer Guide", Query (salesforce-protocol.md#bulk-api-20-query).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import requests

from airflow_sfcc.errors import (
    BulkUnsupportedError,
    JobAbortedError,
    JobFailedError,
    JobNotCompleteError,
    NotFoundError,
    ResultsExpiredError,
    SalesforceError,
    UnexpectedResponseError,
)
from airflow_sfcc.salesforce.api import Api
from airflow_sfcc.salesforce.error_tables import meaning_within
from airflow_sfcc.salesforce.responses import count_of, header_number, json_object_of, one_line, raise_for_error
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

WAITING_STATES = frozenset({"UploadComplete", "InProgress", "Open"})
COMPLETE, FAILED, ABORTED = "JobComplete", "Failed", "Aborted"

NO_LOCATOR = "null"
"""What Sforce-Locator says on the last page."""

_AGAIN = "Clear the task to run the query again, or use api='rest'."

MOST_PAGES = 100_000
"""Result pages of one job; Salesforce makes pages of tens of thousands of rows of at most some 100 million a day."""

_PAGES_BEYOND_ROWS = 100
"""A job may still count its rows when it is first seen complete."""

_LONGEST_WORD = 100

FIRST_VERSION = 47.0
"""The API version that brought query jobs (salesforce-protocol.md#bulk-api-20-query)."""


@dataclass(frozen=True)
class BulkJob:
    """A query job as Salesforce shows it. Counters are None until the job reports them.

    Source: salesforce-protocol.md#create-a-job, #job-states.
    """

    id: str
    state: str
    sobject: str
    operation: str
    api_version: str
    created: str
    records_processed: int | None = None
    error_message: str | None = None

    @classmethod
    def from_wire(cls, body: Mapping[str, Any], *, requested_with: str) -> BulkJob:
        """`requested_with` is the API version of the request, which is the job's where the response names none."""
        try:
            return cls(
                id=_id(body["id"]),
                state=_text(body["state"]),
                sobject=one_line(str(body.get("object") or ""), _LONGEST_WORD),
                operation=one_line(str(body.get("operation") or ""), _LONGEST_WORD),
                api_version=_api_version(body.get("apiVersion") or requested_with),
                created=one_line(str(body.get("createdDate") or ""), _LONGEST_WORD),
                records_processed=_int_or_none(body.get("numberRecordsProcessed")),
                error_message=one_line(str(body.get("errorMessage") or "")) or None,
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UnexpectedResponseError(
                "Salesforce described a Bulk job without a usable id and state. Try again, or use api='rest'."
            ) from None

    @property
    def is_waiting(self) -> bool:
        return self.state in WAITING_STATES

    @property
    def progress(self) -> str:
        """State and rows so far, for a log line."""
        rows = "" if self.records_processed is None else f", {plural(self.records_processed, 'row')}"
        return f"{self.state}{rows}"

    def require_complete(self) -> None:
        """Raise JobFailedError, JobAbortedError or JobNotCompleteError unless the job is complete."""
        if self.state == COMPLETE:
            return
        if self.state == FAILED:
            why = (self.error_message or "").rstrip(".") or "Salesforce gave no reason"
            known = meaning_within(self.error_message or "")
            advice = known[1] if known else "Correct the query, use api='rest', or try again when the cause is gone."
            raise JobFailedError(
                f"Bulk job {self.id} on {self.sobject} failed: {why}. {advice}\nThe job is listed in Setup under Bulk Data Load "
                "Jobs.",
                step=known[2] if known else None,
            )
        if self.state == ABORTED:
            raise JobAbortedError(
                f"Bulk job {self.id} on {self.sobject} was aborted in Salesforce before it was complete; nothing was "
                "landed. Clear the task to run it again."
            )
        if self.is_waiting:
            raise JobNotCompleteError(
                f"Bulk job {self.id} on {self.sobject} is not complete yet (state {self.state}). Wait until it is."
            )
        raise UnexpectedResponseError(
            f"Bulk job {self.id} is in a state that is not documented: {self.state!r}. Look at it in Setup under Bulk Data Load "
            "Jobs, and use api='rest' until it is known what that means."
        )


def poll_delays(first: float, longest: float = 60.0) -> Iterator[float]:
    """Seconds between polls, without end: `first`, then half as long again each time, up to `longest`."""
    delay = first
    while True:
        yield delay
        delay = max(first, min(delay * 1.5, longest))


def _id(value: Any) -> str:
    """The value, which goes into paths and log lines. Raises ValueError when it is no id."""
    if not (isinstance(value, str) and value.isascii() and value.isalnum() and len(value) <= _LONGEST_WORD):
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    """The value on one line, since it is logged. Raises ValueError when it is no text, or empty."""
    if not (isinstance(value, str) and value):
        raise ValueError(value)
    return one_line(value, _LONGEST_WORD)


def _api_version(value: Any) -> str:
    """As URLs have it. Raises ValueError or OverflowError for what is no version."""
    number = float(value)
    if not 0 < number < 1000:
        raise ValueError(value)
    return f"{number:.1f}"


def _int_or_none(value: Any) -> int | None:
    return None if value is None else count_of(value)


@dataclass(frozen=True)
class ResultPage:
    """Where one page of a job's results is read: `url`, on the instance and checked; `index` counts from 0.

    `following` is the locator of the page after it, NO_LOCATOR for the last one; None where that is not known.
    """

    job_id: str
    index: int
    url: str
    following: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ResultPage:
        return cls(**data)


class BulkQueryJobs:
    """The query jobs of one org."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, soql: str, *, include_deleted: bool = False) -> BulkJob:
        """Submit a query. Raises BulkUnsupportedError for queries, and API versions, that Bulk API 2.0 does not do."""
        version = self._api.version
        if float(version) < FIRST_VERSION:
            raise BulkUnsupportedError(
                f"API version {version} has no Bulk API 2.0 queries, which came with {FIRST_VERSION}: set a newer "
                "api_version in the connection's extra, or use api='rest'."
            )
        body = {
            "operation": "queryAll" if include_deleted else "query",
            "query": soql,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        return self._job(self._api.request("POST", "/jobs/query", json=body))

    def get(self, job_id: str) -> BulkJob:
        """The job's state. Raises ResultsExpiredError when Salesforce no longer knows it."""
        try:
            return self._job(self._api.request("GET", _path(job_id)))
        except NotFoundError as gone:
            raise _expired(job_id) from gone

    def abort(self, job_id: str) -> BulkJob:
        """Abort a job that is waiting or in progress; Salesforce refuses it for a job that has ended."""
        return self._job(self._api.request("PATCH", _path(job_id), json={"state": ABORTED}))

    def abort_all(self, job_ids: Iterable[str]) -> list[BulkJob]:
        """Abort jobs whose results nobody will read, and return those that were aborted.

        One that has ended, or is gone, is left as it is. Raises nothing: what cannot be aborted is logged, and ends by itself.
        """
        aborted = []
        for job_id in job_ids:
            try:
                aborted.append(self.abort(job_id))
            except SalesforceError as problem:
                if not (isinstance(problem, NotFoundError) or problem.code == "INVALIDJOBSTATE"):
                    log.warning("Bulk job %s could not be aborted: %s", job_id, problem)
            else:
                log.info("Aborted Bulk job %s", job_id)
        return aborted

    def _job(self, response: requests.Response) -> BulkJob:
        return BulkJob.from_wire(json_object_of(response), requested_with=self._api.version)

    def delete(self, job_id: str) -> None:
        """Delete a finished job and its results."""
        raise_for_error(self._api.request("DELETE", _path(job_id)))

    def result_pages(self, job: BulkJob) -> Iterator[ResultPage] | None:
        """The pages of a complete job by resultPages (API 58.0 on), or None where the org does not offer that.

        Both known shapes are read: `resultPages[].resultUrl` with `nextRecordsUrl` (documented) and
        `resultChunks[].resultLink` (observed); the links come in fives.
        """
        listing = self._api.request("GET", _path(job.id, "/resultPages"), api_version=job.api_version)
        if listing.status_code in (400, 404, 405):
            log.info(
                "The org does not list result pages (HTTP %s); following Sforce-Locator instead", listing.status_code
            )
            return None
        first = json_object_of(listing)
        if _links(first) is None:
            log.warning("resultPages has an unknown shape; following Sforce-Locator instead")
            return None
        return self._listed_pages(job, first)

    def _listed_pages(self, job: BulkJob, listing: Mapping[str, Any]) -> Iterator[ResultPage]:
        index = 0
        seen: set[str] = set()
        most = MOST_PAGES if job.records_processed is None else job.records_processed + _PAGES_BEYOND_ROWS
        while True:
            for link in _links(listing) or ():
                url = self._api.resolve(link, api_version=job.api_version)
                if url in seen:
                    raise UnexpectedResponseError(
                        f"Bulk job {job.id} listed the same result page twice; nothing was landed. {_AGAIN}"
                    )
                seen.add(url)
                if index >= min(most, MOST_PAGES):
                    raise UnexpectedResponseError(
                        f"Bulk job {job.id} listed more result pages than its {plural(job.records_processed or 0, 'row')} can "
                        f"fill; nothing was landed. {_AGAIN}"
                    )
                yield ResultPage(job.id, index, url)
                index += 1
            following = listing.get("nextRecordsUrl") or listing.get("nextRecordUrl")
            if not following or listing.get("done") is True:
                if listing.get("done") is False and job.records_processed is None:
                    raise UnexpectedResponseError(
                        f"Bulk job {job.id} announced more result pages than it listed, and does not say how many rows it has; "
                        f"nothing was landed. {_AGAIN}"
                    )
                return
            url = self._api.resolve(str(following), api_version=job.api_version)
            if url in seen:
                raise UnexpectedResponseError(
                    f"Bulk job {job.id} listed its result pages in a circle; nothing was landed. {_AGAIN}"
                )
            seen.add(url)
            listing = json_object_of(self._api.request("GET", url))
            if not _links(listing):
                raise UnexpectedResponseError(
                    f"Bulk job {job.id} listed no page where it announced more; nothing was landed. {_AGAIN}"
                )

    def page_at(self, job: BulkJob, index: int, locator: str | None, page_size: int) -> ResultPage:
        """The page that `locator` names (None: the first), of at most `page_size` rows.

        maxRecords is always sent: results requested without it have been seen to stall (DESIGN.md).
        """
        query = f"?maxRecords={page_size}" + (f"&locator={quote(locator, safe='')}" if locator else "")
        url = self._api.url(_path(job.id, f"/results{query}"), api_version=job.api_version)
        return ResultPage(job.id, index, url)

    def open_page(self, page: ResultPage) -> requests.Response:
        """Request a page; the body is not read yet. Raises ResultsExpiredError when it is gone.

        The response carries `Sforce-NumberOfRecords` and `Sforce-Locator` (the text `null` on the last page).
        """
        headers = {"Accept": "text/csv", "Accept-Encoding": "gzip"}
        response = self._api.request("GET", page.url, headers=headers, stream=True)
        if response.status_code == 200:
            return response
        with response:
            if response.status_code == 204:
                raise JobNotCompleteError(
                    f"Salesforce has no results for Bulk job {page.job_id} yet. Wait until it is complete."
                )
            try:
                raise_for_error(response)
            except NotFoundError as gone:
                raise _expired(page.job_id) from gone
        raise UnexpectedResponseError(
            f"A result page of Bulk job {page.job_id} was answered with HTTP {response.status_code}, which is not documented; "
            "nothing of it was landed. Try again, or use api='rest'."
        )


def next_locator(response: requests.Response) -> str | None:
    """The locator of the page after this one; absent, empty and the text `null` all mean that there is none."""
    locator = response.headers.get("Sforce-Locator", "").strip()
    return locator if locator and locator.lower() != "null" else None


def reported_rows(response: requests.Response) -> int | None:
    """How many rows Salesforce says the page has, None when it does not say."""
    return header_number(response, "Sforce-NumberOfRecords")


def _links(listing: Mapping[str, Any]) -> list[str] | None:
    entries = listing.get("resultPages", listing.get("resultChunks"))
    if not isinstance(entries, list):
        return None
    links = [entry.get("resultUrl") or entry.get("resultLink") for entry in entries if isinstance(entry, Mapping)]
    return [str(link) for link in links] if len(links) == len(entries) and all(links) else None


def _path(job_id: str, rest: str = "") -> str:
    if not job_id.isalnum():
        raise SalesforceError(f"{job_id!r} is not the id of a Bulk job.")
    return f"/jobs/query/{job_id}{rest}"


def _expired(job_id: str) -> ResultsExpiredError:
    return ResultsExpiredError(
        f"Bulk job {job_id} or its results are gone: deleted, or older than 7 days. Clear the task to run the query again.",
        status=404,
    )
