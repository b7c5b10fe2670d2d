"""One DuckDB table per object: which column type holds which field type, and how names and values are written in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from salesforce_localorg.schema import Field, SObject

_COLUMN_TYPES = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "double": "DOUBLE",
    "currency": "DOUBLE",
    "percent": "DOUBLE",
    "date": "DATE",
    "datetime": "TIMESTAMP",
    "time": "TIME",
}
TEXT = "VARCHAR"


def column_type(field: Field) -> str:
    """The DuckDB type of the field's column. Timestamps are UTC, times and timestamps hold whole milliseconds."""
    return _COLUMN_TYPES.get(field.type, TEXT)


def stored_fields(sobject: SObject) -> tuple[Field, ...]:
    """The fields that have a column: all but compound ones, which only group others."""
    return tuple(field for field in sobject.fields if not field.is_compound)


def create_table(sobject: SObject) -> str:
    """The SQL that makes the object's table."""
    columns = ", ".join(f"{identifier(field.name)} {column_type(field)}" for field in stored_fields(sobject))
    return f"CREATE TABLE IF NOT EXISTS {identifier(sobject.name)} ({columns})"


def first_row(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """The first row of a result, None without any; the result is read to its end, so that the connection can go on."""
    rows = connection.execute(sql, list(parameters)).fetchall()
    return rows[0] if rows else None


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string expression. NUL cannot stand in SQL text, so it is written as chr(0)."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def list_literal(texts: Sequence[str]) -> str:
    """`texts` as a SQL list of strings."""
    return "[" + ", ".join(literal(text) for text in texts) + "]"
