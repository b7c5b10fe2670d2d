"""Rows made by DuckDB out of a seed: the same seed gives the same rows on any number of threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import pyarrow as pa

from salesforce_localorg.ids import record_id
from salesforce_localorg.records.derived import derived_fields
from salesforce_localorg.records.macros import FIRST_INSERTED, MAX_ROWS
from salesforce_localorg.records.row_expressions import EPOCH_SECONDS, RowExpressions
from salesforce_localorg.records.setup_rows import SETUP_COUNTS
from salesforce_localorg.records.tables import first_row, identifier, stored_fields
from salesforce_localorg.schema import Schema, SObject

_BATCH_ROWS = 250_000
_DECIDING = (
    *("name", "type", "length", "precision", "scale"),
    *("nillable", "createable", "unique", "external_id", "auto_number"),
)
"""What decides the values of a field, beside its picklist's."""
_ALIKE = "sf_alike"  # values that were made, while tables are filled with them

_MOST_KEPT_VALUES = 100_000
_MOST_KEPT_TABLES = 64

Progress = Callable[[str, int], None]


class _KeptTables:
    """Small tables that were made in this process, by the statement that makes them, the least recently used left out.

    DuckDB takes far longer to prepare a statement of so many expressions than to run it over a few rows, and a process
    that starts an org for each of its tests makes the same rows again and again.
    """

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def made(self, connection: duckdb.DuckDBPyConnection, statement: str, rows: int) -> pa.Table:
        """What the statement makes for that many rows."""
        key = (statement, rows)
        with self._lock:
            table = self._tables.get(key)
            if table is not None:
                self._tables.move_to_end(key)
                return table
        with connection.cursor() as cursor:
            table = cursor.sql(statement, params=[0, rows]).to_arrow_table()
        with self._lock:
            self._tables[key] = table
            while len(self._tables) > _MOST_KEPT_TABLES:
                self._tables.popitem(last=False)
        return table


_kept = _KeptTables()


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
    alike: dict[Any, list[tuple[SObject, int]]] = {}
    for name, rows in wanted.items():
        sobject = _named(schema, name)
        if rows and not present[sobject.name]:
            alike.setdefault(_shape(sobject), []).append((sobject, rows))

    def expressions(sobject: SObject) -> RowExpressions:
        return RowExpressions(sobject, schema, everything, seed)

    for group in alike.values():
        if len(group) > 1 and max(rows for _, rows in group) <= _BATCH_ROWS:
            _fill_alike(connection, group, expressions, progress)
            continue
        for sobject, rows in group:
            _fill(connection, sobject, expressions(sobject), rows, progress)


def _shape(sobject: SObject) -> tuple[Any, ...]:
    """What decides the values of an object's fields, but for references; objects of one shape hold the same values."""
    return tuple(
        (*(getattr(f, name) for name in _DECIDING), *(str(entry["value"]) for entry in f.picklist_values))
        for f in sobject.fields
    )


def _fill_alike(
    connection: duckdb.DuckDBPyConnection,
    group: Sequence[tuple[SObject, int]],
    expressions: Callable[[SObject], RowExpressions],
    progress: Progress | None,
) -> None:
    """Fill objects of one shape: the values are made once, ids and references for each object.

    DuckDB takes far longer to prepare a statement of so many expressions than to run it over a few rows.
    """
    first = group[0][0]
    most = max(rows for _, rows in group)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_ALIKE} AS {_select(first, expressions(first))}", [0, most])
    for sobject, rows in group:
        own = expressions(sobject)
        values = []
        for field in stored_fields(sobject):
            known = first.field(field.name)
            is_own = field.type == "id" or known is None or known.reference_to != field.reference_to
            values.append(own.of(field) if is_own else identifier(field.name))
        columns = ", ".join(identifier(field.name) for field in stored_fields(sobject))
        connection.execute(
            f"INSERT INTO {identifier(sobject.name)} ({columns}) SELECT {', '.join(values)} FROM {_ALIKE} WHERE i < ?",
            [rows],
        )
        if progress:
            progress(sobject.name, rows)
    connection.execute(f"DROP TABLE {_ALIKE}")


def _generated(connection: duckdb.DuckDBPyConnection, sobject: SObject) -> int:
    if sobject.field("Id") is None:  # platform events keep no records
        return 0
    first_inserted = record_id(sobject.key_prefix or "000", FIRST_INSERTED)
    sql = f'SELECT count(*) FROM {identifier(sobject.name)} WHERE "Id" < ?'
    row = first_row(connection, sql, [first_inserted])
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
    if rows * len(stored_fields(sobject)) <= _MOST_KEPT_VALUES:
        made = _kept.made(connection, _select(sobject, expressions), rows)
        with connection.cursor() as cursor:
            cursor.register(_ALIKE, made)
            cursor.execute(_insert(sobject, _ALIKE)).fetchall()
        if progress:
            progress(sobject.name, rows)
        return
    statement = _insert(sobject, f"({_select(sobject, expressions)})")
    for start in range(0, rows, _BATCH_ROWS):
        stop = min(start + _BATCH_ROWS, rows)
        connection.execute(statement, [start, stop])
        if progress:
            progress(sobject.name, stop)


def _insert(sobject: SObject, made: str) -> str:
    columns = ", ".join(identifier(field.name) for field in stored_fields(sobject))
    return f"INSERT INTO {identifier(sobject.name)} ({columns}) SELECT {columns} FROM {made}"


def _select(sobject: SObject, expressions: RowExpressions) -> str:
    """Row numbers from $1 to below $2, as `i`, with all columns.

    Three layers: row numbers with their stamps, fields by chance, fields that follow from others.
    """
    derived = {**derived_fields(sobject), **_archived(sobject)}
    fields = stored_fields(sobject)
    base = ", ".join(f"{expressions.of(f)} AS {identifier(f.name)}" for f in fields if f.name not in derived)
    late = "".join(f", {sql} AS {identifier(name)}" for name, sql in derived.items())
    numbered = f"SELECT i, {expressions.stamps()} FROM range($1, $2) AS numbers(i)"
    return f"SELECT *{late} FROM (SELECT i, {base} FROM ({numbered}))"


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
