"""The functions of SOQL that give one value per record or per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from salesforce_localorg.schema.field import NUMBER_TYPES, Field
from salesforce_localorg.soql.ast import Call, Operand, Path
from salesforce_localorg.soql.errors import at_position
from salesforce_localorg.soql.plan import Column
from salesforce_localorg.soql.scope import Reached, Scope
from salesforce_localorg.soql.sql_text import quoted

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

AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX", "GROUPING"})
TOTALS = frozenset({"ROLLUP", "CUBE"})  # what GROUP BY adds rows of totals by
_NUMERIC_AGGREGATES = frozenset({"SUM", "AVG"})
_NEVER_AGGREGATED = frozenset(
    {"base64", "boolean", "time", "address", "anyType", "encryptedstring", "location", "multipicklist"}
)


def is_aggregate(call: Call) -> bool:
    """Whether the function gives one value for a group of records: MAX(Amount), FORMAT(MAX(Amount))."""
    inner = call.arguments[0] if len(call.arguments) == 1 else None
    formats_one = call.function == "FORMAT" and isinstance(inner, Call) and is_aggregate(inner)
    return call.function in AGGREGATES or formats_one


def grouping_keys(group_by: Sequence[Operand]) -> tuple[Operand, ...]:
    """What GROUP BY groups by, without the ROLLUP or CUBE around it."""
    call = totals_of(group_by)
    if call is None:
        return tuple(group_by)
    return tuple(each for each in call.arguments if isinstance(each, (Path, Call)))


def totals_of(group_by: Sequence[Operand]) -> Call | None:
    """The ROLLUP or CUBE of a GROUP BY; None without one."""
    return next((each for each in group_by if isinstance(each, Call) and each.function in TOTALS), None)


def is_date_function(call: Call) -> bool:
    """Whether the function takes a part of a date."""
    return call.function in _DATE_FUNCTIONS


def aggregate(scope: Scope, call: Call) -> Column:
    """The value of an aggregate function. Raises SoqlError for a field that it does not take."""
    if call.function == "FORMAT":
        inner = call.arguments[0]
        if not isinstance(inner, Call):
            raise TypeError("FORMAT is an aggregate around another one only.")
        return _formatted(aggregate(scope, inner), _scale(scope, inner))
    if call.function == "COUNT" and not call.arguments:
        return Column("count(*)", "int")
    reached = _field_argument(scope, call)
    if call.function == "GROUPING":
        return Column(f"CAST(grouping({reached.sql}) AS INTEGER)", "int")
    field = reached.field
    if not _takes(call.function, field):
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
    return Column(_extreme(call.function.lower(), reached), field.type)


def _takes(function: str, field: Field) -> bool:
    """Source: SOQL and SOSL Reference, "Support for Field Types in Aggregate Functions"."""
    if not field.aggregatable or field.type in _NEVER_AGGREGATED:
        return False
    return field.is_number or function not in _NUMERIC_AGGREGATES


def _extreme(which: str, reached: Reached) -> str:
    """MIN or MAX; of a picklist by the order of its values, not of the alphabet."""
    order = picklist_position(reached.field, reached.sql)
    return f"{which}({reached.sql})" if order is None else f"arg_{which}({reached.sql}, {order})"


def picklist_position(field: Field, sql: str) -> str | None:
    """The SQL of a picklist value's place in its picklist, which is what it is sorted by; None for other fields.

    Values that the picklist does not hold (any more) come last. Source: SOQL and SOSL Reference, "ORDER BY".
    """
    values = [str(entry["value"]) for entry in field.picklist_values]
    if field.type != "picklist" or not values:
        return None
    listed = ", ".join(quoted(value) for value in values)
    return (
        f"CASE WHEN {sql} IS NOT NULL THEN coalesce(nullif(list_position([{listed}], {sql}), 0), {len(values) + 1}) END"
    )


def scalar(scope: Scope, call: Call) -> tuple[Column, Reached]:
    """The value of a function of one field, and the field. Raises SoqlError for functions that do not exist."""
    if call.function == "CONVERTTIMEZONE":
        message = f"{call.name} can only be used in a date function, such as HOUR_IN_DAY({call.name}(CreatedDate))"
        raise at_position(scope.context.text, call.at, "MALFORMED_QUERY", message)
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
    around = "CONVERTTIMEZONE" if call.function in _DATE_FUNCTIONS else "CONVERTCURRENCY"
    if isinstance(argument, Call) and argument.function == around:
        return _field_argument(scope, argument)
    if not isinstance(argument, Path):
        message = f"The function {call.name} takes one field"
        raise at_position(scope.context.text, call.at, "MALFORMED_QUERY", message)
    return scope.reach(argument)


def field_path(call: Call) -> Path:
    """The path of the field that a function of one field is about. Raises TypeError for a call that `scalar` refuses."""
    argument = call.arguments[0] if len(call.arguments) == 1 else None
    if isinstance(argument, Call):
        return field_path(argument)
    if not isinstance(argument, Path):
        raise TypeError(f"{call.name} is no function of one field.")
    return argument


def _scale(scope: Scope, call: Call) -> int:
    return _field_argument(scope, call).field.scale if call.arguments else 0


def _label(reached: Reached) -> Column:
    field, sql = reached.field, reached.sql
    differing = [entry for entry in field.picklist_values if entry["label"] != entry["value"]]
    if not differing:
        return Column(sql, field.type)
    cases = " ".join(f"WHEN {quoted(str(e['value']))} THEN {quoted(str(e['label']))}" for e in differing)
    if field.type == "multipicklist":
        labels = f"list_transform(string_split({sql}, ';'), lambda one: CASE one {cases} ELSE one END)"
        return Column(f"array_to_string({labels}, ';')", field.type)
    return Column(f"CASE {sql} {cases} ELSE {sql} END", field.type)


def _format(reached: Reached) -> Column:
    return _formatted(Column(reached.sql, reached.field.type), reached.field.scale)


def _formatted(value: Column, scale: int) -> Column:
    """The value as a user in the United States reads it."""
    sql = value.sql
    patterns = {"date": "%-m/%-d/%Y", "datetime": "%-m/%-d/%Y, %-I:%M %p"}
    if value.type in patterns:
        return Column(f"strftime({sql}, '{patterns[value.type]}')", "string")
    if value.type not in NUMBER_TYPES:
        return value
    sign = "$" if value.type == "currency" else ""
    return Column(
        f"CASE WHEN {sql} IS NOT NULL THEN format('{sign}{{:,.{scale}f}}', CAST({sql} AS DOUBLE)) END", "string"
    )


def _unchanged(reached: Reached) -> Column:
    return Column(reached.sql, reached.field.type)


_SCALARS = {
    "TOLABEL": _label,
    "FORMAT": _format,
    # One currency, and time in UTC: nothing to convert.
    "CONVERTCURRENCY": _unchanged,
    "CONVERTTIMEZONE": _unchanged,
}
