"""A query made ready for DuckDB: which SQL to run, and how its columns become records or CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from salesforce_localorg.schema import SObject


@dataclass(frozen=True)
class Column:
    """One column of the SQL result. `type` is a Salesforce field type; it decides how the value is written."""

    sql: str
    type: str


@dataclass(frozen=True)
class Value:
    """A plain value."""

    column: int


@dataclass(frozen=True)
class Compound:
    """An address or location: several columns as one nested value, null when all are null.

    With `needs_all` it is null as soon as one is: half a location is none (SOQL and SOSL Reference, "How SOQL Treats Null
    Location Values").
    """

    parts: Mapping[str, int]
    needs_all: bool = False


@dataclass(frozen=True)
class Blob:
    """A binary field: the wire carries the address of its bytes, which ends in the field's name."""

    field: str


@dataclass(frozen=True)
class Children:
    """The result of a child subquery: an index into the plan's `children`."""

    index: int


@dataclass(frozen=True)
class Record:
    """A record: its object, the column that holds its Id (null: no such record) and its members in select order.

    A reference that may point at several objects has one Record for each, of which at most one is there. `shown_as` is the
    type that `attributes` names, where that is not the object.
    """

    sobject: str
    id_column: int
    members: Mapping[str, Member]
    shown_as: str | None = None

    @property
    def type(self) -> str:
        """What `attributes.type` says."""
        return self.shown_as or self.sobject


@dataclass(frozen=True)
class Parent:
    """A parent record; of several candidates the one whose Id is not null."""

    candidates: tuple[Record, ...]


@dataclass(frozen=True)
class AggregateRow:
    """A row of an aggregate query."""

    members: Mapping[str, Member]


Member = Union[Value, Compound, Blob, Children, Parent]


@dataclass(frozen=True)
class Relation:
    """The SQL clauses of one query, without its columns."""

    source: str
    where: str = "TRUE"
    group_by: Sequence[str] = ()
    having: str | None = None
    order_by: Sequence[str] = ()
    limit: int | None = None
    offset: int | None = None

    def select(self, expressions: Sequence[str]) -> str:
        """The whole SELECT statement."""
        clauses = [f"SELECT {', '.join(expressions)} FROM {self.source} WHERE {self.where}"]
        if self.group_by:
            clauses.append(f"GROUP BY {', '.join(self.group_by)}")
        if self.having:
            clauses.append(f"HAVING {self.having}")
        if self.order_by:
            clauses.append(f"ORDER BY {', '.join(self.order_by)}")
        if self.limit is not None:
            clauses.append(f"LIMIT {self.limit}")
        if self.offset is not None:
            clauses.append(f"OFFSET {self.offset}")
        return " ".join(clauses)


@dataclass(frozen=True)
class ChildPlan:
    """A child subquery. `parent_key` is the SQL of the children's reference to their parent, `children` are subqueries in it."""

    relation: Relation
    columns: tuple[Column, ...]
    shape: Record
    parent_key: str
    children: tuple[ChildPlan, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A compiled query.

    `kind` is "rows", "aggregate" or "count" (SELECT COUNT()). `header` names, for the plain values in select order, the CSV
    column and the result column.
    """

    kind: str
    sobject: SObject
    relation: Relation
    columns: tuple[Column, ...]
    shape: Record | AggregateRow
    children: tuple[ChildPlan, ...] = ()
    header: tuple[tuple[str, int], ...] = ()
    features: frozenset[str] = frozenset()
