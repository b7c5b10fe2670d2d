"""Reading REST responses: the records of a page, decoded straight into the types of the plan's columns.

A record is decoded by a msgspec Struct that has a member for each column, so a missing member, a value of another type and
bytes that are not UTF-8 are noticed while decoding. A page that this refuses (`5.0` in an integer column, say) is read again by
Python's `json`, which takes longer and lets the error name column, row and value. So are pages with child records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import requests
from msgspec.structs import astuple

from airflow_sfcc.extract.convert.arrow_types import OF_MANY_TYPES, TEXT_IN_JSON, JsonRows
from airflow_sfcc.extract.model import Column, Numbers
from airflow_sfcc.salesforce.responses import JsonObject, json_object_of, raise_for_error

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_Tree = dict[str, Any]
"""What a record holds: for each member the number of its column, or the tree of a parent."""


class JsonPageReader:
    """Reads the responses to one query; `read` is made for `query_pages`."""

    def __init__(self, columns: Sequence[Column], numbers: Numbers) -> None:
        self._parse_float = Decimal if numbers == "decimal" else float
        self._tree = _tree(columns)
        self._decoder = None if self._tree is None else _decoder(self._tree, columns)
        self._raw = [index for index, column in enumerate(columns) if column.salesforce_type in OF_MANY_TYPES]

    def read(self, response: requests.Response) -> Mapping[str, Any]:
        """The response's JSON; its `records` are JsonRows, or a list of dicts where it takes those."""
        raise_for_error(response)
        return self._typed(response.content) or json_object_of(response, parse_float=self._parse_float)

    def _typed(self, body: bytes) -> JsonObject | None:
        """None for what the decoder refuses."""
        if self._decoder is None or self._tree is None:
            return None
        try:
            page = self._decoder.decode(body)
            columns = dict(_column_values(page.records, self._tree))
            for index in self._raw:
                columns[index] = [None if raw is None else json_value(raw) for raw in columns[index]]
        except _UNREADABLE:
            return None
        return {
            "totalSize": page.totalSize,
            "done": page.done,
            "nextRecordsUrl": page.nextRecordsUrl,
            "records": JsonRows([columns[index] for index in range(len(columns))], len(page.records)),
        }


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


def _decoder(tree: _Tree, columns: Sequence[Column]) -> msgspec.json.Decoder[Any]:
    page = msgspec.defstruct(
        "Page",
        [
            ("totalSize", int),
            ("done", bool),
            ("records", list[_struct(tree, columns)]),  # type: ignore[misc]
            ("nextRecordsUrl", str | None, None),
        ],
    )
    return msgspec.json.Decoder(page)


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
