"""Which stretch of time an incremental extract reads: half-open `[start, end)` on a cursor field.

`end` is the run's logical end, never later than the org's present minus `lag`. `start` is where the destination is
complete, minus `lookback`. docs/incremental.md tells why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.model import DEFAULT_LAG, DEFAULT_LOOKBACK, RunTimes, Window
from airflow_sfcc.timestamps import whole_second

CURSOR_FIELDS = ("SystemModstamp", "LastModifiedDate", "CreatedDate", "LoginTime")
"""Best first: SystemModstamp moves on every change, the others on fewer (salesforce-protocol.md#incremental-extracts)."""


FULL_INSTEAD = "use mode='full'"


@dataclass(frozen=True)
class PlannedWindow:
    """A window, and whether its start was taken from the destination's watermark: then that must still hold at commit."""

    window: Window
    from_watermark: bool


def plan_window(
    times: RunTimes,
    watermark: datetime | None,
    *,
    now: datetime,
    lag: timedelta = DEFAULT_LAG,
    lookback: timedelta = DEFAULT_LOOKBACK,
    initial_start: datetime | None = None,
) -> PlannedWindow:
    """The window of a run that reaches its destination at `watermark` (None: nothing is there yet).

    A backfill reads its own interval. Any other run begins where the destination is complete, so that nights which failed
    or never ran are made up for; a run that comes late, after others went past its end, reads only the last stretch again.
    """
    end = whole_second(min(times.logical_end, now - lag))
    if times.is_backfill and times.interval:
        return PlannedWindow(_window(times.interval[0] - lookback, end), from_watermark=False)
    if watermark is None:
        return PlannedWindow(_window(initial_start, end), from_watermark=True)
    wanted = min(times.interval[0], end) if times.interval else end
    start = min(watermark, wanted) - lookback
    return PlannedWindow(_window(start, end), from_watermark=watermark < wanted)


def _window(start: datetime | None, end: datetime) -> Window:
    return Window(None if start is None else min(whole_second(start), end), end)


def covered_until(windows: Iterable[Window], base: datetime | None) -> datetime | None:
    """Up to where the windows cover everything from `base` on (None: from the beginning), without a hole.

    None when they do not even begin there. The order in which they were committed does not matter.
    """
    reached: datetime | None = None
    for window in sorted(windows, key=lambda each: (each.start is not None, each.start or each.end)):
        begins = window.start is None or (base is not None and window.start <= base)
        if (begins and (base is None or window.end > base)) or (reached and window.start and window.start <= reached):
            reached = max(reached or window.end, window.end)
    return reached


def choose_cursor(describe: Mapping[str, Any], asked: str | None) -> str:
    """The field that windows are cut on, in the schema's spelling.

    Raises QueryError when there is none, or when the one asked for cannot do it.
    """
    sobject = str(describe["name"])
    fields = {str(field["name"]).lower(): field for field in describe["fields"]}
    if asked:
        return _checked_cursor(sobject, asked, fields.get(asked.lower()))
    for name in CURSOR_FIELDS:
        field = fields.get(name.lower())
        if field is not None and _problem(field) is None:
            return str(field["name"])
    raise QueryError(
        f"{sobject} has none of {', '.join(CURSOR_FIELDS)} that the Run As user may read and filter by, so it cannot be "
        f"extracted incrementally: {FULL_INSTEAD}, or name another datetime field that every change moves as cursor_field."
    )


def _checked_cursor(sobject: str, asked: str, field: Mapping[str, Any] | None) -> str:
    problem = "is not there, or hidden from the Run As user" if field is None else _problem(field) or _emptiness(field)
    if problem or field is None:
        raise QueryError(
            f"{sobject}.{asked} cannot be the cursor: it {problem}. Leave cursor_field out to have the best one chosen "
            f"({', '.join(CURSOR_FIELDS)}), or {FULL_INSTEAD}."
        )
    return str(field["name"])


def _problem(field: Mapping[str, Any]) -> str | None:
    if field["type"] != "datetime":
        return f"is of type {field['type']}, and a cursor is a datetime"
    if not field.get("filterable", True):
        return "cannot be filtered by"
    return None


def _emptiness(field: Mapping[str, Any]) -> str | None:
    if field.get("nillable") and field["name"] not in CURSOR_FIELDS:
        return "can be empty, and rows without a value would never be extracted"
    return None
