"""Timestamps: aware datetimes inside, ISO 8601 text outside."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from airflow_sfcc.errors import QueryError

_PLAIN_ZONE = re.compile(r"Z$|([+-]\d\d)(\d\d)$")
"""`Z` and `+0000`, which Python 3.10 does not read."""


def _zone(found: re.Match[str]) -> str:
    return f"{found[1]}:{found[2]}" if found[1] else "+00:00"


def timestamp(value: str | datetime, parameter: str = "") -> datetime:
    """An aware datetime in UTC, from ISO 8601 text or a datetime.

    Raises QueryError, which names the `parameter` it is of, for what has no time zone or is no timestamp.
    """
    shown = f"{parameter}={str(value)!r}" if parameter else repr(str(value))
    try:
        read = value if isinstance(value, datetime) else datetime.fromisoformat(_PLAIN_ZONE.sub(_zone, value.strip()))
    except ValueError:
        raise QueryError(f"{shown} is no timestamp: write it like 2026-11-23T02:00:00Z.") from None
    if read.tzinfo is None:
        raise QueryError(f"{shown} has no time zone: write it like 2026-11-23T02:00:00Z.")
    try:
        return plain_datetime(read)
    except OverflowError:
        raise QueryError(f"{shown} lies outside the years 1 to 9999 in UTC.") from None


def plain_datetime(value: datetime) -> datetime:
    """`value` in UTC as a datetime of Python's own, whatever subclass of it (pendulum's, in many DAGs) it is."""
    utc = value.astimezone(timezone.utc)
    return datetime.combine(utc.date(), utc.time(), timezone.utc)


def iso(value: datetime) -> str:
    """`2026-11-23T02:00:00.000Z`, as manifests write timestamps."""
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_second(value: datetime) -> datetime:
    """`value` in UTC without its fraction: stamps have whole seconds (salesforce-protocol.md#incremental-extracts)."""
    return plain_datetime(value).replace(microsecond=0)


def utc_now() -> str:
    """This machine's time, as `iso` writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
