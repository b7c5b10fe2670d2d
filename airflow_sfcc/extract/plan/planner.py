"""What an extract will do, decided before the first row is asked for, as plain JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

from msgspec import structs

from airflow_sfcc.errors import QueryError, QueryTimeoutError
from airflow_sfcc.extract.checkpoint import Checkpoint, fingerprint
from airflow_sfcc.extract.incremental.increment import Source, find_increment
from airflow_sfcc.extract.incremental.state import State, latest_state
from airflow_sfcc.extract.incremental.windows import FULL_INSTEAD, choose_cursor
from airflow_sfcc.extract.land.staging import StoragePath
from airflow_sfcc.extract.model import Column, Increment, Plan, Request, RunIdentity
from airflow_sfcc.extract.plan.columns import ColumnResolver
from airflow_sfcc.extract.plan.quirks import refuse_unwindowed
from airflow_sfcc.extract.plan.slices import cut
from airflow_sfcc.salesforce import soql as soql_text
from airflow_sfcc.salesforce.bulk_support import supports_bulk
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.query import fits_uri
from airflow_sfcc.timestamps import timestamp
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)


FEWEST_BULK_ROWS = 10_000
"""With `api="auto"`, results smaller than this are read by REST: 5 pages of 2,000 rows cost no more calls than creating,
polling and reading a Bulk job, and arrive in seconds. Peers draw the line between 2,000 and 1,000,000 rows."""

REST_PAGE_ROWS = 2_000
"""Rows of a REST page at most (salesforce-protocol.md#rest-queries)."""


def make_plan(
    client: SalesforceClient,
    request: Request,
    run: RunIdentity,
    destination: StoragePath | Callable[[str], StoragePath] | None = None,
    *,
    earlier: Checkpoint | None = None,
) -> Plan:
    """Describe, resolve the columns, find the extract's increment, write the SOQL, choose the API. Reads no row.

    `destination` is where the object's extracts live, or says that of an object's name; without it nothing is known of
    earlier extracts. `earlier` is what an earlier try of the same task left: the plan is made as of the moment of that
    try's plan, so that it comes out the same, and takes over its Bulk job when it does. Raises QueryError, NotFoundError
    or AccessError for what cannot be extracted, and what `find_increment` raises.
    """
    query, columns = _query_and_columns(client, request)
    if query.is_count:
        raise QueryError("SELECT COUNT() answers a number and no rows: use COUNT(Id), whose row has it.")
    planned_at = timestamp(earlier.planned_at) if earlier else datetime.now(timezone.utc)
    source = _source(client, request, query, columns)
    state = _state(request, destination, source.sobject)
    now = timestamp(earlier.read_at) if earlier else planned_at + client.ahead
    increment, columns = find_increment(source, request, run.times, run.extract_id, state, now=now)
    if increment.condition:
        query = soql_text.scan(query.narrowed(increment.condition))
    draft = _draft(client, request, run, query, columns, planned_at, increment)
    if request.slice_at:
        draft = structs.replace(draft, slices=cut(query, source, request.slice_at))
    if earlier and earlier.fingerprint == fingerprint(draft):
        return structs.replace(draft.submitted(earlier.job_id), api_reason="an earlier try chose it")
    api, reason, rows = _choose_api(client, request, query, draft.include_deleted)
    return structs.replace(draft, api=api, api_reason=reason, expected_rows=rows)


def _draft(
    client: SalesforceClient,
    request: Request,
    run: RunIdentity,
    query: soql_text.Query,
    columns: tuple[Column, ...],
    planned_at: datetime,
    increment: Increment,
) -> Plan:
    """The plan but for its API."""
    token = client.auth.token
    return Plan(
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


def _source(client: SalesforceClient, request: Request, query: soql_text.Query, columns: tuple[Column, ...]) -> Source:
    is_whole = not query.is_aggregate and not {"LIMIT", "OFFSET"} & set(query.clauses)
    source = Source(
        client.auth.token.org_id, client.describe(query.sobject), columns, query.clauses.get("WHERE"), is_whole
    )
    if request.mode == "incremental":
        _require_incremental(source, request)
    return source


def _require_incremental(source: Source, request: Request) -> None:
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


def _needed_columns(describe: Mapping[str, Any], request: Request) -> list[str]:
    """What the extract must have beside the fields asked for."""
    needed = []
    if request.mode == "incremental":
        refuse_unwindowed(describe, request.where or request.soql, cursor_asked=bool(request.cursor_field))
        needed = ["Id", choose_cursor(describe, request.cursor_field)]
    if request.deletes != "ignore" and any(field["name"] == "IsDeleted" for field in describe["fields"]):
        needed.append("IsDeleted")
    return needed


def _state(request: Request, destination: StoragePath | Callable[[str], StoragePath] | None, sobject: str) -> State:
    if destination is None:
        return State((), request.initial_start)
    place = destination(sobject) if callable(destination) else destination
    return latest_state(place, initial_start=request.initial_start)


def calls_by_rest(rows: int | None) -> int:
    """How many API calls reading that many rows by REST takes; 1 when it is not known how many they are."""
    return 1 + (rows or 0) // REST_PAGE_ROWS


def _query_and_columns(client: SalesforceClient, request: Request) -> tuple[soql_text.Query, tuple[Column, ...]]:
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
    client: SalesforceClient, request: Request, query: soql_text.Query, include_deleted: bool
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
