"""What a change does to the tables. Every function works inside the transaction that its connection is in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from salesforce_localorg.records import delete_log
from salesforce_localorg.records.derived import SETTABLE, Formulas
from salesforce_localorg.records.tables import identifier, stored_fields
from salesforce_localorg.records.views import is_view
from salesforce_localorg.schema import Schema, SObject

_CHANGED = "sf_changed_rows"  # the name under which a statement finds the rows of a change


@dataclass(frozen=True)
class Stamp:
    """Who changes records and when; `when` is UTC without a timezone, in whole seconds."""

    user_id: str
    when: datetime

    def created(self, sobject: SObject) -> dict[str, Any]:
        """The system fields of a new record."""
        by = {"CreatedDate": self.when, "CreatedById": self.user_id, "IsDeleted": False}
        return {**_known(sobject, by), **self.modified(sobject)}

    def modified(self, sobject: SObject) -> dict[str, Any]:
        """The system fields that a user's edit moves."""
        by = {"LastModifiedDate": self.when, "LastModifiedById": self.user_id}
        return {**_known(sobject, by), **self.touched(sobject)}

    def touched(self, sobject: SObject) -> dict[str, Any]:
        """The system field that a process moves."""
        return _known(sobject, {"SystemModstamp": self.when})


@dataclass(frozen=True)
class Tables:
    """The tables of one org: a connection in a transaction, and what is known of the objects."""

    connection: duckdb.DuckDBPyConnection
    schema: Schema
    formulas: Formulas

    def sobject(self, name: str) -> SObject | None:
        """The object; None when it was dropped since the change was written down."""
        return self.schema.sobject(name)


def insert_rows(tables: Tables, name: str, rows: pa.Table) -> None:
    """Add records."""
    sobject = tables.sobject(name)
    if sobject is None:
        return
    columns = ", ".join(identifier(column) for column in _present(sobject, rows))
    with _visible(tables, rows):
        tables.connection.execute(f"INSERT INTO {identifier(name)} ({columns}) SELECT {columns} FROM {_CHANGED}")
        _derive(tables, sobject, set(rows.column_names), is_new=True)


def update_rows(tables: Tables, name: str, rows: pa.Table) -> None:
    """Write columns of records, which `rows` names by Id, each once."""
    sobject = tables.sobject(name)
    if sobject is None:
        return
    columns = [column for column in _present(sobject, rows) if column != "Id"]
    assignments = ", ".join(f"{identifier(column)} = {_CHANGED}.{identifier(column)}" for column in columns)
    table = identifier(name)
    with _visible(tables, rows):
        if columns:
            tables.connection.execute(
                f'UPDATE {table} SET {assignments} FROM {_CHANGED} WHERE {table}."Id" = {_CHANGED}."Id"'
            )
        _derive(tables, sobject, set(columns), is_new=False)


def _present(sobject: SObject, rows: pa.Table) -> list[str]:
    """The columns of a change that the object still has."""
    return [name for name in rows.column_names if sobject.field(name) is not None]


@contextmanager
def _visible(tables: Tables, rows: pa.Table) -> Iterator[None]:
    tables.connection.register(_CHANGED, rows)
    try:
        yield
    finally:
        tables.connection.unregister(_CHANGED)


def _derive(tables: Tables, sobject: SObject, written: Collection[str], *, is_new: bool) -> None:
    """Compute the fields that follow from others, of the records of a change that wrote the columns `written`."""
    for layer in tables.formulas.layers(sobject):
        chosen = {field: _chosen(sobject, field, sql, written, is_new=is_new) for field, sql in layer.items()}
        assignments = ", ".join(f"{identifier(field)} = {sql}" for field, sql in chosen.items() if sql is not None)
        if assignments:
            tables.connection.execute(
                f'UPDATE {identifier(sobject.name)} SET {assignments} WHERE "Id" IN (SELECT "Id" FROM {_CHANGED})'
            )


def _chosen(sobject: SObject, field: str, sql: str, written: Collection[str], *, is_new: bool) -> str | None:
    """The SQL of a field's new value; None where it keeps the one it has: that which somebody gave goes before."""
    follows = SETTABLE.get((sobject.name, field))
    if follows is None:
        return sql
    if is_new:
        return f"coalesce({identifier(field)}, {sql})"
    return sql if follows in written and field not in written else None


