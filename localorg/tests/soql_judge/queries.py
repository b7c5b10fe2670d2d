"""A seeded generator of SOQL queries, each with its meaning as Python: text and closures are made side by side."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from . import meaning
from .meaning import ANY, ONE, Test
from .world import NOW, Member, Row, World

OBJECTS = ("Account", "Contact", "Opportunity", "Case", "Invoice__c", "Task", "User", "Lead")
_QUOTES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"'}
_SHORT = 120


@dataclass(frozen=True)
class Condition:
    text: str
    holds: Test


@dataclass(frozen=True)
class Order:
    """One ORDER BY item. `key` gives None for nulls, else something that sorts."""

    text: str
    key: Callable[[Any], Any]
    descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Child:
    """A child subquery: the relationship, and how each child's fields look."""

    name: str
    sobject: str
    reference: str
    members: tuple[Member, ...]
    where: Condition | None
    order: tuple[Order, ...]
    limit: int | None


NO_MEASURE = frozenset({"time", "anyType", "encryptedstring", "multipicklist", "boolean"})
"""Types without aggregates, whatever describe says (SOQL and SOSL Reference, "Support for Field Types")."""


@dataclass(frozen=True)
class Measure:
    """A column of an aggregate query: its name in the answer and its value for a group's rows."""

    name: str
    text: str
    value: Callable[[list[Row]], Any]
    kind: str
    picklist: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One query and what it means. `measures` are empty for a query of records, `count` tells SELECT COUNT()."""

    soql: str
    sobject: str
    include_deleted: bool = False
    members: tuple[Member, ...] = ()
    children: tuple[Child, ...] = ()
    where: Condition | None = None
    groups: tuple[Member, ...] = ()
    measures: tuple[Measure, ...] = ()
    having: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    count: bool = False


class Generator:
    """`case()` gives one query after the other, the same ones for the same seed."""

    def __init__(self, world: World, seed: int, objects: Sequence[str] = OBJECTS) -> None:
        self._world = world
        self._objects = objects
        self._random = random.Random(seed)
        self._ranges = meaning.date_literals(NOW.date())

    def case(self) -> Case:
        sobject = self._random.choice(self._objects)
        kind = self._random.choices(["rows", "groups", "count"], [6, 3, 1])[0]
        return getattr(self, f"_{kind}")(sobject)  # type: ignore[no-any-return]

    # Queries

    def _rows(self, sobject: str) -> Case:
        members = self._selected(sobject)
        names = [member.path for member in members]
        children = self._children_of(sobject) if self._chance(0.2) else ()
        alias = "x" if self._chance(0.15) else ""
        written = [f"{alias}.{name}" if alias and self._chance(0.5) else self._cased(name) for name in names]
        items = ", ".join([*written, *(_child_text(child) for child in children)])
        include_deleted = self._chance(0.15)
        where = self._where(sobject)
        order = self._order(sobject)
        limit = self._random.choice([None, None, 0, 1, 5, 40])
        offset = self._random.choice([0, 0, 0, 3, 30]) if not children else 0
        text = f"SELECT {items} FROM {sobject} {alias}{self._clauses(where, order, limit, offset)}"
        return Case(text, sobject, include_deleted, members, children, where, order=order, limit=limit, offset=offset)

    def _count(self, sobject: str) -> Case:
        where = self._where(sobject)
        limit = self._random.choice([None, None, 7])
        text = f"SELECT COUNT() FROM {sobject}{self._clauses(where, (), limit, 0)}"
        return Case(text, sobject, self._chance(0.15), where=where, limit=limit, count=True)

    def _groups(self, sobject: str) -> Case:
        groups = tuple(self._group(sobject) for _ in range(self._random.choice([0, 1, 1, 2])))
        groups = tuple({group.path: group for group in groups}.values())
        measures = [_of_group(group) for group in groups if group.flags.get("isFunction") is None]
        measures = list({measure.name: measure for measure in measures}.values())
        texts = [measure.text for measure in measures]
        unnamed = 0
        for group in groups:
            if group.flags.get("isFunction"):
                measures.append(_of_group(group, f"expr{unnamed}"))
                texts.append(group.path)
                unnamed += 1
        for place in range(self._random.randint(1, 3)):
            named = self._chance(0.4)
            measure = self._measure(sobject, f"m{place}" if named else f"expr{unnamed}")
            unnamed += not named
            measures.append(measure)
            texts.append(f"{measure.text} {measure.name}" if named else measure.text)
        where = self._where(sobject)
        having = self._having(sobject, groups) if groups and self._chance(0.4) else None
        order = self._group_order(sobject, groups) if groups and self._chance(0.5) else ()
        limit = self._random.choice([None, 3]) if groups else None
        by = f" GROUP BY {', '.join(group.path for group in groups)}" if groups else ""
        by += f" HAVING {having.text}" if having else ""
        text = f"SELECT {', '.join(texts)} FROM {sobject}{self._clauses(where, order, limit, 0, by)}"
        return Case(
            text,
            sobject,
            where=where,
            groups=groups,
            measures=tuple(measures),
            having=having,
            order=order,
            limit=limit,
        )

    def _clauses(
        self, where: Condition | None, order: Sequence[Order], limit: int | None, offset: int, groups: str = ""
    ) -> str:
        text = f" {self._keyword('WHERE')} {where.text}" if where else ""
        text += groups
        text += f" {self._keyword('ORDER BY')} {', '.join(each.text for each in order)}" if order else ""
        text += f" {self._keyword('LIMIT')} {limit}" if limit is not None else ""
        return text + (f" OFFSET {offset}" if offset else "")

    # Parts of queries

    def _selected(self, sobject: str) -> tuple[Member, ...]:
        chosen = [self._world.member(sobject, "Id")]
        chosen += [self._member(sobject, lambda entry: True) for _ in range(self._random.randint(0, 4))]
        return tuple({member.path: member for member in chosen}.values())

    def _member(self, sobject: str, fits: Callable[[dict[str, Any]], bool], depth: int = 0) -> Member:
        """A field of the object, or now and then of a parent up to five levels up."""
        parents = self._world.parents(sobject)
        if parents and depth < 5 and self._chance(0.3 if depth == 0 else 0.4):
            relationship, reference, parent = self._random.choice(parents)
            return self._world.through(relationship, reference, self._member(parent, fits, depth + 1))
        entries = [entry for entry in self._world.fields(sobject) if fits(entry)] or [{"name": "Id"}]
        return self._world.member(sobject, self._random.choice(entries)["name"])

    def _children_of(self, sobject: str) -> tuple[Child, ...]:
        children = self._world.children(sobject)
        if not children:
            return ()
        name, child, reference = self._random.choice(children)
        order = (*self._order(child), self._by_id(child))
        limit = self._random.choice([None, 1, 2])
        return (Child(name, child, reference, self._selected(child), self._where(child, 1), order, limit),)

    def _where(self, sobject: str, depth: int = 0) -> Condition | None:
        if self._chance(0.2):
            return None
        condition = self._condition(sobject, depth)
        join = self._semi_join(sobject) if depth == 0 and self._chance(0.15) else None
        if join is None:
            return condition
        text = f"{join.text} AND ({condition.text})"
        return Condition(text, lambda row: join.holds(row) and condition.holds(row))

    def _condition(self, sobject: str, depth: int = 0) -> Condition:
        shape = self._random.choices(["one", "all", "any", "not"], [5, 2, 2, 1])[0] if depth < 3 else "one"
        if shape == "one":
            return self._comparison(sobject)
        if shape == "not":
            inner = self._condition(sobject, depth + 1)
            return Condition(f"(NOT ({inner.text}))", lambda row: not inner.holds(row))
        terms = [self._condition(sobject, depth + 1) for _ in range(self._random.randint(2, 3))]
        word = self._keyword({"all": "AND", "any": "OR"}[shape])
        check = {"all": all, "any": any}[shape]
        text = "(" + f" {word} ".join(term.text for term in terms) + ")"
        return Condition(text, lambda row: check(term.holds(row) for term in terms))

    def _semi_join(self, sobject: str) -> Condition | None:
        """Id IN (SELECT reference FROM child), or reference IN (SELECT Id FROM parent)."""
        negated = self._chance(0.4)
        operator = "NOT IN" if negated else "IN"
        barred = {sobject, "Task", "Event", "Attachment"}
        choices = [("Id", child, reference) for _, child, reference in self._world.children(sobject)]
        choices += [(reference, parent, "Id") for _, reference, parent in self._world.parents(sobject)]
        choices = [choice for choice in choices if choice[1] not in barred]
        if not choices:
            return None
        left, inner, selected = self._random.choice(choices)
        where = self._condition(inner, 2) if self._chance(0.6) else None
        text = f"{left} {operator} (SELECT {selected} FROM {inner}{f' WHERE {where.text}' if where else ''})"

        def holds(row: Row) -> bool:
            rows = self._world.live(inner, bool(row.get("__all")))
            found = {each[selected] for each in rows if where is None or where.holds(each)}
            return (row[left] is not None and row[left] in found) != negated

        return Condition(text, holds)

    def _comparison(self, sobject: str) -> Condition:
        member = self._member(sobject, lambda entry: bool(entry["filterable"]))
        if member.kind in ("date", "datetime") and self._chance(0.25):
            return self._of_date_function(self._date_function(member))
        return self._compared(sobject, member)

    def _of_date_function(self, member: Member) -> Condition:
        if member.kind == "date":
            return self._compared("", member)
        number = self._random.choice([1, 2, 3, 4, 7, 12, 20, 2024, 2025])
        operator = self._random.choice(["=", "!=", "<", ">", "<=", ">="])
        return self._test(f"{member.path} {operator} {number}", member, meaning.compare("int", operator, number))

    def _date_function(self, member: Member) -> Member:
        names = [n for n in meaning.DATE_FUNCTIONS if member.kind == "datetime" or n not in meaning.DATETIME_FUNCTIONS]
        name = self._random.choice(names)
        function = meaning.DATE_FUNCTIONS[name]
        inner = f"convertTimezone({member.path})" if member.kind == "datetime" and self._chance(0.2) else member.path

        def read(row: Row) -> Any:
            value = member.read(row)
            return None if value is None else function(value)

        kind = "date" if name == "DAY_ONLY" else "int"
        return Member(f"{self._cased(name)}({inner})", kind, {"picklistValues": [], "isFunction": True}, read)

    def _compared(self, sobject: str, member: Member) -> Condition:
        kind = member.kind
        if self._chance(0.12):
            operator = self._random.choice(["=", "!=", "<>"])
            written = "null" if kind not in meaning.TEXT_TYPES or self._chance(0.6) else "''"
            test = meaning.compare(kind, "=" if operator == "=" else "!=", None)
            return self._test(f"{member.path} {operator} {written}", member, test)
        if kind == "boolean":
            value, operator = self._chance(0.5), self._random.choice(["=", "!="])
            text = f"{member.path} {operator} {self._cased(str(value))}"
            return self._test(text, member, meaning.compare(kind, operator, value))
        if kind in ("date", "datetime") and self._chance(0.5):
            name, (first, after) = self._random.choice(list(self._ranges.items()))
            operator = self._random.choice(["=", "!=", "<", "<=", ">", ">="])
            test = meaning.compare_range(operator, first, after)
            return self._test(f"{member.path} {operator} {self._cased(name)}", member, test)
        if kind in ("string", "email", "phone", "url", "picklist", "textarea", "combobox") and self._chance(0.3):
            return self._like(sobject, member)
        if kind == "multipicklist" and self._chance(0.7):
            return self._includes(member)
        if self._chance(0.25):
            return self._in(sobject, member)
        operators = (
            ["=", "!=", "<>"] if kind in ("id", "reference", "multipicklist") else ["=", "!=", "<", "<=", ">", ">="]
        )
        operator = self._random.choice(operators)
        value = self._value(sobject, member)
        test = meaning.compare(kind, "!=" if operator == "<>" else operator, value)
        return self._test(
            f"{member.path}{self._space()}{operator}{self._space()}{self._literal(member, value)}", member, test
        )

    def _in(self, sobject: str, member: Member) -> Condition:
        values = [self._value(sobject, member) for _ in range(self._random.randint(1, 4))]
        written = [self._literal(member, value) for value in values]
        if self._chance(0.2):
            values.append(None)
            written.append("null")
        negated = self._chance(0.4)
        test = meaning.one_of(member.kind, values)
        text = f"{member.path} {self._keyword('NOT IN' if negated else 'IN')} ({', '.join(written)})"
        return self._test(text, member, (lambda value: not test(value)) if negated else test)

    def _like(self, sobject: str, member: Member) -> Condition:
        value = str(self._value(sobject, member))[:_SHORT]
        start, stop = sorted(self._random.choices(range(len(value) + 1), k=2))
        pattern: list[str] = [ANY, *value[start:stop], ANY] if self._chance(0.6) else [*value[:stop], ANY]
        pattern = [ONE if each is not ANY and self._chance(0.1) else each for each in pattern]
        written = "".join(
            each if each in (ANY, ONE) and isinstance(each, meaning.Wildcard) else _in_like(each) for each in pattern
        )
        return self._test(f"{member.path} {self._keyword('LIKE')} '{written}'", member, meaning.like(pattern))

    def _includes(self, member: Member) -> Condition:
        values = member.picklist or ["a"]
        wanted = [
            ";".join(self._random.sample(values, self._random.randint(1, min(2, len(values)))))
            for _ in range(self._random.randint(1, 2))
        ]
        test = meaning.includes(wanted)
        negated = self._chance(0.4)
        text = f"{member.path} {'EXCLUDES' if negated else 'INCLUDES'} ({', '.join(_quoted(each) for each in wanted)})"
        return self._test(text, member, (lambda value: not test(value)) if negated else test)

    def _test(self, text: str, member: Member, test: Test) -> Condition:
        return Condition(text, lambda row: test(member.read(row)))

    def _value(self, sobject: str, member: Member) -> Any:
        """A value that some row has, or one like it."""
        rows = self._world.rows[sobject] if sobject else []
        found = [
            value for row in self._random.sample(rows, min(len(rows), 12)) if (value := member.read(row)) is not None
        ]
        if found and self._chance(0.9):
            value = self._random.choice(found)
            return value if not isinstance(value, str) or len(value) <= _SHORT else "longer than this"
        return _ANYTHING[member.kind]() if member.kind in _ANYTHING else "Nothing like this"

    def _literal(self, member: Member, value: Any) -> str:
        kind = member.kind
        if kind in meaning.NUMBER_TYPES:
            return format(Decimal(repr(value)), "f")
        if kind == "datetime":
            return self._moment(value)
        if kind == "date":
            return str(meaning.on_the_wire(value))
        if kind == "time":
            return str(meaning.on_the_wire(value))
        if kind in ("id", "reference"):
            return f"'{value[:15] if self._chance(0.3) else value}'"
        return _quoted(self._cased(str(value)))

    def _moment(self, value: datetime) -> str:
        millis = f".{value.microsecond // 1000:03}" if value.microsecond or self._chance(0.3) else ""
        if self._chance(0.3) and 1900 < value.year < 3999:
            value += timedelta(hours=2)
            return f"{value:%Y-%m-%dT%H:%M:%S}{millis}+02:00".rjust(len("2026-01-01T00:00:00+02:00"), "0")
        return str(meaning.on_the_wire(value))[:19] + millis + "Z"

    # Ordering

    def _order(self, sobject: str) -> tuple[Order, ...]:
        if self._chance(0.4):
            return ()
        chosen = [
            self._member(sobject, lambda entry: bool(entry["sortable"])) for _ in range(self._random.randint(1, 2))
        ]
        keys = [self._ordered(member) for member in {member.path: member for member in chosen}.values()]
        return (*keys, self._by_id(sobject)) if self._chance(0.7) else tuple(keys)

    def _by_id(self, sobject: str) -> Order:
        return Order("Id", lambda row: row["Id"], descending=False, nulls_last=False)

    def _ordered(self, member: Member, key: Callable[[Any], Any] | None = None) -> Order:
        descending, last = self._chance(0.5), self._chance(0.4)
        text = member.path + (
            self._random.choice([" DESC", " desc"]) if descending else self._random.choice(["", " ASC"])
        )
        text += " NULLS LAST" if last else self._random.choice(["", "", " NULLS FIRST"])

        def found(row: Any) -> Any:
            value = member.read(row)
            return None if value is None else meaning.sort_key(member.kind, value, member.picklist)

        return Order(text, key or found, descending, last and member.kind != "reference")

    # Groups

    def _group(self, sobject: str) -> Member:
        moments = [e for e in self._world.fields(sobject) if e["type"] in ("date", "datetime") and e["filterable"]]
        if moments and self._chance(0.3):
            return self._date_function(self._world.member(sobject, self._random.choice(moments)["name"]))
        member = self._member(sobject, lambda entry: bool(entry["groupable"] and entry["filterable"]))
        if member.kind != "boolean":
            return member
        return Member(member.path, member.kind, member.flags, lambda row: bool(member.read(row)))

    def _measure(self, sobject: str, name: str) -> Measure:
        if self._chance(0.3):
            function = self._random.choice(["COUNT", "COUNT_DISTINCT"])
            member = self._world.member(sobject, "Id")
        else:
            member = self._member(
                sobject, lambda entry: bool(entry["aggregatable"]) and entry["type"] not in NO_MEASURE
            )
            numeric = ["SUM", "AVG"] if member.kind in meaning.NUMBER_TYPES else []
            function = self._random.choice(["COUNT", "COUNT_DISTINCT", "MIN", "MAX", *numeric])
        picklist = tuple(member.picklist)

        def value(rows: list[Row]) -> Any:
            return meaning.aggregate(function, member.kind, picklist, [member.read(row) for row in rows])

        kind = "int" if function.startswith("COUNT") else member.kind
        return Measure(name, f"{self._cased(function)}({member.path})", value, kind, picklist)

    def _having(self, sobject: str, groups: Sequence[Member]) -> Condition:
        if self._chance(0.3):
            group = self._random.choice(groups)
            if group.flags.get("isFunction") is None:
                inner = self._compared(sobject, group)
                return Condition(inner.text, lambda rows: inner.holds(rows[0]))
        number = self._random.randint(1, 20)
        operator = self._random.choice([">", "<", ">=", "!="])
        test = meaning.compare("int", operator, number)
        return Condition(f"COUNT(Id) {operator} {number}", lambda rows: test(len(rows)))

    def _group_order(self, sobject: str, groups: Sequence[Member]) -> tuple[Order, ...]:
        keys = []
        for group in groups:
            if group.flags.get("isFunction") or group.flags["sortable"]:
                keys.append(_of_first(self._ordered(group)))
        if self._chance(0.4):
            descending = self._chance(0.5)
            keys.insert(0, Order(f"COUNT(Id){' DESC' if descending else ''}", len, descending, nulls_last=False))
        return tuple(keys)

    # Chance

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _cased(self, text: str) -> str:
        """SOQL's names, keywords and texts do not care for case."""
        return text.swapcase() if text.isascii() and self._chance(0.1) else text

    def _keyword(self, words: str) -> str:
        return words.lower() if self._chance(0.15) else words

    def _space(self) -> str:
        return self._random.choice([" ", " ", "", "\n", "\t "])


