"""How the tables refer to one another: by references of one table to another one of the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_sfcc.catalog.tables import Column, Table


@dataclass(frozen=True)
class Relation:
    """`column` of `child` holds Ids of `parent`; `is_only` says that it leads to no other object."""

    child: str
    parent: str
    column: Column
    is_only: bool


def relations_of(tables: Sequence[Table]) -> list[Relation]:
    """All references between tables of the catalog, in the order of tables and columns."""
    known = {table.sobject for table in tables}
    return [
        Relation(table.sobject, parent, column, is_only=len(column.field.references) == 1)
        for table in tables
        for column in table.columns
        if column.has_own_values and column.field is not None
        for parent in column.field.references
        if parent in known
    ]
