"""How an object's columns differ from those of the extract before, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_sfcc.errors import ACCESS, SchemaChangedError, StateError
from airflow_sfcc.extract.described import Described
from airflow_sfcc.extract.model import Column, plain

SchemaChange = dict[str, Any]

UNSELECTED, SELECTED = "unselected", "selected"
"""The changes of a column that the task no longer asks for, or had not asked for: no changes of the object."""

OF_THE_TASK = frozenset({UNSELECTED, SELECTED})

_DECIMAL = re.compile(r"decimal128\((\d+), (-?\d+)\)")
_LARGEST_PRECISION = 38


def changes_between(
    before: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    describe: Mapping[str, Any],
    then: Described | None = None,
    *,
    are_listed: bool = False,
) -> list[SchemaChange]:
    """What is different now from the `schema` of an earlier manifest, by column name.

    `change` is `added`, `retyped`, `selected`, `unselected`, `removed` or `access_lost`. `then` is what the object was when that
    extract was planned, None where that is not known. A column whose field was there then and is there now comes or goes by
    the task alone, and so does every column of a task that lists its columns (`are_listed`). Of the others, only custom fields
    can be deleted, so a standard field that is gone was hidden from the Run As user; a custom field may be either, and counts
    as removed.
    """
    had = _lower(name for field in then.fields for name in (field.name, field.relationship)) if then else set()
    has = _lower(field.get(key) for field in describe["fields"] for key in ("name", "relationshipName"))
    earlier = {str(column["name"]): column for column in before}
    now = {column.name: column for column in columns}
    found: list[SchemaChange] = []
    for name, column in now.items():
        if name not in earlier:
            by_task = are_listed or _head(name) in had
            found.append({"column": name, "change": SELECTED if by_task else "added", "to": _types(column)})
    for name, was in earlier.items():
        if name not in now:
            # What was no field, such as an alias or child records, cannot have gone from the object.
            by_task = are_listed or _head(name) in has or (then is not None and _head(name) not in had)
            found.append({"column": name, "change": UNSELECTED if by_task else _loss(name), "from": _types(was)})
        elif _types(was) != _types(now[name]):
            found.append({"column": name, "change": "retyped", "from": _types(was), "to": _types(now[name])})
    return found


def _lower(names: Iterable[str | None]) -> set[str]:
    """What a column or the first part of its path can be: a field or a way to a parent, in lower case."""
    return {name.lower() for name in names if name}


def _head(name: str) -> str:
    return name.lower().partition(".")[0]


def _loss(name: str) -> str:
    return "removed" if "__" in name else "access_lost"


def _types(column: Mapping[str, Any] | Column) -> dict[str, str]:
    if isinstance(column, Column):
        column = plain(column)
    return {name: str(column[name]) for name in ("salesforce_type", "type", "hashed") if column.get(name)}


def require_same_hashing(sobject: str, columns: Sequence[Column], manifests: Sequence[Mapping[str, Any]]) -> None:
    """Raise StateError when columns are hashed otherwise than in the extracts that this one would go on from: one table of
    theirs would hold a record's values now plain, now hashed, or by two keys."""
    hashed = {column.name: column.hashed for column in columns}
    for manifest in manifests:
        for earlier in manifest["schema"]:
            name = str(earlier["name"])
            if name in hashed and earlier.get("hashed") != hashed[name]:
                then, now = (
                    f"hashed by {each}" if each else "not hashed" for each in (earlier.get("hashed"), hashed[name])
                )
                raise StateError(
                    f"{sobject}.{name} is {then} in the destination (extract {manifest['extract_id']}), and is to be {now}: "
                    "one table of both would mix them. Run once with mode='full', from which incremental extracts then go on, "
                    "and remove the extracts before that where their values must not stay."
                )


def refuse_changes(sobject: str, changes: Sequence[SchemaChange]) -> None:
    """Raise SchemaChangedError when the object changed; for `on_schema_change="fail"`."""
    changes = [change for change in changes if change["change"] not in OF_THE_TASK]
    if changes:
        raise SchemaChangedError(
            f"The columns of {sobject} changed since the last extract: {'; '.join(map(sentence, changes))}. No rows were "
            "requested. Look at what reads the files, then let the task go on once with on_schema_change='evolve'."
        )


def sentence(change: SchemaChange) -> str:
    """One change, for people."""
    name = change["column"]
    if change["change"] == "retyped":
        before, after = (
            f"{side['type']} ({side['salesforce_type']}{', hashed by ' + side['hashed'] if 'hashed' in side else ''})"
            for side in (change["from"], change["to"])
        )
        return f"{name} was {before} and is {after}"
    if change["change"] == UNSELECTED:
        return f"{name} is no longer selected"
    if change["change"] == SELECTED:
        return f"{name} is newly selected"
    if change["change"] == "access_lost":
        return f"{name} is hidden from the Run As user now ({ACCESS})"
    return f"{name} was {change['change']}" + (
        " (or hidden from the Run As user)" if change["change"] == "removed" else ""
    )


def wider(one: str, other: str) -> str:
    """The narrowest column type that holds the values of both; text holds everything.

    Where `numbers` was changed between float and decimal, the task's present choice, `other`, holds.
    """
    if one == other:
        return one
    numbers = {one, other}
    if "float64" in numbers and any(kind.startswith("decimal") for kind in numbers):
        return other
    if numbers == {"int64", "float64"}:
        return "float64"
    if all(kind == "int64" or kind.startswith("decimal") for kind in numbers):
        return _wider_decimal(*(_digits(kind) for kind in (one, other)))
    return "string"


def _digits(kind: str) -> tuple[int, int]:
    """Digits before and after the point; an int64 from Salesforce has at most 19."""
    found = _DECIMAL.fullmatch(kind)
    return (int(found[1]) - int(found[2]), int(found[2])) if found else (19, 0)


def _wider_decimal(one: tuple[int, int], other: tuple[int, int]) -> str:
    before, after = max(one[0], other[0]), max(one[1], other[1])
    return f"decimal128({before + after}, {after})" if before + after <= _LARGEST_PRECISION else "string"
