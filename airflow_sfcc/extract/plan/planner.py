"""What an extract will do, decided before the first row is asked for, as plain JSON."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal

from airflow_sfcc.errors import QueryError, QueryTimeoutError
from airflow_sfcc.extract.checkpoint import Checkpoint, fingerprint
from airflow_sfcc.extract.convert.formats import FileFormat
from airflow_sfcc.extract.incremental.increment import Increment, IncrementalOptions, Source, find_increment
from airflow_sfcc.extract.incremental.state import State, latest_state
from airflow_sfcc.extract.incremental.windows import FULL_INSTEAD, RunTimes, choose_cursor
from airflow_sfcc.extract.land.staging import StoragePath
from airflow_sfcc.extract.plan.columns import Column, ColumnResolver, Numbers
from airflow_sfcc.extract.plan.quirks import refuse_unwindowed
from airflow_sfcc.extract.plan.slices import cut
from airflow_sfcc.salesforce import soql as soql_text
from airflow_sfcc.salesforce.bulk_support import supports_bulk
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.query import fits_uri
from airflow_sfcc.timestamps import timestamp, utc_now
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

Api = Literal["auto", "rest", "bulk"]

FEWEST_BULK_ROWS = 10_000
"""With `api="auto"`, results smaller than this are read by REST: 5 pages of 2,000 rows cost no more calls than creating,
polling and reading a Bulk job, and arrive in seconds. Peers draw the line between 2,000 and 1,000,000 rows."""

REST_PAGE_ROWS = 2_000
"""Rows of a REST page at most (salesforce-protocol.md#rest-queries)."""

DEFAULT_PAGE_SIZE = 100_000
"""Rows asked for per Bulk result page where the org does not list result pages by itself."""

DEFAULT_PARALLEL_PAGES = 3


@dataclass(frozen=True)
class ExtractRequest(IncrementalOptions):
    """What the user asked for; names and meanings are those of SalesforceExtractOperator."""

    sobject: str | None = None
    fields: Sequence[str] | None = None
    exclude_fields: Sequence[str] | None = None
    where: str | None = None
    soql: str | None = None
    bind: Mapping[str, Any] | None = None
    file_format: FileFormat = "parquet"
    api: Api = "auto"
    numbers: Numbers = "float"
    page_size: int = DEFAULT_PAGE_SIZE
    parallel_pages: int = DEFAULT_PARALLEL_PAGES
    slice_at: Sequence[datetime] = ()
    """Moments of CreatedDate at which the query is cut into several Bulk jobs (see `slices`)."""

    def __post_init__(self) -> None:
        if bool(self.sobject) == bool(self.soql):
            raise QueryError("Give exactly one of sobject and soql.")
        if self.soql and (self.fields or self.exclude_fields or self.where):
            raise QueryError("fields, exclude_fields and where go with sobject; with soql, write them into the query.")
        for name in ("fields", "exclude_fields"):
            if isinstance(given := getattr(self, name), str):
                raise QueryError(
                    f"{name} is the text {given!r}: give a list of API names. A template that names a list stays one with "
                    "render_template_as_native_obj=True in the DAG."
                )


@dataclass(frozen=True)
class RunIdentity:
    """Which task instance an extract belongs to; `moment` is the run's logical date, or when it was due.

    `interval` and `is_backfill` are those of RunTimes.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    moment: datetime
    interval: tuple[datetime, datetime] | None = None
    is_backfill: bool = False

    @property
    def times(self) -> RunTimes:
        return RunTimes(self.moment, self.interval, self.is_backfill)

    @property
    def extract_id(self) -> str:
        """`20261123T020000Z-3f9a1c2b`: the same for every try of one task instance, so that a rerun replaces its own."""
        key = "\0".join((self.dag_id, self.task_id, self.run_id, str(self.map_index)))
        stamp = self.moment.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        return f"{stamp}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class ExtractPlan:
    """Everything the later stages need, as plain JSON by `to_json`.

    `may_fall_back` says that REST may read what Bulk refuses or fails at. `expected_rows` is the count that the API was
    chosen by, if there was one. `api_calls` counts the calls of stages that ran elsewhere, `starts` how often this try
    began from nothing; `job_id` is set once a Bulk job is submitted. A query that is cut into slices has the SOQL of each
    in `slices`, and after submission the id of each one's job, in that order, in `job_ids`; `job_id` is the first.
    """

    extract_id: str
    org_id: str | None
    instance: str
    sobject: str
    soql: str
    api: Literal["rest", "bulk"]
    api_reason: str
    may_fall_back: bool
    api_version: str
    include_deleted: bool
    columns: tuple[Column, ...]
    file_format: FileFormat
    numbers: Numbers
    page_size: int
    parallel_pages: int
    started_at: str
    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    increment: Increment
    expected_rows: int | None = None
    job_id: str | None = None
    job_ids: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    api_calls: int = 0
    starts: int = 0
    format_version: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExtractPlan:
        columns = tuple(Column(**column) for column in data["columns"])
        tuples = {name: tuple(data.get(name, ())) for name in ("job_ids", "slices")}
        return cls(**{**data, **tuples, "columns": columns, "increment": Increment.from_json(data["increment"])})

    @property
    def queries(self) -> tuple[str, ...]:
        """The SOQL of each Bulk job."""
        return self.slices or (self.soql,)

    def submitted(self, *job_ids: str) -> ExtractPlan:
        """The plan with its Bulk jobs, one for each of `queries`."""
        return replace(self, job_id=job_ids[0], job_ids=job_ids)

    def with_calls(self, api_calls: int) -> ExtractPlan:
        return replace(self, api_calls=api_calls)

    def by_rest(self, reason: str) -> ExtractPlan:
        return replace(self, api="rest", api_reason=reason, job_id=None, job_ids=(), slices=())


def make_plan(
    client: SalesforceClient,
    request: ExtractRequest,
    run: RunIdentity,
    destination: StoragePath | Callable[[str], StoragePath] | None = None,
    *,
    earlier: Checkpoint | None = None,
) -> ExtractPlan:
    """Describe, resolve the columns, find the extract's increment, write the SOQL, choose the API. Reads no row.

    `destination` is where the object's extracts live, or says that of an object's name; without it nothing is known of
    earlier extracts. `earlier` is what an earlier try of the same task left: the plan is made as of the moment of that
    try's plan, so that it comes out the same, and takes over its Bulk job when it does. Raises QueryError, NotFoundError
    or AccessError for what cannot be extracted, and what `find_increment` raises.
    """
    query, columns = _query_and_columns(client, request)
    if query.is_count:
        raise QueryError("SELECT COUNT() answers a number and no rows: use COUNT(Id), whose row has it.")
    planned_at = earlier.planned_at if earlier else utc_now()
    source = _source(client, request, query, columns)
    state = _state(request, destination, source.sobject)
    now = timestamp(earlier.read_at) if earlier else timestamp(planned_at) + client.ahead
    increment, columns = find_increment(source, request, run.times, run.extract_id, state, now=now)
    if increment.condition:
        query = soql_text.scan(query.narrowed(increment.condition))
    draft = _draft(client, request, run, query, columns, planned_at, increment)
    if request.slice_at:
        draft = replace(draft, slices=cut(query, source, request.slice_at))
    if earlier and earlier.fingerprint == fingerprint(draft):
        return replace(draft.submitted(earlier.job_id), api_reason="an earlier try chose it")
    api, reason, rows = _choose_api(client, request, query, draft.include_deleted)
    return replace(draft, api=api, api_reason=reason, expected_rows=rows)


def _draft(
    client: SalesforceClient,
    request: ExtractRequest,
    run: RunIdentity,
    query: soql_text.Query,
    columns: tuple[Column, ...],
    planned_at: str,
    increment: Increment,
) -> ExtractPlan:
    """The plan but for its API."""
    token = client.auth.token
    return ExtractPlan(
        extract_id=run.extract_id,
        org_id=token.org_id,
        instance=str(token.instance),
        sobject=str(client.describe(query.sobject)["name"]),
        soql=query.text,
        api="bulk",
        api_reason="",
        may_fall_back=request.api == "auto",
        api_version=client.api_version,
        include_deleted=request.deletes != "ignore",
        columns=columns,
        file_format=request.file_format,
        numbers=request.numbers,
        page_size=request.page_size,
        parallel_pages=request.parallel_pages,
        started_at=planned_at,
        dag_id=run.dag_id,
        task_id=run.task_id,
        run_id=run.run_id,
        map_index=run.map_index,
        increment=increment,
    )


def _source(
    client: SalesforceClient, request: ExtractRequest, query: soql_text.Query, columns: tuple[Column, ...]
) -> Source:
    is_whole = not query.is_aggregate and not {"LIMIT", "OFFSET"} & set(query.clauses)
    source = Source(
        client.auth.token.org_id, client.describe(query.sobject), columns, query.clauses.get("WHERE"), is_whole
    )
    if request.mode == "incremental":
        _require_incremental(source, request)
    return source


def _require_incremental(source: Source, request: ExtractRequest) -> None:
    """Raise QueryError unless windows can be cut out of the query, and its rows be told apart and put in order."""
    if not source.is_whole:
        raise QueryError(
            "A query that aggregates, or has LIMIT or OFFSET, answers something else than the rows that changed: leave that "
            f"out, or {FULL_INSTEAD}."
        )
    for name in _needed_columns(source.describe, request):
        if not source.has(name):
            raise QueryError(
                f"An incremental extract needs the column {name}: "
                + (f"select {name} in the query." if request.soql else "take it out of exclude_fields.")
            )


def _needed_columns(describe: Mapping[str, Any], request: ExtractRequest) -> list[str]:
    """What the extract must have beside the fields asked for."""
    needed = []
    if request.mode == "incremental":
        refuse_unwindowed(describe, request.where or request.soql, cursor_asked=bool(request.cursor_field))
        needed = ["Id", choose_cursor(describe, request.cursor_field)]
    if request.deletes != "ignore" and any(field["name"] == "IsDeleted" for field in describe["fields"]):
        needed.append("IsDeleted")
    return needed


def _state(
    request: ExtractRequest, destination: StoragePath | Callable[[str], StoragePath] | None, sobject: str
) -> State:
    if destination is None:
        return State((), request.initial_start)
    place = destination(sobject) if callable(destination) else destination
    return latest_state(place, initial_start=request.initial_start)


def calls_by_rest(rows: int | None) -> int:
    """How many API calls reading that many rows by REST takes; 1 when it is not known how many they are."""
    return 1 + (rows or 0) // REST_PAGE_ROWS


def _query_and_columns(client: SalesforceClient, request: ExtractRequest) -> tuple[soql_text.Query, tuple[Column, ...]]:
    resolver = ColumnResolver(client, request.numbers)
    if request.soql:
        query = soql_text.scan(soql_text.bind(request.soql, request.bind))
        query = soql_text.scan(resolver.expand_fields_function(query))
        columns = resolver.of_query(query)
        _refuse_twice_named(columns)
        return query, columns
    sobject = str(request.sobject)
    describe = client.describe(sobject)
    if not describe.get("queryable", True):
        raise QueryError(
            f"{sobject} cannot be queried (its describe says queryable: false): leave it out. Events are streamed and not "
            "stored; some other objects are only reached through a parent's subquery, in soql."
        )
    fields = list(request.fields) if request.fields else None
    if fields:
        there = {name.lower() for name in fields}
        fields += [name for name in _needed_columns(describe, request) if name.lower() not in there]
    columns = resolver.of_sobject(sobject, fields, request.exclude_fields)
    text = soql_text.select(str(describe["name"]), [column.name for column in columns], request.where)
    return soql_text.scan(soql_text.bind(text, request.bind)), columns


def _refuse_twice_named(columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QueryError(f"The query selects {', '.join(twice)} more than once: each column may be named once.")


def _choose_api(
    client: SalesforceClient, request: ExtractRequest, query: soql_text.Query, include_deleted: bool
) -> tuple[Literal["rest", "bulk"], str, int | None]:
    """The API, why it is chosen, and how many rows there are where they had to be counted."""
    if request.api != "auto":
        return request.api, "it was asked for", None
    rest_only = query.rest_only_reason()
    if rest_only is None and not supports_bulk(query.sobject):
        rest_only = f"Bulk API 2.0 does not do {query.sobject}"
    if rest_only:
        return "rest", rest_only, None
    if not fits_uri(query.text):
        return "bulk", "the query is too long for a URI", None
    try:
        rows = client.count(query.counting(), include_deleted=include_deleted)
    except (QueryTimeoutError, QueryError) as uncounted:
        log.info("The rows could not be counted (%s)", uncounted.code or type(uncounted).__name__)
        return "bulk", "its rows could not be counted", None
    return ("rest" if rows < FEWEST_BULK_ROWS else "bulk"), f"it has {plural(rows, 'row')}", rows
