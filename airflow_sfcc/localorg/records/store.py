"""The org's rows, in DuckDB."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timezone
from pathlib import Path
from typing import Any

import duckdb

from airflow_sfcc.localorg.clock import Clock
from airflow_sfcc.localorg.ids import record_id
from airflow_sfcc.localorg.records.csv_export import CsvExport, export_pages
from airflow_sfcc.localorg.records.cursor import Cursor
from airflow_sfcc.localorg.records.derived import derived_fields
from airflow_sfcc.localorg.records.generate import generate_rows
from airflow_sfcc.localorg.records.macros import create_macros
from airflow_sfcc.localorg.records.tables import create_table, identifier
from airflow_sfcc.localorg.schema import Field, Schema, SObject, Viewer
from airflow_sfcc.localorg.soql import Plan, SoqlError, compile_query, parse

_CELL_MACRO = """CREATE OR REPLACE MACRO sf_csv_cell(text) AS
    '"' || replace(coalesce(text, ''), '"', '""') || '"'"""
# DuckDB leaves the fraction out where it is zero.
_TIME_MACRO = """CREATE OR REPLACE MACRO sf_csv_time(text) AS
    left(text || (CASE WHEN contains(text, '.') THEN '' ELSE '.' END) || '000', 12) || 'Z'"""
# Reference 3.6; what Salesforce says of the others is not documented.
_BULK_REFUSALS = {
    "subquery": "Aggregate Relationships not supported in Bulk V2 Query with CSV content type",
    "compound": "Selecting compound data not supported in Bulk Query",
    "aggregate": "Aggregate queries are not supported in Bulk Query",
    "offset": "OFFSET is not supported in Bulk Query",
    "typeof": "TYPEOF is not supported in Bulk Query",
    "base64": "Binary fields are not supported in Bulk Query",
}
_FIRST_INSERTED = 500_000_000  # generated rows count up to 62**5 - 1


class Records:
    """The org's rows, in DuckDB. Safe to use from several threads: each call has a connection of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: Schema, clock: Clock) -> None:
        self._connection = connection
        self._schema = schema
        self._clock = clock
        self._writing = threading.RLock()
        self._cursors = itertools.count()
        create_macros(connection)
        connection.execute(_CELL_MACRO)
        connection.execute(_TIME_MACRO)
        for sobject in schema:
            connection.execute(create_table(sobject))

    @classmethod
    def open(cls, schema: Schema, *, clock: Clock, path: Path | None = None) -> Records:
        """The rows kept at `path`, or new ones in memory."""
        return cls(duckdb.connect(str(path) if path else ":memory:"), schema, clock)

    def generate(
        self, counts: Mapping[str, int], *, seed: int, progress: Callable[[str, int], None] | None = None
    ) -> None:
        """Fill the tables; see `generate_rows`."""
        with self._writing:
            generate_rows(self.raw(), self._schema, counts, seed, progress)

    def count(self, sobject: str) -> int:
        """How many rows of the object are not in the recycle bin."""
        found = self._sobject(sobject)
        live = 'WHERE NOT "IsDeleted"' if found.field("IsDeleted") else ""
        row = self.raw().execute(f"SELECT count(*) FROM {identifier(found.name)} {live}").fetchone()
        return int(row[0]) if row else 0

    def open_cursor(self, soql: str, *, include_deleted: bool, viewer: Viewer) -> Cursor:
        """Run a query and keep its result as it is now. Raises SoqlError."""
        plan = self._plan(soql, include_deleted=include_deleted, viewer=viewer)
        with self._writing, _query_faults():
            return Cursor(self.raw, plan, f"sf_cursor_{next(self._cursors)}")

    def export_csv(
        self,
        soql: str,
        *,
        include_deleted: bool,
        viewer: Viewer,
        directory: Path,
        page_rows: int,
        delimiter: str = ",",
        line_ending: str = "\n",
    ) -> CsvExport:
        """Run a query and write its rows as Bulk result pages into `directory`. Raises SoqlError."""
        plan = self._bulk_plan(soql, include_deleted=include_deleted, viewer=viewer)
        with _query_faults():
            return export_pages(self.raw(), plan, directory, page_rows, delimiter, line_ending)

    def check_bulk(self, soql: str, *, viewer: Viewer) -> SObject:
        """The object of a query that Bulk API 2.0 takes. Raises SoqlError with the refusal otherwise (reference 3.6)."""
        return self._bulk_plan(soql, include_deleted=True, viewer=viewer).sobject

    def _bulk_plan(self, soql: str, *, include_deleted: bool, viewer: Viewer) -> Plan:
        plan = self._plan(soql, include_deleted=include_deleted, viewer=viewer)
        if not plan.sobject.bulk:
            raise SoqlError("INVALIDENTITY", f"Entity '{plan.sobject.name}' is not supported by the Bulk API.")
        for feature, message in _BULK_REFUSALS.items():
            if feature in plan.features:
                raise SoqlError("API_ERROR", message)
        return plan

    def _plan(self, soql: str, *, include_deleted: bool, viewer: Viewer) -> Plan:
        return compile_query(
            parse(soql), schema=self._schema, viewer=viewer, include_deleted=include_deleted, now=self._clock.now()
        )

    def insert(self, sobject: str, values: Mapping[str, Any], *, user_id: str) -> str:
        """Add a record; returns its id. Raises ValueError for values that its fields cannot hold."""
        found = self._sobject(sobject)
        with self._writing:
            number = _FIRST_INSERTED + self._inserted(found)
            new_id = record_id(found.key_prefix or "000", number)
            now = self._now()
            row = {**self._defaults(found), **_stored(found, values), "Id": new_id}
            row |= self._stamps(found, user_id, created=True, now=now)
            names = ", ".join(identifier(name) for name in row)
            marks = ", ".join("?" for _ in row)
            connection = self.raw()
            connection.execute(f"INSERT INTO {identifier(found.name)} ({names}) VALUES ({marks})", list(row.values()))
            self._derive(connection, found, new_id)
        return new_id

    def _inserted(self, sobject: SObject) -> int:
        first = record_id(sobject.key_prefix or "000", _FIRST_INSERTED)
        row = self.raw().execute(f'SELECT count(*) FROM {identifier(sobject.name)} WHERE "Id" >= ?', [first]).fetchone()
        return int(row[0]) if row else 0

    def update(self, sobject: str, record_id: str, values: Mapping[str, Any], *, user_id: str) -> None:
        """Change fields of a record. Raises ValueError for values that its fields cannot hold."""
        found = self._sobject(sobject)
        changes = _stored(found, values) | self._stamps(found, user_id, created=False, now=self._now())
        self._change(found, record_id, changes)

    def delete(self, sobject: str, record_id: str, *, user_id: str) -> None:
        """Move a record to the recycle bin."""
        self._mark(sobject, record_id, user_id, deleted=True)

    def undelete(self, sobject: str, record_id: str, *, user_id: str) -> None:
        """Take a record out of the recycle bin."""
        self._mark(sobject, record_id, user_id, deleted=False)

    def _mark(self, sobject: str, record_id: str, user_id: str, *, deleted: bool) -> None:
        found = self._sobject(sobject)
        stamps = self._stamps(found, user_id, created=False, now=self._now())
        self._change(found, record_id, {"IsDeleted": deleted, **stamps})

    def _change(self, sobject: SObject, record_id: str, changes: Mapping[str, Any]) -> None:
        assignments = ", ".join(f"{identifier(name)} = ?" for name in changes)
        with self._writing:
            connection = self.raw()
            connection.execute(
                f'UPDATE {identifier(sobject.name)} SET {assignments} WHERE "Id" = ?', [*changes.values(), record_id]
            )
            self._derive(connection, sobject, record_id)

    def _derive(self, connection: duckdb.DuckDBPyConnection, sobject: SObject, record_id: str) -> None:
        for name, expression in derived_fields(sobject).items():
            connection.execute(
                f'UPDATE {identifier(sobject.name)} SET {identifier(name)} = {expression} WHERE "Id" = ?', [record_id]
            )

    def get(self, sobject: str, record_id: str, *, viewer: Viewer) -> dict[str, Any] | None:
        """All visible fields of a record, deleted or not, in the JSON forms of a query; None when there is none."""
        found = self._sobject(sobject)
        names = [field.name for field in found.fields if viewer.sees_field(found.name, field.name)]
        escaped = record_id.replace("\\", "\\\\").replace("'", "\\'")
        soql = f"SELECT {', '.join(names)} FROM {found.name} WHERE Id = '{escaped}'"
        cursor = self.open_cursor(soql, include_deleted=True, viewer=viewer)
        try:
            records = cursor.records(0, 1, "{version}")
        finally:
            cursor.close()
        return records[0] if records else None

    def deleted_between(self, sobject: str, start: datetime, end: datetime) -> list[tuple[str, datetime]]:
        """Ids and times of deletion of records deleted in [start, end)."""
        return self._stamped_between(sobject, start, end, deleted=True)

    def updated_between(self, sobject: str, start: datetime, end: datetime) -> list[str]:
        """Ids of live records whose SystemModstamp lies in [start, end)."""
        return [found for found, _ in self._stamped_between(sobject, start, end, deleted=False)]

    def _stamped_between(
        self, sobject: str, start: datetime, end: datetime, *, deleted: bool
    ) -> list[tuple[str, datetime]]:
        found = self._sobject(sobject)
        if not found.field("IsDeleted") or not found.field("SystemModstamp"):
            return []
        rows = self.raw().execute(
            f'SELECT "Id", "SystemModstamp" FROM {identifier(found.name)} WHERE "IsDeleted" = ? '
            'AND "SystemModstamp" >= ? AND "SystemModstamp" < ? ORDER BY "SystemModstamp", "Id"',
            [deleted, _naive(start), _naive(end)],
        )
        return [(record, stamp.replace(tzinfo=timezone.utc)) for record, stamp in rows.fetchall()]

    def raw(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the database, for reading rows without SOQL."""
        return self._connection.cursor()

    def close(self) -> None:
        self._connection.close()

    def _sobject(self, name: str) -> SObject:
        found = self._schema.sobject(name)
        if found is None:
            raise ValueError(f"The local org has no object {name!r}.")
        return found

    def _now(self) -> datetime:
        return _naive(self._clock.now().replace(microsecond=0))

    def _stamps(self, sobject: SObject, user_id: str, *, created: bool, now: datetime) -> dict[str, Any]:
        stamps: dict[str, Any] = {"LastModifiedDate": now, "SystemModstamp": now, "LastModifiedById": user_id}
        if created:
            stamps |= {"CreatedDate": now, "CreatedById": user_id, "IsDeleted": False}
        return {name: value for name, value in stamps.items() if sobject.field(name)}

    def _defaults(self, sobject: SObject) -> dict[str, Any]:
        return {field.name: False for field in sobject.fields if field.type == "boolean"}


class _query_faults:  # noqa: N801  reads as a statement: with _query_faults():
    """A computation that DuckDB refuses (a number that overflows, say) is the query's fault, not the org's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.BinderException)):
            raise SoqlError("MALFORMED_QUERY", "The local org cannot compute this query.") from error


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(tzinfo=None)


def _stored(sobject: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
    row = {}
    for name, value in values.items():
        field = sobject.field(name)
        if field is None or field.is_compound:
            raise ValueError(f"{sobject.name} has no field {name!r} to write.")
        row[field.name] = _column_value(field, value)
    return row


def _column_value(field: Field, value: Any) -> Any:
    """A JSON value, or a Python value of the column's own type, as the column holds it."""
    if value is None or value == "":
        return None
    if field.type == "datetime":
        return _naive(value if isinstance(value, datetime) else _moment(str(value)))
    if field.type == "date":
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    if field.type == "time":
        return value if isinstance(value, time) else time.fromisoformat(str(value).removesuffix("Z"))
    if field.type == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if field.type in ("int", "long"):
        return int(value)
    return float(value) if field.is_number else str(value)


def _moment(text: str) -> datetime:
    plain = text.replace("Z", "+00:00")
    if len(plain) > 5 and plain[-5] in "+-" and plain[-3] != ":":
        plain = f"{plain[:-2]}:{plain[-2:]}"
    moment = datetime.fromisoformat(plain)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
