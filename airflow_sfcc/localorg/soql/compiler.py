"""A parsed query to a plan that DuckDB runs: names are resolved, rules are checked, SQL is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from airflow_sfcc.localorg.schema import Field, Schema, SObject, Viewer
from airflow_sfcc.localorg.soql import functions
from airflow_sfcc.localorg.soql.ast import (
    Call,
    CallItem,
    ChildItem,
    FieldItem,
    Membership,
    Operand,
    OrderItem,
    Path,
    Query,
    SelectItem,
    TypeOfItem,
)
from airflow_sfcc.localorg.soql.conditions import Conditions, quoted
from airflow_sfcc.localorg.soql.errors import SoqlError, at_position, no_such_column, no_such_relationship, unsupported
from airflow_sfcc.localorg.soql.plan import (
    AggregateRow,
    Blob,
    ChildPlan,
    Children,
    Column,
    Compound,
    Member,
    Parent,
    Plan,
    Record,
    Relation,
    Value,
)
from airflow_sfcc.localorg.soql.scope import Context, Reached, Scope, Table, new_context, open_scope

MAX_OFFSET = 2000  # reference 2.3
MAX_FIELDS_LIMIT = 200  # FIELDS(ALL) and FIELDS(CUSTOM); reference 2.3
_NO_TEXT_ORDER = frozenset({"id", "reference"})


def compile_query(query: Query, *, schema: Schema, viewer: Viewer, include_deleted: bool, now: datetime) -> Plan:
    """The plan of a query as `viewer` may run it at `now`. Raises SoqlError, with Salesforce's code and message."""
    context = new_context(query.text, schema, viewer, include_deleted=include_deleted or query.all_rows)
    scope = open_scope(context, str(query.sobject), query.sobject.at, query.alias)
    if not scope.root.sobject.queryable:
        name = scope.root.sobject.name
        raise SoqlError("INVALID_TYPE_FOR_OPERATION", f"entity type {name} does not support query")
    return _Compiler(query, scope, now).plan()


class _Columns:
    """The SQL columns of a plan; the same expression is taken once."""

    def __init__(self) -> None:
        self.all: list[Column] = []
        self._places: dict[tuple[str, str], int] = {}

    def add(self, column: Column) -> int:
        key = (column.sql, column.type)
        if key not in self._places:
            self._places[key] = len(self.all)
            self.all.append(column)
        return self._places[key]


