"""Writing SOQL, and reading of it as much as an extract must know: its clauses and what it selects.

Salesforce parses SOQL; nothing here decides whether a query is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any

from airflow_sfcc.errors import QueryError

_TOKEN = re.compile(
    r"""
      (?P<string>'(?:\\.|[^'\\])*')
    | (?P<bind>(?:(?<![\w:])|(?<=(?i:\bIN))|(?<=(?i:\bLIKE))|(?<=(?i:\bLIMIT))|(?<=(?i:\bOFFSET))):\s*(?P<name>[A-Za-z_]\w*))
    | (?P<word>[A-Za-z_][\w.]*)
    | (?P<literal>\d[\w.:+-]*)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<comma>,)
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_BYTE_ORDER_MARK = "\ufeff"
"""Some editors begin a `.soql` file with it."""

_AFTER_IN = re.compile(r"\bIN\s*\Z", re.IGNORECASE)

_VALUES = frozenset({"bind", "string", "literal"})

_ESCAPES = {
    **{chr(code): f"\\u{code:04x}" for code in range(32)},
    **{"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"},
}


def is_list(value: Any) -> bool:
    """Whether a value stands for several: a list, a set, or what mapped tasks of Airflow returned."""
    return isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes, bytearray))


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
        return _text(value)
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    if isinstance(value, datetime):
        return datetime_literal(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="milliseconds") + "Z"
    if is_list(value):
        return _sequence(value)
    raise QueryError(f"A {type(value).__name__} cannot be bound into SOQL: give text, a number, a boolean, a date, a "
                     "datetime with time zone, None, or a list of these.")  # fmt: skip


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise QueryError(
            f"The text {value[:100]!r} cannot be bound into SOQL: it holds half of a surrogate pair, as a text that was cut "
            "within an emoji does. Leave that character out."
        ) from None
    return "'" + "".join(_ESCAPES.get(ch, ch) for ch in value) + "'"


def datetime_literal(when: datetime) -> str:
    """`2026-11-23T02:00:00Z`, with milliseconds where there are any."""
    if when.tzinfo is None:
        raise QueryError(
            f"The datetime {when.isoformat()} has no time zone: bind an aware datetime, such as one in UTC."
        )
    utc = when.astimezone(timezone.utc).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds") + "Z"


def _number(value: float | Decimal) -> str:
    if isinstance(value, int):
        return str(value)
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if not exact.is_finite():
        raise QueryError(f"{value} cannot be bound into SOQL: it is not a finite number.")
    return format(exact, "f")


def _sequence(values: Iterable[Any]) -> str:
    items = sorted(values, key=repr) if isinstance(values, AbstractSet) else list(values)
    if not items:
        raise QueryError(
            "An empty list cannot be bound into SOQL, since IN () is not valid there: leave the condition out."
        )
    return "(" + ", ".join(literal(item) for item in items) + ")"