def delete_records(
    tables: Tables,
    name: str,
    ids: Sequence[str],
    stamp: Stamp,
    in_bin: timedelta,
    parents: Sequence[str | None] | None = None,
    cascade: bool = True,
) -> None:
    """Move records to the recycle bin, with the children whose relationship says so."""
    sobject = tables.sobject(name)
    if sobject is None or not ids:
        return
    if sobject.field("IsDeleted") is None:
        remove_records(tables, name, ids, stamp)
        return
    _set(tables, sobject, ids, {"IsDeleted": True, **stamp.modified(sobject)})
    parents = parents or [None] * len(ids)
    delete_log.log_deleted(tables.connection, sobject, ids, stamp.when, stamp.when + in_bin, parents)
    if not cascade:
        return
    for child, children, owners in _children(tables, sobject, ids, live=True):
        delete_records(tables, child.name, children, stamp, in_bin, owners)


def undelete_records(tables: Tables, name: str, ids: Sequence[str], stamp: Stamp) -> None:
    """Take records out of the recycle bin, with the children that went along."""
    sobject = tables.sobject(name)
    if sobject is None or sobject.field("IsDeleted") is None:
        return
    values = {"IsDeleted": False, **_known(sobject, {"MasterRecordId": None}), **stamp.modified(sobject)}
    _set(tables, sobject, ids, values)
    children = delete_log.taken_along(tables.connection, ids)
    delete_log.log_undeleted(tables.connection, sobject.name, ids)
    for child, child_ids in children.items():
        undelete_records(tables, child, child_ids, stamp)


def remove_records(tables: Tables, name: str, ids: Sequence[str], stamp: Stamp) -> None:
    """Delete records for good, in the recycle bin or not, with the children whose relationship says so."""
    sobject = tables.sobject(name)
    if sobject is None or not ids:
        return
    live = _live(tables, sobject, ids)
    table = identifier(name)
    tables.connection.execute(f'DELETE FROM {table} WHERE "Id" IN (SELECT unnest(?))', [ids])
    delete_log.log_purged(tables.connection, sobject.name, ids)
    if live:
        delete_log.log_deleted(tables.connection, sobject, live, stamp.when, None, [None] * len(live))
    for child, children, _ in _children(tables, sobject, ids, live=False):
        remove_records(tables, child.name, children, stamp)


def _live(tables: Tables, sobject: SObject, ids: Sequence[str]) -> list[str]:
    not_deleted = ' AND NOT "IsDeleted"' if sobject.field("IsDeleted") else ""
    rows = tables.connection.execute(
        f'SELECT "Id" FROM {identifier(sobject.name)} WHERE "Id" IN (SELECT unnest(?)){not_deleted}', [ids]
    ).fetchall()
    return [found for (found,) in rows]


def merge_records(
    tables: Tables, name: str, master_id: str, losers: Sequence[str], stamp: Stamp, in_bin: timedelta
) -> None:
    """Move what refers to the losers to the master, then the losers to the recycle bin."""
    sobject = tables.sobject(name)
    if sobject is None:
        return
    for other in tables.schema:
        for field in stored_fields(other) if not is_view(other) else ():
            if sobject.name in field.reference_to and field.name != "MasterRecordId":
                _refer(tables, other, field.name, losers, {field.name: master_id, **stamp.touched(other)})
    if sobject.field("MasterRecordId"):
        _set(tables, sobject, losers, {"MasterRecordId": master_id})
    delete_records(tables, name, losers, stamp, in_bin, cascade=False)


def _refer(tables: Tables, sobject: SObject, field: str, ids: Sequence[str], values: Mapping[str, Any]) -> None:
    assignments = ", ".join(f"{identifier(name)} = ?" for name in values)
    tables.connection.execute(
        f"UPDATE {identifier(sobject.name)} SET {assignments} WHERE {identifier(field)} IN (SELECT unnest(?))",
        [*values.values(), ids],
    )


def _set(tables: Tables, sobject: SObject, ids: Sequence[str], values: Mapping[str, Any]) -> None:
    _refer(tables, sobject, "Id", ids, values)


def _children(
    tables: Tables, sobject: SObject, ids: Sequence[str], *, live: bool
) -> Iterator[tuple[SObject, list[str], list[str]]]:
    """Records that a deletion takes along: their object, their ids and those of their parents."""
    for relationship in sobject.child_relationships:
        child = tables.sobject(relationship.child_sobject)
        field = child.field(relationship.field) if child else None
        if child is None or field is None or not relationship.cascade_delete or is_view(child):
            continue
        not_deleted = ' AND NOT "IsDeleted"' if live and child.field("IsDeleted") else ""
        reference = identifier(field.name)
        rows = tables.connection.execute(
            f'SELECT "Id", {reference} FROM {identifier(child.name)} WHERE {reference} IN (SELECT unnest(?)){not_deleted}',
            [ids],
        ).fetchall()
        if rows:
            yield child, [row[0] for row in rows], [row[1] for row in rows]


def _known(sobject: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if sobject.field(name)}
