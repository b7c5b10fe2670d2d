"""The rows of a local org in plain Python, read from its tables without SOQL, and its describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from salesforce_localorg.clock import Clock
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema, Viewer

Row = dict[str, Any]
VIEWER = Viewer("0058c0000000001AAA")
NOW = datetime(2025, 8, 20, 15, 30, tzinfo=timezone.utc)  # a Wednesday with generated rows before and after it
COUNTS = {
    "User": 15,
    "Account": 260,
    "Contact": 220,
    "Opportunity": 160,
    "Case": 120,
    "Lead": 50,
    "Task": 70,
    "Event": 60,
    "Invoice__c": 90,
}
_SETUP_OBJECTS = ("Group", "Profile", "RecordType", "Organization", "CaseStatus")


@dataclass(frozen=True)
class Member:
    """A field reached from an object: its path, type, flags (a describe entry) and how to read it off a row."""

    path: str
    kind: str
    flags: dict[str, Any]
    read: Callable[[Row], Any]

    @property
    def picklist(self) -> list[str]:
        return [str(entry["value"]) for entry in self.flags["picklistValues"]]


class World:
    """`rows[object]` are all rows, deleted ones too; `by_id` finds any of them."""

    def __init__(self, records: Records, schema: Schema, counts: Sequence[str]) -> None:
        self.records = records
        self.describes = {each.name: each.to_describe("68.0") for each in schema}
        filled = {*COUNTS, *_SETUP_OBJECTS, *counts}
        self.rows: dict[str, list[Row]] = {name: self._read(name) for name in filled if schema.sobject(name)}
        self.by_id = {row["Id"]: (name, row) for name, rows in self.rows.items() for row in rows}

    def _read(self, name: str) -> list[Row]:
        result = self.records.raw().execute(f'SELECT * FROM "{name}"')
        columns = [column[0] for column in result.description or ()]
        return [{key: _known(value) for key, value in zip(columns, row)} for row in result.fetchall()]

    def live(self, name: str, include_deleted: bool = False) -> list[Row]:
        hidden = ("IsDeleted", "IsArchived")
        return [row for row in self.rows[name] if include_deleted or not any(row.get(flag) for flag in hidden)]

    def fields(self, sobject: str) -> list[dict[str, Any]]:
        """Describe entries of the fields that hold values of their own."""
        entries: list[dict[str, Any]] = self.describes[sobject]["fields"]
        return [entry for entry in entries if entry["type"] not in ("address", "location", "base64")]

    def member(self, sobject: str, name: str) -> Member:
        entry = next(entry for entry in self.fields(sobject) if entry["name"] == name)
        return Member(name, entry["type"], entry, lambda row: row[name])

    def parents(self, sobject: str) -> list[tuple[str, str, str]]:
        """(relationship, reference field, parent object) for references to one object that has rows."""
        return [
            (entry["relationshipName"], entry["name"], entry["referenceTo"][0])
            for entry in self.fields(sobject)
            if entry["relationshipName"] and len(entry["referenceTo"]) == 1 and entry["referenceTo"][0] in self.rows
        ]

    def children(self, sobject: str) -> list[tuple[str, str, str]]:
        """(relationship, child object, reference field)."""
        return [
            (child["relationshipName"], child["childSObject"], child["field"])
            for child in self.describes[sobject]["childRelationships"]
            if child["relationshipName"] and child["childSObject"] in self.rows
            if any(entry["name"] == child["field"] for entry in self.describes[child["childSObject"]]["fields"])
        ]

    def through(self, relationship: str, reference: str, inner: Member) -> Member:
        """The member of a parent; of a parent that is not there everything is null."""

        def read(row: Row) -> Any:
            found = self.by_id.get(row[reference])
            return None if found is None else inner.read(found[1])

        return Member(f"{relationship}.{inner.path}", inner.kind, inner.flags, read)


def _known(value: Any) -> Any:
    return None if value == "" else value


def open_world(counts: dict[str, int] | None = None, schema: Schema | None = None, seed: int = 11) -> World:
    clock = Clock()
    clock.set(NOW)
    schema = schema or Schema.standard()
    records = Records.open(schema, clock=clock)
    records.generate(counts or COUNTS, seed=seed)
    return World(records, schema, [*(counts or COUNTS)])


def records_of(world: World, soql: str, include_deleted: bool = False) -> tuple[str, int, Sequence[Row]]:
    """Kind, totalSize and records that the local org answers."""
    cursor = world.records.open_cursor(soql, include_deleted=include_deleted, viewer=VIEWER)
    try:
        rows = cursor.records(0, cursor.total_size, "68.0") if cursor.kind != "count" else []
        return cursor.kind, cursor.total_size, rows
    finally:
        cursor.close()
