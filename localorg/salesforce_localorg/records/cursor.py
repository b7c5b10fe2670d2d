"""A finished query whose rows no longer change, read by offset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

import duckdb

from salesforce_localorg.records.json_rows import json_row
from salesforce_localorg.records.tables import first_row
from salesforce_localorg.records.text_rows import TextRows
from salesforce_localorg.schema import SObject
from salesforce_localorg.soql.plan import (
    AggregateRow,
    Blob,
    ChildPlan,
    Children,
    Compound,
    Parent,
    Plan,
    Record,
    Value,
)

SNAPSHOTS = "snapshots"  # the database schema that holds the tables of open cursors

Connect = Callable[[], duckdb.DuckDBPyConnection]
_ROW_NUMBER = "sf_row"
_LONG_TEXT = 255
_COMMA = ","


class Cursor:
    """A snapshot of a query's result, held as texts or as tables of the database until `close`.

    `kind` is "rows", "aggregate" or "count"; `total_size` is the number of rows, or what COUNT() answers. With
    `encode_as`, an API version, records are written as JSON for it at once where SQL can do that, and are held as texts.
    """

    def __init__(self, connect: Connect, plan: Plan, name: str, encode_as: str | None = None) -> None:
        self._connect = connect
        self._plan = plan
        self._name = name
        self.kind = plan.kind
        self.sobject: SObject = plan.sobject
        self.skips_rows = plan.relation.offset is not None
        self._texts: TextRows | None = None
        self._child_tables: list[str] = []
        connection = connect()
        if plan.kind == "count":
            self.total_size = _number(connection, f"SELECT count(*) FROM ({plan.relation.select(['1'])})")
            return
        named = [f"{column.sql} AS c{index}" for index, column in enumerate(plan.columns)]
        rows = plan.relation.select(named)
        row = json_row(plan, encode_as) if encode_as is not None else None
        if row is not None:
            self._texts = TextRows(connection, f"SELECT concat({row}, '{_COMMA}') FROM ({rows})")
            self.total_size = len(self._texts)
        else:
            self.total_size = self._take_snapshot(connection, rows)

    def _take_snapshot(self, connection: duckdb.DuckDBPyConnection, rows: str) -> int:
        connection.execute(
            f"CREATE TABLE {self._name} AS SELECT row_number() OVER () - 1 AS {_ROW_NUMBER}, * FROM ({rows})"
        )
        self._take_children(connection, self._plan.children, self._name)
        return _number(connection, f"SELECT count(*) FROM {self._name}")

    def _take_children(
        self, connection: duckdb.DuckDBPyConnection, children: Sequence[ChildPlan], parents: str
    ) -> None:
        for index, child in enumerate(children):
            table = _child_table(parents, index)
            connection.execute(f"CREATE TABLE {table} AS {_children_of(child)}")
            self._child_tables.append(table)
            self._take_children(connection, child.children, table)

    def records(self, start: int, stop: int, api_version: str) -> list[dict[str, Any]]:
        """The rows from `start` up to `stop` as JSON-ready records, `attributes` first."""
        if self._texts is not None:
            decoded: list[dict[str, Any]] = json.loads(b"[" + (self.encoded(start, stop) or b"") + b"]")
            return decoded
        connection = self._connect()
        columns = ", ".join(f"c{index}" for index in range(len(self._plan.columns)))
        rows = connection.execute(
            f"SELECT {columns} FROM {self._name} WHERE {_ROW_NUMBER} >= ? AND {_ROW_NUMBER} < ? ORDER BY {_ROW_NUMBER}",
            [start, stop],
        ).fetchall()
        shape = self._plan.shape
        if isinstance(shape, AggregateRow):
            return [_aggregate(shape, [json_value(value) for value in row]) for row in rows]
        page = f"{_ROW_NUMBER} >= {start} AND {_ROW_NUMBER} < {stop}"
        parents = f"SELECT c{shape.id_column} AS parent_id FROM {self._name} WHERE {page}"
        families = self._families(connection, self._plan.children, self._name, parents, api_version)
        writer = _RecordWriter(api_version)
        return [writer.record(shape, row, [family.get(row[shape.id_column]) for family in families]) for row in rows]

    def encoded(self, start: int, stop: int) -> bytes | None:
        """The same records as JSON texts with commas between them; None where `records` has to be asked."""
        if self._texts is None:
            return None
        return self._texts.read(start, min(stop, self.total_size))[: -len(_COMMA)]

    @property
    def long_texts(self) -> int:
        """How many long text fields of the organization's own the rows hold, which makes Salesforce's batches small."""
        names = self._plan.shape.members if isinstance(self._plan.shape, Record) else ()
        fields = [self.sobject.field(name) for name in names if name.lower().endswith("__c")]
        return sum(1 for field in fields if field and field.type == "textarea" and field.length > _LONG_TEXT)

    def _families(
        self,
        connection: duckdb.DuckDBPyConnection,
        children: Sequence[ChildPlan],
        name: str,
        parents: str,
        api_version: str,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        """The child records of each subquery of the table `name`."""
        return [
            self._family(connection, child, _child_table(name, index), parents, api_version)
            for index, child in enumerate(children)
        ]

    def _family(
        self, connection: duckdb.DuckDBPyConnection, child: ChildPlan, table: str, parents: str, api_version: str
    ) -> dict[str, list[dict[str, Any]]]:
        """The child records of the parents whose ids a SELECT names `parent_id`, by parent id."""
        columns = ", ".join(f"child.c{place}" for place in range(len(child.columns)))
        found = connection.execute(
            f"SELECT sf_parent, {columns} FROM {table} AS child JOIN ({parents}) ON sf_parent = parent_id "
            f"ORDER BY child.{_ROW_NUMBER}"
        ).fetchall()
        own_id = child.shape.id_column
        ids = f"SELECT child.c{own_id} AS parent_id FROM {table} AS child JOIN ({parents}) ON sf_parent = parent_id"
        nested = self._families(connection, child.children, table, ids, api_version)
        writer = _RecordWriter(api_version)
        family: dict[str, list[dict[str, Any]]] = {}
        for parent, *row in found:
            below = [each.get(row[own_id]) for each in nested]
            family.setdefault(parent, []).append(writer.record(child.shape, row, below))
        return family

    def close(self) -> None:
        if self._texts is not None:
            self._texts.close()
        if self.kind == "count" or self._texts is not None:
            return
        connection = self._connect()
        connection.execute(f"DROP TABLE IF EXISTS {self._name}")
        for table in self._child_tables:
            connection.execute(f"DROP TABLE IF EXISTS {table}")


def _child_table(parents: str, index: int) -> str:
    return f"{parents}_child_{index}"


def _children_of(child: ChildPlan) -> str:
    """The children with their parent's id; LIMIT and OFFSET of a child subquery hold for each parent."""
    relation = child.relation
    named = [f"{column.sql} AS c{index}" for index, column in enumerate(child.columns)]
    order = ", ".join(relation.order_by) or child.columns[child.shape.id_column].sql
    place = f"row_number() OVER (PARTITION BY {child.parent_key} ORDER BY {order})"
    first = (relation.offset or 0) + 1
    last = f" AND sf_place < {first + relation.limit}" if relation.limit is not None else ""
    inner = f"SELECT {child.parent_key} AS sf_parent, {place} AS sf_place, {', '.join(named)} FROM {relation.source}"
    return (
        f"SELECT row_number() OVER (ORDER BY sf_parent, sf_place) AS {_ROW_NUMBER}, * FROM ({inner} WHERE {relation.where}) "
        f"WHERE sf_parent IS NOT NULL AND sf_place >= {first}{last}"
    )


