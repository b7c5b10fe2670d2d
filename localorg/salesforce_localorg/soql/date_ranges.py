"""Date literals: TODAY, LAST_N_DAYS:7, THIS_QUARTER and the rest, as half-open ranges of days.

Weeks begin on Sunday and fiscal periods are calendar periods, as in a new org; days are days in UTC.
Source: SOQL and SOSL Reference, "Date Formats and Date Literals in WHERE".
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import date, timedelta

_MAX_COUNT = 10_000

_FIXED = frozenset(
    {"YESTERDAY", "TODAY", "TOMORROW", "LAST_90_DAYS", "NEXT_90_DAYS"}
    | {
        f"{which}_{unit}"
        for which in ("LAST", "THIS", "NEXT")
        for unit in ("WEEK", "MONTH", "QUARTER", "YEAR", "FISCAL_QUARTER", "FISCAL_YEAR")
    }
)
_COUNTED = re.compile(
    r"(LAST_N_|NEXT_N_|N_)(DAY|WEEK|MONTH|QUARTER|YEAR|FISCAL_QUARTER|FISCAL_YEAR)S(_AGO)?",
)


def is_date_range(name: str, count: int | None) -> bool:
    """Whether the upper-case `name` is a date literal that takes a count, or none where `count` is None."""
    if count is None:
        return name in _FIXED
    match = _COUNTED.fullmatch(name)
    return bool(match) and count <= _MAX_COUNT and bool(match and match.group(3)) == name.startswith("N_")


def date_range(name: str, count: int | None, today: date) -> tuple[date, date]:
    """First day of the range, and the first day after it. Raises OverflowError beyond the years 1 to 9999."""
    if name in ("YESTERDAY", "TODAY", "TOMORROW"):
        return _days(today, {"YESTERDAY": -1, "TODAY": 0, "TOMORROW": 1}[name], 1)
    if name == "LAST_90_DAYS":
        return _days(today, -90, 91)
    if name == "NEXT_90_DAYS":
        return _days(today, 1, 90)
    if count is None:
        which, _, unit = name.replace("FISCAL_", "").partition("_")
        shift = {"LAST": -1, "THIS": 0, "NEXT": 1}[which]
        return _PERIODS[unit](today, shift), _PERIODS[unit](today, shift + 1)
    return _counted(name, count, today)


def _counted(name: str, count: int, today: date) -> tuple[date, date]:
    match = _COUNTED.fullmatch(name.replace("FISCAL_", ""))
    if match is None:
        raise ValueError(f"{name} is not a date literal.")
    which, unit = match.group(1), match.group(2)
    start = _PERIODS[unit]
    if which == "N_":
        return start(today, -count), start(today, -count + 1)
    if which == "NEXT_N_":
        return start(today, 1), start(today, count + 1)
    # The last n days run up to and include today; the last n weeks, months, ... end before the current one.
    return start(today, -count), start(today, 1 if unit == "DAY" else 0)


def _days(today: date, first: int, length: int) -> tuple[date, date]:
    start = today + timedelta(days=first)
    return start, start + timedelta(days=length)


def _day(today: date, shift: int) -> date:
    return today + timedelta(days=shift)


def _week(today: date, shift: int) -> date:
    days_since_sunday = (today.weekday() - calendar.SUNDAY) % 7
    return today - timedelta(days=days_since_sunday) + timedelta(weeks=shift)


def _month(today: date, shift: int) -> date:
    return _from_month(today.year * 12 + today.month - 1 + shift)


def _quarter(today: date, shift: int) -> date:
    return _from_month(today.year * 12 + (today.month - 1) // 3 * 3 + 3 * shift)


def _year(today: date, shift: int) -> date:
    return _from_month((today.year + shift) * 12)


def _from_month(months: int) -> date:
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError(f"The year {year} is out of range.")
    return date(year, month + 1, 1)


_PERIODS: dict[str, Callable[[date, int], date]] = {
    "DAY": _day,
    "WEEK": _week,
    "MONTH": _month,
    "QUARTER": _quarter,
    "YEAR": _year,
}