_ANYTHING: dict[str, Callable[[], Any]] = {
    "date": lambda: date(2025, 3, 31),
    "datetime": lambda: datetime(2025, 3, 31, 23, 59, 59, 999000),
    "time": lambda: time(12, 30),
    "id": lambda: "001000000000001AAA",
    "reference": lambda: "001000000000001AAA",
    **dict.fromkeys(meaning.NUMBER_TYPES, lambda: 1000),
}


def _quoted(text: str) -> str:
    return "'" + "".join(_QUOTES.get(char, char) for char in text) + "'"


def _in_like(char: str) -> str:
    return "\\" + char if char in "%_" else _QUOTES.get(char, char)


def _child_text(child: Child) -> str:
    names = ", ".join(member.path for member in child.members)
    where = f" WHERE {child.where.text}" if child.where else ""
    limit = f" LIMIT {child.limit}" if child.limit is not None else ""
    return f"(SELECT {names} FROM {child.name}{where} ORDER BY {', '.join(o.text for o in child.order)}{limit})"


def _of_group(group: Member, name: str | None = None) -> Measure:
    return Measure(name or group.path.rpartition(".")[2], group.path, lambda rows: group.read(rows[0]), group.kind)


def _of_first(order: Order) -> Order:
    """The order of groups by what all rows of a group share."""
    return Order(order.text, lambda rows: order.key(rows[0]), order.descending, order.nulls_last)