class _RecordWriter:
    """Rows to records in Salesforce's JSON forms (salesforce-protocol.md#rest-conventions, #rest-queries)."""

    def __init__(self, api_version: str) -> None:
        self._base = f"/services/data/v{api_version}/sobjects"

    def record(
        self, shape: Record, row: Sequence[Any], children: Sequence[list[dict[str, Any]] | None]
    ) -> dict[str, Any]:
        record_id = row[shape.id_column]
        url = f"{self._base}/{shape.sobject}/{record_id}"
        written: dict[str, Any] = {"attributes": {"type": shape.type, "url": url}}
        for name, member in shape.members.items():
            written[name] = self._member(member, row, children, url)
        return written

    def _member(
        self, member: Any, row: Sequence[Any], children: Sequence[list[dict[str, Any]] | None], url: str
    ) -> Any:
        if isinstance(member, Value):
            return json_value(row[member.column])
        if isinstance(member, Parent):
            present = next((record for record in member.candidates if row[record.id_column] is not None), None)
            return None if present is None else self.record(present, row, [])
        if isinstance(member, Compound):
            parts: Mapping[str, Any] = {name: json_value(row[column]) for name, column in member.parts.items()}
            missing = any if member.needs_all else all
            return None if missing(value is None for value in parts.values()) else parts
        if isinstance(member, Blob):
            return f"{url}/{member.field}"
        if isinstance(member, Children):
            found = children[member.index]
            return None if not found else {"totalSize": len(found), "done": True, "records": found}
        raise TypeError(f"{type(member).__name__} is not a member of a record")


def _aggregate(shape: AggregateRow, row: Sequence[Any]) -> dict[str, Any]:
    values = {name: row[member.column] for name, member in shape.members.items() if isinstance(member, Value)}
    return {"attributes": {"type": "AggregateResult"}, **values}


def json_value(value: Any) -> Any:
    """A column's value as Salesforce writes it in JSON; Salesforce has no empty text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "+0000"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="milliseconds") + "Z"
    return None if value == "" else value


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = first_row(connection, sql)
    return int(row[0]) if row else 0
