"""Turns lark's parse tree into the syntax tree of ast.py."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

from lark import Token, Transformer

from salesforce_localorg.soql import ast
from salesforce_localorg.soql.date_ranges import is_date_range
from salesforce_localorg.soql.errors import at_position, unexpected_token, unsupported
from salesforce_localorg.soql.text_escapes import ESCAPES, code_point, pieces

_MAX_STRING = 4000  # characters; salesforce-protocol.md#rest-queries
_MODES = ("SECURITY_ENFORCED", "USER_MODE", "SYSTEM_MODE")
CURRENCY_LITERAL = re.compile(r"[A-Z]{3}[0-9]+", re.IGNORECASE)

# SOQL and SOSL Reference, "Alias Notation" and "USING SCOPE".
_NEVER_ALIASES = frozenset(
    "AND ASC DESC EXCLUDES FIRST FROM GROUP HAVING IN INCLUDES LAST LIKE LIMIT NOT NULL NULLS OR SELECT USING WHERE WITH".split()
)
_SCOPES = frozenset(
    "delegated everything mine mine_and_my_groups my_territory my_team_territory scopingrule team".split()
)


class TreeBuilder(Transformer[Token, Any]):
    """One method per rule of the grammar. Clauses come as (name, value) pairs, which `query` puts in place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def start(self, children: list[Any]) -> ast.Query:
        query: ast.Query = children[0]
        return query

    def query(self, children: list[Any]) -> ast.Query:
        items = tuple(child for child in children if isinstance(child, _SELECT_ITEMS))
        path = next(child for child in children if isinstance(child, ast.Path))
        alias = next((child for child in children if isinstance(child, str)), None)
        related = tuple(child for child in children if isinstance(child, ast.Related))
        clauses: dict[str, Any] = {"modes": (), "purposes": ()}
        for name, value in (child for child in children if isinstance(child, tuple)):
            clauses[name] = clauses[name] + value if name in ("modes", "purposes") else value
        return ast.Query(text=self._text, select=items, sobject=path, alias=alias, related=related, **clauses)

    def field_item(self, children: list[Any]) -> ast.FieldItem:
        return ast.FieldItem(*children)

    def call_item(self, children: list[Any]) -> ast.CallItem:
        return ast.CallItem(*children)

    def child_item(self, children: list[Any]) -> ast.ChildItem:
        return ast.ChildItem(children[0])

    def typeof_item(self, children: list[Any]) -> ast.TypeOfItem:
        path, *branches = children
        cases = tuple(branch for branch in branches if branch[0] is not None)
        otherwise = next((paths for name, paths in branches if name is None), ())
        return ast.TypeOfItem(path, cases, otherwise)

    def when(self, children: list[Any]) -> tuple[str, tuple[ast.Path, ...]]:
        return str(children[0]), children[1]

    def else_(self, children: list[Any]) -> tuple[None, tuple[ast.Path, ...]]:
        return None, children[0]

    def paths(self, children: list[Any]) -> tuple[ast.Path, ...]:
        return tuple(children)

    def alias(self, children: list[Token]) -> str:
        if str(children[0]).upper() in _NEVER_ALIASES:
            raise unexpected_token(self._text, _at(children[0]), str(children[0]))
        return str(children[0])

    def related(self, children: list[Any]) -> ast.Related:
        return ast.Related(*children)

    def path(self, children: list[Token]) -> ast.Path:
        return ast.Path(tuple(str(child) for child in children), _at(children[0]))

    def call(self, children: list[Any]) -> ast.Call:
        name, *arguments = children
        return ast.Call(str(name), tuple(each for each in arguments if each is not None), _at(name))

    def scope(self, children: list[Token]) -> tuple[str, ast.Word]:
        if str(children[0]).lower() not in _SCOPES:
            raise unexpected_token(self._text, _at(children[0]), str(children[0]))
        return "scope", ast.Word(str(children[0]), _at(children[0]))

    def where(self, children: list[Any]) -> tuple[str, ast.Condition]:
        return "where", children[0]

    def with_mode(self, children: list[Token]) -> tuple[str, tuple[str, ...]]:
        return "modes", self._words(children, _MODES)

    def with_data_category(self, children: list[Any]) -> tuple[str, Any]:
        raise unsupported(self._text, _at(children[0]), "WITH DATA CATEGORY")

    def with_filter(self, children: list[Any]) -> tuple[str, Any]:
        raise unsupported(self._text, _at(children[0]), f"WITH {children[0]}")

    def with_context(self, children: list[Any]) -> tuple[str, Any]:
        raise unsupported(self._text, _at(children[0]), f"WITH {children[0]}")

    def group_by(self, children: list[Any]) -> tuple[str, tuple[ast.Operand, ...]]:
        return "group_by", tuple(children)

    def having(self, children: list[Any]) -> tuple[str, ast.Condition]:
        return "having", children[0]

    def order_by(self, children: list[Any]) -> tuple[str, tuple[ast.OrderItem, ...]]:
        return "order_by", tuple(children)

    def order_item(self, children: list[Any]) -> ast.OrderItem:
        operand, direction, nulls = children
        return ast.OrderItem(operand, descending=str(direction).lower() == "desc", nulls_last=nulls == "last")

    def nulls(self, children: list[Token]) -> str:
        return str(children[0]).lower()

    def limit(self, children: list[Token]) -> tuple[str, int]:
        return "limit", self._count(children[0])

    def offset(self, children: list[Token]) -> tuple[str, int]:
        return "offset", self._count(children[0])

    def for_clause(self, children: list[Token]) -> tuple[str, tuple[str, ...]]:
        return "purposes", self._words(children, ("VIEW", "REFERENCE", "UPDATE"))

    def update_clause(self, children: list[Token]) -> tuple[str, tuple[str, ...]]:
        return "purposes", self._words(children, ("TRACKING", "VIEWSTAT"))

    def all_rows(self, children: list[Token]) -> tuple[str, bool]:
        return "all_rows", True

    def conjunction(self, children: list[Any]) -> ast.Conjunction:
        return ast.Conjunction(tuple(children))

    def disjunction(self, children: list[Any]) -> ast.Disjunction:
        return ast.Disjunction(tuple(children))

    def negation(self, children: list[Any]) -> ast.Condition:
        term = children[0]
        return term.term if isinstance(term, ast.Negation) else ast.Negation(term)

    def compare(self, children: list[Any]) -> ast.Comparison:
        operand, operator, value = children
        return ast.Comparison(operand, "!=" if operator == "<>" else str(operator), value)

    def like(self, children: list[Any]) -> ast.Comparison:
        return ast.Comparison(children[0], "LIKE", children[1])

    def is_in(self, children: list[Any]) -> ast.Condition:
        return self._in(children, "IN")

    def is_not_in(self, children: list[Any]) -> ast.Condition:
        return self._in(children, "NOT IN")

    def includes(self, children: list[Any]) -> ast.Membership:
        return ast.Membership(children[0], "INCLUDES", children[1])

    def excludes(self, children: list[Any]) -> ast.Membership:
        return ast.Membership(children[0], "EXCLUDES", children[1])

    def values(self, children: list[Any]) -> tuple[ast.Value, ...]:
        return tuple(children)

    def named(self, children: list[Any]) -> ast.Value:
        """TRUE, FALSE, NULL and date literals; any other word is not a value."""
        word, count = children
        name, at = str(word).upper(), _at(word)
        if name in ("TRUE", "FALSE") and count is None:
            return ast.Boolean(name == "TRUE", at)
        if name == "NULL" and count is None:
            return ast.Null(at)
        number = None if count is None else self._count(count)
        if is_date_range(name, number):
            return ast.DateRange(name, number, at)
        if CURRENCY_LITERAL.fullmatch(name) and count is None:
            raise unsupported(self._text, at, f"The currency literal {word}")
        raise unexpected_token(self._text, at, str(word))

    def string(self, children: list[Token]) -> ast.Text:
        raw = str(children[0])[1:-1]
        at = _at(children[0])
        value = "".join(self._meaning(piece, at + 1 + place) for place, piece in pieces(raw))
        if len(value) > _MAX_STRING:
            message = f"A string in a WHERE clause cannot be longer than {_MAX_STRING} characters."
            raise at_position(self._text, at, "MALFORMED_QUERY", message)
        return ast.Text(raw, value, at)

    def number(self, children: list[Token]) -> ast.Number:
        return ast.Number(Decimal(str(children[0])), _at(children[0]))

    def date(self, children: list[Token]) -> ast.Date:
        return ast.Date(self._checked(date.fromisoformat, children[0], str(children[0])), _at(children[0]))

    def time(self, children: list[Token]) -> ast.Time:
        written = str(children[0]).upper().rstrip("Z")
        return ast.Time(self._checked(time.fromisoformat, children[0], _milliseconds(written)), _at(children[0]))

    def datetime(self, children: list[Token]) -> ast.DateTime:
        when = self._checked(_parse_timestamp, children[0], str(children[0]))
        return ast.DateTime(when, _at(children[0]))

    def _in(self, children: list[Any], operator: str) -> ast.Condition:
        operand, right = children
        if isinstance(right, ast.Query):
            return ast.SemiJoin(operand, operator, right)
        return ast.Membership(operand, operator, right)

    def _words(self, children: list[Token], allowed: tuple[str, ...]) -> tuple[str, ...]:
        for word in children:
            if str(word).upper() not in allowed:
                raise unexpected_token(self._text, _at(word), str(word))
        return tuple(str(word).upper() for word in children)

    def _count(self, token: Token) -> int:
        if not str(token).isdigit():
            raise unexpected_token(self._text, _at(token), str(token))
        return int(token)

    def _meaning(self, piece: str, at: int) -> str:
        """What one character or escape sequence of a string stands for."""
        if piece[0] != "\\":
            return piece
        if len(piece) > 2:
            return code_point(piece)
        if piece[1] not in ESCAPES:
            raise at_position(
                self._text,
                at,
                "MALFORMED_QUERY",
                rf"Illegal escape sequence '{piece}' (only \b \f \n \r \t \\ \" \' \_ \% \uXXXX are valid)",
            )
        return ESCAPES[piece[1]]

    def _checked(self, read: Any, token: Token, written: str) -> Any:
        try:
            return read(written)
        except (ValueError, OverflowError):
            raise at_position(self._text, _at(token), "MALFORMED_QUERY", f"Invalid date: {token}") from None


# `else` is a rule of the grammar and a word of Python.
setattr(TreeBuilder, "else", TreeBuilder.else_)

_SELECT_ITEMS = (ast.FieldItem, ast.CallItem, ast.ChildItem, ast.TypeOfItem)


def _at(token: Token) -> int:
    return token.start_pos or 0


def _milliseconds(written: str) -> str:
    """Python 3.10 reads fractions of three or six digits only."""
    whole, _, fraction = written.partition(".")
    return f"{whole}.{fraction[:3].ljust(3, '0')}"


def _parse_timestamp(written: str) -> datetime:
    match = re.fullmatch(r"([\d-]+)T([\d:.]+)(Z|[+-]\d\d:?\d\d)", written, re.IGNORECASE)
    if match is None:
        raise ValueError(written)
    day, clock, zone = match.groups()
    offset = "+00:00" if zone in "Zz" else f"{zone[:3]}:{zone[-2:]}"
    return datetime.fromisoformat(f"{day}T{_milliseconds(clock)}{offset}").astimezone(timezone.utc)
