"""Hard deletes: ids that only getDeleted tells of, as `deleted-00000` beside the rows (salesforce-protocol.md#limits-and-counts).

The org's deletion log goes back 15 days at most, is queried in whole minutes, and says up to when it is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from airflow_sfcc.errors import DeleteLogError, QueryError, SalesforceError, UnexpectedResponseError
from airflow_sfcc.extract.convert.arrow_types import arrow_schema
from airflow_sfcc.extract.model import Column, DeletesPlan, Window
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.timestamps import iso, timestamp

log = logging.getLogger(__name__)

LOG_DAYS = timedelta(days=15)
_MINUTE = timedelta(minutes=1)
_ROOM = timedelta(minutes=2)
"""The call's start must lie more than a minute before its end, and its seconds are ignored."""

COLUMNS = (Column("Id", "id", "string", False), Column("DeletedDate", "datetime", "timestamp[ms, UTC]", False))


@dataclass(frozen=True)
class Deletions:
    """Timestamps of deletion by id, and the interval of which all are known (None: of nothing)."""

    timestamps: Mapping[str, datetime]
    known: Window | None

    def table(self) -> pa.Table:
        """Id and DeletedDate, oldest first."""
        rows = sorted(self.timestamps.items(), key=lambda item: (item[1], item[0]))
        arrays = [[record_id for record_id, _ in rows], [when for _, when in rows]]
        return pa.Table.from_arrays(
            [pa.array(values, field.type) for values, field in zip(arrays, arrow_schema(COLUMNS))],
            schema=arrow_schema(COLUMNS),
        )


def require_replicateable(describe: Mapping[str, Any]) -> None:
    """Raise QueryError for an object whose deletions Salesforce does not log."""
    if not describe.get("replicateable", True):
        raise QueryError(
            f"Salesforce keeps no log of deletions for {describe['name']} (its describe says replicateable: false), so "
            "deletes='hard' cannot work: use deletes='soft', and a full extract from time to time."
        )


def require_log(plan: DeletesPlan, sobject: str, *, now: datetime) -> None:
    """Raise DeleteLogError, before anything is requested, when the log cannot go back far enough."""
    if plan.needed_from is not None and plan.needed_from < _oldest(now):
        raise _too_old(sobject, plan.needed_from, _oldest(now))


def find_deletions(client: SalesforceClient, sobject: str, plan: DeletesPlan, *, now: datetime) -> Deletions:
    """All deletions in the plan's window that the org still knows of.

    Raises DeleteLogError when some that are needed were purged from its log.
    """
    if plan.window.start is None:
        return Deletions({}, plan.window)  # nothing was extracted before, so nothing extracted can be gone
    known_from, known_until = max(plan.window.start, _oldest(now)), plan.window.end
    if known_until <= known_from:
        return Deletions({}, None)
    timestamps: dict[str, datetime] = {}
    for until, response in _responses(client, sobject, known_from, plan.window.end):
        interval = _read(response, sobject)
        if interval.earliest is not None:
            if plan.needed_from is not None and interval.earliest > plan.needed_from:
                raise _too_old(sobject, plan.needed_from, interval.earliest)
            known_from = max(known_from, interval.earliest)
        if interval.latest < until:
            known_until = min(known_until, interval.latest)
        for record_id, when in interval.deleted:
            if when < plan.window.end:
                timestamps[record_id] = max(when, timestamps.get(record_id, when))
    return Deletions(timestamps, Window(known_from, known_until) if known_from < known_until else None)


@dataclass(frozen=True)
class _Interval:
    """One response of getDeleted; `earliest` is None where Salesforce never removed a record for good."""

    deleted: Sequence[tuple[str, datetime]]
    earliest: datetime | None
    latest: datetime


def _read(response: Mapping[str, Any], sobject: str) -> _Interval:
    """earliestDateAvailable is the time of the last physically deleted record, of which there may be none (API guide,
    getDeleted)."""
    try:
        deleted = [(str(entry["id"]), timestamp(entry["deletedDate"])) for entry in response["deletedRecords"]]
        earliest = response.get("earliestDateAvailable")
        return _Interval(deleted, timestamp(earliest) if earliest else None, timestamp(response["latestDateCovered"]))
    except (AttributeError, KeyError, TypeError, QueryError):
        raise UnexpectedResponseError(
            f"Salesforce's response on the deleted records of {sobject} is not what it documents; nothing was landed. Try "
            "again, or use deletes='soft'."
        ) from None


def _oldest(now: datetime) -> datetime:
    return now - LOG_DAYS + _ROOM


def whole_minutes(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """What to ask getDeleted for, which ignores seconds, so that all of the interval is in it."""
    first = start.replace(second=0, microsecond=0)
    return first, max(end.replace(second=0, microsecond=0) + _MINUTE, first + _ROOM)


def _responses(
    client: SalesforceClient, sobject: str, start: datetime, end: datetime
) -> Iterator[tuple[datetime, Mapping[str, Any]]]:
    """getDeleted's responses with the end of the interval that each is for, oldest first.

    The window is widened to whole minutes, and cut where a response would hold more ids than Salesforce sends.
    """
    waiting = [whole_minutes(start, end)]
    while waiting:
        first, last = waiting.pop()
        try:
            yield last, client.get_deleted(sobject, first, last)
        except SalesforceError as refusal:
            middle = (first + (last - first) / 2).replace(second=0, microsecond=0)
            if refusal.code != "EXCEEDED_ID_LIMIT" or middle - first < _ROOM:
                raise
            waiting += [(middle, last), (first, middle)]


def _too_old(sobject: str, needed: datetime, earliest: datetime) -> DeleteLogError:
    return DeleteLogError(
        f"Deletions of {sobject} are known in this destination up to {iso(needed)}, and the org's log of them begins at "
        f"{iso(earliest)} now, so some can be missing. Run the extract once with mode='full' into the same destination: "
        "incremental extracts then go on from there."
    )
