"""Where an extract stands among those of its destination: what it begins from, what it moves, what changed in between.

It is decided when the extract is planned, travels with the plan as plain JSON, and ends up in the manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import structs

from airflow_sfcc.errors import ConcurrentRunError, StateError
from airflow_sfcc.extract.described import Described
from airflow_sfcc.extract.incremental.deletions import LOG_DAYS, require_log, require_replicateable
from airflow_sfcc.extract.incremental.schema_drift import (
    OF_THE_TASK,
    SELECTED,
    UNSELECTED,
    SchemaChange,
    changes_between,
    refuse_changes,
    require_same_hashing,
    sentence,
    wider,
)
from airflow_sfcc.extract.incremental.state import State, check_same_source, window_of
from airflow_sfcc.extract.incremental.windows import plan_window
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.model import (
    Column,
    DeletesPlan,
    Increment,
    IncrementalOptions,
    RunTimes,
    Window,
)
from airflow_sfcc.timestamps import iso, whole_second

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What is extracted.

    `is_whole` says that a full extract of it leaves out nothing that an incremental one would bring: no query with a limit,
    say. `cursor` is the field that tells when a record changed; None in a full extract that no incremental one can go on
    from.
    """

    org_id: str | None
    describe: Mapping[str, Any]
    columns: tuple[Column, ...]
    where: str | None
    is_whole: bool
    cursor: str | None
    are_listed: bool = False
    """Whether the task lists its columns, so that none comes or goes by itself."""

    @property
    def sobject(self) -> str:
        return str(self.describe["name"])

    def has(self, column: str) -> bool:
        return any(each.name == column for each in self.columns)


def find_increment(
    source: Source,
    options: IncrementalOptions,
    times: RunTimes,
    extract_id: str,
    state: State,
    *,
    now: datetime,
    describe_of: Callable[[Manifest], Described | None] = lambda _: None,
) -> tuple[Increment, tuple[Column, ...]]:
    """The extract's increment, and its columns with types that hold what is there already.

    `now` is the org's; `describe_of` says what the object was when an earlier extract was planned. Raises QueryError for what
    cannot be extracted that way, StateError when the destination holds something else, DeleteLogError when deletions would be
    missed, SchemaChangedError for on_schema_change="fail".
    """
    own, others = state.own(extract_id), state.without(extract_id)
    if options.mode == "full":
        increment = _full_increment(source, options, others, now)
        columns = source.columns
    else:
        increment = _later_increment(source, options, times, own, others, now)
        columns = _widened(source.columns, others.relevant)
    changes = _changes(source, columns, others, describe_of)
    if options.on_schema_change == "fail":
        refuse_changes(source.sobject, changes)
    _log_changes(source.sobject, changes)
    _log_missing_values(source.sobject, options, others, changes)
    return structs.replace(increment, schema_changes=tuple(changes)), columns


def _changes(
    source: Source, columns: Sequence[Column], others: State, describe_of: Callable[[Manifest], Described | None]
) -> list[SchemaChange]:
    newest = others.newest
    if newest is None:
        return []
    is_same = {str(column["name"]) for column in newest["schema"]} == {column.name for column in columns}
    then = None if is_same or source.are_listed else describe_of(newest)
    return changes_between(newest["schema"], columns, source.describe, then, are_listed=source.are_listed)


def _log_missing_values(
    sobject: str, options: IncrementalOptions, others: State, changes: Sequence[SchemaChange]
) -> None:
    """Name the columns that records have no value in until they change, since no extract that counts has one."""
    if options.mode == "incremental":
        kinds, fix = {"added", SELECTED}, "A run with mode='full' into the same destination brings them"
        why = "the extracts before have no"
    else:
        kinds, fix = {UNSELECTED}, "Select them, unless the incremental extracts do without them too"
        why = "incremental extracts go on from this full one, which has no"
    names = [str(each["column"]) for each in changes if each["change"] in kinds and each["column"] != "IsDeleted"]
    if names and (options.mode == "incremental" or any(each.get("window") for each in others.manifests)):
        log.warning(
            "%s: %s %s, so records have no value there until they change.\n%s.", sobject, why, ", ".join(names), fix
        )


def _log_changes(sobject: str, changes: Sequence[SchemaChange]) -> None:
    """A line for each change of the object, and one for all fields that are no longer selected."""
    for change in changes:
        if change["change"] not in OF_THE_TASK:
            log.warning("%s: %s", sobject, sentence(change))
    unselected = [str(change["column"]) for change in changes if change["change"] == UNSELECTED]
    if unselected:
        log.info("%s: no longer selected, compared with the extract before: %s", sobject, ", ".join(unselected))


def _full_increment(source: Source, options: IncrementalOptions, others: State, now: datetime) -> Increment:
    """A full extract is what incremental ones can go on from when it has what they need."""
    cursor = source.cursor
    check_same_source(others.manifests, {"org_id": source.org_id, "sobject": source.sobject})
    if any(each.get("window") for each in others.manifests):
        _require_fits(source, cursor, others)
    watermark = whole_second(now - options.lag) if cursor else None
    deletes = None
    if options.deletes == "hard":
        require_replicateable(source.describe)
        window = Window(whole_second(now - LOG_DAYS), whole_second(now - options.lag))
        deletes = DeletesPlan(window, None)
    return Increment(
        "full",
        now,
        where=source.where,
        cursor_field=cursor,
        watermark=watermark,
        deletes=deletes,
        stale_fields=stale_fields(source) if cursor else (),
    )


