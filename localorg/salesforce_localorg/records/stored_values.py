"""Values that people write into fields, turned into what the columns hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timezone
from typing import Any

import pyarrow as pa

from salesforce_localorg.ids import full_id
from salesforce_localorg.schema import Field, SObject

_ARROW_TYPES: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "double": pa.float64(),
    "currency": pa.float64(),
    "percent": pa.float64(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "time": pa.time64("us"),
}


# Python reads more than Salesforce takes: `nan`, `1_000`, `20240101`.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?Z?")
_TIMESTAMP = re.compile(
    rf"{_DATE.pattern}(T[0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}(\.[0-9]+)?)?(Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"
)


def stored_values(sobject: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
    """Column values by column name, for JSON values or Python values of the fields' own types.

    Raises ValueError for a field that the object lacks or that holds no value of its own, and for a value that its field
    cannot hold.
    """
    row = {}
    for name, value in values.items():
        field = sobject.field(name)
        if field is None or field.is_compound:
            raise ValueError(f"{sobject.name} has no field {name!r} that can be written; check its describe.")
        row[field.name] = _column_value(field, value)
    return row


def arrow_table(sobject: SObject, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of column values as a table; a column that a row lacks is null there.

    Raises ValueError for a value that its column cannot hold.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        field = sobject.field(name)
        kind = _ARROW_TYPES.get(field.type, pa.string()) if field else pa.string()
        columns[name] = pa.array([row.get(name) for row in rows], kind)
    return pa.table(columns)


def naive_utc(when: datetime) -> datetime:
    """An aware time as timestamp columns hold it: UTC, without a timezone."""
    return when.astimezone(timezone.utc).replace(tzinfo=None)


def _column_value(field: Field, value: Any) -> Any:
    if value is None or value == "":
        return None
    try:
        return _typed(field, value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{field.name} is a {field.type} and cannot hold {str(value)[:80]!r}.") from None


def _typed(field: Field, value: Any) -> Any:
    if field.type == "datetime":
        when = naive_utc(value if isinstance(value, datetime) else _time_of(str(value)))
        return when.replace(microsecond=0)  # a dateTime field holds whole seconds, whatever was sent
    if field.type == "date":
        return value if isinstance(value, date) else date.fromisoformat(_matching(_DATE, str(value)))
    if field.type == "time":
        return value if isinstance(value, time) else time.fromisoformat(_matching(_CLOCK, str(value)).removesuffix("Z"))
    if field.type == "boolean":
        return _boolean(value)
    if field.type in ("int", "long"):
        return _whole(value)
    if field.type in ("id", "reference"):
        return full_id(str(value))
    if field.type == "email":
        return str(value).lower()
    return _number(value) if field.is_number else str(value)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    found = float(_matching(_NUMBER, value) if isinstance(value, str) else value)
    if not math.isfinite(found):
        raise ValueError(value)
    return found


def _whole(value: Any) -> int:
    found = _number(value)
    if not found.is_integer():
        raise ValueError(value)
    return int(found) if isinstance(value, str) and not value.lstrip("+-").isdigit() else int(value)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _time_of(text: str) -> datetime:
    """ISO 8601 as Salesforce writes and reads it; `+0000` and `Z` are more than Python 3.10 reads."""
    plain = re.sub(r"\.[0-9]+", "", _matching(_TIMESTAMP, text)).replace("Z", "+00:00")
    if len(plain) > 5 and plain[-5] in "+-" and plain[-3] != ":":
        plain = f"{plain[:-2]}:{plain[-2:]}"
    when = datetime.fromisoformat(plain)
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
