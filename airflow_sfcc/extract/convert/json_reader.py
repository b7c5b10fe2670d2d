"""Reading REST responses: the records of a page, decoded straight into the types of the plan's columns.

A record is decoded by a msgspec Struct that has a member for each column, so a missing member, a value of another type and
bytes that are not UTF-8 are noticed while decoding. A page that this refuses (`5.0` in an integer column, say) is read again by
Python's `json`, which takes longer and lets the error name column, row and value. So are pages with child records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec
import pyarrow as pa
import requests
from msgspec.structs import astuple

from airflow_sfcc.extract.convert.arrow_types import (
    OF_MANY_TYPES,
    TEXT_IN_JSON,
    UNFIT_JSON,
    Converter,
    JsonColumn,
    type_in_json,
)
from airflow_sfcc.extract.model import Column, Numbers
from airflow_sfcc.salesforce.responses import JsonObject, json_object_of, raise_for_error, require_few_values

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, *UNFIT_JSON)

VALUES_AT_ONCE = 8_000
"""Records are decoded in groups of about so many values, which become arrays while the processor's cache still holds them:
a page of 2,000 records and 62 columns takes half of the time that it takes as a whole."""


class _Page(msgspec.Struct, rename="camel"):
    total_size: int
    done: bool
    records: list[msgspec.Raw]
    next_records_url: str | None = None


_PAGE = msgspec.json.Decoder(_Page)

_Tree = dict[str, Any]
"""What a record holds: for each member the number of its column, or the tree of a parent."""


class JsonPageReader:
    """Reads the responses to one query; `read` is made for `query_pages`."""

    def __init__(self, columns: Sequence[Column], numbers: Numbers) -> None:
        self._columns = columns
        self._parse_float = Decimal if numbers == "decimal" else float
        self._tree = _tree(columns)
        self._record = None if self._tree is None else msgspec.json.Decoder(_struct(self._tree, columns))
        self._records_at_once = max(1, VALUES_AT_ONCE // len(columns))

    def read(self, response: requests.Response) -> Mapping[str, Any]:
        """The response's JSON; its `records` are JsonRows, or a list of dicts for columns that have child records.

        Raises the exception that an error response stands for, and UnexpectedResponseError for what is no JSON object.
        """
        raise_for_error(response)
        require_few_values(response)
        try:
            page = None if self._record is None else _PAGE.decode(response.content)
        except _UNREADABLE:
            page = None
        if page is None:
            return self.by_python(response)
        return {
            "totalSize": page.total_size,
            "done": page.done,
            "nextRecordsUrl": page.next_records_url,
            "records": JsonRows(self, response, page.records),
        }

    def by_python(self, response: requests.Response) -> JsonObject:
        """All of the response as Python's `json` reads it."""
        return json_object_of(response, parse_float=self._parse_float)

    def columns(self, records: Sequence[msgspec.Raw]) -> list[JsonColumn] | None:
        """The records' values, column by column; None when the decoder refuses one of them."""
        if self._record is None or self._tree is None:
            return None
        try:
            groups = [
                self._group(records[first : first + self._records_at_once], self._record, self._tree)
                for first in range(0, len(records) or 1, self._records_at_once)
            ]
        except _UNREADABLE:
            return None
        return [_joined(parts) for parts in zip(*groups)]

    def _group(
        self, records: Sequence[msgspec.Raw], record: msgspec.json.Decoder[Any], tree: _Tree
    ) -> list[JsonColumn]:
        values = dict(_column_values([record.decode(raw) for raw in records], tree))
        return [_compact(values[index], column) for index, column in enumerate(self._columns)]


class JsonRows:
    """The records of a page. They are decoded when they are typed, so that the page after it is requested before that."""

    def __init__(self, reader: JsonPageReader, response: requests.Response, records: Sequence[msgspec.Raw]) -> None:
        self._reader = reader
        self._response = response
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def typed(self, converter: Converter, first_row: int) -> pa.RecordBatch:
        """Raises UnexpectedResponseError when a record lacks a column, and ConversionError for a value that does not fit."""
        columns = self._reader.columns(self._records)
        if columns is None:
            return converter.from_records(self._reader.by_python(self._response)["records"], first_row)
        return converter.from_columns(columns, first_row)


def _compact(values: Sequence[Any], column: Column) -> JsonColumn:
    """A column's values as an array, but for those that may be of any type."""
    if column.salesforce_type in OF_MANY_TYPES:
        return [None if raw is None else json_value(raw) for raw in values]
    return pa.array(values, type_in_json(column))


def _joined(parts: Sequence[JsonColumn]) -> JsonColumn:
    first, *others = parts
    if not others:
        return first
    return list(chain.from_iterable(parts)) if isinstance(first, list) else pa.concat_arrays(parts)


def json_value(raw: msgspec.Raw) -> Any:
    """The value of a member that may be of any JSON type."""
    return msgspec.json.decode(raw)


def _tree(columns: Sequence[Column]) -> _Tree | None:
    """`Account.Owner.Name` is a member of a parent in a parent.

    None when a column has child records, or is both a value and a parent of others.
    """
    tree: _Tree = {}
    for index, column in enumerate(columns):
        *parents, name = column.name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                return None
        if column.salesforce_type == "subquery" or name in node:
            return None
        node[name] = index
    return tree


def _struct(tree: _Tree, columns: Sequence[Column]) -> Any:
    members = [
        (f"m{number}", _struct(node, columns) | None if isinstance(node, dict) else _type(columns[node]))
        for number, node in enumerate(tree.values())
    ]
    names = {f"m{number}": name for number, name in enumerate(tree)}
    return msgspec.defstruct("Record", members, rename=names, gc=False)


def _type(column: Column) -> Any:
    if column.salesforce_type in OF_MANY_TYPES:
        return msgspec.Raw
    if column.type in TEXT_IN_JSON or column.type == "string":
        return str | None
    return {"boolean": bool, "int64": int, "float64": float}.get(column.type, Decimal) | None


def _column_values(records: Sequence[Any], tree: _Tree) -> Iterator[tuple[int, Sequence[Any]]]:
    """For each column its number and its values; a null parent has a null in each of its members."""
    absent = (None,) * len(tree)
    members = (
        zip(*(absent if record is None else astuple(record) for record in records)) if records else [()] * len(tree)
    )
    for node, values in zip(tree.values(), members):
        if isinstance(node, dict):
            yield from _column_values(values, node)
        else:
            yield node, values
