"""From what the wire carries to typed Arrow: Bulk's CSV text, and REST's JSON records.

A value is exact or an error that names the column, the row and the value; nothing becomes null on the way. The values of
columns that are to be hashed are in no error, and leave this module hashed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from airflow_sfcc.errors import ConversionError, ExtractError, UnexpectedResponseError
from airflow_sfcc.extract.model import Column
from airflow_sfcc.salesforce.query import Record, plain

_EXACT = pa.decimal128(38, 9)
_LONGEST_SHOWN = 100

TEXT_IN_JSON = frozenset({"date32", "timestamp[ms, UTC]", "time32[ms]"})
"""Types whose values are text in JSON."""

OF_MANY_TYPES = frozenset({"anyType", "subquery", "typeof", "address", "location", "complexvalue"})
"""Salesforce types whose values may be of any JSON type."""


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type that a column's `type` names."""
    if column.type.startswith("decimal128"):
        precision, scale = column.type[len("decimal128(") : -1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _ARROW_TYPES[column.type]


_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "date32": pa.date32(),
    "timestamp[ms, UTC]": pa.timestamp("ms", tz="UTC"),
    "time32[ms]": pa.time32("ms"),
}


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of what lands. Every field may be null: describe's `nillable` holds for new records only."""
    return pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])


JsonColumn: TypeAlias = pa.Array | list[Any]
"""A column of JSON: an array of its type there, or of OF_MANY_TYPES a list of JSON values."""


class Hasher(Protocol):
    """Hashes the values of a column."""

    def hashed(self, values: pa.Array) -> pa.Array: ...


