"""Names to columns: the FROM object, and the parents that a query reaches through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from salesforce_localorg.schema import Field, Schema, SObject, Viewer
from salesforce_localorg.soql.ast import Path, Query, Related
from salesforce_localorg.soql.errors import (
    SoqlError,
    at_position,
    no_such_column,
    no_such_object,
    no_such_relationship,
)

MAX_PARENTS = 5  # levels; salesforce-protocol.md#rest-queries
MAX_RELATIONSHIPS = 55  # child-to-parent, of a whole query; salesforce-protocol.md#rest-queries

# What a reference to several objects shows of whichever record it points at: the fields of the object called Name.
POLYMORPHIC_FIELDS = frozenset(
    "alias email firstname id isactive lastname name phone profileid title type username".split()
)


@dataclass(frozen=True)
class Context:
    """What all parts of one statement share."""

    text: str
    schema: Schema
    viewer: Viewer
    include_deleted: bool
    aliases: Callable[[], str]
    relationships: set[tuple[str, ...]] = field(default_factory=set)

    def visible(self, name: str) -> SObject | None:
        """The object, unless it is hidden from the viewer."""
        sobject = self.schema.sobject(name)
        return sobject if sobject and self.viewer.sees_object(sobject.name) else None

    def field(self, sobject: SObject, name: str) -> Field | None:
        """The field, unless it is hidden from the viewer."""
        found = sobject.field(name)
        return found if found and self.viewer.sees_field(sobject.name, found.name) else None

    def count_relationship(self, *relationship: str) -> None:
        """Count a child-to-parent relationship, the same one once. Raises SoqlError when they become too many."""
        self.relationships.add(relationship)
        if len(self.relationships) > MAX_RELATIONSHIPS:
            message = f"A query can use at most {MAX_RELATIONSHIPS} child-to-parent relationships"
            raise SoqlError("MALFORMED_QUERY", message)


def new_context(text: str, schema: Schema, viewer: Viewer, *, include_deleted: bool) -> Context:
    """A context whose table aliases start afresh."""
    numbers = count()
    return Context(text, schema, viewer, include_deleted, lambda: f"t{next(numbers)}")


@dataclass(frozen=True)
class Table:
    """A table of the FROM clause: the query's own object or a parent that was joined to it."""

    sobject: SObject
    alias: str

    def column(self, field_name: str) -> str:
        """The SQL of one of the object's columns."""
        return f'{self.alias}."{field_name}"'

    @property
    def id(self) -> str:
        """The SQL of the record's Id."""
        return self.column("Id")


@dataclass(frozen=True)
class Reached:
    """A field that a path leads to. `names` are the path's parts in the schema's spelling; `owner` is the field's object.

    For a field of a polymorphic parent `sql` takes the value of whichever record is there.
    """

    field: Field
    sql: str
    names: tuple[str, ...]
    owner: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Start:
    """Where a path of TYPEOF begins: at one of the tables that a reference may lead to. `within` tells it from others."""

    table: Table
    within: tuple[str, ...]


