"""What SOQL's operators, functions and date literals mean, written in Python from the SOQL and SOSL Reference.

Nothing here knows the local org's compiler. A missing value is None; text compares without case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

Test = Callable[[Any], bool]
TEXT_TYPES = frozenset({"string", "picklist", "email", "phone", "url", "textarea", "combobox", "multipicklist"})
NUMBER_TYPES = frozenset({"int", "long", "double", "currency", "percent"})


def folded(text: str) -> str:
    """Upper case, letter by letter: no letter becomes two."""
    return "".join(upper if len(upper := char.upper()) == 1 else char for char in text)


def comparable(kind: str, value: Any) -> Any:
    """The value as comparisons see it."""
    return folded(value) if value is not None and kind in TEXT_TYPES else value


def compare(kind: str, operator: str, literal: Any) -> Test:
    """`value operator literal`; a null differs from every value and is neither less nor more than any."""
    if kind == "boolean":
        wanted = bool(literal)  # "null matches FALSE values"
        return lambda value: (bool(value) == wanted) == (operator == "=")
    right = comparable(kind, literal)
    if operator in ("=", "!="):
        return lambda value: (comparable(kind, value) == right) == (operator == "=")
    order: Mapping[str, Test] = {
        "<": lambda value: value < right,
        "<=": lambda value: value <= right,
        ">": lambda value: value > right,
        ">=": lambda value: value >= right,
    }
    return lambda value: value is not None and order[operator](comparable(kind, value))


def compare_range(operator: str, first: date, after: date) -> Test:
    """A date or datetime against the days from `first` up to, and without, `after`."""
    order: Mapping[str, Test] = {
        "=": lambda day: first <= day < after,
        "<": lambda day: day < first,
        "<=": lambda day: day < after,
        ">": lambda day: day >= after,
        ">=": lambda day: day >= first,
    }

    def test(value: Any) -> bool:
        if operator == "!=":
            return value is None or not order["="](_day(value))
        return value is not None and order[operator](_day(value))

    return test


def one_of(kind: str, literals: Sequence[Any]) -> Test:
    wanted = [comparable(kind, literal) for literal in literals]
    return lambda value: comparable(kind, value) in wanted


class Wildcard(str):
    """A wildcard of LIKE, as different from the character it is written with."""


ANY, ONE = Wildcard("%"), Wildcard("_")


def like(pattern: Sequence[str]) -> Test:
    """The pattern's characters stand for themselves, ANY and ONE for any characters and any one character."""
    written = "".join(".*" if each is ANY else "." if each is ONE else re.escape(folded(each)) for each in pattern)
    expression = re.compile(written, re.DOTALL)
    return lambda value: value is not None and expression.fullmatch(folded(value)) is not None


def includes(wanted: Sequence[str]) -> Test:
    """INCLUDES ('A;B', 'C'): A and B are chosen, or C is."""
    sets = [set(folded(each).split(";")) for each in wanted]
    return lambda value: value is not None and any(each <= set(folded(value).split(";")) for each in sets)


DATE_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "CALENDAR_MONTH": lambda moment: moment.month,
    "CALENDAR_QUARTER": lambda moment: math.ceil(moment.month / 3),
    "CALENDAR_YEAR": lambda moment: moment.year,
    "DAY_IN_MONTH": lambda moment: moment.day,
    "DAY_IN_WEEK": lambda moment: moment.isoweekday() % 7 + 1,
    "DAY_IN_YEAR": lambda moment: moment.timetuple().tm_yday,
    "DAY_ONLY": lambda moment: moment.date(),
    "FISCAL_MONTH": lambda moment: moment.month,
    "FISCAL_QUARTER": lambda moment: math.ceil(moment.month / 3),
    "FISCAL_YEAR": lambda moment: moment.year,
    "HOUR_IN_DAY": lambda moment: moment.hour,
    "WEEK_IN_MONTH": lambda moment: math.ceil(moment.day / 7),
    "WEEK_IN_YEAR": lambda moment: math.ceil(moment.timetuple().tm_yday / 7),
}
DATETIME_FUNCTIONS = frozenset({"DAY_ONLY", "HOUR_IN_DAY"})


def date_literals(today: date) -> dict[str, tuple[date, date]]:
    """Every documented date literal, with some counts, as the first day and the day after the last."""
    found = {
        "YESTERDAY": (today - timedelta(1), today),
        "TODAY": (today, today + timedelta(1)),
        "TOMORROW": (today + timedelta(1), today + timedelta(2)),
        "LAST_90_DAYS": (today - timedelta(90), today + timedelta(1)),
        "NEXT_90_DAYS": (today + timedelta(1), today + timedelta(91)),
    }
    for unit in ("WEEK", "MONTH", "QUARTER", "YEAR", "FISCAL_QUARTER", "FISCAL_YEAR"):
        for which, place in (("LAST", -1), ("THIS", 0), ("NEXT", 1)):
            found[f"{which}_{unit}"] = (_start(today, unit, place), _start(today, unit, place + 1))
    for unit in ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "FISCAL_QUARTER", "FISCAL_YEAR"):
        for n in (1, 2, 5, 13):
            includes_today = 1 if unit == "DAY" else 0
            found[f"LAST_N_{unit}S:{n}"] = (_start(today, unit, -n), _start(today, unit, includes_today))
            found[f"NEXT_N_{unit}S:{n}"] = (_start(today, unit, 1), _start(today, unit, n + 1))
            found[f"N_{unit}S_AGO:{n}"] = (_start(today, unit, -n), _start(today, unit, 1 - n))
    return found


def _start(today: date, unit: str, shift: int) -> date:
    """The first day of the period that many periods from today's. Weeks begin on Sunday."""
    if unit == "DAY":
        return today + timedelta(shift)
    if unit == "WEEK":
        return today - timedelta(today.isoweekday() % 7) + timedelta(7 * shift)
    length = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[unit.removeprefix("FISCAL_")]
    months = (today.year * 12 + today.month - 1) // length * length + length * shift
    return date(months // 12, months % 12 + 1, 1)


def _day(value: Any) -> date:
    return value.date() if isinstance(value, datetime) else value


def sort_key(kind: str, value: Any, picklist: Sequence[str]) -> Any:
    """What orders two values that are both there: text by its upper case, picklists by their setup."""
    if kind == "picklist" and picklist:
        return (picklist.index(value) if value in picklist else len(picklist), folded(value))
    return comparable(kind, value)


def aggregate(function: str, kind: str, picklist: Sequence[str], values: Sequence[Any]) -> Any:
    """The aggregate of a group's values; all but COUNT() ignore nulls, and of nothing there is no value."""
    present = [value for value in values if value is not None]
    if function == "COUNT":
        return len(present)
    if function == "COUNT_DISTINCT":
        return len(set(present))
    if not present:
        return None
    if function in ("SUM", "AVG"):
        total = math.fsum(present)
        return total / len(present) if function == "AVG" else total
    choose = min if function == "MIN" else max
    if kind == "picklist" and picklist:
        return choose(present, key=lambda value: sort_key(kind, value, picklist))
    return choose(present)


def on_the_wire(value: Any) -> Any:
    """A value in REST's JSON (salesforce-protocol.md#rest-conventions)."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03}+0000".rjust(28, "0")
    if isinstance(value, date):
        return f"{value.year:04}-{value.month:02}-{value.day:02}"
    if isinstance(value, time):
        return f"{value:%H:%M:%S}.{value.microsecond // 1000:03}Z"
    return None if value == "" else value
