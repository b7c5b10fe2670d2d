"""WHERE and HAVING to SQL.

Every comparison is true or false, never unknown, as in Salesforce: a null field differs from every value, and NOT turns
that round. Empty text is null, and a boolean is never null: of a parent that is not there it is false. Text compares
without case ("Comparison Operators": by its upper case, as "ORDER BY" says), ids and case-sensitive fields with it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timezone

from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.soql import distance, functions
from salesforce_localorg.soql.ast import (
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
    Path,
    SemiJoin,
    Text,
    Time,
    Value,
)
from salesforce_localorg.soql.date_ranges import date_range
from salesforce_localorg.soql.errors import SoqlError, at_position
from salesforce_localorg.soql.plan import Column
from salesforce_localorg.soql.scope import Reached, Scope
from salesforce_localorg.soql.sql_text import quoted
from salesforce_localorg.soql.text_escapes import ESCAPES, code_point, pieces

NUMBERS = frozenset({"double", "currency", "percent", "int", "long"})
EXACT_TEXT = "case-sensitive text"
_IDS = frozenset({"id", "reference"})
_UNQUOTED = NUMBERS | {"boolean", "date", "datetime", "time"}
NOT_TEXT = _UNQUOTED | _IDS
_WITHOUT_CASE_FOLDING = NOT_TEXT | {EXACT_TEXT}

# An empty text sorts before every other, and is what a field without a value holds.
_EMPTY_TEXT = {">": "({0} IS NOT NULL)", ">=": "TRUE", "<": "FALSE", "<=": "({0} IS NULL)"}

Subquery = Callable[[SemiJoin, Reached], str]


class Conditions:
    """Compiles the conditions of one scope.

    `subquery` compiles a semi-join's query to SQL of one column, given the field on its left.
    """

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
            if operand.function == distance.NAME:
                return distance.distance(self._scope, operand)
            return functions.scalar(self._scope, operand)[0]
        reached = self._scope.reach(operand)
        field = reached.field
        if not field.filterable or field.is_compound:
            raise self._error(operand.at, "INVALID_FIELD", f"field '{field.name}' can not be filtered in a query call")
        return self.column(reached)

    def column(self, reached: Reached) -> Column:
        """The SQL and the type of a field where values are compared and grouped."""
        field = reached.field
        if field.type == "boolean" and len(reached.names) > 1:
            return Column(f"coalesce({reached.sql}, FALSE)", field.type)
        return Column(reached.sql, EXACT_TEXT if field.case_sensitive else field.type)

    def _comparison(self, comparison: Comparison) -> str:
        left = self.operand(comparison.operand)
        operator, value = comparison.operator, comparison.value
        if operator == "LIKE":
            return self._like(left, comparison)
        if _is_distance(comparison.operand) and operator not in distance.OPERATORS:
            raise self._invalid_operator(comparison.operand)
        if left.type == "boolean" and operator not in ("=", "!="):
            raise self._invalid_operator(comparison.operand)
        if isinstance(value, Text) and value.value == "" and left.type not in _UNQUOTED and operator in _EMPTY_TEXT:
            return _EMPTY_TEXT[operator].format(left.sql)
        if _is_null(value):
            return self._against_null(left, operator)
        if isinstance(value, DateRange):
            return self._against_range(left, operator, value, comparison.operand)
        right = self._literal(left, value, comparison.operand)
        if operator == "!=":
            return f"({_folded(left)} IS DISTINCT FROM {right})"
        return f"coalesce({_folded(left)} {operator} {right}, FALSE)"

    def _against_null(self, left: Column, operator: str) -> str:
        if operator not in ("=", "!="):
            return "FALSE"
        if left.type == "boolean":
            # "If you run a query on a boolean field, null matches FALSE values."
            return f"coalesce(NOT {left.sql}, TRUE)" if operator == "=" else f"coalesce({left.sql}, FALSE)"
        return f"({left.sql} IS {'NOT ' if operator == '!=' else ''}NULL)"

    def _against_range(self, left: Column, operator: str, value: DateRange, operand: Operand) -> str:
        if left.type not in ("date", "datetime"):
            raise self._wrong_type(left, operand)
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
        if not isinstance(comparison.value, Text) or left.type in _UNQUOTED:
            raise self._invalid_operator(comparison.operand)
        if left.type in _IDS:
            raise self._error(_at(comparison.operand), "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on id field")
        pattern = _folded(Column(quoted(_like_pattern(comparison.value)), left.type))
        return f"coalesce({_folded(left)} LIKE {pattern} ESCAPE '\\', FALSE)"

    def _membership(self, membership: Membership) -> str:
        left = self.operand(membership.operand)
        if membership.operator in ("INCLUDES", "EXCLUDES"):
            found = self._includes(left, membership)
            return found if membership.operator == "INCLUDES" else f"(NOT {found})"
        tests = []
        literals = []
        for value in membership.values:
            if _is_null(value):
                tests.append(self._against_null(left, "="))
            elif isinstance(value, DateRange):
                tests.append(self._against_range(left, "=", value, membership.operand))
            else:
                literals.append(self._literal(left, value, membership.operand))
        if literals:
            tests.append(f"coalesce({_folded(left)} IN ({', '.join(literals)}), FALSE)")
        found = "(" + " OR ".join(tests) + ")"
        return found if membership.operator == "IN" else f"(NOT {found})"

    def _includes(self, left: Column, membership: Membership) -> str:
        if left.type != "multipicklist":
            raise self._error(
                _at(membership.operand),
                "INVALID_FIELD",
                "includes or excludes operator only valid on multipicklist field",
            )
        chosen = f"string_split(upper({left.sql}), ';')"
        tests = []
        for value in membership.values:
            if not isinstance(value, Text):
                raise self._wrong_type(left, membership.operand)
            parts = ", ".join(f"upper({quoted(part)})" for part in value.value.split(";"))
            tests.append(f"coalesce(list_has_all({chosen}, [{parts}]), FALSE)")
        return "(" + " OR ".join(tests) + ")"

    def _semi_join(self, join: SemiJoin) -> str:
        left = self._scope.reach(join.operand) if isinstance(join.operand, Path) else None
        if left is None or left.field.type not in _IDS or len(left.names) > 1:
            raise self._error(
                _at(join.operand),
                "INVALID_QUERY_FILTER_OPERATOR",
                "The left operand of a semi join must be an id or a reference field of the queried object",
            )
        found = f"coalesce({left.sql} IN ({self._subquery(join, left)}), FALSE)"
        return found if join.operator == "IN" else f"(NOT {found})"

    def _literal(self, left: Column, value: Value, operand: Operand) -> str:
        if left.type in _IDS and isinstance(value, Text) and not is_id(value.value):
            raise self._error(value.at, "INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value.value}")
        sql = _literal_of(left.type, value)
        if sql is None:
            raise self._wrong_type(left, operand)
        return sql

    def _wrong_type(self, left: Column, operand: Operand) -> SoqlError:
        quotes = "not " if left.type in _UNQUOTED else ""
        kind = {"datetime": "dateTime", "reference": "ID", "id": "ID", EXACT_TEXT: "string"}.get(left.type, left.type)
        name = operand.name if isinstance(operand, Call) else operand.parts[-1]
        return self._error(
            _at(operand),
            "INVALID_FIELD",
            f"value of filter criterion for field '{name}' must be of type {kind} and should {quotes}be enclosed in quotes",
        )

    def _invalid_operator(self, operand: Operand) -> SoqlError:
        return self._error(_at(operand), "INVALID_QUERY_FILTER_OPERATOR", "invalid operator")

    def _error(self, at: int, code: str, message: str) -> SoqlError:
        return at_position(self._scope.context.text, at, code, message)


def _is_distance(operand: Operand) -> bool:
    return isinstance(operand, Call) and operand.function == distance.NAME


def _at(operand: Operand) -> int:
    return operand.at


def _folded(column: Column) -> str:
    return column.sql if column.type in _WITHOUT_CASE_FOLDING else f"upper({column.sql})"


def _is_null(value: Value) -> bool:
    return isinstance(value, Null) or (isinstance(value, Text) and value.value == "")


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
        return quoted(full_id(value.value))
    return quoted(value.value) if kind == EXACT_TEXT else f"upper({quoted(value.value)})"


def timestamp(when: datetime) -> str:
    """As SQL writes a timestamp, in UTC."""
    return (
        f"TIMESTAMP '{when.astimezone(timezone.utc).replace(tzinfo=None).isoformat(sep=' ', timespec='milliseconds')}'"
    )


def _time_text(value: time) -> str:
    return value.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _like_pattern(text: Text) -> str:
    """SOQL's wildcards are those of SQL; every escaped character stands for itself."""
    pattern = ""
    for _, piece in pieces(text.raw):
        if piece[0] != "\\":
            pattern += piece
            continue
        char = code_point(piece) if len(piece) > 2 else ESCAPES[piece[1]]
        pattern += f"\\{char}" if char in "%_\\" else char
    return pattern
