"""Rows made by DuckDB out of a seed: the same seed gives the same rows on any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone

import duckdb

from salesforce_localorg.ids import record_id
from salesforce_localorg.records.derived import derived_fields
from salesforce_localorg.records.macros import FIRST_INSERTED, MAX_ROWS
from salesforce_localorg.records.row_expressions import EPOCH_SECONDS, RowExpressions
from salesforce_localorg.records.setup_rows import SETUP_COUNTS
from salesforce_localorg.records.tables import identifier, stored_fields
from salesforce_localorg.schema import Schema, SObject

_BATCH_ROWS = 250_000

Progress = Callable[[str, int], None]


def generate_rows(
    connection: duckdb.DuckDBPyConnection,
    schema: Schema,
    counts: Mapping[str, int],
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Fill the tables. `progress(object, rows made so far)` is called after each batch.

    Objects that an org has before anybody enters data (users, profiles, ...) get a few rows even when not counted.
    References point at rows of this call and of earlier ones. Raises ValueError for an object that the schema lacks or that
    has rows already, or a count out of range.
    """
    wanted = _rows_per_object(schema, counts)
    present = {each.name: _generated(connection, each) for each in schema}
    for name in counts:
        if present[_named(schema, name).name]:
            raise ValueError(f"{name} already has generated records; make them in a new org, or ask for other objects.")
    everything = {**wanted, **{name: rows for name, rows in present.items() if rows}}
    for name, rows in wanted.items():
        sobject = _named(schema, name)
        if not present[sobject.name]:
            _fill(connection, sobject, RowExpressions(sobject, schema, everything, seed), rows, progress)


def _generated(connection: duckdb.DuckDBPyConnection, sobject: SObject) -> int:
    first_inserted = record_id(sobject.key_prefix or "000", FIRST_INSERTED)
    sql = f'SELECT count(*) FROM {identifier(sobject.name)} WHERE "Id" < ?'
    row = connection.execute(sql, [first_inserted]).fetchone()
    return int(row[0]) if row else 0


def _named(schema: Schema, name: str) -> SObject:
    sobject = schema.sobject(name)
    if sobject is None:
        known = ", ".join(sorted(each.name for each in schema))
        raise ValueError(f"The local org has no object {name!r} to make rows for; it has {known}.")
    return sobject


def _rows_per_object(schema: Schema, counts: Mapping[str, int]) -> dict[str, int]:
    wanted = {name: rows for name, rows in SETUP_COUNTS.items() if schema.sobject(name)}
    for name, rows in counts.items():
        sobject = _named(schema, name)
        if not 0 <= rows < MAX_ROWS:
            raise ValueError(f"{name} can have from 0 to {MAX_ROWS - 1} rows, not {rows}; choose a number in between.")
        wanted[sobject.name] = rows
    return wanted


def _fill(
    connection: duckdb.DuckDBPyConnection,
    sobject: SObject,
    expressions: RowExpressions,
    rows: int,
    progress: Progress | None,
) -> None:
    statement = _insert(sobject, expressions)
    for start in range(0, rows, _BATCH_ROWS):
        stop = min(start + _BATCH_ROWS, rows)
        connection.execute(statement, [start, stop])
        if progress:
            progress(sobject.name, stop)


def _insert(sobject: SObject, expressions: RowExpressions) -> str:
    """Three layers: row numbers with their stamps, fields by chance, fields that follow from others."""
    derived = {**derived_fields(sobject), **_archived(sobject)}
    fields = stored_fields(sobject)
    base = ", ".join(f"{expressions.of(f)} AS {identifier(f.name)}" for f in fields if f.name not in derived)
    late = "".join(f", {sql} AS {identifier(name)}" for name, sql in derived.items())
    columns = ", ".join(identifier(field.name) for field in fields)
    numbered = f"SELECT i, {expressions.stamps()} FROM range($1, $2) AS numbers(i)"
    return (
        f"INSERT INTO {identifier(sobject.name)} ({columns}) "
        f"SELECT {columns} FROM (SELECT *{late} FROM (SELECT {base} FROM ({numbered})))"
    )


_ENDED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Task": (("IsClosed", "ActivityDate"), """CASE WHEN "IsClosed" THEN "ActivityDate" END"""),
    "Event": (("EndDate",), '"EndDate"'),
}


def _archived(sobject: SObject) -> dict[str, str]:
    """Which generated activities are archived: those that ended a year before the newest were made.

    Salesforce archives in the background, so no edit changes the flag. Source: Help, "Archived Activities".
    """
    fields, ended = _ENDED.get(sobject.name, ((), ""))
    if not fields or not all(map(sobject.field, ("IsArchived", *fields))):
        return {}
    made = datetime.fromtimestamp(EPOCH_SECONDS, timezone.utc)
    return {"IsArchived": f"coalesce({ended} < DATE '{(made - timedelta(days=365)).date()}', FALSE)"}
