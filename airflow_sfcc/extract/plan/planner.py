"""What an extract will do, decided before the first row is requested, as plain JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from msgspec import structs

from airflow_sfcc.errors import QueryError, StateError, UnexpectedResponseError
from airflow_sfcc.extract.described import Described, kept_of
from airflow_sfcc.extract.incremental.increment import Source, find_increment
from airflow_sfcc.extract.incremental.state import State, check_same_format, latest_state, refuse_sibling
from airflow_sfcc.extract.land import describe_file
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.model import Column, Increment, LeftOut, Plan, Request, RunIdentity
from airflow_sfcc.extract.plan.api_choice import choose_api
from airflow_sfcc.extract.plan.binding import bound
from airflow_sfcc.extract.plan.columns import ColumnResolver, left_out_fields
from airflow_sfcc.extract.plan.cursor import FULL_INSTEAD, choose_cursor, cursor_of_full, needed_columns
from airflow_sfcc.extract.plan.quirks import log_gaps, refuse_unwindowed
from airflow_sfcc.extract.plan.slices import cut
from airflow_sfcc.extract.protect.apply import Protection, log_left_out
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.extract.protect.rules import Rules
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.soql import Query

log = logging.getLogger(__name__)


def make_plan(
    client: SalesforceClient,
    request: Request,
    run: RunIdentity,
    destination: StoragePath | Callable[[str], StoragePath] | None = None,
    *,
    earlier: Callable[[StoragePath], Plan | None] | None = None,
    hash_key: HashKey | None = None,
) -> Plan:
    """Describe, resolve the columns, find the extract's increment, write the SOQL, choose the API. Reads no row.

    `destination` is where the object's extracts live, or says that of an object's name; without it nothing is known of
    earlier extracts. `earlier` says which plan an earlier attempt of the same run left there: the plan is made as of the
    time of that one, so that it comes out the same, and takes over its Bulk job when it does. `hash_key` is what
    `columns` hashes by. Raises QueryError,
    NotFoundError or AccessError for what cannot be extracted, and what `find_increment` raises.
    """
    resolver = ColumnResolver(client, request.numbers)
    rules = Rules(request.columns)
    select = _selected if request.soql else _of_sobject
    query, source, dropped = select(resolver, request, Protection(resolver, rules, hash_key))
    if request.mode == "incremental":
        _require_incremental(source, request)
    elif not query.is_aggregate:
        _require_columns(source, request)
    log_gaps(source.describe, source.columns, request)
    left_out = _left_out(source, request)
    place = destination(source.sobject) if callable(destination) else destination
    before = earlier(place) if earlier and place else None
    planned_at = before.started_at if before else datetime.now(timezone.utc)
    if before is None and (request.mode == "incremental" or source.cursor):
        require_clock(client)
    now = before.increment.read_at if before else planned_at + client.ahead
    state = _state(request, run, place)
    increment, columns = find_increment(
        source, request, run.times, run.extract_id, state, now=now, describe_of=partial(_described_then, place)
    )
    refuse_sibling(state.without(run.extract_id).manifests, run, source.where, columns)
    if increment.condition:
        query = query.narrowed(increment.condition)
    draft = _draft(client, request, run, query, source, columns, planned_at, increment)
    draft = structs.replace(draft, dropped=dropped, left_out=left_out)
    if request.slice_at:
        draft = structs.replace(draft, slices=cut(query, source, request.slice_at))
    if before and before.is_of_same_job(draft):
        return structs.replace(
            draft,
            api_reason="an earlier attempt chose it",
            job_id=before.job_id,
            job_ids=before.job_ids,
            api_calls=before.api_calls,
        )
    if before:
        log.warning("What is extracted changed since the last attempt, so its Bulk job %s is given up", before.job_id)
    choice = choose_api(client, request.api, query, include_deleted=draft.include_deleted)
    return structs.replace(draft, api=choice.api, api_reason=choice.reason, expected_rows=choice.rows)


def require_clock(client: SalesforceClient) -> None:
    """Raise UnexpectedResponseError where the org and this machine disagree so much about the time that neither can be believed:
    a watermark in the org's future would have the next extract pass over what changes until then."""
    beyond = client.session.clock.beyond_bound
    if beyond is not None:
        way = "ahead of" if beyond > timedelta(0) else "behind"
        span = timedelta(seconds=round(abs(beyond).total_seconds()))
        raise UnexpectedResponseError(
            f"Salesforce's responses are dated {span} {way} this machine's clock, so no window of time can be cut without "
            "missing records; nothing was read.\nSet the clock of this worker (NTP); if it is right, look for a proxy or cache "
            "that changes the Date header. Then run the task again."
        )


def _of_sobject(
    resolver: ColumnResolver, request: Request, protection: Protection
) -> tuple[Query, Source, tuple[str, ...]]:
    """The query for an object's fields, what it selects, and what was dropped."""
    describe = resolver.describe(str(request.sobject))
    needed = _needed(describe, request)
    columns = resolver.of_sobject(describe, _with(request.fields, needed), request.exclude_fields)
    text = soql.select(str(describe["name"]), [column.name for column in columns], request.where)
    query = soql.scan(bound(resolver, text, request.bind))
    return _protected(resolver, request, protection, query, describe, columns)


