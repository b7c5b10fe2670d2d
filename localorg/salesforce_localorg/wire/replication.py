"""getUpdated and getDeleted: ids that changed within a window.

Facts: REST API Developer Guide, "sObject Get Updated" and "sObject Get Deleted".
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from salesforce_localorg.schema import SObject
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.bulk import stamp
from salesforce_localorg.wire.errors import ApiError

UPDATED_DAYS = 30
DELETED_DAYS = 15
MOST_IDS = 600_000
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,6})?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)


def updated(call: ApiCall) -> Answer:
    """GET /sobjects/X/updated?start=&end="""
    sobject = _replicateable(call)
    start, end = _window(call, UPDATED_DAYS)
    ids = call.org.records.updated_between(sobject.name, start, end)
    _check_count(len(ids))
    return JsonAnswer(payload={"ids": ids, "latestDateCovered": stamp(_covered(call, end))})


def deleted(call: ApiCall) -> Answer:
    """GET /sobjects/X/deleted?start=&end="""
    sobject = _replicateable(call)
    start, end = _window(call, DELETED_DAYS)
    earliest = _minute(call.org.clock.now() - timedelta(days=call.org.config.delete_log_days))
    rows = call.org.records.deleted_between(sobject.name, max(start, earliest), end)
    _check_count(len(rows))
    return JsonAnswer(
        payload={
            "deletedRecords": [{"id": record_id, "deletedDate": stamp(when)} for record_id, when in rows],
            "earliestDateAvailable": stamp(earliest),
            "latestDateCovered": stamp(_covered(call, end)),
        }
    )


def _replicateable(call: ApiCall) -> SObject:
    sobject = call.sobject()
    if not sobject.replicateable:
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support replication")
    return sobject


def _window(call: ApiCall, days: int) -> tuple[datetime, datetime]:
    start, end = _time_of(call, "start"), _time_of(call, "end")
    if end - start < timedelta(minutes=1):
        raise _refused("endDate must be at least one minute greater than startDate")
    if start < _minute(call.org.clock.now()) - timedelta(days=days):
        raise _refused(f"startDate cannot be more than {days} days ago")
    return start, end


def _time_of(call: ApiCall, name: str) -> datetime:
    """A parameter as a timestamp.

    Seconds are ignored, as documented. A `+` that the caller left unescaped arrives as a blank.
    """
    found = TIMESTAMP.fullmatch(call.query.get(name, "").strip())
    if found is None:
        # A blank may be an unescaped plus sign before the offset.
        found = TIMESTAMP.fullmatch(call.query.get(name, "").strip().replace(" ", "+"))
    if found is None:
        raise _refused(f"{name} must be a date and time such as 2026-11-23T02:00:00+00:00")
    zone = (found[2] or "Z").upper()
    try:
        when = datetime.fromisoformat(found[1])
        offset = _offset(zone)
        return _minute((when - offset).replace(tzinfo=timezone.utc))
    except (ValueError, OverflowError):
        raise _refused(f"{name} is no date and time that exists") from None


def _offset(zone: str) -> timedelta:
    if zone == "Z":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset


def _minute(when: datetime) -> datetime:
    return when.replace(second=0, microsecond=0)


def _covered(call: ApiCall, end: datetime) -> datetime:
    """Up to where the answer is complete.

    "Changes that started ... but didn't complete before endDate" are still to come, so it ends before their stamps.
    """
    uncommitted = call.org.records.earliest_uncommitted()
    times = [end, call.org.clock.now(), *([uncommitted] if uncommitted else [])]
    return _minute(min(times))


def _check_count(count: int) -> None:
    if count > MOST_IDS:
        raise ApiError(400, "EXCEEDED_ID_LIMIT", f"too many ids in the window: {count}; ask for a shorter one")


def _refused(message: str) -> ApiError:
    return ApiError(400, "INVALID_REPLICATION_DATE", message)
