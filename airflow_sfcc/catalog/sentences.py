"""What is said of a column, in dbt's descriptions and in the dictionary alike."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_sfcc.catalog.tables import Column, Table
from airflow_sfcc.extract.described import DescribedField
from airflow_sfcc.wording import plural

SQL_TYPES = {
    "boolean": "boolean",
    "int64": "bigint",
    "float64": "double",
    "date32": "date",
    "timestamp[ms, UTC]": "timestamp with time zone",
    "time32[ms]": "time",
    "string": "varchar",
}
"""How DuckDB calls what a Parquet file holds."""


def sql_type(kind: str) -> str:
    """DuckDB's name of a manifest's type."""
    return SQL_TYPES.get(
        kind, f"decimal{kind.removeprefix('decimal128')}" if kind.startswith("decimal128") else "varchar"
    )


def description(column: Column) -> str:
    """Label, help text and the rest, as one text. Never empty."""
    field = column.field
    if field is None:
        return " ".join([f"A {column.salesforce_type}; describe says no more of it.", *told(column)])
    label = field.label or field.name
    first = label if column.is_own else f"{label} ({column.sobject}.{field.name})"
    return " ".join([sentence(first), *told(column), *map(sentence, _values(field))])


def told(column: Column) -> list[str]:
    """Sentences with all that is known of a column but its label and its picklist's values."""
    found = list(map(sentence, _told(column.field))) if column.field else []
    return [*found, "Values are hashed."] if column.hashed else found


def _told(field: DescribedField) -> Iterator[str]:
    if field.help:
        yield field.help
    if field.references:
        through = f", in SOQL {field.relationship}" if field.relationship else ""
        yield f"Reference to {', '.join(field.references)}{through}"
    if field.formula:
        yield f"Formula: {field.formula}"
    elif field.calculated:
        yield "Calculated, as roll-ups are"
    if field.calculated:
        yield "It changes without its record being changed, so incremental extracts may hold an older value"
    if field.controlled_by:
        yield f"Which values fit depends on {field.controlled_by}"
    flags = {"unique": field.unique, "an external Id": field.external_id, "numbered by Salesforce": field.auto_number}
    if is_so := [name for name, holds in flags.items() if holds]:
        yield f"It is {' and '.join(is_so)}"


def _values(field: DescribedField) -> Iterator[str]:
    labels = [f"{value.value} = {value.label}" for value in field.values if value.label]
    if labels:
        yield f"Labels of values: {'; '.join(labels)}"
    if inactive := [value.value for value in field.values if not value.active]:
        yield f"No longer chosen: {'; '.join(inactive)}"


def sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


def about(table: Table) -> str:
    """What a table is, in one or two sentences."""
    name = f"{table.label} ({table.sobject})" if table.label not in ("", table.sobject) else table.sobject
    where = table.newest.get("where")
    only = f" Only records with {where}." if where else ""
    columns = plural(len(table.columns), "column")
    return f"{name}: {columns}, extracted from {table.newest.get('instance', 'Salesforce')}.{only}"
