"""Single records written: stamps move, defaults and derived fields follow, and readers see a change whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb

from airflow_sfcc.localorg.ids import record_id, to_18
from airflow_sfcc.localorg.records.derived import derived_fields
from airflow_sfcc.localorg.records.macros import FIRST_INSERTED
from airflow_sfcc.localorg.records.row_expressions import auto_number
from airflow_sfcc.localorg.records.stored_values import naive_utc, stored_values
from airflow_sfcc.localorg.records.tables import identifier
from airflow_sfcc.localorg.schema import Field, SObject


def insert_record(
    connection: duckdb.DuckDBPyConnection, sobject: SObject, values: Mapping[str, Any], user_id: str, now: datetime
) -> str:
    """Add a record and return its id. Values given for system fields go before the org's own stamps."""
    written = stored_values(sobject, values)
    with _transaction(connection):
        new_id = record_id(sobject.key_prefix or "000", FIRST_INSERTED + _inserted(connection, sobject))
        stamps = _stamps(sobject, user_id, now, created=True)
        row = {**_defaults(connection, sobject, user_id), **stamps, **written, "Id": new_id}
        names = ", ".join(identifier(name) for name in row)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO {identifier(sobject.name)} ({names}) VALUES ({marks})", list(row.values()))
        _derive(connection, sobject, new_id)
    return new_id


def update_record(
    connection: duckdb.DuckDBPyConnection,
    sobject: SObject,
    changed_id: str,
    values: Mapping[str, Any],
    user_id: str,
    now: datetime,
) -> None:
    """Change fields of a record. Values given for system fields go before the org's own stamps.

    Raises LookupError when there is no such record.
    """
    written = stored_values(sobject, values)
    if "Id" in written:
        raise ValueError("The Id of a record cannot change; leave it out of the values.")
    row = {**_stamps(sobject, user_id, now, created=False), **written}
    full_id = to_18(changed_id) if len(changed_id) == 15 else changed_id
    assignments = ", ".join(f"{identifier(name)} = ?" for name in row)
    with _transaction(connection):
        changed = connection.execute(
            f'UPDATE {identifier(sobject.name)} SET {assignments} WHERE "Id" = ?', [*row.values(), full_id]
        ).fetchone()
        if not changed or changed[0] == 0:
            raise LookupError(
                f"{sobject.name} has no record with the id {changed_id!r}; query its Id to find those it has."
            )
        _derive(connection, sobject, full_id)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _inserted(connection: duckdb.DuckDBPyConnection, sobject: SObject) -> int:
    first = record_id(sobject.key_prefix or "000", FIRST_INSERTED)
    sql = f'SELECT count(*) FROM {identifier(sobject.name)} WHERE "Id" >= ?'
    row = connection.execute(sql, [first]).fetchone()
    return int(row[0]) if row else 0


def _stamps(sobject: SObject, user_id: str, now: datetime, *, created: bool) -> dict[str, Any]:
    moment = naive_utc(now).replace(microsecond=0)
    stamps: dict[str, Any] = {"LastModifiedDate": moment, "SystemModstamp": moment, "LastModifiedById": user_id}
    if created:
        stamps |= {"CreatedDate": moment, "CreatedById": user_id, "IsDeleted": False}
    return {name: value for name, value in stamps.items() if sobject.field(name)}


def _defaults(connection: duckdb.DuckDBPyConnection, sobject: SObject, user_id: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for field in sobject.fields:
        if field.type == "boolean":
            defaults[field.name] = field.default_value is True
        elif field.auto_number:
            defaults[field.name] = _next_number(connection, sobject)
        elif field.type == "picklist":
            defaults |= _default_choice(field)
    return defaults | ({"OwnerId": user_id} if sobject.field("OwnerId") else {})


def _default_choice(field: Field) -> dict[str, Any]:
    chosen = [entry["value"] for entry in field.picklist_values if entry.get("defaultValue")]
    return {field.name: chosen[-1]} if chosen else {}


def _next_number(connection: duckdb.DuckDBPyConnection, sobject: SObject) -> str:
    sql = f"SELECT {auto_number(sobject, 'count(*) + 1')} FROM {identifier(sobject.name)}"
    row = connection.execute(sql).fetchone()
    return str(row[0]) if row else ""


def _derive(connection: duckdb.DuckDBPyConnection, sobject: SObject, changed_id: str) -> None:
    for name, expression in derived_fields(sobject).items():
        connection.execute(
            f'UPDATE {identifier(sobject.name)} SET {identifier(name)} = {expression} WHERE "Id" = ?', [changed_id]
        )
