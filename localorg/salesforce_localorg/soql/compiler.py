"""A parsed query to a plan that DuckDB runs: names are resolved, rules are checked, SQL is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from salesforce_localorg.schema import Field, Schema, SObject, Viewer
from salesforce_localorg.soql import distance, functions
from salesforce_localorg.soql.ast import (
    Call,
    CallItem,
    ChildItem,
    Comparison,
    Condition,
    Conjunction,
    Disjunction,
    FieldItem,
    Membership,
    Operand,
    OrderItem,
    Path,
    Query,
    SelectItem,
    SemiJoin,
    TypeOfItem,
)
from salesforce_localorg.soql.conditions import NOT_TEXT, Conditions
from salesforce_localorg.soql.errors import SoqlError, at_position, no_such_column, no_such_relationship, unsupported
from salesforce_localorg.soql.plan import (
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
from salesforce_localorg.soql.rules import check_rules, is_count, is_grouped, operands
from salesforce_localorg.soql.scope import (
    POLYMORPHIC_FIELDS,
    Context,
    Reached,
    Scope,
    Start,
    Table,
    new_context,
    open_scope,
)
from salesforce_localorg.soql.sql_text import quoted

NAME_OBJECT = "Name"  # the type of a record that a reference to several objects points at, outside of TYPEOF
MAX_FIELDS_LIMIT = 200  # FIELDS(ALL) and FIELDS(CUSTOM); salesforce-protocol.md#rest-queries


def compile_query(query: Query, *, schema: Schema, viewer: Viewer, include_deleted: bool, now: datetime) -> Plan:
    """The plan of a query as `viewer` may run it at `now`. Raises SoqlError, with Salesforce's code and message."""
    check_rules(query)
    context = new_context(query.text, schema, viewer, include_deleted=include_deleted or query.all_rows)
    scope = open_scope(context, query)
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
        if is_count(query):
            self._features.add("aggregate")
            relation = self._relation(order=False)
            return Plan("count", self._sobject, relation, (), AggregateRow({}), features=frozenset(self._features))
        aggregate = is_grouped(query)
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
        written = {id(item) for item in self._query.select}  # the others are what FIELDS() stands for
        for item in self._expanded(self._query.select):
            if isinstance(item, FieldItem):
                reached = self._add_field(members, item.path)
                self._features.update(_unfit_for_csv(reached.field) if id(item) in written else ())
            elif isinstance(item, CallItem):
                self._add_call(members, item)
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
        if not expanded:
            message = "'FIELDS(...)' expansion function must result in at least one field being selected."
            raise SoqlError("MALFORMED_QUERY", message)
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
        return [field.name for field in self._sobject.fields if field.custom in wanted and self._sees(field)]

    def _is_bounded(self) -> bool:
        """Source: SOQL and SOSL Reference, "Bounded and Unbounded Queries"."""
        bounds = (self._query.limit, self._ids_named(self._query.where))
        return any(bound is not None and bound <= MAX_FIELDS_LIMIT for bound in bounds)

    def _ids_named(self, condition: Condition | None) -> int | None:
        """How many ids the condition lets through at most; None where it does not go by ids."""
        if isinstance(condition, (Conjunction, Disjunction)):
            counts = [self._ids_named(term) for term in condition.terms]
            known = [count for count in counts if count is not None]
            if isinstance(condition, Conjunction):
                return min(known, default=None)
            return sum(known) if len(known) == len(counts) else None
        if isinstance(condition, Membership) and condition.operator == "IN" and self._is_id(condition.operand):
            return len(condition.values)
        if isinstance(condition, Comparison) and condition.operator == "=" and self._is_id(condition.operand):
            return 1
        return None

    def _is_id(self, operand: Operand) -> bool:
        """Whether it is the Id of the records themselves."""
        return isinstance(operand, Path) and [part.lower() for part in self._scope.own_parts(operand)] == ["id"]

    def _sees(self, field: Field) -> bool:
        return self._context.viewer.sees_field(self._sobject.name, field.name)

    def _add_field(self, members: dict[str, Member], path: Path, start: Start | None = None) -> Reached:
        reached = self._scope.reach(path, start)
        owners = self._owners(members, path, reached, start)
        member = self._member(reached, owners[0][0])
        if isinstance(member, Value):
            self._header.append((".".join(reached.names), member.column))
        for table, target in owners:
            found = self._scope.name_of(table, reached.names[-1]) if len(owners) > 1 else reached.field
            if len(owners) > 1 and found is None and reached.names[-1] != "Type":
                continue
            self._put(target, reached.names[-1], member)
        return reached

    def _add_call(self, members: dict[str, Member], item: CallItem) -> None:
        """A function's value stands where its field would: below the parent that the path names, unless it has an alias."""
        if item.call.function == distance.NAME:
            self._add_distance(members, item)
            return
        column, reached = functions.scalar(self._scope, item.call)
        value = Value(self._columns.add(column))
        self._header.append((item.alias or ".".join(reached.names), value.column))
        if item.alias:
            self._put(members, item.alias, value)
            return
        for _, target in self._owners(members, functions.field_path(item.call), reached):
            self._put(target, reached.names[-1], value)

    def _add_distance(self, members: dict[str, Member], item: CallItem) -> None:
        """A distance belongs to no field, so it is named by its alias, or like an aggregate without one."""
        unnamed = (name for number in range(len(members) + 1) if (name := f"expr{number}") not in members)
        name = item.alias or next(unnamed)
        value = Value(self._columns.add(distance.distance(self._scope, item.call)))
        self._header.append((name, value.column))
        self._put(members, name, value)

    def _owners(
        self, members: dict[str, Member], path: Path, reached: Reached, start: Start | None = None
    ) -> list[tuple[Table, dict[str, Any]]]:
        """The member dicts that hold the field: the record's own, or those of its parent's candidates."""
        parts = self._scope.own_parts(path) if start is None else path.parts
        current: list[tuple[Table, dict[str, Any]]] = [(start.table if start else self._scope.root, members)]
        for depth in range(1, len(parts)):
            _, tables = self._scope.parents(Path(parts[:depth], path.at), start)
            name = reached.names[depth - 1]
            parent = current[0][1].get(name)
            if not isinstance(parent, Parent):
                shown_as = NAME_OBJECT if len(tables) > 1 else None
                parent = Parent(tuple(self._candidate(table, shown_as) for table in tables))
                current[0][1][name] = parent
            candidates = parent.candidates
            current = [(table, dict_of(record)) for table, record in zip(tables, candidates)]
        return current

    def _candidate(self, table: Table, shown_as: str | None = None) -> Record:
        return Record(table.sobject.name, self._columns.add(Column(table.id, "id")), {}, shown_as)

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
        return Compound(dict(sorted(parts.items())), needs_all=field.type == "location")

    def _put(self, members: dict[str, Any], name: str, member: Member) -> None:
        if name in members:
            raise SoqlError("INVALID_FIELD", f"duplicate field selected: {name}")
        members[name] = member

    def _add_children(self, members: dict[str, Member], item: ChildItem) -> None:
        self._features.add("subquery")
        named = self._scope.own_parts(item.query.sobject)
        relationship = self._sobject.child_relationship(named[0]) if len(named) == 1 else None
        child = self._context.visible(relationship.child_sobject) if relationship else None
        if relationship is None or child is None or child.field(relationship.field) is None:
            raise no_such_relationship(self._context.text, item.query.sobject.at, str(item.query.sobject))
        scope = Scope(self._context, Table(child, self._context.aliases()), item.query.alias)
        scope.name_relationships(item.query.related)
        inner = _Compiler(item.query, scope, self._now)
        shape = inner._record()
        key = scope.root.column(relationship.field)
        plan = ChildPlan(inner._relation(), tuple(inner._columns.all), shape, key, tuple(inner._children))
        self._children.append(plan)
        name = str(relationship.relationship_name)
        self._put(members, name, Children(len(self._children) - 1))

    def _add_typeof(self, members: dict[str, Member], item: TypeOfItem) -> None:
        self._features.add("typeof")
        names, tables = self._scope.parents(item.path)
        if len(tables) == 1:
            message = f"TYPEOF takes a relationship to several objects, which {item.path} is not"
            raise at_position(self._context.text, item.path.at, "MALFORMED_QUERY", message)
        targets = {table.sobject.name.lower() for table in tables}
        for name, paths in item.cases:
            if name.lower() not in targets:
                message = f"{name} is not an object that {item.path} can refer to"
                raise at_position(self._context.text, paths[0].at, "INVALID_FIELD", message)
            self._context.count_relationship("TYPEOF", str(item.path).lower(), name.lower())
        cases = {name.lower(): paths for name, paths in item.cases}
        candidates = []
        for table in tables:
            record = self._candidate(table)
            chosen = cases.get(table.sobject.name.lower())
            for path in item.otherwise if chosen is None else chosen:
                if chosen is not None and len(path.parts) > 1:
                    within = (*(part.lower() for part in item.path.parts), table.sobject.name.lower())
                    self._add_field(dict_of(record), path, Start(table, within))
                    continue
                name, column = self._typeof_field(table, path, is_named=chosen is not None)
                dict_of(record)[name] = Value(self._columns.add(column))
            candidates.append(record)
        self._put(members, names[-1], Parent(tuple(candidates)))

    def _typeof_field(self, table: Table, path: Path, *, is_named: bool) -> tuple[str, Column]:
        """A field of a WHEN, or with `is_named` off of ELSE, which takes what the object called Name has."""
        if len(path.parts) > 1:
            raise unsupported(self._context.text, path.at, "A relationship in ELSE of TYPEOF")
        found = self._scope.name_of(table, path.parts[0])
        if not is_named and path.parts[0].lower() not in POLYMORPHIC_FIELDS:
            raise no_such_column(self._context.text, path.at, str(path), "Name")
        if found is None and is_named:
            raise no_such_column(self._context.text, path.at, str(path), table.sobject.name)
        return (
            (path.parts[0], Column("NULL", "string"))
            if found is None
            else (
                found.name,
                Column(table.column(found.name), found.type),
            )
        )

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
                raise TypeError(f"The rules let {type(item).__name__} into an aggregate query.")
            place = self._columns.add(column)
            if name in members:
                raise at_position(self._context.text, at, "MALFORMED_QUERY", f"duplicate alias: {name}")
            members[name] = Value(place)
            self._header.append((name, place))
        return AggregateRow(members)

    def _grouped(self, operand: Operand, message: str = "Field must be grouped or aggregated") -> Column:
        """A field or date function, which must be grouped by.

        A date function may also be of a date field that is grouped by (SOQL and SOSL Reference, "Date Functions").
        """
        grouped = [self._group_key(key) for key in functions.grouping_keys(self._query.group_by)]
        column = self._group_value(operand)
        if column.sql not in grouped and self._date_of(operand) not in grouped:
            name = operand.name if isinstance(operand, Call) else operand.parts[-1]
            raise at_position(self._context.text, operand.at, "MALFORMED_QUERY", f"{message}: {name}")
        return column

    def _group_value(self, operand: Operand) -> Column:
        """What is grouped by, whether it can be filtered or not."""
        if isinstance(operand, Call):
            return self._conditions.operand(operand)
        return self._conditions.column(self._scope.reach(operand))

    def _date_of(self, operand: Operand) -> str | None:
        """The SQL of the date field that a date function takes a part of; None for anything else."""
        if not (isinstance(operand, Call) and functions.is_date_function(operand)):
            return None
        reached = self._scope.reach(functions.field_path(operand))
        return reached.sql if reached.field.type == "date" else None

    def _having(self) -> str | None:
        """The SQL of HAVING, which tests aggregates and what is grouped by."""
        having = self._query.having
        for operand in operands(having):
            if not (isinstance(operand, Call) and functions.is_aggregate(operand)):
                self._grouped(operand)
        return self._conditions.sql(having) if having is not None else None

    # Clauses

    def _relation(self, *, group: bool = False, order: bool = True) -> Relation:
        query = self._query
        where = [f"NOT {self._scope.root.column(name)}" for name in self._hidden_by()]
        where += self._scope_filter()
        if query.where is not None:
            where.append(self._conditions.sql(query.where))
        group_by = self._group_by()
        having = self._having()
        order_by = [key for item in query.order_by for key in self._order(item, group)] if order else []
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

    def _hidden_by(self) -> list[str]:
        """The flags of records that only queryAll finds: deleted ones, and archived tasks and events."""
        flags = [] if self._context.include_deleted else ["IsDeleted", "IsArchived"]
        return [name for name in flags if (field := self._sobject.field(name)) and field.type == "boolean"]

    def _scope_filter(self) -> list[str]:
        chosen = self._query.scope
        scope = "everything" if chosen is None else chosen.name.lower()
        if scope == "everything" and not self._context.viewer.sees_all_records and self._sobject.field("OwnerId"):
            scope = "mine"
        if scope == "everything":
            return []
        if scope == "mine" and self._sobject.field("OwnerId"):
            return [f"{self._scope.root.column('OwnerId')} = {quoted(self._context.viewer.user_id)}"]
        at, name = (self._query.sobject.at, scope) if chosen is None else (chosen.at, chosen.name)
        raise unsupported(self._context.text, at, f"USING SCOPE {name}")

    def _group_by(self) -> tuple[str, ...]:
        """The SQL of what the query groups by; DuckDB knows ROLLUP and CUBE by the same names."""
        totals = functions.totals_of(self._query.group_by)
        keys = tuple(self._group_key(operand) for operand in functions.grouping_keys(self._query.group_by))
        return keys if totals is None else (f"{totals.function}({', '.join(keys)})",)

    def _group_key(self, operand: Operand) -> str:
        if isinstance(operand, Path):
            field = self._scope.reach(operand).field
            if not field.groupable:
                message = f"field '{field.name}' can not be grouped in a query call"
                raise at_position(self._context.text, operand.at, "MALFORMED_QUERY", message)
        return self._group_value(operand).sql

    def _order(self, item: OrderItem, group: bool) -> list[str]:
        """The sort keys of one ORDER BY item: text by its upper case, picklists by the order of their values.

        Source: SOQL and SOSL Reference, "ORDER BY"; nulls of a reference stay first whatever the query says.
        """
        field = self._order_field(item.operand) if isinstance(item.operand, Path) else None
        column = self._order_column(item.operand, group)
        keys = [f"upper({column.sql})" if _is_text(column.type) else column.sql]
        position = functions.picklist_position(field, column.sql) if field else None
        keys = keys if position is None else [position, *keys]
        direction = "DESC" if item.descending else "ASC"
        nulls = "LAST" if item.nulls_last and column.type != "reference" else "FIRST"
        return [f"{key} {direction} NULLS {nulls}" for key in keys]

    def _order_field(self, path: Path) -> Field | None:
        if self._aliased(path) is not None:
            return None
        field = self._scope.reach(path).field
        if not field.sortable or field.is_compound:
            message = f"field '{field.name}' can not be sorted in a query call"
            raise at_position(self._context.text, path.at, "MALFORMED_QUERY", message)
        return field

    def _order_column(self, operand: Operand, group: bool) -> Column:
        if isinstance(operand, Path):
            aliased = self._aliased(operand)
            if aliased is not None:
                return self._conditions.operand(aliased)
        if group and not (isinstance(operand, Call) and functions.is_aggregate(operand)):
            return self._grouped(operand, "Ordered field must be grouped or aggregated")
        if isinstance(operand, Path):
            reached = self._scope.reach(operand)
            return Column(reached.sql, reached.field.type)
        return self._conditions.operand(operand)

    def _aliased(self, path: Path) -> Call | None:
        """The function of the SELECT list that the path names by its alias."""
        named = (item for item in self._query.select if isinstance(item, CallItem) and item.alias)
        return next((item.call for item in named if [str(item.alias).lower()] == [p.lower() for p in path.parts]), None)

    def _semi_join(self, join: SemiJoin, left: Reached) -> str:
        """The SQL of a semi-join's query: one id column. Messages are Salesforce's."""
        query = join.query
        scope = open_scope(self._context, query)
        inner = _Compiler(query, scope, self._now)
        item = query.select[0]
        if not isinstance(item, FieldItem):
            raise TypeError("The rules let a semi-join select something else than a field.")
        reached = scope.reach(item.path)
        if len(reached.names) > 1 or reached.field.type not in ("id", "reference"):
            message = f"The selected field '{item.path}' of a semi join sub-select must be an id or a reference field"
            raise at_position(self._context.text, item.path.at, "MALFORMED_QUERY", message)
        if scope.root.sobject is self._sobject:
            message = "The inner and outer selects should not be on the same object type"
            raise at_position(self._context.text, query.sobject.at, "MALFORMED_QUERY", message)
        if not _targets(reached) & _targets(left):
            raise at_position(
                self._context.text,
                item.path.at,
                "MALFORMED_QUERY",
                f"The selected field '{item.path}' in the subquery and the left operand field in the where expression in "
                f"the outer query '{join.operand}' should point to the same object type",
            )
        return inner._relation().select([reached.sql])


def dict_of(record: Record) -> dict[str, Any]:
    """The members of a record that is still being built."""
    members: Any = record.members
    found: dict[str, Any] = members
    return found


def _unfit_for_csv(field: Field) -> set[str]:
    """Why Bulk queries do not take a field that is named; what FIELDS() stands for is left out instead."""
    return ({"compound"} if field.is_compound else set()) | ({"base64"} if field.type == "base64" else set())


def _targets(reached: Reached) -> set[str]:
    """The objects that an id or reference field points at."""
    return {reached.owner} if reached.field.type == "id" else set(reached.field.reference_to)


def _is_text(kind: str) -> bool:
    return kind not in NOT_TEXT


def _part_name(compound: Field, component: Field) -> str:
    """`city` for BillingCity of BillingAddress, `latitude` for Location__Latitude__s of Location__c."""
    if component.name.endswith("__s"):
        return component.name[: -len("__s")].rpartition("__")[2].lower()
    prefix = compound.name.removesuffix("Address")
    part = component.name.removeprefix(prefix)
    return part[:1].lower() + part[1:]
