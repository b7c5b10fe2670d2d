"""Which field tells when a record changed, and which columns an incremental extract cannot do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.model import Column, IncrementalOptions
from airflow_sfcc.extract.plan.quirks import has_bin, has_ids

CURSOR_FIELDS = ("SystemModstamp", "LastModifiedDate", "CreatedDate", "LoginTime")
"""Best first: SystemModstamp moves on every change, the others on fewer (salesforce-protocol.md#incremental-extracts)."""


FULL_INSTEAD = "use mode='full'"


def needed_columns(describe: Mapping[str, Any], options: IncrementalOptions) -> list[str]:
    """What an extract must have beside the fields asked for. Raises what `choose_cursor` raises."""
    needed = []
    if options.mode == "incremental":
        needed = ["Id", choose_cursor(describe, options.cursor_field)]
    if options.deletes != "ignore" and has_bin(describe):
        needed.append("IsDeleted")
    return needed


def cursor_of_full(
    describe: Mapping[str, Any], columns: Sequence[Column], options: IncrementalOptions, *, is_whole: bool
) -> str | None:
    """The field that incremental extracts can go on by after a full one; None where they could not.

    It is the one that they choose; where there is none that can be filtered by, the best there is puts rows in order.
    """
    names = {column.name for column in columns}
    if not (is_whole and "Id" in names and has_ids(describe)):
        return None
    wanted = [options.cursor_field] if options.cursor_field else list(CURSOR_FIELDS)
    fields = {str(field["name"]).lower(): field for field in describe["fields"]}
    there = [fields[name.lower()] for name in wanted if name.lower() in fields]
    best = next((field for field in there if _problem(field) is None), there[0] if there else None)
    return str(best["name"]) if best is not None and best["name"] in names else None


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