def bind(soql: str, values: Mapping[str, Any] | None, typed: Mapping[int, Any] | None = None) -> str:
    """`soql` with each `:name` outside string literals filled from `values`, as literals.

    `typed` has other values for single places, by where in the text they stand. Raises QueryError for names without a value
    and for values that no name uses.
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
        value = (typed or {}).get(match.start(), values[name])
        if _AFTER_IN.search(soql, 0, match.start()) and not is_list(value):
            raise QueryError(
                f"bind gives {name} the value {value!r}, and the query has it after IN: give a list. A template that names a "
                "list stays one with render_template_as_native_obj=True in the DAG."
            )
        return f"{' ' if soql[match.start() - 1].isalnum() else ''}{literal(value)}"

    bound = _TOKEN.sub(fill, soql)
    unused = set(values) - used
    if unused:
        raise QueryError(
            f"bind holds {_names(unused)}, which the query does not name: write :{sorted(unused)[0]} in it."
        )
    return bound.removeprefix(_BYTE_ORDER_MARK)


@dataclass(frozen=True)
class Scope:
    """A query within a query, and what it stands in: `is_child` tells a child query in the SELECT list from a semi-join."""

    query: Query
    outer: Scope | None = None
    is_child: bool = False


@dataclass(frozen=True)
class BindUse:
    """Where a `:name` stands in a text, and what it is compared with: a field path, a function call, or "" for a number of
    rows or degrees."""

    name: str
    start: int
    operand: str
    scope: Scope


def bind_uses(soql: str) -> list[BindUse]:
    """Every `:name` of a query that is compared with something. Raises what `scan` raises."""
    tokens = _tokens(soql)
    found = []
    for index, token in enumerate(tokens):
        if token.kind == "bind":
            operand = _operand(soql, tokens, index)
            if operand is not None:
                name = token.text.lstrip(":").strip()
                found.append(BindUse(name, token.start, operand, _scope(soql, tokens, index)))
    return found


_NO_FIELDS = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "INCLUDES", "EXCLUDES", "NULL", "TRUE", "FALSE"})
"""Words of conditions that name no field; others that name none, such as TODAY, are no fields of any object either."""


_OPERATORS = frozenset({"=", "!", "<", ">", "IN", "LIKE", "INCLUDES", "EXCLUDES"})


def condition_fields(soql: str) -> Iterator[tuple[str, Scope]]:
    """The field paths that a query's conditions compare with values, those of queries within it included.

    A field that is only compared with null is not among them. Raises what `scan` raises.
    """
    tokens = _tokens(soql)
    for index in _in_conditions(tokens):
        if not _is_harmless([each.text.upper() for each in tokens[index + 1 : index + 4]]):
            yield tokens[index].text, _scope(soql, tokens, index)


def filter_fields(soql: str) -> Iterator[tuple[str, Scope]]:
    """The field paths that a query's conditions read, whatever they are compared with, those of queries within it included.

    Raises what `scan` raises.
    """
    tokens = _tokens(soql)
    for index in _in_conditions(tokens):
        if _is_compared(tokens, index) or _is_argument(tokens, index):
            yield tokens[index].text, _scope(soql, tokens, index)


def inner_queries(soql: str) -> Iterator[Scope]:
    """The queries within a query: child queries and semi-joins. Raises what `scan` raises."""
    tokens = _tokens(soql)
    for index, (token, following) in enumerate(pairwise(tokens), 1):
        if token.kind == "open" and following.text.upper() == "SELECT":
            yield _scope(soql, tokens, index)


def _is_compared(tokens: Sequence[_Token], index: int) -> bool:
    """Whether an operator follows the word."""
    operator = [token.text.upper() for token in tokens[index + 1 : index + 3]]
    return operator == ["NOT", "IN"] or bool(operator and operator[0] in _OPERATORS)


def _is_argument(tokens: Sequence[_Token], index: int) -> bool:
    """Whether the word is a function's first argument, which is a field."""
    if index < 2 or tokens[index - 1].kind != "open" or tokens[index + 1 : index + 2] == []:
        return False
    function, following = tokens[index - 2], tokens[index + 1]
    is_call = function.kind == "word" and function.text.upper() not in _NO_FIELDS
    return is_call and following.kind in ("close", "comma")


def _in_conditions(tokens: Sequence[_Token]) -> Iterator[int]:
    """The places of words in conditions that may be fields."""
    clauses = [("", 0)]
    for index, token in enumerate(tokens):
        word = token.text.upper() if token.kind == "word" else ""
        following = [each.text.upper() for each in tokens[index + 1 : index + 4]]
        if token.kind == "open" and following[:1] == ["SELECT"]:
            clauses.append(("", token.depth + 1))
        elif token.kind == "close" and token.depth < clauses[-1][1]:
            clauses.pop()
        elif word in ("SELECT", "FROM", "WHERE", "HAVING", "LIMIT", "OFFSET", "WITH") or (
            word in ("GROUP", "ORDER") and following[:1] == ["BY"]
        ):
            clauses[-1] = (word, clauses[-1][1])
        elif word and clauses[-1][0] in ("WHERE", "HAVING") and word not in _NO_FIELDS:
            yield index


def _is_harmless(following: Sequence[str]) -> bool:
    """Whether a word is a function's name, or a field that is only compared with null."""
    is_null = following[:2] == ["=", "NULL"] or following[:3] in (["!", "=", "NULL"], ["<", ">", "NULL"])
    return is_null or following[:1] == ["("]


def words(text: str) -> list[str]:
    """The words of a piece of SOQL: names, keywords, field paths."""
    return [token.text for token in _tokens(text) if token.kind == "word"]


def _operand(soql: str, tokens: Sequence[_Token], index: int) -> str | None:
    """What stands before the operator before a value, or before IN and the list that the value is in."""
    depth = tokens[index].depth
    before = index - 1
    while (
        before >= 0
        and (tokens[before].kind == "comma" or tokens[before].kind in _VALUES)
        and tokens[before].depth == depth
    ):
        before -= 1
    if before >= 0 and tokens[before].kind == "open":
        if before and tokens[before - 1].text.upper() == "GEOLOCATION":
            return ""
        before -= 1
    if before < 1:
        return None
    word = tokens[before].text.upper()
    if word in ("LIMIT", "OFFSET"):
        return ""
    if word in ("IN", "INCLUDES", "EXCLUDES"):
        before -= 1 + (tokens[before - 1].text.upper() == "NOT")
    elif tokens[before].kind == "other":
        while before >= 0 and tokens[before].kind == "other":
            before -= 1
    else:
        return None
    return _path_or_call(soql, tokens, before) if before >= 0 else None


