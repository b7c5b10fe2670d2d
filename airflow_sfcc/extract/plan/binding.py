"""Values for the `:names` of a query, by the types of the fields that they are compared with.

Templated values are text, whatever they mean, and Salesforce refuses text for dates, numbers and booleans. So text is read as
what its field holds; values that have a type already keep it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_sfcc.errors import QueryError, SalesforceError
from airflow_sfcc.extract.plan.columns import ENDING_ERRORS, ColumnResolver
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.timestamps import timestamp

_LOOKS_TYPED = re.compile(r"\s*([-+]?[\d.]|true\s*$|false\s*$)", re.IGNORECASE)
"""Text that may be meant as a date, a number or a boolean."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def bound(resolver: ColumnResolver, text: str, values: Mapping[str, Any] | None) -> str:
    """`text`, a whole query, with its `:names` filled in as literals of their fields' types.

    Text bound to a date, a datetime, a time, a number or a boolean is read as one, a date bound to a datetime is its midnight in
    UTC, a datetime bound to a date is its day in UTC. Describes the objects that such values are compared with. Raises
    QueryError for text that is not of its field's type, and what `soql.bind` raises.
    """
    wanted = {
        name for name, value in (values or {}).items() if _holds(value, lambda each: isinstance(each, (str, date)))
    }
    typed: dict[int, Any] = {}
    if values and wanted:
        for use in soql.bind_uses(text):
            kind = _type(resolver, use) if use.name in wanted else None
            if kind is not None and (read := _READERS.get(kind)):
                typed[use.start] = _read(values[use.name], read, use, kind)
    return soql.bind(text, values, typed)


def bound_query(client: SalesforceClient, text: str, values: Mapping[str, Any] | None) -> str:
    """Like `bound`, for queries of which nothing is known yet: describes objects only for text that looks like a date, a
    number or a boolean."""
    if any(_holds(value, _looks_typed) for value in (values or {}).values()):
        return bound(ColumnResolver(client, "float"), text, values)
    return soql.bind(text, values)


def _holds(value: Any, condition: Callable[[Any], bool]) -> bool:
    """Whether a value, or one in a list of values, is so."""
    return any(map(condition, value)) if soql.is_list(value) else condition(value)


def _looks_typed(value: Any) -> bool:
    return isinstance(value, date) or (isinstance(value, str) and _LOOKS_TYPED.match(value) is not None)


def _type(resolver: ColumnResolver, use: soql.BindUse) -> str | None:
    """The Salesforce type of what a value is compared with; None where only the org can say what is wrong with it."""
    if not use.operand:
        return "double"
    try:
        return resolver.type_of(use.scope, use.operand)
    except ENDING_ERRORS:
        raise
    except SalesforceError:
        return None


def _read(value: Any, read: Callable[[Any], Any], use: soql.BindUse, kind: str) -> Any:
    if soql.is_list(value):
        return [_read(each, read, use, kind) for each in value]
    try:
        return read(value)
    except (KeyError, ValueError, InvalidOperation, QueryError):
        of = f"{use.operand} is of type {kind}" if use.operand else "it stands for a number"
        raise QueryError(f"bind gives {use.name} the value {value!r}, and {of}: give {_EXAMPLES[kind]}.") from None


def _date(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).date() if value.tzinfo else value.date()
    if not isinstance(value, str):
        return value
    text = value.strip()
    return date.fromisoformat(text) if _DAY.fullmatch(text) else timestamp(text).date()


def _datetime(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return _datetime(date.fromisoformat(text)) if _DAY.fullmatch(text) else timestamp(text)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    return value


def _time(value: Any) -> Any:
    return time.fromisoformat(value.strip().removesuffix("Z")) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    return int(text) if text.lstrip("+-").isdecimal() else Decimal(text)


def _boolean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return {"true": True, "false": False}[value.strip().lower()]


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "date": _date,
    "datetime": _datetime,
    "time": _time,
    "boolean": _boolean,
    **dict.fromkeys(("int", "long", "double", "currency", "percent"), _number),
}
_EXAMPLES: Mapping[str, str] = {
    "date": "a date, such as 2026-11-23",
    "datetime": "a timestamp with its time zone, such as 2026-11-23T02:00:00Z",
    "time": "a time, such as 02:00:00",
    "boolean": "true or false",
    **dict.fromkeys(("int", "long", "double", "currency", "percent"), "a number"),
}
