"""Rows as the store holds them and rows as a client read them, in one form that can be hashed and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records.tables import identifier

Row = Mapping[str, Any]
Damage = Callable[[str], str | None]


def whole_object(org: LocalOrg, sobject: str) -> dict[str, str]:
    """All fields of an object that hold a value of their own and have a place in a CSV, with their types."""
    described = org.schema.sobject(sobject)
    assert described is not None
    return {field.name: field.type for field in described.fields if not field.is_compound and field.type != "base64"}


def stored_rows(org: LocalOrg, sobject: str, *, include_deleted: bool = False) -> list[dict[str, Any]]:
    """The rows straight from the table, past SOQL and everything that writes answers."""
    names = list(whole_object(org, sobject))
    columns = ", ".join(identifier(name) for name in names)
    live = "" if include_deleted else ' WHERE NOT "IsDeleted"'
    found = org.records.raw().execute(f"SELECT {columns} FROM {identifier(sobject)}{live}").fetchall()
    return [dict(zip(names, row, strict=True)) for row in found]


def assert_read_whole(
    org: LocalOrg,
    sobject: str,
    read: Iterable[Row],
    *,
    include_deleted: bool = False,
    damage: Damage | None = None,
    types: Mapping[str, str] | None = None,
) -> None:
    """Every row of the object was read once, and each row's hash equals the store's.

    `damage` is what the client is known to do to texts, done to the store's before comparing; `types` narrows the fields
    down.
    """
    types = types or whole_object(org, sobject)
    expected = [
        _canonical_row(row, types, damage) for row in stored_rows(org, sobject, include_deleted=include_deleted)
    ]
    found = [_canonical_row(row, types, None) for row in read]
    if sorted(map(_hash, found)) != sorted(map(_hash, expected)):
        raise AssertionError(_difference(expected, found))


def _canonical_row(row: Row, types: Mapping[str, str], damage: Damage | None) -> dict[str, Any]:
    missing = [name for name in types if name not in row]
    assert not missing, f"the client's rows lack {missing}"
    return {name: _canonical(types[name], row[name], damage) for name in types}


def _canonical(kind: str, value: Any, damage: Damage | None) -> Any:
    """A value of the store, of JSON or of a CSV as one and the same thing."""
    if value is None or value == "":
        return None
    if kind == "boolean":
        return value if isinstance(value, bool) else {"true": True, "false": False}[value]
    if kind in ("int", "long"):
        return int(value)
    if kind in ("double", "currency", "percent"):
        return repr(float(value))
    if kind == "datetime":
        return _moment(value).isoformat(timespec="milliseconds")
    if kind == "date":
        return value.isoformat() if isinstance(value, date) else str(value)
    if kind == "time":
        moment = value if isinstance(value, time) else time.fromisoformat(str(value).removesuffix("Z"))
        return moment.isoformat(timespec="milliseconds")
    return damage(value) if damage is not None else value


def _moment(value: Any) -> datetime:
    """UTC without a timezone, whichever of Salesforce's ways it is written in: two texts, or milliseconds since 1970."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, int):
        return datetime(1970, 1, 1) + timedelta(milliseconds=value)
    text = str(value).removesuffix("Z").removesuffix("+0000").removesuffix("+00:00")
    return datetime.fromisoformat(text)


def _hash(row: Row) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def _difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    """Which rows and which fields differ, first ones first."""
    stored = {row["Id"]: row for row in expected}
    read = {row["Id"]: row for row in found}
    lines = [f"{len(expected)} rows stored, {len(found)} read, {len(read)} of them with different ids"]
    for record_id in sorted(stored.keys() ^ read.keys())[:5]:
        lines.append(f"{record_id}: only {'stored' if record_id in stored else 'read'}")
    differing = [
        f"{record_id}.{name}: stored {stored[record_id][name]!r:.200}, read {read[record_id][name]!r:.200}"
        for record_id in sorted(stored.keys() & read.keys())
        for name in stored[record_id]
        if stored[record_id][name] != read[record_id][name]
    ]
    return "\n".join([*lines, f"{len(differing)} values differ", *differing[:20]])