@dataclass
class Scope:
    """The tables of one SELECT. Parents join it as paths need them.

    `shorthands` are names that FROM gives to relationships: {"a": ("Account",)} for `FROM Contact c, c.Account a`.
    """

    context: Context
    root: Table
    alias: str | None = None
    shorthands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _parents: dict[tuple[str, ...], tuple[str, tuple[Table, ...]]] = field(default_factory=dict)
    _joins: list[str] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The FROM clause."""
        first = f'"{self.root.sobject.name}" AS {self.root.alias}'
        return " ".join([first, *self._joins])

    def reach(self, path: Path, start: Start | None = None) -> Reached:
        """The field at the end of the path. Raises SoqlError when there is none that the viewer may see."""
        parts = self._parts(path, start)
        names, tables = self._walk(parts[:-1], path, start)
        if len(tables) > 1:
            return self._of_any(tables, parts[-1], names, path)
        found = self.context.field(tables[0].sobject, parts[-1])
        if found is None:
            raise no_such_column(self.context.text, path.at, parts[-1], tables[0].sobject.name)
        sql = "NULL" if found.is_compound or found.type == "base64" else tables[0].column(found.name)
        return Reached(found, sql, (*names, found.name), tables[0].sobject.name, tables)

    def parents(self, path: Path, start: Start | None = None) -> tuple[tuple[str, ...], tuple[Table, ...]]:
        """The tables that a path of relationships leads to: more than one where the last reference is polymorphic."""
        return self._walk(self._parts(path, start), path, start)

    def _parts(self, path: Path, start: Start | None) -> tuple[str, ...]:
        return self.own_parts(path) if start is None else path.parts

    def own_parts(self, path: Path) -> tuple[str, ...]:
        """The path from the root object on: without a leading object name or alias, shorthands written out."""
        first = path.parts[0].lower()
        if len(path.parts) > 1 and first in self.shorthands:
            return (*self.shorthands[first], *path.parts[1:])
        mine = {self.root.sobject.name.lower(), (self.alias or "").lower()}
        prefixed = len(path.parts) > 1 and first in mine and not self.root.sobject.parent_field(path.parts[0])
        return path.parts[1:] if prefixed else path.parts

    def name_relationships(self, related: Sequence[Related]) -> None:
        """Take in what FROM lists after its object. Raises SoqlError for what is no relationship."""
        for each in related:
            self.parents(each.path)
            if each.alias:
                self.shorthands[each.alias.lower()] = self.own_parts(each.path)

    def _walk(
        self, relationships: tuple[str, ...], path: Path, start: Start | None = None
    ) -> tuple[tuple[str, ...], tuple[Table, ...]]:
        if len(relationships) > MAX_PARENTS:
            raise at_position(
                self.context.text,
                path.at,
                "MALFORMED_QUERY",
                f"Relationship path '{path}' is too deep: a query can go up {MAX_PARENTS} levels of parents",
            )
        names: tuple[str, ...] = ()
        tables: tuple[Table, ...] = (self.root if start is None else start.table,)
        within = () if start is None else start.within
        for place, relationship in enumerate(relationships):
            key = (*within, *(name.lower() for name in relationships[: place + 1]))
            if key not in self._parents:
                self.context.count_relationship(self.root.alias, *key)
                self._parents[key] = self._join(tables, relationship, path)
            name, tables = self._parents[key]
            names = (*names, name)
        return names, tables

    def _join(self, tables: tuple[Table, ...], relationship: str, path: Path) -> tuple[str, tuple[Table, ...]]:
        reference = tables[0].sobject.parent_field(relationship) if len(tables) == 1 else None
        targets = [
            target for name in (reference.reference_to if reference else ()) if (target := self.context.visible(name))
        ]
        if reference is None or not targets or not self.context.field(tables[0].sobject, reference.name):
            raise no_such_relationship(self.context.text, path.at, relationship)
        joined = []
        for target in targets:
            table = Table(target, self.context.aliases())
            key = tables[0].column(reference.name)
            self._joins.append(f'LEFT JOIN "{target.name}" AS {table.alias} ON {table.id} = {key}')
            joined.append(table)
        return str(reference.relationship_name), tuple(joined)

    def _of_any(self, tables: tuple[Table, ...], leaf: str, names: tuple[str, ...], path: Path) -> Reached:
        if leaf.lower() == "type":
            cases = " ".join(f"WHEN {table.id} IS NOT NULL THEN '{table.sobject.name}'" for table in tables)
            return Reached(_TYPE_FIELD, f"CASE {cases} END", (*names, "Type"), "Name", tables)
        fields = [(table, found) for table in tables if (found := self.name_of(table, leaf))]
        if leaf.lower() not in POLYMORPHIC_FIELDS or not fields:
            raise no_such_column(self.context.text, path.at, leaf, "Name")
        sql = f"coalesce({', '.join(table.column(found.name) for table, found in fields)})"
        first = fields[0][1]
        spelled = "Name" if leaf.lower() == "name" else first.name
        return Reached(first, sql, (*names, spelled), "Name", tables)

    def name_of(self, table: Table, leaf: str) -> Field | None:
        """A field of one candidate; its Name is its name field, whatever that is called (CaseNumber, Subject)."""
        found = self.context.field(table.sobject, leaf)
        if found is None and leaf.lower() == "name":
            return table.sobject.name_field
        return found


_TYPE_FIELD = Field(name="Type", label="Type", type="string", soap_type="xsd:string", length=40)


def open_scope(context: Context, query: Query) -> Scope:
    """The scope of a query on an object. Raises SoqlError for an object that is not there."""
    sobject = context.visible(str(query.sobject))
    if sobject is None:
        raise no_such_object(context.text, query.sobject.at, str(query.sobject))
    scope = Scope(context, Table(sobject, context.aliases()), query.alias)
    scope.name_relationships(query.related)
    return scope
