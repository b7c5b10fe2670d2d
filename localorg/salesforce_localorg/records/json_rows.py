"""Records as Salesforce's JSON, written by DuckDB: one text per row, as fast as the rows can be read.

The forms are those of `cursor.py`, which writes what this module does not (aggregates and children).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from salesforce_localorg.records.tables import literal
from salesforce_localorg.soql.plan import Blob, Children, Column, Compound, Member, Parent, Plan, Record, Value

_TEXT_OF = {
    "boolean": "CASE {0} WHEN TRUE THEN 'true' WHEN FALSE THEN 'false' END",
    "int": "CAST({0} AS VARCHAR)",
    "long": "CAST({0} AS VARCHAR)",
    "double": "sf_java_double({0})",
    "currency": "sf_java_double({0})",
    "percent": "sf_java_double({0})",
    "date": "'\"' || CAST({0} AS VARCHAR) || '\"'",
    "datetime": "strftime({0}, '\"%Y-%m-%dT%H:%M:%S.%g+0000\"')",
    "time": "CASE WHEN {0} IS NOT NULL THEN '\"' || sf_csv_time(CAST({0} AS VARCHAR)) || '\"' END",
}
_ANY_TEXT = "CAST(to_json(nullif({0}, '')) AS VARCHAR)"  # Salesforce has no empty text


def json_row(plan: Plan, api_version: str) -> str | None:
    """The SQL of a record's JSON over the columns c0, c1, ... of a snapshot; None for what only Python can write."""
    if not isinstance(plan.shape, Record) or _has_children(plan.shape):
        return None
    return _concat(_Writer(plan.columns, f"/services/data/v{api_version}/sobjects").record(plan.shape))


def _has_children(record: Record) -> bool:
    return any(isinstance(member, Children) for member in record.members.values())


def _concat(parts: Sequence[str]) -> str:
    return f"concat({', '.join(parts)})"


class _Writer:
    """Writes the SQL of records whose links begin with `base`."""

    def __init__(self, columns: Sequence[Column], base: str) -> None:
        self._columns = columns
        self._base = base

    def record(self, record: Record) -> list[str]:
        url = f"{self._base}/{record.sobject}/"
        head = f'{{"attributes":{{"type":{json.dumps(record.type)},"url":"{url}'
        parts = [literal(head), f"c{record.id_column}", literal('"}')]
        for name, member in record.members.items():
            parts.append(literal(f",{json.dumps(name, ensure_ascii=False)}:"))
            parts.append(self._member(member, record, url))
        return [*parts, literal("}")]

    def _member(self, member: Member, record: Record, url: str) -> str:
        if isinstance(member, Value):
            return self._value(member.column)
        if isinstance(member, Parent):
            cases = [
                f"WHEN c{each.id_column} IS NOT NULL THEN {_concat(self.record(each))}" for each in member.candidates
            ]
            return f"CASE {' '.join(cases)} ELSE 'null' END"
        if isinstance(member, Compound):
            return self._compound(member)
        if isinstance(member, Blob):
            return _concat([literal(f'"{url}'), f"c{record.id_column}", literal(f'/{member.field}"')])
        raise TypeError(f"{type(member).__name__} is not written by SQL")

    def _compound(self, member: Compound) -> str:
        if not member.parts:
            return "'null'"
        parts: list[str] = []
        for name, column in member.parts.items():
            parts.append(literal(f"{',' if parts else '{'}{json.dumps(name)}:"))
            parts.append(self._value(column))
        between = " OR " if member.needs_all else " AND "
        missing = between.join(f"{self._json(column)} IS NULL" for column in member.parts.values())
        return f"CASE WHEN {missing} THEN 'null' ELSE {_concat([*parts, literal('}')])} END"

    def _value(self, column: int) -> str:
        return f"coalesce({self._json(column)}, 'null')"

    def _json(self, column: int) -> str:
        return _TEXT_OF.get(self._columns[column].type, _ANY_TEXT).format(f"c{column}")
