"""WHERE and HAVING to SQL.

Every comparison is true or false, never unknown, as in Salesforce: a null field differs from every value, and NOT turns
that round. Text compares without case, ids with it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timezone

from airflow_sfcc.localorg.ids import to_18
from airflow_sfcc.localorg.soql import functions
from airflow_sfcc.localorg.soql.ast import (
    Boolean,
    Call,
    Comparison,
    Condition,
    Conjunction,
    Date,
    DateRange,
    DateTime,
    Disjunction,
    Membership,
    Negation,
    Null,
    Number,
    Operand,
    Query,
    SemiJoin,
    Text,
    Time,
    Value,
)
from airflow_sfcc.localorg.soql.date_ranges import date_range
from airflow_sfcc.localorg.soql.errors import SoqlError, at_position
from airflow_sfcc.localorg.soql.plan import Column
from airflow_sfcc.localorg.soql.scope import Scope

NUMBERS = frozenset({"double", "currency", "percent", "int", "long"})
_IDS = frozenset({"id", "reference"})
_WITHOUT_CASE_FOLDING = NUMBERS | _IDS | {"boolean", "date", "datetime", "time"}

Subquery = Callable[[Query], str]


class Conditions:
    """Compiles the conditions of one scope. `subquery` compiles a semi-join's query to SQL of one column."""

    def __init__(self, scope: Scope, now: datetime, subquery: Subquery) -> None:
        self._scope = scope
        self._now = now
        self._subquery = subquery

    def sql(self, condition: Condition) -> str:
        """The condition as a SQL expression. Raises SoqlError for fields and values that do not go together."""
        if isinstance(condition, Conjunction):
            return "(" + " AND ".join(self.sql(term) for term in condition.terms) + ")"
        if isinstance(condition, Disjunction):
            return "(" + " OR ".join(self.sql(term) for term in condition.terms) + ")"
        if isinstance(condition, Negation):
            return f"(NOT {self.sql(condition.term)})"
        if isinstance(condition, SemiJoin):
            return self._semi_join(condition)
        if isinstance(condition, Membership):
            return self._membership(condition)
        return self._comparison(condition)

    def operand(self, operand: Operand) -> Column:
        """The SQL and the Salesforce type of what stands left of an operator."""
        if isinstance(operand, Call):
            if functions.is_aggregate(operand):
                return functions.aggregate(self._scope, operand)
            return functions.scalar(self._scope, operand)[0]
        reached = self._scope.reach(operand)
        if not reached.field.filterable and not reached.field.is_compound:
            raise self._error(
                operand.at, "INVALID_FIELD", f"field '{reached.field.name}' can not be filtered in a query call"
            )
        return Column(reached.sql, reached.field.type)

    def _comparison(self, comparison: Comparison) -> str:
        left = self.operand(comparison.operand)
        operator, value = comparison.operator, comparison.value
        if operator == "LIKE":
            return self._like(left, comparison)
        if isinstance(value, Null) or (isinstance(value, Text) and value.value == ""):
            return self._against_null(left, operator, comparison)
        if isinstance(value, DateRange):
            return self._against_range(left, operator, value, comparison.operand)
        right = self._literal(left, value, comparison.operand)
        if operator == "!=":
            return f"({_folded(left)} IS DISTINCT FROM {right})"
        return f"coalesce({_folded(left)} {operator} {right}, FALSE)"

    def _against_null(self, left: Column, operator: str, comparison: Comparison) -> str:
        if operator in ("=", "!="):
            return f"({left.sql} IS {'NOT ' if operator == '!=' else ''}NULL)"
        return "FALSE"

    def _against_range(self, left: Column, operator: str, value: DateRange, operand: Operand) -> str:
        if left.type not in ("date", "datetime"):
            raise self._wrong_type(left, operand, value.at)
        try:
            first, after = date_range(value.name, value.count, self._now.date())
        except (OverflowError, ValueError):
            raise self._error(value.at, "INVALID_QUERY_FILTER_OPERATOR", f"{value.name} reaches too far") from None
        start, end = f"DATE '{first.isoformat()}'", f"DATE '{after.isoformat()}'"
        within = f"coalesce({left.sql} >= {start} AND {left.sql} < {end}, FALSE)"
        others = {
            "=": within,
            "!=": f"(NOT {within})",
            "<": f"coalesce({left.sql} < {start}, FALSE)",
            "<=": f"coalesce({left.sql} < {end}, FALSE)",
            ">": f"coalesce({left.sql} >= {end}, FALSE)",
            ">=": f"coalesce({left.sql} >= {start}, FALSE)",
        }
        return others[operator]

    def _like(self, left: Column, comparison: Comparison) -> str:
        if not isinstance(comparison.value, Text) or left.type in _WITHOUT_CASE_FOLDING - _IDS:
            raise self._error(_at(comparison.operand), "INVALID_QUERY_FILTER_OPERATOR", "invalid operator")
        pattern = _like_pattern(comparison.value)
        return f"coalesce(lower({left.sql}) LIKE lower({quoted(pattern)}) ESCAPE '\\', FALSE)"

    def _membership(self, membership: Membership) -> str:
        left = self.operand(membership.operand)
        if membership.operator in ("INCLUDES", "EXCLUDES"):
            found = self._includes(left, membership)
            return found if membership.operator == "INCLUDES" else f"(NOT {found})"
        nulls = [value for value in membership.values if isinstance(value, Null) or getattr(value, "value", None) == ""]
        others = [self._literal(left, value, membership.operand) for value in membership.values if value not in nulls]
        tests = [f"coalesce({_folded(left)} IN ({', '.join(others)}), FALSE)"] if others else []
        tests += [f"{left.sql} IS NULL"] if nulls else []
        found = "(" + " OR ".join(tests or ["FALSE"]) + ")"
        return found if membership.operator == "IN" else f"(NOT {found})"

    def _includes(self, left: Column, membership: Membership) -> str:
        if left.type != "multipicklist":
            raise self._error(
                _at(membership.operand),
                "INVALID_FIELD",
                "includes or excludes operator only valid on multipicklist field",
            )
        chosen = f"string_split(lower({left.sql}), ';')"
        tests = []
        for value in membership.values:
            if not isinstance(value, Text):
                raise self._wrong_type(left, membership.operand, _at(membership.operand))
            parts = ", ".join(f"lower({quoted(part)})" for part in value.value.split(";"))
            tests.append(f"coalesce(list_has_all({chosen}, [{parts}]), FALSE)")
        return "(" + " OR ".join(tests) + ")"

    def _semi_join(self, join: SemiJoin) -> str:
        left = self.operand(join.operand)
        if left.type not in _IDS:
            raise self._error(
                _at(join.operand),
                "INVALID_QUERY_FILTER_OPERATOR",
                "The left operand of a semi-join must be an id or a reference field",
            )
        found = f"coalesce({left.sql} IN ({self._subquery(join.query)}), FALSE)"
        return found if join.operator == "IN" else f"(NOT {found})"

    def _literal(self, left: Column, value: Value, operand: Operand) -> str:
        sql = _literal_of(left.type, value)
        if sql is None:
            raise self._wrong_type(left, operand, getattr(value, "at", 0))
        return sql

    def _wrong_type(self, left: Column, operand: Operand, at: int) -> SoqlError:
        quotes = "not " if left.type in _WITHOUT_CASE_FOLDING - _IDS else ""
        kind = {"datetime": "dateTime", "reference": "ID", "id": "ID"}.get(left.type, left.type)
        name = operand.name if isinstance(operand, Call) else operand.parts[-1]
        return self._error(
            _at(operand),
            "INVALID_FIELD",
            f"value of filter criterion for field '{name}' must be of type {kind} and should {quotes}be enclosed in quotes",
        )

    def _error(self, at: int, code: str, message: str) -> SoqlError:
        return at_position(self._scope.context.text, at, code, message)


