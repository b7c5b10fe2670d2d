"""Writing SOQL, and reading of it as much as an extract must know: its clauses and what it selects.

Salesforce parses SOQL; nothing here decides whether a query is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

from airflow_sfcc.errors import QueryError

_TOKEN = re.compile(
    r"""
      (?P<string>'(?:\\.|[^'\\])*')
    | (?P<bind>(?<![\w:]):\s*(?P<name>[A-Za-z_]\w*))
    | (?P<word>[A-Za-z_][\w.]*)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<comma>,)
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPES = {
    **{chr(code): f"\\u{code:04x}" for code in range(32)},
    **{"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"},
}


def literal(value: Any) -> str:
    """`value` as a SOQL literal: None, bool, int, float, Decimal, str, date, datetime (aware), or a sequence of these.

    Source: SOQL and SOSL Reference, "Quoted String Escape Sequences", "Date Formats". Raises QueryError for values
    that have no literal.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + "".join(_ESCAPES.get(ch, ch) for ch in value) + "'"
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    if isinstance(value, datetime):
        return datetime_literal(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, (list, tuple, set, frozenset)):
        return _sequence(value)
    raise QueryError(f"A {type(value).__name__} cannot be bound into SOQL: give text, a number, a boolean, a date, a "
                     "datetime with time zone, None, or a list of these.")  # fmt: skip


def datetime_literal(moment: datetime) -> str:
    """`2026-11-23T02:00:00Z`, with milliseconds where there are any."""
    if moment.tzinfo is None:
        raise QueryError(
            f"The datetime {moment.isoformat()} has no time zone: bind an aware datetime, such as one in UTC."
        )
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds") + "Z"


def _number(value: float | Decimal) -> str:
    if isinstance(value, int):
        return str(value)
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if not exact.is_finite():
        raise QueryError(f"{value} cannot be bound into SOQL: it is not a finite number.")
    return format(exact, "f")


def _sequence(values: Iterable[Any]) -> str:
    items = sorted(values, key=repr) if isinstance(values, (set, frozenset)) else list(values)
    if not items:
        raise QueryError(
            "An empty list cannot be bound into SOQL, since IN () is not valid there: leave the condition out."
        )
    return "(" + ", ".join(literal(item) for item in items) + ")"


def bind(soql: str, values: Mapping[str, Any] | None) -> str:
    """`soql` with each `:name` outside string literals filled from `values`, as literals.

    Raises QueryError for names without a value and for values that no name uses.
    """
    values = values or {}
    used: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if not match["bind"]:
            return match[0]
        if name not in values:
            held = (
                f"holds no such value (it holds {_names(values)})"
                if values
                else f"is missing: add bind={{{name!r}: ...}}"
            )
            raise QueryError(f"The query names :{name}, but bind {held}.")
        used.add(name)
        return literal(values[name])

    bound = _TOKEN.sub(fill, soql)
    unused = set(values) - used
    if unused:
        raise QueryError(
            f"bind holds {_names(unused)}, which the query does not name: write :{sorted(unused)[0]} in it."
        )
    return bound


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def select(sobject: str, fields: Sequence[str], where: str | None = None) -> str:
    """`SELECT fields FROM sobject [WHERE where]`."""
    tail = f" WHERE {where}" if where and where.strip() else ""
    return f"SELECT {', '.join(fields)} FROM {sobject}{tail}"


@dataclass(frozen=True)
class SelectItem:
    """One item of a SELECT list: a field path, a function call, a child subquery or a TYPEOF.

    `text` is the item without alias. `kind` is `field`, `function`, `subquery` or `typeof`. `argument` is the field
    path inside a function ("" for COUNT()), `function` its upper-case name.
    """

    text: str
    kind: str
    alias: str | None = None
    function: str | None = None
    argument: str | None = None

    @property
    def is_aggregate(self) -> bool:
        """Whether the item gives one value for many rows: MAX(Amount), or FORMAT(MAX(Amount)) around it."""
        inner = _AROUND.match(self.argument or "") if self.function == "FORMAT" else None
        return self.function in AGGREGATES or bool(inner and inner[1].upper() in AGGREGATES)


@dataclass(frozen=True)
class Query:
    """A SOQL query cut into clauses. `tail` is everything after FROM's object (WHERE and later clauses)."""

    text: str
    items: tuple[SelectItem, ...]
    sobject: str
    alias: str | None
    clauses: Mapping[str, str]

    @property
    def is_aggregate(self) -> bool:
        return "GROUP BY" in self.clauses or any(item.is_aggregate for item in self.items)

    @property
    def is_count(self) -> bool:
        return len(self.items) == 1 and self.items[0].function == "COUNT" and not self.items[0].argument

    def rest_only_reason(self) -> str | None:
        """Why Bulk API 2.0 will not do this query (salesforce-protocol.md#job-errors), or None when it may."""
        if self.is_aggregate:
            return "it aggregates"
        if any(item.kind == "subquery" for item in self.items):
            return "it selects a child relationship"
        if any(item.kind == "typeof" for item in self.items):
            return "it uses TYPEOF"
        if "OFFSET" in self.clauses:
            return "it uses OFFSET"
        return None

    def counting(self) -> str:
        """The query that counts this query's rows: only its filter matters to the count."""
        kept = [
            f"{name} {self.clauses[name]}" for name in ("USING SCOPE", "WHERE", "WITH", "LIMIT") if name in self.clauses
        ]
        source = f"{self.sobject} {self.alias}" if self.alias else self.sobject
        return " ".join([f"SELECT COUNT() FROM {source}", *kept])

    def narrowed(self, condition: str) -> str:
        """This query's text with one more condition on its rows."""
        top = [token for token in _tokens(self.text) if token.depth == 0]
        source = next(i for i, token in enumerate(top) if token.kind == "word" and token.text.upper() == "FROM")
        heads = list(_clause_heads(top, source + 2))
        here = next((start for name, start, _ in heads if name not in ("USING SCOPE", "WHERE")), len(self.text))
        rest = f" {self.text[here:]}" if here < len(self.text) else ""
        for name, start, body in heads:
            if name == "WHERE":
                return f"{self.text[:start]}WHERE ({self.text[body:here].strip()}) AND {condition}{rest}"
        return f"{self.text[:here].rstrip()} WHERE {condition}{rest}"


AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"})
_AROUND = re.compile(r"\s*(\w+)\s*\(")
_CLAUSES = (
    "USING SCOPE",
    "WHERE",
    "WITH",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "OFFSET",
    "FOR",
    "UPDATE",
    "ALL ROWS",
)
_TWO_WORDS = {clause.split()[0]: clause for clause in _CLAUSES if " " in clause}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    depth: int


def _tokens(soql: str) -> list[_Token]:
    """Tokens without white space, each with the depth of parentheses it stands at."""
    found: list[_Token] = []
    depth = 0
    for match in _TOKEN.finditer(soql):
        kind = match.lastgroup if match.lastgroup != "name" else "bind"
        if kind == "close":
            depth -= 1
        if kind != "space":
            found.append(_Token(kind or "other", match[0], match.start(), match.end(), depth))
        if kind == "open":
            depth += 1
    return found


def scan(soql: str) -> Query:
    """Cut a query into its clauses. Raises QueryError when it has no SELECT ... FROM."""
    text = soql.strip().rstrip(";").strip()
    top = [token for token in _tokens(text) if token.depth == 0]
    if not top or top[0].text.upper() != "SELECT":
        raise QueryError("The query does not start with SELECT: write a whole one, such as SELECT Id FROM Account.")
    source = next((i for i, token in enumerate(top) if token.kind == "word" and token.text.upper() == "FROM"), None)
    if source is None or source + 1 >= len(top) or top[source + 1].kind != "word":
        raise QueryError(
            "The query has no FROM with an object after it: write a whole one, such as SELECT Id FROM Account."
        )
    items = tuple(_select_item(part) for part in _split_select(text[top[0].end : top[source].start]))
    heads = list(_clause_heads(top, source + 2))
    alias_end = heads[0][1] if heads else len(text)
    alias = text[top[source + 1].end : alias_end].strip().removeprefix("AS ").strip() or None
    clauses = {}
    for (name, _, body_start), following in zip(heads, [*heads[1:], None]):
        clauses[name] = text[body_start : following[1] if following else len(text)].strip()
    return Query(text, items, top[source + 1].text, alias, clauses)


def _clause_heads(top: Sequence[_Token], first: int) -> Iterator[tuple[str, int, int]]:
    """(clause, where it starts, where its body starts) for each clause after FROM."""
    for here, following in zip(top[first:], [*top[first + 1 :], None]):
        word = here.text.upper()
        pair = f"{word} {following.text.upper()}" if following else ""
        if word in _TWO_WORDS and pair == _TWO_WORDS[word] and following:
            yield pair, here.start, following.end
        elif word in _CLAUSES and here.kind == "word":
            yield word, here.start, here.end


def _split_select(text: str) -> list[str]:
    commas = [token.start for token in _tokens(text) if token.kind == "comma" and token.depth == 0]
    # A TYPEOF holds commas of its own: ... THEN Phone, Name WHEN ... END.
    parts, start = [], 0
    for cut in [*commas, len(text)]:
        part = text[start:cut]
        words = [token.text.upper() for token in _tokens(part) if token.kind == "word" and token.depth == 0]
        if words[:1] == ["TYPEOF"] and "END" not in words:
            continue
        parts.append(part.strip())
        start = cut + 1
    return [part for part in parts if part]


def _select_item(text: str) -> SelectItem:
    tokens = _tokens(text)
    head = tokens[0]
    if head.kind == "open":
        return SelectItem(text, "subquery")
    if head.text.upper() == "TYPEOF":
        return SelectItem(text, "typeof")
    if len(tokens) > 1 and tokens[1].kind == "open":
        close = next((token for token in tokens if token.kind == "close" and token.depth == 0), tokens[-1])
        alias = text[close.end :].strip() or None
        argument = text[tokens[1].end : close.start].strip()
        return SelectItem(text[: close.end].strip(), "function", alias, head.text.upper(), argument)
    alias = text[head.end :].strip() or None
    return SelectItem(head.text, "field", alias)
