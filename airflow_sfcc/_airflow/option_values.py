"""Which values an option takes, by the annotation that declares it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta
from pathlib import PurePath
from types import UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin

from airflow_sfcc._airflow.destinations import destination_url
from airflow_sfcc.errors import OptionError, SfccError
from airflow_sfcc.timestamps import timestamp

Duration = Union[float, timedelta, str]
"""Seconds, a timedelta, or ISO 8601 text such as `PT10M`."""


class StorageLocation(Protocol):
    """An ObjectStoragePath, which is not imported where Airflow parses DAGs."""

    @property
    def protocol(self) -> str: ...


Destination = Union[str, PurePath, StorageLocation]


ColumnRules = Mapping[str, Literal["hash", "drop", "keep"]]
"""What to do with which columns; see `airflow_sfcc.extract.protect.rules`."""


def checked_value(name: str, value: Any, annotation: Any) -> Any:
    """`value` in the form that the engine takes. Raises OptionError, which names the option, when it cannot be that."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if value is None and type(None) in kinds:
        return None
    if get_origin(annotation) is Literal:
        return _one_of(name, value, get_args(annotation))
    if ColumnRules in kinds:
        return _column_rules(name, value)
    if kinds == get_args(Destination):
        return destination_url(value)
    for kind, check in _CHECKS:
        if kind in kinds or kind in [get_origin(each) for each in kinds]:
            return check(name, value)
    return value


_MEMORY = re.compile(r"(?=.*[1-9])\d+(\.\d+)?\s*([KMGT]i?B|%)", re.IGNORECASE)


def check_memory_limit(value: str) -> None:
    """Raise OptionError for what DuckDB does not take, and for what it takes as no limit at all, such as `-1MB`."""
    if not _MEMORY.fullmatch(value.strip()):
        raise OptionError(f"memory_limit={value!r} is no size: write it like '256MB' or '2GB'.")


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return str(value)


def _duration(name: str, value: Any) -> timedelta:
    span = _as_timedelta(value)
    if span is None:
        raise OptionError(
            f"{name}={value!r} is no duration: give seconds, a timedelta, or ISO 8601 text such as 'PT10M' for ten minutes."
        )
    if span < timedelta(0):
        raise OptionError(f"{name}={value!r} is negative: a duration must not be.")
    return span


_ISO_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)
"""Without years and months, whose lengths differ."""


def _as_timedelta(value: Any) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        found = _ISO_DURATION.fullmatch(str(value).strip())
    parts = {name: float(number) for name, number in found.groupdict().items() if number} if found else {}
    return timedelta(**parts) if parts else None


def _timestamp(name: str, value: Any) -> datetime | None:
    if isinstance(value, str) and not value.strip():
        return None  # a template that renders to nothing
    if isinstance(value, date) and not isinstance(value, datetime):
        raise OptionError(
            f"{name}={value!r} is a date without a time: give a datetime with a time zone, or text like "
            f"{value.isoformat()}T00:00:00Z."
        )
    if not isinstance(value, (str, datetime)):
        raise OptionError(f"{name}={value!r} is no timestamp: give a datetime with a time zone, or ISO 8601 text.")
    try:
        return timestamp(value, name)
    except SfccError as problem:
        raise OptionError(problem.message) from None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, not {value!r}.")
    return value


_NATIVE_NUMBER = " A template that names a number stays one with render_template_as_native_obj=True in the DAG."


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        hint = _NATIVE_NUMBER if isinstance(value, str) else ""
        raise OptionError(f"{name} must be a whole number greater than 0, not {value!r}.{hint}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise OptionError(f"{name} must be a number greater than 0, not {value!r}.")
    return value


def _mapping(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise OptionError(
            f"{name} must be a dict of names and values, such as {name}={{'since': ...}} for :since in the query, not {value!r}. "
            "A template that names a dict stays one with render_template_as_native_obj=True in the DAG."
        )
    for key in value:
        if not isinstance(key, str):
            raise OptionError(f"{name} has the key {key!r}: its keys are the names after the colons, as text.")
    return value


def _column_rules(name: str, value: Any) -> Any:
    from airflow_sfcc.extract.protect.rules import Rules

    if not isinstance(value, Mapping):
        raise OptionError(
            f"{name} must be a dict of rules, such as {name}={{'Contact.Email': 'hash'}}, not {value!r}. A template that names "
            "a dict stays one with render_template_as_native_obj=True in the DAG."
        )
    try:
        Rules(value)
    except SfccError as problem:
        raise OptionError(problem.message) from None
    return value


def _list(name: str, value: Any) -> Any:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Collection):
        raise OptionError(
            f"{name} must be a list, not {value!r}: write {name}=[...]. A template that names a list stays one with "
            "render_template_as_native_obj=True in the DAG."
        )
    return value


def _names(name: str, value: Any) -> Any:
    """A list of texts. What another task returns is iterated too, since it is known by now."""
    for each in _list(name, value):
        if not isinstance(each, str) or not each.strip():
            raise OptionError(f"{name} must be a list of names, and {each!r} in it is none.")
    # A set has another order in each process: every try would have another query, and every parse another version of the DAG.
    return sorted(value) if isinstance(value, AbstractSet) else value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        several = isinstance(value, (list, tuple, set))
        advice = f" One task takes one; map it with .partial(...).expand({name}=[...])." if several else ""
        raise OptionError(f"{name} must be text, not {value!r}.{advice}")
    return value


_CHECKS: tuple[tuple[Any, Callable[[str, Any], Any]], ...] = (
    (timedelta, _duration),
    (datetime, _timestamp),
    (bool, _flag),
    (int, _whole_number),
    (float, _number),
    (Mapping, _mapping),
    (Sequence[str], _names),
    (Sequence, _list),
    (str, _text),
)
"""What an annotation demands, by the most telling type in it."""