class _Compiler:
    """Compiles one SELECT: the outer query, a child subquery or a semi-join."""

    def __init__(self, query: Query, scope: Scope, now: datetime) -> None:
        self._query = query
        self._scope = scope
        self._now = now
        self._columns = _Columns()
        self._children: list[ChildPlan] = []
        self._header: list[tuple[str, int]] = []
        self._features: set[str] = set()
        self._conditions = Conditions(scope, now, self._semi_join)

    @property
    def _context(self) -> Context:
        return self._scope.context

    @property
    def _sobject(self) -> SObject:
        return self._scope.root.sobject

    def plan(self) -> Plan:
        query = self._query
        if query.offset is not None:
            self._features.add("offset")
            if query.offset > MAX_OFFSET:
                raise SoqlError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        if _is_count(query):
            self._features.add("aggregate")
            relation = self._relation(order=False)
            return Plan("count", self._sobject, relation, (), AggregateRow({}), features=frozenset(self._features))
        aggregate = bool(query.group_by) or any(
            isinstance(item, CallItem) and functions.is_aggregate(item.call) for item in query.select
        )
        shape = self._aggregate_row() if aggregate else self._record()
        relation = self._relation(group=aggregate)
        return Plan(
            "aggregate" if aggregate else "rows",
            self._sobject,
            relation,
            tuple(self._columns.all),
            shape,
            tuple(self._children),
            tuple(self._header),
            frozenset(self._features),
        )

    # Rows

    def _record(self) -> Record:
        members: dict[str, Member] = {}
        root = Record(self._sobject.name, self._columns.add(Column(self._scope.root.id, "id")), members)
        for item in self._expanded(self._query.select):
            if isinstance(item, FieldItem):
                self._add_field(members, item)
            elif isinstance(item, CallItem):
                column, reached = functions.scalar(self._scope, item.call)
                self._put(members, item.alias or reached.names[-1], Value(self._columns.add(column)), item.call.at)
                self._header.append((item.alias or ".".join(reached.names), self._columns.add(column)))
            elif isinstance(item, ChildItem):
                self._add_children(members, item)
            else:
                self._add_typeof(members, item)
        return root

    def _expanded(self, items: Sequence[SelectItem]) -> list[SelectItem]:
        """The items with FIELDS(...) replaced by the fields that it stands for."""
        expanded: list[SelectItem] = []
        for item in items:
            if isinstance(item, CallItem) and item.call.function == "FIELDS":
                expanded += [FieldItem(Path((name,), item.call.at), None) for name in self._fields_function(item.call)]
            else:
                expanded.append(item)
        return expanded

    def _fields_function(self, call: Call) -> list[str]:
        which = str(call.arguments[0]).upper() if len(call.arguments) == 1 else ""
        if which not in ("ALL", "STANDARD", "CUSTOM"):
            raise at_position(self._context.text, call.at, "MALFORMED_QUERY", f"Invalid function: {call.name}")
        if which != "STANDARD" and not self._is_bounded():
            raise SoqlError(
                "MALFORMED_QUERY",
                f"The SOQL FIELDS function must have a LIMIT of at most {MAX_FIELDS_LIMIT}",
            )
        wanted = {"ALL": (True, False), "STANDARD": (False,), "CUSTOM": (True,)}[which]
        names = [field.name for field in self._sobject.fields if field.custom in wanted and self._sees(field)]
        if not names:
            message = "'FIELDS(...)' expansion function must result in at least one field being selected."
            raise SoqlError("MALFORMED_QUERY", message)
        return names

    def _is_bounded(self) -> bool:
        where = self._query.where
        by_ids = isinstance(where, Membership) and where.operator == "IN" and len(where.values) <= MAX_FIELDS_LIMIT
        limit = self._query.limit
        return by_ids or (limit is not None and limit <= MAX_FIELDS_LIMIT)

    def _sees(self, field: Field) -> bool:
        return self._context.viewer.sees_field(self._sobject.name, field.name)

    def _add_field(self, members: dict[str, Member], item: FieldItem) -> None:
        path = item.path
        reached = self._scope.reach(path)
        self._features.update({"compound"} if reached.field.is_compound else ())
        self._features.update({"base64"} if reached.field.type == "base64" else ())
        owners = self._owners(members, path, reached)
        member = self._member(reached, owners[0][0])
        if isinstance(member, Value):
            self._header.append((".".join(reached.names), member.column))
        for table, target in owners:
            found = self._scope.name_of(table, reached.names[-1]) if len(owners) > 1 else reached.field
            if len(owners) > 1 and found is None and reached.names[-1] != "Type":
                continue
            self._put(target, reached.names[-1], member, path.at)

    def _owners(self, members: dict[str, Member], path: Path, reached: Reached) -> list[tuple[Table, dict[str, Any]]]:
        """The member dicts that hold the field: the record's own, or those of its parent's candidates."""
        parts = self._scope.own_parts(path)
        current: list[tuple[Table, dict[str, Any]]] = [(self._scope.root, members)]
        for depth in range(1, len(parts)):
            _, tables = self._scope.parents(Path(parts[:depth], path.at))
            name = reached.names[depth - 1]
            parent = current[0][1].get(name)
            if not isinstance(parent, Parent):
                parent = Parent(tuple(self._candidate(table) for table in tables))
                current[0][1][name] = parent
            candidates = parent.candidates
            current = [(table, dict_of(record)) for table, record in zip(tables, candidates)]
        return current

    def _candidate(self, table: Table) -> Record:
        return Record(table.sobject.name, self._columns.add(Column(table.id, "id")), {})

    def _member(self, reached: Reached, table: Table) -> Member:
        field = reached.field
        if field.type == "base64":
            return Blob(field.name)
        if field.is_compound:
            return self._compound(table, field)
        return Value(self._columns.add(Column(reached.sql, field.type)))

    def _compound(self, table: Table, field: Field) -> Compound:
        parts = {}
        for component in table.sobject.components(field):
            if self._context.viewer.sees_field(table.sobject.name, component.name):
                column = Column(table.column(component.name), component.type)
                parts[_part_name(field, component)] = self._columns.add(column)
        return Compound(dict(sorted(parts.items())))

    def _put(self, members: dict[str, Any], name: str, member: Member, at: int) -> None:
        if name in members:
            raise at_position(self._context.text, at, "INVALID_FIELD", f"duplicate field selected: {name}")
        members[name] = member

    def _add_children(self, members: dict[str, Member], item: ChildItem) -> None:
        self._features.add("subquery")
        relationship = self._sobject.child_relationship(str(item.query.sobject))
        child = self._context.visible(relationship.child_sobject) if relationship else None
        if relationship is None or child is None or child.field(relationship.field) is None:
            raise no_such_relationship(self._context.text, item.query.sobject.at, str(item.query.sobject))
        scope = Scope(self._context, Table(child, self._context.aliases()), item.query.alias)
        inner = _Compiler(item.query, scope, self._now)
        if _is_count(item.query) or item.query.group_by:
            raise unsupported(self._context.text, item.query.sobject.at, "An aggregate in a child subquery")
        shape = inner._record()
        key = scope.root.column(relationship.field)
        plan = ChildPlan(inner._relation(), tuple(inner._columns.all), shape, key)
        self._children.append(plan)
        name = str(relationship.relationship_name)
        self._put(members, name, Children(len(self._children) - 1), item.query.sobject.at)

    def _add_typeof(self, members: dict[str, Member], item: TypeOfItem) -> None:
        self._features.add("typeof")
        names, tables = self._scope.parents(item.path)
        cases = {name.lower(): paths for name, paths in item.cases}
        candidates = []
        for table in tables:
            record = self._candidate(table)
            for chosen in cases.get(table.sobject.name.lower(), item.otherwise):
                found = self._scope.name_of(table, chosen.parts[-1])
                if found is None or len(chosen.parts) > 1:
                    raise no_such_column(self._context.text, chosen.at, str(chosen), table.sobject.name)
                dict_of(record)[found.name] = Value(self._columns.add(Column(table.column(found.name), found.type)))
            candidates.append(record)
        self._put(members, names[-1], Parent(tuple(candidates)), item.path.at)

    # Aggregates

    def _aggregate_row(self) -> AggregateRow:
        self._features.add("aggregate")
        members: dict[str, Member] = {}
        unnamed = 0
        for item in self._query.select:
            if isinstance(item, CallItem):
                is_aggregate = functions.is_aggregate(item.call)
                column = self._grouped(item.call) if not is_aggregate else functions.aggregate(self._scope, item.call)
                name = item.alias or f"expr{unnamed}"
                unnamed += item.alias is None
                at = item.call.at
            elif isinstance(item, FieldItem):
                column = self._grouped(item.path)
                name, at = item.alias or self._scope.reach(item.path).names[-1], item.path.at
            else:
                raise unsupported(
                    self._context.text, self._query.sobject.at, "A subquery or TYPEOF in an aggregate query"
                )
            place = self._columns.add(column)
            self._put(members, name, Value(place), at)
            self._header.append((name, place))
        return AggregateRow(members)

    def _grouped(self, operand: Operand) -> Column:
        """A field or date function, which must be grouped by."""
        column = self._conditions.operand(operand)
        grouped = [self._conditions.operand(group).sql for group in self._query.group_by]
        if column.sql not in grouped:
            name = operand.name if isinstance(operand, Call) else operand.parts[-1]
            raise at_position(
                self._context.text, operand.at, "MALFORMED_QUERY", f"Field must be grouped or aggregated: {name}"
            )
        return column

    # Clauses

    def _relation(self, *, group: bool = False, order: bool = True) -> Relation:
        query = self._query
        where = [f"NOT {self._scope.root.column('IsDeleted')}"] if self._hides_deleted() else []
        where += self._scope_filter()
        if query.where is not None:
            where.append(self._conditions.sql(query.where))
        having = self._conditions.sql(query.having) if query.having is not None else None
        group_by = tuple(self._group_key(operand) for operand in query.group_by)
        order_by = [self._order(item) for item in query.order_by] if order else []
        if order_by and not group:
            order_by.append(self._scope.root.id)
        return Relation(
            self._scope.source,
            " AND ".join(where) or "TRUE",
            group_by,
            having,
            tuple(order_by),
            query.limit,
            query.offset,
        )

    def _hides_deleted(self) -> bool:
        return not self._context.include_deleted and self._sobject.field("IsDeleted") is not None

    def _scope_filter(self) -> list[str]:
        scope = (self._query.scope or "everything").lower()
        if scope == "everything":
            return []
        if scope == "mine" and self._sobject.field("OwnerId"):
            return [f"{self._scope.root.column('OwnerId')} = {quoted(self._context.viewer.user_id)}"]
        raise unsupported(self._context.text, self._query.sobject.at, f"USING SCOPE {self._query.scope}")

    def _group_key(self, operand: Operand) -> str:
        if isinstance(operand, Call) and operand.function in ("ROLLUP", "CUBE"):
            raise unsupported(self._context.text, operand.at, f"GROUP BY {operand.function}")
        if isinstance(operand, Path):
            field = self._scope.reach(operand).field
            if not field.groupable:
                message = f"field '{field.name}' can not be grouped in a query call"
                raise at_position(self._context.text, operand.at, "INVALID_FIELD", message)
        return self._conditions.operand(operand).sql

    def _order(self, item: OrderItem) -> str:
        column = self._order_column(item.operand)
        plain = column.type in _NO_TEXT_ORDER or not _is_text(column.type)
        expression = column.sql if plain else f"lower({column.sql})"
        direction = "DESC" if item.descending else "ASC"
        return f"{expression} {direction} NULLS {'LAST' if item.nulls_last else 'FIRST'}"

    def _order_column(self, operand: Operand) -> Column:
        if isinstance(operand, Path) and len(operand.parts) == 1:
            for item in self._query.select:
                if isinstance(item, CallItem) and item.alias and item.alias.lower() == operand.parts[0].lower():
                    return self._conditions.operand(item.call)
        if isinstance(operand, Path):
            reached = self._scope.reach(operand)
            if not reached.field.sortable:
                message = f"field '{reached.field.name}' can not be sorted in a query call"
                raise at_position(self._context.text, operand.at, "INVALID_FIELD", message)
            return Column(reached.sql, reached.field.type)
        return self._conditions.operand(operand)

    def _semi_join(self, query: Query) -> str:
        """The SQL of a semi-join's query: one id column."""
        items = query.select
        if len(items) != 1 or not isinstance(items[0], FieldItem):
            raise at_position(
                self._context.text,
                query.sobject.at,
                "MALFORMED_QUERY",
                "A semi-join selects exactly one id or reference field",
            )
        scope = open_scope(self._context, str(query.sobject), query.sobject.at, query.alias)
        inner = _Compiler(query, scope, self._now)
        reached = scope.reach(items[0].path)
        relation = inner._relation()
        return relation.select([reached.sql])


def dict_of(record: Record) -> dict[str, Any]:
    """The members of a record that is still being built."""
    members: Any = record.members
    found: dict[str, Any] = members
    return found


def _is_count(query: Query) -> bool:
    """SELECT COUNT() FROM ..., which answers a number instead of rows."""
    if len(query.select) != 1 or query.group_by:
        return False
    item = query.select[0]
    return isinstance(item, CallItem) and item.call.function == "COUNT" and not item.call.arguments and not item.alias


def _is_text(kind: str) -> bool:
    return kind not in ("boolean", "date", "datetime", "time", "int", "long", "double", "currency", "percent")


def _part_name(compound: Field, component: Field) -> str:
    """`city` for BillingCity of BillingAddress, `latitude` for Location__Latitude__s of Location__c."""
    if component.name.endswith("__s"):
        return component.name[: -len("__s")].rpartition("__")[2].lower()
    prefix = compound.name.removesuffix("Address")
    part = component.name.removeprefix(prefix)
    return part[:1].lower() + part[1:]
