"""The shape of a parsed query. `at` is always the offset in the query's text, for error messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Union


@dataclass(frozen=True)
class Path:
    """A field, possibly reached through parents: `Account.Owner.Name`."""

    parts: tuple[str, ...]
    at: int

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True)
class Text:
    """A quoted string. `raw` is what stood between the quotes, escapes included; `value` what it means."""

    raw: str
    value: str
    at: int


@dataclass(frozen=True)
class Number:
    value: Decimal
    at: int


@dataclass(frozen=True)
class Date:
    value: date
    at: int


@dataclass(frozen=True)
class DateTime:
    """A timestamp, aware, in UTC."""

    value: datetime
    at: int


@dataclass(frozen=True)
class Time:
    value: time
    at: int


@dataclass(frozen=True)
class Boolean:
    value: bool
    at: int


@dataclass(frozen=True)
class Null:
    at: int


@dataclass(frozen=True)
class DateRange:
    """A date literal such as TODAY or LAST_N_DAYS:7. `name` is in upper case."""

    name: str
    count: int | None
    at: int


Value = Union[Text, Number, Date, DateTime, Time, Boolean, Null, DateRange]


@dataclass(frozen=True)
class Call:
    """A function. `name` is as written; compare it through `function`."""

    name: str
    arguments: tuple[Path | Call | Text | Number, ...]
    at: int

    @property
    def function(self) -> str:
        """The name in upper case."""
        return self.name.upper()


Operand = Union[Path, Call]


@dataclass(frozen=True)
class Comparison:
    """`operator` is one of = != < <= > >= LIKE."""

    operand: Operand
    operator: str
    value: Value


@dataclass(frozen=True)
class Membership:
    """`operator` is one of IN, NOT IN, INCLUDES, EXCLUDES."""

    operand: Operand
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class SemiJoin:
    """IN or NOT IN a subquery: a semi-join or an anti-join."""

    operand: Operand
    operator: str
    query: Query


@dataclass(frozen=True)
class Conjunction:
    terms: tuple[Condition, ...]


@dataclass(frozen=True)
class Disjunction:
    terms: tuple[Condition, ...]


@dataclass(frozen=True)
class Negation:
    term: Condition


Condition = Union[Comparison, Membership, SemiJoin, Conjunction, Disjunction, Negation]


@dataclass(frozen=True)
class FieldItem:
    path: Path
    alias: str | None


@dataclass(frozen=True)
class CallItem:
    call: Call
    alias: str | None


@dataclass(frozen=True)
class ChildItem:
    query: Query


@dataclass(frozen=True)
class TypeOfItem:
    """TYPEOF `path`: each case names an object and the fields to take from it."""

    path: Path
    cases: tuple[tuple[str, tuple[Path, ...]], ...]
    otherwise: tuple[Path, ...]


SelectItem = Union[FieldItem, CallItem, ChildItem, TypeOfItem]


@dataclass(frozen=True)
class OrderItem:
    operand: Operand
    descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Related:
    """A relationship that FROM gives a short name: `c.Account a` in `FROM Contact c, c.Account a`."""

    path: Path
    alias: str | None


@dataclass(frozen=True)
class Word:
    """A keyword with a meaning of its own, such as the scope of USING SCOPE."""

    name: str
    at: int


@dataclass(frozen=True)
class Query:
    """`sobject` is the object after FROM, or for a child query the relationship. `text` is the whole statement."""

    text: str
    select: tuple[SelectItem, ...]
    sobject: Path
    alias: str | None = None
    related: tuple[Related, ...] = ()
    scope: Word | None = None
    where: Condition | None = None
    modes: tuple[str, ...] = ()
    group_by: tuple[Operand, ...] = ()
    having: Condition | None = None
    order_by: tuple[OrderItem, ...] = ()
    limit: int | None = None
    offset: int | None = None
    all_rows: bool = False
    purposes: tuple[str, ...] = field(default=())