def _require_fits(source: Source, cursor: str | None, others: State) -> None:
    """Raise StateError for a full extract that those of an incremental destination could not go on from: its rows would
    only lie among theirs."""
    check_same_source(others.relevant, {"where": source.where})
    if cursor is None:
        lacks = "has LIMIT or OFFSET or aggregates" if not source.is_whole else "lacks Id or the cursor field"
        raise StateError(
            f"The destination holds incremental extracts of {source.sobject}, and this full extract {lacks}, so they could not "
            "go on from it: change that, or use another destination."
        )


def _later_increment(
    source: Source,
    options: IncrementalOptions,
    times: RunTimes,
    own: Manifest | None,
    others: State,
    now: datetime,
) -> Increment:
    cursor = source.cursor
    if cursor == "CreatedDate" and not source.sobject.endswith("History"):
        what = (
            "is the cursor_field, which no change moves"
            if options.cursor_field
            else "is the only stamp, which no change moves"
        )
        log.warning("%s: CreatedDate %s: only new records are extracted", source.sobject, what)
    if any(field["name"] == cursor and field.get("nillable") for field in source.describe["fields"]):
        log.warning(
            "%s.%s can be empty: records without a value there are in no window, so none brings them",
            source.sobject,
            cursor,
        )
    wanted = {"org_id": source.org_id, "sobject": source.sobject, "where": source.where, "cursor_field": cursor}
    check_same_source(others.manifests, {name: wanted[name] for name in ("org_id", "sobject")})
    check_same_source(others.relevant, wanted)
    require_same_hashing(source.sobject, source.columns, [*others.relevant, *([own] if own else [])])
    if own and own.get("window"):
        check_same_source([own], wanted)
        window, from_watermark = window_of(own["window"]), False
    else:
        planned = plan_window(
            times,
            others.watermark,
            now=now,
            lag=options.lag,
            lookback=options.lookback,
            initial_start=options.initial_start,
        )
        window, from_watermark = planned.window, planned.from_watermark
        _log_late_start(source.sobject, options, others, window)
    deletes = None
    if options.deletes == "hard":
        deletes = _deletes_plan(source, options, times, own, others, window)
        require_log(deletes, source.sobject, now=now)
    return Increment(
        "incremental",
        now,
        where=source.where,
        cursor_field=cursor,
        window=window,
        watermark=window.end,
        deletes=deletes,
        initial_start=options.initial_start,
        from_watermark=from_watermark,
        planned_from=others.watermark,
        stale_fields=stale_fields(source),
    )


def _log_late_start(sobject: str, options: IncrementalOptions, others: State, window: Window) -> None:
    if others.watermark is None and options.initial_start and options.initial_start > window.end:
        log.warning(
            "%s: initial_start (%s) is later than the end of this run's window (%s), so nothing is read, by this run and by all "
            "that end before it. Correct it, unless that is meant.",
            sobject,
            iso(options.initial_start),
            iso(window.end),
        )


def _deletes_plan(
    source: Source,
    options: IncrementalOptions,
    times: RunTimes,
    own: Manifest | None,
    others: State,
    window: Window,
) -> DeletesPlan:
    """Which deletions to request: from where they are known in the destination, however far back that is."""
    require_replicateable(source.describe)
    if own and own.get("deletes"):
        return DeletesPlan(window_of(own["deletes"]), None)
    if (own and own.get("window")) or (times.is_backfill and times.interval and others.manifests):
        return DeletesPlan(window, None)
    known = others.deletes_watermark or others.oldest_end
    if known is None:
        return DeletesPlan(Window(None, window.end), None)
    if known >= window.end:  # a run that comes late, after others went past its end
        return DeletesPlan(Window(window.end - options.lookback, window.end), None)
    return DeletesPlan(Window(known - options.lookback, window.end), known)


def require_unchanged(increment: Increment, state: State, extract_id: str) -> None:
    """Raise ConcurrentRunError when the state that this extract was planned from is no longer the state."""
    if not increment.from_watermark:
        return
    watermark = state.without(extract_id).watermark
    if watermark == increment.planned_from:
        return
    before, now = (iso(each) if each else "nothing" for each in (increment.planned_from, watermark))
    newest = state.newest
    by = f" (run {newest['run_id']} of {newest.get('dag_id')}.{newest.get('task_id')})" if newest else ""
    raise ConcurrentRunError(
        f"Another run committed to this destination while this one was under way: it was planned when the destination was "
        f"complete up to {before}, and now that is {now}{by}. Nothing was committed over it.\nRun this task again to have it go "
        "on from there. To keep runs apart, give the DAG max_active_runs=1, and tasks of several DAGs a pool with one slot."
    )


def stale_fields(source: Source) -> tuple[str, ...]:
    """Columns whose values can change while the cursor stays: formulas, roll-ups, and what is read from parents or children."""
    calculated = {str(field["name"]) for field in source.describe["fields"] if field.get("calculated")}
    return tuple(
        column.name
        for column in source.columns
        if "." in column.name or column.name in calculated or column.salesforce_type in ("subquery", "typeof")
    )


def _widened(columns: Sequence[Column], manifests: Sequence[Manifest]) -> tuple[Column, ...]:
    types = {column.name: column.type for column in columns}
    for manifest in manifests:
        for earlier in manifest["schema"]:
            name = str(earlier["name"])
            if name in types:
                types[name] = wider(str(earlier["type"]), types[name])
    return tuple(structs.replace(column, type=types[column.name]) for column in columns)