def _selected(
    resolver: ColumnResolver, request: Request, protection: Protection
) -> tuple[Query, Source, tuple[str, ...]]:
    """The user's query, what it selects, and what was dropped."""
    query = soql.scan(bound(resolver, str(request.soql), request.bind))
    if query.is_count:
        raise QueryError("SELECT COUNT() answers a number and no rows: use COUNT(Id), whose row has it.")
    describe = resolver.describe(query.sobject)
    _needed(describe, request)
    query = resolver.with_fields_listed(query)
    return _protected(resolver, request, protection, query, describe, resolver.of_query(query))


def _protected(
    resolver: ColumnResolver,
    request: Request,
    protection: Protection,
    query: Query,
    describe: Mapping[str, Any],
    columns: tuple[Column, ...],
) -> tuple[Query, Source, tuple[str, ...]]:
    """The query, its source and what was dropped, by the rules of `columns`."""
    needed = needed_columns(describe, request)
    cursor = cursor_of_full(describe, columns, request, is_whole=True)
    plain = {"Id", "IsDeleted", *([cursor] if cursor else [])}
    query, columns, dropped = protection.apply(query, columns, plain, needed)
    return query, _source(resolver, request, query, describe, columns), dropped


def _takes_all(request: Request) -> bool:
    """Whether the object decides which columns there are."""
    if not request.soql:
        return not request.fields
    return any(item.function == "FIELDS" for item in soql.scan(request.soql).items)


def _left_out(source: Source, request: Request) -> tuple[LeftOut, ...]:
    """The fields that an extract of all fields does not have; they are named in the log."""
    left_out = () if source.are_listed else left_out_fields(source.describe)
    log_left_out(source.describe, [f"{field.name} ({field.why})" for field in left_out])
    return left_out


def _source(
    resolver: ColumnResolver, request: Request, query: Query, describe: Mapping[str, Any], columns: tuple[Column, ...]
) -> Source:
    is_whole = not query.is_aggregate and not {"LIMIT", "OFFSET"} & set(query.clauses)
    if request.mode == "incremental":
        cursor: str | None = choose_cursor(describe, request.cursor_field)
    else:
        cursor = cursor_of_full(describe, columns, request, is_whole=is_whole)
    return Source(resolver.org_id, describe, columns, _filter(query), is_whole, cursor, not _takes_all(request))


def _filter(query: Query) -> str | None:
    """What decides on which rows the query has: its WHERE, and what else leaves rows out."""
    clauses = [(name, query.clauses[name]) for name in ("USING SCOPE", "WHERE", "WITH") if name in query.clauses]
    if [name for name, _ in clauses] in ([], ["WHERE"]):
        return query.clauses.get("WHERE")
    return " ".join(f"{name} {text}" for name, text in clauses)


def _with(fields: Sequence[str] | None, needed: Sequence[str]) -> list[str] | None:
    """The fields asked for and those needed; None for all."""
    if not fields:
        return None
    there = {name.lower() for name in fields}
    return [*fields, *(name for name in needed if name.lower() not in there)]


def _needed(describe: Mapping[str, Any], request: Request) -> list[str]:
    """The columns that this extract cannot do without. Raises QueryError for objects that it cannot read whole."""
    if request.mode == "incremental":
        refuse_unwindowed(describe, request.where or request.soql, cursor_asked=bool(request.cursor_field))
    return needed_columns(describe, request)


def _draft(
    client: SalesforceClient,
    request: Request,
    run: RunIdentity,
    query: Query,
    source: Source,
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
        sobject=source.sobject,
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
        run_key=run.run_key,
        try_number=run.try_number,
        increment=increment,
        described=kept_of(source.describe),
    )


def _require_incremental(source: Source, request: Request) -> None:
    """Raise QueryError unless windows can be cut out of the query, and its rows be told apart and put in order."""
    if not source.is_whole:
        raise QueryError(
            "A query that aggregates, or has LIMIT or OFFSET, answers something else than the rows that changed: leave that "
            f"out, or {FULL_INSTEAD}."
        )
    _require_columns(source, request)


def _require_columns(source: Source, request: Request) -> None:
    """Raise QueryError where a column is missing that the rows cannot do without."""
    for name in needed_columns(source.describe, request):
        if not source.has(name):
            why = f"deletes={request.deletes!r} reads rows in the recycle bin too, which nothing else tells from others"
            raise QueryError(
                f"An {'incremental ' if request.mode == 'incremental' else ''}extract needs the column {name}"
                + (f" ({why}): " if name == "IsDeleted" else ": ")
                + (f"select {name} in the query." if request.soql else "take it out of exclude_fields.")
            )


def _state(request: Request, run: RunIdentity, place: StoragePath | None) -> State:
    """What the destination holds. Raises StateError when that is in another file format."""
    if place is None:
        return State((), request.initial_start)
    state = latest_state(place, initial_start=request.initial_start)
    check_same_format(place, state.without(run.extract_id).newest, request.file_format)
    return state


def _described_then(place: StoragePath | None, manifest: Manifest) -> Described | None:
    """What the object was when an earlier extract was planned; None where that is not known any more."""
    name = manifest.get("describe")
    with suppress(OSError, StateError):
        return describe_file.read(place, str(name)) if place is not None and name else None
    return None
