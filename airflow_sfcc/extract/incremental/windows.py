"""Which interval an incremental extract reads: half-open `[start, end)` on a cursor field.

`end` is the run's logical end, never later than the org's present minus `lag`. `start` is where the destination is
complete, minus `lookback`. docs/incremental.md tells why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_sfcc.extract.model import DEFAULT_LAG, DEFAULT_LOOKBACK, RunTimes, Window
from airflow_sfcc.timestamps import whole_second


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
    or never ran are made up for; a run that comes late, after others went past its end, reads only the last interval again.
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