def _at(operand: Operand) -> int:
    return operand.at


def _folded(column: Column) -> str:
    return column.sql if column.type in _WITHOUT_CASE_FOLDING else f"lower({column.sql})"


def _literal_of(kind: str, value: Value) -> str | None:
    """The SQL of a value to compare a field of type `kind` with; None when they do not go together."""
    if kind in NUMBERS:
        return f"CAST('{value.value}' AS DOUBLE)" if isinstance(value, Number) else None
    if kind == "boolean":
        return str(value.value).upper() if isinstance(value, Boolean) else None
    if kind == "date":
        return f"DATE '{value.value.isoformat()}'" if isinstance(value, Date) else None
    if kind == "datetime":
        return timestamp(value.value) if isinstance(value, DateTime) else None
    if kind == "time":
        return f"TIME '{_time_text(value.value)}'" if isinstance(value, Time) else None
    if not isinstance(value, Text):
        return None
    if kind in _IDS:
        return quoted(to_18(value.value) if len(value.value) == 15 else value.value)
    return f"lower({quoted(value.value)})"


def timestamp(moment: datetime) -> str:
    """A moment as a SQL timestamp in UTC."""
    return f"TIMESTAMP '{moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(sep=' ', timespec='milliseconds')}'"


def _time_text(value: time) -> str:
    return value.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _like_pattern(text: Text) -> str:
    """SOQL's wildcards are those of SQL; only its escapes of other characters have to go."""
    pattern, escaped = "", False
    meanings = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
    for char in text.raw:
        if escaped:
            pattern += f"\\{char}" if char in "%_\\" else meanings.get(char.lower(), char)
        elif char != "\\":
            pattern += char
        escaped = char == "\\" and not escaped
    return pattern


def quoted(text: str) -> str:
    """`text` as a SQL string expression; NUL cannot stand in SQL text."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"