class Converter:
    """Types batches of one extract. `schema` is what comes out, `columns` are the columns as they are read.

    `hasher` is for columns that say that they are hashed.
    """

    def __init__(self, columns: Sequence[Column], hasher: Hasher | None = None) -> None:
        self.columns = tuple(column.as_read for column in columns)
        self.schema = arrow_schema(columns)
        self._read_schema = arrow_schema(self.columns)
        self._hasher = hasher
        self._hashes = any(column.hashed for column in columns)

    def from_csv(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Type a batch whose columns are this extract's, in its order: strings, or of the right type already.

        Rows count from `first_row`.
        """
        if batch.schema.equals(self._read_schema):
            return self._landing(batch.columns)
        return self._landing([_typed(array, column, first_row) for array, column in zip(batch.columns, self.columns)])

    def from_columns(self, columns: Sequence[JsonColumn], first_row: int) -> pa.RecordBatch:
        """Type REST records that are decoded by their columns' types already."""
        return self._landing([_typed_json(each, column, first_row) for each, column in zip(columns, self.columns)])

    def from_records(self, records: Sequence[Record], first_row: int) -> pa.RecordBatch:
        """Type REST records; `Account.Owner.Name` is looked up through the nested parents.

        Raises UnexpectedResponseError when a record lacks a column.
        """
        values = []
        for column in self.columns:
            path = [column.name] if column.name in (records[0] if records else {}) else column.name.split(".")
            try:
                values.append(_values(records, path))
            except (KeyError, TypeError):
                raise _missing(column) from None
        return self._landing([_json_column(each, column, first_row) for each, column in zip(values, self.columns)])

    def _landing(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        """The columns as they land."""
        if self._hashes:
            if self._hasher is None:
                raise ExtractError(
                    "Columns are to be hashed, and there is no key, so nothing was landed: name the connection whose password is "
                    "the key in hash_key_conn_id."
                )
            hashed = self._hasher.hashed
            arrays = [hashed(array) if column.hashed else array for array, column in zip(arrays, self.columns)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _values(records: Sequence[Record], path: Sequence[str]) -> list[Any]:
    if len(path) == 1:
        (name,) = path
        return [record[name] for record in records]
    return [_look_up(record, path) for record in records]


def _look_up(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        if record is None:
            return None
        record = record[name]
    return record


def _typed(text: pa.Array, column: Column, first_row: int) -> pa.Array:
    if text.type == arrow_type(column):
        return text
    parse = _parser(column)
    try:
        return parse(text)
    except pa.ArrowInvalid:
        raise _locate(text, column, parse, first_row) from None


def _parser(column: Column) -> Callable[[pa.Array], pa.Array]:
    if column.type == "int64":
        return _parse_int
    if column.type == "time32[ms]":
        return _parse_time
    target = arrow_type(column)
    return lambda text: pc.cast(text, target)


def _parse_int(text: pa.Array) -> pa.Array:
    try:
        return pc.cast(text, pa.int64())
    except pa.ArrowInvalid:
        # Salesforce writes integers as Java doubles at times: `5.0`, `9.0E7` (salesforce-protocol.md#csv-dialect).
        return pc.cast(pc.cast(text, _EXACT), pa.int64())


def _parse_time(text: pa.Array) -> pa.Array:
    times = pc.binary_join_element_wise("1970-01-01T", pc.utf8_rtrim(text, "Z"), "Z", "")
    return pc.cast(pc.cast(times, pa.timestamp("ms", tz="UTC")), pa.time32("ms"))


def _locate(text: pa.Array, column: Column, parse: Callable[[pa.Array], pa.Array], first_row: int) -> ConversionError:
    for index in range(len(text)):
        try:
            parse(text.slice(index, 1))
        except pa.ArrowInvalid:
            return _unfit(column, first_row + index, text[index].as_py())
    return _unfit(column, first_row, None)


def _unfit(column: Column, row: int, value: Any) -> ConversionError:
    shown = "(hidden, since the column is hashed)" if column.hashed else _repr(value)
    shown = shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "…"
    advice = (
        "use numbers='float'"
        if column.type.startswith("decimal")
        else "correct the record, or leave the field out: in exclude_fields, or in the query where the task has one"
    )
    return ConversionError(
        f"Column {column.name} (Salesforce type {column.salesforce_type}), row {row + 1:,}: the value {shown} does not fit "
        f"{column.type}; nothing was landed. To go on, {advice}."
    )


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "(nested too deeply)"


def _missing(column: Column) -> UnexpectedResponseError:
    return UnexpectedResponseError(
        f"Salesforce answered a record without {column.name}, which the query asked for; nothing was landed. Did fields "
        "change while it ran? Clear the task to run it again."
    )


def _as_bulk_has_it(text: pa.Array, column: Column) -> pa.Array:
    """Texts as Bulk's CSV has them: Salesforce has no empty strings, and writes the zone of a timestamp otherwise by REST.

    A timestamp is text in a column that also holds text of before, when its field was of another type.
    """
    if column.salesforce_type == "datetime":
        text = pc.replace_substring_regex(text, r"\+0000$", "Z")
    return pc.if_else(pc.equal(text, ""), _NO_TEXT, text)


def _typed_json(values: JsonColumn, column: Column, first_row: int) -> pa.Array:
    if isinstance(values, pa.Array):
        return _typed(_as_bulk_has_it(values, column) if column.type == "string" else values, column, first_row)
    return _json_column(values, column, first_row)


def _json_column(values: Sequence[Any], column: Column, first_row: int) -> pa.Array:
    if column.salesforce_type not in OF_MANY_TYPES:
        with suppress(*UNFIT_JSON):
            return _typed(_checked_array(values, column), column, first_row)
    return _typed(_array_value_by_value(values, column, first_row), column, first_row)


def type_in_json(column: Column) -> pa.DataType:
    """The type of an array of a column's values as they stand in JSON."""
    return pa.string() if column.type in TEXT_IN_JSON else arrow_type(column)


_LEAST_PLAIN, _LEAST_SCIENTIFIC = 1e-3, 1e7
"""Between these, Java writes a double without an exponent."""

_REST_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")

_NO_TEXT = pa.scalar(None, pa.string())
UNFIT_JSON = (pa.ArrowInvalid, ValueError, ArithmeticError, TypeError)
"""What making an array raises for values that do not fit its type."""


def _checked_array(values: Sequence[Any], column: Column) -> pa.Array:
    """The plain cases without a Python call for each value; raises for every other."""
    kinds = _PLAIN_JSON.get(column.type)
    if kinds is None or not kinds.issuperset(map(type, values)):
        raise TypeError(column.type)
    array = pa.array(values, type_in_json(column))
    if column.type == "string":
        return _as_bulk_has_it(array, column)
    if column.type == "float64" and not pc.all(pc.is_finite(array)).as_py():
        raise ValueError(column.type)
    return array


def _array_value_by_value(values: Sequence[Any], column: Column, first_row: int) -> pa.Array:
    convert: Callable[[Any], Any] = _JSON_CONVERTERS.get(column.type, _decimal)
    if column.salesforce_type == "anyType":
        convert = _text_of_any
    kind = type_in_json(column)
    try:
        return pa.array([None if value is None else convert(value) for value in values], kind)
    except UNFIT_JSON:
        for index, value in enumerate(values):
            try:
                pa.array([None if value is None else convert(value)], kind)
            except UNFIT_JSON:
                raise _unfit(column, first_row + index, value) from None
        raise


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, (float, Decimal)):
        return _as_bulk_writes(float(value))
    if isinstance(value, dict):
        value = [plain(child) for child in value["records"]] if "records" in value else plain(value)
    # With numbers="decimal" numbers come as Decimal, and stay numbers in text; they are doubles on the wire.
    try:
        return json.dumps(value, ensure_ascii=False, default=float)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _text_of_any(value: Any) -> str | None:
    """The text of a value of any type, in one spelling by both APIs."""
    if isinstance(value, str) and _REST_TIMESTAMP.fullmatch(value):
        return f"{value.removesuffix('+0000')}Z"
    return _text(value)


def _as_bulk_writes(number: float) -> str:
    """A number in a column of any type as Bulk's CSV has it: `5.0`, `1.0E10`; REST may write it otherwise.

    Source: salesforce-protocol.md#csv-dialect.
    """
    if not math.isfinite(number):
        raise ValueError(number)
    exact = Decimal(repr(number))
    if number == 0 or _LEAST_PLAIN <= abs(number) < _LEAST_SCIENTIFIC:
        text = format(exact, "f")
        return text if "." in text else f"{text}.0"
    sign, digits, exponent = exact.normalize().as_tuple()
    text = "".join(map(str, digits))
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{len(text) - 1 + int(exponent)}"


def _integer(value: Any) -> int:
    number = int(value)
    if number != value:
        raise ValueError(value)
    return number


def _float(value: Any) -> float:
    if isinstance(value, (bool, str)):
        raise TypeError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _required_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


_PLAIN_JSON: Mapping[str, frozenset[type]] = {
    **dict.fromkeys(TEXT_IN_JSON, frozenset({str, type(None)})),
    "string": frozenset({str, type(None)}),
    "int64": frozenset({int, type(None)}),
    "float64": frozenset({float, type(None)}),
    "boolean": frozenset({bool, type(None)}),
}
_JSON_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(TEXT_IN_JSON, _required_text),
    "string": _text,
    "int64": _integer,
    "float64": _float,
    "boolean": _boolean,
}


def as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dates, times and decimals as the text that Bulk's CSV has for them; booleans, numbers and text stay."""
    arrays = [_as_text(array) for array in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _as_text(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_timestamp(kind):
        return pc.strftime(array, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_time(kind):
        return pc.binary_join_element_wise(pc.cast(array, pa.string()), "", "Z")
    if pa.types.is_date(kind):
        return pc.cast(array, pa.string())
    if pa.types.is_decimal(kind):
        return _plain_decimals(array)
    return array


def _plain_decimals(array: pa.Array) -> pa.Array:
    """Decimals as text without an exponent, which Arrow writes for small ones and for zero: `0E-15`."""
    text = pc.cast(array, pa.string())
    if not pc.any(pc.match_substring(text, "E")).as_py():
        return text
    return pa.array([None if value is None else format(value, "f") for value in array.to_pylist()], pa.string())
