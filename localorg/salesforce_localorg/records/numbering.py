"""Numbers that are never given twice: those of record ids and of auto number fields."""

from __future__ import annotations

import re
from collections.abc import Callable

import duckdb

from salesforce_localorg.ids import record_id, record_number
from salesforce_localorg.records.delete_log import DELETE_LOG
from salesforce_localorg.records.macros import FIRST_INSERTED
from salesforce_localorg.records.tables import first_row, identifier
from salesforce_localorg.schema import Field, SObject


class Numbering:
    """Counts on from the highest number that the tables and the delete log hold when an object is first asked for."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._connect = connect
        self._ids: dict[str, int] = {}
        self._auto: dict[tuple[str, str], int] = {}

    def next_id(self, sobject: SObject) -> str:
        """A fresh id for a record that somebody adds."""
        if sobject.name not in self._ids:
            self._ids[sobject.name] = self._first_free(sobject)
        number = self._ids[sobject.name]
        self._ids[sobject.name] = number + 1
        return record_id(sobject.key_prefix or "000", number)

    def next_auto_number(self, sobject: SObject, field: Field) -> int:
        """The next number of an auto number field."""
        key = (sobject.name, field.name)
        if key not in self._auto:
            highest = self._highest(f"SELECT max({identifier(field.name)}) FROM {identifier(sobject.name)}", [])
            digits = re.search(r"\d+$", highest or "")
            self._auto[key] = int(digits[0]) if digits else 0
        number = self._auto[key] + 1
        self._auto[key] = number
        return number

    def _first_free(self, sobject: SObject) -> int:
        if sobject.field("Id") is None:
            return FIRST_INSERTED
        own = f'SELECT "Id" AS id FROM {identifier(sobject.name)}'
        logged = f"SELECT id FROM {DELETE_LOG} WHERE sobject = ?"
        highest = self._highest(f"SELECT max(id) FROM ({own} UNION ALL {logged})", [sobject.name])
        return FIRST_INSERTED if highest is None else max(FIRST_INSERTED, record_number(highest) + 1)

    def _highest(self, sql: str, parameters: list[str]) -> str | None:
        row = first_row(self._connect(), sql, parameters)
        return None if row is None or row[0] is None else str(row[0])
