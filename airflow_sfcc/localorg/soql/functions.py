"""The functions of SOQL that give one value per record or per group."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_sfcc.localorg.soql.ast import Call, Path
from airflow_sfcc.localorg.soql.errors import SoqlError, at_position, unsupported
from airflow_sfcc.localorg.soql.plan import Column
from airflow_sfcc.localorg.soql.scope import Reached, Scope

# Each takes a date or datetime column. Fiscal years are calendar years, weeks in months and years count from day one.
_DATE_FUNCTIONS: Mapping[str, str] = {
    "CALENDAR_MONTH": "CAST(month({0}) AS INTEGER)",
    "CALENDAR_QUARTER": "CAST(quarter({0}) AS INTEGER)",
    "CALENDAR_YEAR": "CAST(year({0}) AS INTEGER)",
    "DAY_IN_MONTH": "CAST(day({0}) AS INTEGER)",
    "DAY_IN_WEEK": "CAST(dayofweek({0}) + 1 AS INTEGER)",
    "DAY_IN_YEAR": "CAST(dayofyear({0}) AS INTEGER)",
    "DAY_ONLY": "CAST({0} AS DATE)",
    "FISCAL_MONTH": "CAST(month({0}) AS INTEGER)",
    "FISCAL_QUARTER": "CAST(quarter({0}) AS INTEGER)",
    "FISCAL_YEAR": "CAST(year({0}) AS INTEGER)",
    "HOUR_IN_DAY": "CAST(hour({0}) AS INTEGER)",
    "WEEK_IN_MONTH": "CAST((day({0}) - 1) // 7 + 1 AS INTEGER)",
    "WEEK_IN_YEAR": "CAST((dayofyear({0}) - 1) // 7 + 1 AS INTEGER)",
}
_DATETIME_ONLY = frozenset({"DAY_ONLY", "HOUR_IN_DAY"})

AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"})
_NUMERIC_AGGREGATES = frozenset({"SUM", "AVG"})
_UNSUPPORTED = frozenset({"ROLLUP", "CUBE", "GROUPING", "DISTANCE", "GEOLOCATION"})


def is_aggregate(call: Call) -> bool:
    """Whether the function gives one value for a group of records."""
    return call.function in AGGREGATES


def is_date_function(call: Call) -> bool:
    """Whether the function takes a part of a date."""
    return call.function in _DATE_FUNCTIONS


def aggregate(scope: Scope, call: Call) -> Column:
    """The value of an aggregate function. Raises SoqlError for a field that it does not take."""
    if call.function == "COUNT" and not call.arguments:
        return Column("count(*)", "int")
    reached = _field_argument(scope, call)
    field = reached.field
    if not field.aggregatable or (call.function in _NUMERIC_AGGREGATES and not field.is_number):
        raise at_position(
            scope.context.text,
            call.at,
            "MALFORMED_QUERY",
            f"field {field.name} does not support aggregate operator {call.function}",
        )
    if call.function == "COUNT":
        return Column(f"count({reached.sql})", "int")
    if call.function == "COUNT_DISTINCT":
        return Column(f"count(DISTINCT {reached.sql})", "int")
    if call.function in _NUMERIC_AGGREGATES:
        return Column(f"CAST({call.function.lower()}({reached.sql}) AS DOUBLE)", "double")
    return Column(f"{call.function.lower()}({reached.sql})", field.type)


def scalar(scope: Scope, call: Call) -> tuple[Column, Reached]:
    """The value of a function of one field, and the field. Raises SoqlError for functions that are not supported."""
    if call.function in _UNSUPPORTED:
        raise unsupported(scope.context.text, call.at, f"The function {call.function}")
    if call.function not in _DATE_FUNCTIONS and call.function not in _SCALARS:
        raise at_position(scope.context.text, call.at, "MALFORMED_QUERY", f"Invalid function: {call.name}")
    reached = _field_argument(scope, call)
    if call.function in _DATE_FUNCTIONS:
        return _date_part(scope, call, reached), reached
    return _SCALARS[call.function](reached), reached


def _date_part(scope: Scope, call: Call, reached: Reached) -> Column:
    allowed = ("datetime",) if call.function in _DATETIME_ONLY else ("date", "datetime")
    if reached.field.type not in allowed:
        raise at_position(
            scope.context.text,
            call.at,
            "INVALID_FIELD",
            f"field {reached.field.name} does not support the function {call.function}; it takes {' or '.join(allowed)} fields",
        )
    sql = _DATE_FUNCTIONS[call.function].format(reached.sql)
    return Column(sql, "date" if call.function == "DAY_ONLY" else "int")


def _field_argument(scope: Scope, call: Call) -> Reached:
    """The one field that the function is about; convertTimezone and convertCurrency may stand around it."""
    argument = call.arguments[0] if len(call.arguments) == 1 else None
    if isinstance(argument, Call) and argument.function in ("CONVERTTIMEZONE", "CONVERTCURRENCY"):
        return _field_argument(scope, argument)
    if not isinstance(argument, Path):
        raise SoqlError("MALFORMED_QUERY", f"The function {call.name} takes one field.")
    return scope.reach(argument)


def _label(reached: Reached) -> Column:
    differing = [entry for entry in reached.field.picklist_values if entry["label"] != entry["value"]]
    if not differing:
        return Column(reached.sql, reached.field.type)
    cases = " ".join(f"WHEN {_quoted(entry['value'])} THEN {_quoted(entry['label'])}" for entry in differing)
    return Column(f"CASE {reached.sql} {cases} ELSE {reached.sql} END", reached.field.type)


def _formatted(reached: Reached) -> Column:
    """The value as a user in the United States reads it."""
    field, sql = reached.field, reached.sql
    patterns = {"date": "%-m/%-d/%Y", "datetime": "%-m/%-d/%Y, %-I:%M %p"}
    if field.type in patterns:
        return Column(f"strftime({sql}, '{patterns[field.type]}')", "string")
    if field.type == "currency":
        return Column(f"CASE WHEN {sql} IS NOT NULL THEN format('${{:,.{field.scale}f}}', {sql}) END", "string")
    if field.is_number:
        return Column(
            f"CASE WHEN {sql} IS NOT NULL THEN format('{{:,.{field.scale}f}}', CAST({sql} AS DOUBLE)) END", "string"
        )
    return Column(sql, field.type)


def _unchanged(reached: Reached) -> Column:
    return Column(reached.sql, reached.field.type)


def _quoted(text: str) -> str:
    return "'" + str(text).replace("'", "''") + "'"


_SCALARS = {
    "TOLABEL": _label,
    "FORMAT": _formatted,
    # One currency, and time in UTC: nothing to convert.
    "CONVERTCURRENCY": _unchanged,
    "CONVERTTIMEZONE": _unchanged,
}