def _path_or_call(soql: str, tokens: Sequence[_Token], last: int) -> str | None:
    """The field path or the function call that ends with this token."""
    first = last
    if tokens[last].kind == "close":
        opens = (i for i in range(last, -1, -1) if tokens[i].kind == "open" and tokens[i].depth == tokens[last].depth)
        first = next(opens, 0) - 1
    if first < 0 or tokens[first].kind != "word":
        return None
    return soql[tokens[first].start : tokens[last].end]


def _scope(soql: str, tokens: Sequence[_Token], index: int) -> Scope:
    """The innermost query that a token stands in."""
    depth = tokens[index].depth
    for here in range(index, -1, -1):
        token = tokens[here]
        if token.kind != "open" or token.depth >= depth:
            continue
        depth = token.depth
        if tokens[here + 1].text.upper() != "SELECT":
            continue
        ends = (each.start for each in tokens[here:] if each.kind == "close" and each.depth == depth)
        query = scan(soql[tokens[here + 1].start : next(ends, len(soql))])
        outer = _scope(soql, tokens, here)
        words = [each.text.upper() for each in tokens[:here] if each.depth == depth]
        selecting = [word for word in words if word in ("SELECT", "FROM")]
        return Scope(query, outer, is_child=selecting[-1:] == ["SELECT"])
    return Scope(scan(soql))


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
    path inside a function ("" for COUNT()), `function` its upper-case name. `start` and `end` are where the item stands in
    the query's text, with its alias.
    """

    text: str
    kind: str
    alias: str | None = None
    function: str | None = None
    argument: str | None = None
    start: int = 0
    end: int = 0

    @property
    def is_aggregate(self) -> bool:
        """Whether the item gives one value for many rows: MAX(Amount), or FORMAT(MAX(Amount)) around it."""
        return self.function in AGGREGATES or (self.function == "FORMAT" and self.inner_function in AGGREGATES)

    @property
    def inner_function(self) -> str | None:
        """The upper-case name of a function that is this one's argument: CONVERTTIMEZONE of
        DAY_ONLY(convertTimezone(CreatedDate))."""
        inner = _tokens(self.argument or "")
        return inner[0].text.upper() if len(inner) > 1 and inner[1].kind == "open" else None

    @property
    def innermost(self) -> str:
        """The field path within all functions: CreatedDate of DAY_ONLY(convertTimezone(CreatedDate))."""
        tokens = _tokens(self.argument or "")
        paths = [
            token.text
            for token, following in zip(tokens, [*tokens[1:], None])
            if token.kind == "word" and not (following and following.kind == "open")
        ]
        return paths[0] if paths else ""


@dataclass(frozen=True)
class Query:
    """A SOQL query cut into clauses.

    `source` is what stands between FROM and the first clause; `alias` the object's alias, `aliases` the path of each alias
    by its lower-case name, "" being the object itself: `FROM Contact c, c.Account a` has `{"c": "", "a": "Account"}`.
    `clauses` are the texts of the clauses, `where` is where the WHERE clause stands in the text (its start, the start of
    its condition, its end), or would stand, all three being equal then.
    """

    text: str
    items: tuple[SelectItem, ...]
    sobject: str
    source: str
    alias: str | None
    aliases: Mapping[str, str]
    clauses: Mapping[str, str]
    where: tuple[int, int, int]

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

    def without_alias(self, path: str) -> str:
        """A field path as seen from the object: `Account.Name` for `a.Name` where `a` is an alias of its account."""
        head, _, rest = path.partition(".")
        if not rest or head.lower() not in self.aliases:
            return path
        parent = self.aliases[head.lower()]
        return f"{parent}.{rest}" if parent else rest

    def counting(self) -> str:
        """The query that counts this query's rows: only its filter matters to the count."""
        kept = [
            f"{name} {self.clauses[name]}" for name in ("USING SCOPE", "WHERE", "WITH", "LIMIT") if name in self.clauses
        ]
        return " ".join([f"SELECT COUNT() FROM {self.source}", *kept])

    def narrowed(self, condition: str) -> Query:
        """This query with one more condition on its rows."""
        start, body, end = self.where
        after = self.text[end:]
        if body > start:
            head = f"{self.text[:start]}WHERE "
            condition = f"({self.text[body:end].strip()}) AND {condition}"
        else:
            head = f"{self.text[:start].rstrip()} WHERE "
        where = (len(head) - len("WHERE "), len(head), len(head) + len(condition) + bool(after))
        text = f"{head}{condition}{f' {after}' if after else ''}"
        return replace(self, text=text, clauses={**self.clauses, "WHERE": condition}, where=where)

    def with_items(self, names: Mapping[int, Sequence[str]]) -> Query:
        """This query with some items of its SELECT list, given by their positions, replaced by fields."""
        if not names:
            return self
        text = self.text
        for index in sorted(names, reverse=True):
            item = self.items[index]
            text = f"{text[: item.start]}{', '.join(names[index])}{text[item.end :]}"
        return scan(text)

    def with_only(self, kept: Sequence[int]) -> Query:
        """This query with only some items of its SELECT list, given by their positions."""
        first, last = self.items[0], self.items[-1]
        listed = ", ".join(self.text[self.items[index].start : self.items[index].end] for index in kept)
        return scan(f"{self.text[: first.start]}{listed}{self.text[last.end :]}")


AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"})
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


def function_call(text: str) -> SelectItem:
    """A field path or function call as an item of a SELECT list."""
    return _select_item(text)


def scan(soql: str) -> Query:
    """Cut a query into its clauses. Raises QueryError when it has no SELECT ... FROM."""
    text = soql.removeprefix(_BYTE_ORDER_MARK).strip().rstrip(";").strip()
    top = [token for token in _tokens(text) if token.depth == 0]
    if text.startswith(("//", "/*", "--")):
        raise QueryError(
            "The query begins with a comment, and SOQL has none: remove it, or in a template write {# ... #} around it."
        )
    if not top or top[0].text.upper() != "SELECT":
        raise QueryError("The query does not start with SELECT: write a whole one, such as SELECT Id FROM Account.")
    source = next((i for i, token in enumerate(top) if token.kind == "word" and token.text.upper() == "FROM"), None)
    if source is None or source + 1 >= len(top) or top[source + 1].kind != "word":
        raise QueryError(
            "The query has no FROM with an object after it: write a whole one, such as SELECT Id FROM Account."
        )
    heads = list(_clause_heads(top, source + 2))
    ends = [start for _, start, _ in heads[1:]] + [len(text)]
    sources = top[
        source + 1 : next((i for i, token in enumerate(top) if heads and token.start == heads[0][1]), len(top))
    ]
    return Query(
        text,
        tuple(_select_items(text, top[0].end, top[source].start)),
        top[source + 1].text,
        text[top[source].end : heads[0][1] if heads else len(text)].strip(),
        *_aliases(sources),
        {name: text[body:end].strip() for (name, _, body), end in zip(heads, ends)},
        _where(heads, ends, len(text)),
    )


def _clause_heads(top: Sequence[_Token], first: int) -> Iterator[tuple[str, int, int]]:
    """(clause, where it starts, where its body starts) for each clause after FROM."""
    for here, following in zip(top[first:], [*top[first + 1 :], None]):
        word = here.text.upper()
        pair = f"{word} {following.text.upper()}" if following else ""
        if word in _TWO_WORDS and pair == _TWO_WORDS[word] and following:
            yield pair, here.start, following.end
        elif word in _CLAUSES and here.kind == "word":
            yield word, here.start, here.end


def _where(heads: Sequence[tuple[str, int, int]], ends: Sequence[int], length: int) -> tuple[int, int, int]:
    """Where the WHERE clause stands (see Query): before all clauses but USING SCOPE."""
    for (name, start, body), end in zip(heads, ends):
        if name == "WHERE":
            return start, body, end
        if name != "USING SCOPE":
            return start, start, start
    return length, length, length


def _aliases(tokens: Sequence[_Token]) -> tuple[str | None, dict[str, str]]:
    """The object's alias, and the path of every alias, in `Contact [AS] c, c.Account a`."""
    sources: list[list[str]] = [[]]
    for token in tokens:
        if token.kind == "comma":
            sources.append([])
        elif token.text.upper() != "AS":
            sources[-1].append(token.text)
    own, *others = sources
    alias = own[1] if len(own) > 1 else None
    paths = {alias.lower(): ""} if alias else {}
    for path, name, *_ in (source for source in others if len(source) > 1):
        head, _, rest = path.partition(".")
        paths[name.lower()] = ".".join(filter(None, (paths.get(head.lower(), ""), rest or head)))
    return alias, paths


def _select_items(text: str, start: int, end: int) -> Iterator[SelectItem]:
    """The items of the SELECT list, which stands from `start` to `end`."""
    for part in _split(text, start, end):
        stripped = part.strip()
        if stripped:
            first = start + part.index(stripped)
            yield replace(_select_item(stripped), start=first, end=first + len(stripped))
        start += len(part) + 1


def _split(text: str, start: int, end: int) -> Iterator[str]:
    """The texts between the list's commas."""
    begin, in_typeof = start, False
    for token in _tokens(text[start:end]):
        if token.depth:
            continue
        if token.kind == "word" and token.text.upper() in ("TYPEOF", "END"):
            # A TYPEOF holds commas of its own: ... THEN Phone, Name WHEN ... END.
            in_typeof = token.text.upper() == "TYPEOF"
        elif token.kind == "comma" and not in_typeof:
            yield text[begin : start + token.start]
            begin = start + token.end
    yield text[begin:end]


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
