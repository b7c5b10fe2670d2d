"""Reading REST answers: the records of a page as Arrow, in one pass over the answer's bytes.

Arrow's JSON reader gets the columns' types, so no value becomes a Python object. It takes a missing value for a null, which
must not pass unseen: a page counts as read only when it has as many nulls as its text. So what no column asks for, such as
`attributes`, is read too: a null there must not stand in for a value that is missing. Pages that Arrow cannot read (child
lists, `5.0` in an integer column, values of other types than describe's) are read by Python's `json`, record by record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import requests

from airflow_sfcc.extract.convert.arrow_types import TEXT_IN_JSON, arrow_type
from airflow_sfcc.extract.plan.columns import Column, Numbers
from airflow_sfcc.salesforce.responses import JsonObject, json_object_of, raise_for_refusal

_LINK_BEFORE_RECORDS = re.compile(
    rb'\s*\{\s*"totalSize"\s*:\s*-?\d+\s*,\s*"done"\s*:\s*false\s*,\s*"nextRecordsUrl"\s*:\s*"([^"\\]+)"\s*,\s*"records"\s*:'
)
_OF_MANY_TYPES = frozenset({"subquery", "typeof"})


class JsonPageReader:
    """Reads the answers to one query; `read` is made for `query_pages`."""

    def __init__(self, columns: Sequence[Column], numbers: Numbers) -> None:
        self._parse_float = Decimal if numbers == "decimal" else float
        self._schema = None if any(column.salesforce_type in _OF_MANY_TYPES for column in columns) else _schema(columns)

    def read(self, response: requests.Response) -> Mapping[str, Any]:
        """The answer; its `records` are a StructArray of the columns, dates and times as text, or else a list of dicts."""
        raise_for_refusal(response)
        return self._in_arrow(response.content) or self._in_python(response)

    def find_link(self, response: requests.Response) -> str | None:
        """An answer's `nextRecordsUrl`, where it stands before the records; None when it may, or when the query may have child
        records."""
        found = _LINK_BEFORE_RECORDS.match(response.content) if self._schema is not None else None
        return found[1].decode() if found else None

    def _in_python(self, response: requests.Response) -> JsonObject:
        return json_object_of(response, parse_float=self._parse_float)

    def _in_arrow(self, body: bytes) -> JsonObject | None:
        """None when it takes Python to read the answer, or to say what is wrong with it."""
        if self._schema is None:
            return None
        try:
            total_size, done, link, lists = _parse(body, self._schema).combine_chunks().columns
            (records,) = (one.flatten() for one in lists.chunks)
            records.validate(full=True)  # the parser takes the text's UTF-8 for good
            lacks_none = _nulls_in(records) == _nulls_written(body) - body.count(b'"nextRecordsUrl":null')
        except (pa.ArrowException, ValueError):
            return None
        if not lacks_none or len(lists) != 1 or total_size.null_count + done.null_count + lists.null_count:
            return None
        return {
            "totalSize": total_size[0].as_py(),
            "done": done[0].as_py(),
            "nextRecordsUrl": link[0].as_py(),
            "records": records,
        }


def _parse(body: bytes, schema: pa.Schema) -> pa.Table:
    return pa_json.read_json(
        pa.BufferReader(body),
        read_options=pa_json.ReadOptions(use_threads=False, block_size=len(body) + 1),
        parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
    )


def _schema(columns: Sequence[Column]) -> pa.Schema:
    """The type of an answer: `Account.Owner.Name` is a field of a struct in a struct."""
    tree: dict[str, Any] = {}
    for column in columns:
        *parents, name = column.name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = pa.string() if column.type in TEXT_IN_JSON else arrow_type(column)
    return pa.schema(
        [
            ("totalSize", pa.int64()),
            ("done", pa.bool_()),
            ("nextRecordsUrl", pa.string()),
            ("records", pa.list_(_struct(tree))),
        ]
    )


def _struct(tree: Mapping[str, Any]) -> pa.StructType:
    return pa.struct([(name, _struct(node) if isinstance(node, dict) else node) for name, node in tree.items()])


def _nulls_written(body: bytes) -> int:
    """How many members are null. In a text the same bytes begin with an escaped quote, or are its beginning."""
    return body.count(b'":null') - body.count(b'\\":null') - body.count(b':":null')


def _nulls_in(records: pa.StructArray) -> int:
    """The same of what was read; a null parent is one, whatever is asked of it. Raises ValueError for lists."""
    return sum(_members_null(records, ()))


def _members_null(records: pa.StructArray, path: tuple[str, ...]) -> Iterator[int]:
    node = pc.struct_field(records, path) if path else records
    for field in node.type:
        member = pc.struct_field(records, (*path, field.name))
        yield member.null_count - node.null_count
        if pa.types.is_list(field.type):
            raise ValueError(f"{field.name} is a list, whose nulls are not counted.")
        if pa.types.is_struct(field.type):
            yield from _members_null(records, (*path, field.name))
