"""The org's rows, in DuckDB."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb

from airflow_sfcc.localorg.clock import Clock
from airflow_sfcc.localorg.ids import is_id
from airflow_sfcc.localorg.records.changes import insert_record, update_record
from airflow_sfcc.localorg.records.csv_export import CsvExport, export_pages
from airflow_sfcc.localorg.records.cursor import SNAPSHOTS, Cursor
from airflow_sfcc.localorg.records.generate import generate_rows
from airflow_sfcc.localorg.records.macros import create_macros
from airflow_sfcc.localorg.records.stored_values import naive_utc
from airflow_sfcc.localorg.records.tables import create_table, identifier
from airflow_sfcc.localorg.schema import Schema, SObject, Viewer
from airflow_sfcc.localorg.soql import Plan, SoqlError, compile_query, parse

# Reference 3.6; what Salesforce says of the others is not documented.
_BULK_REFUSALS = {
    "subquery": "Aggregate Relationships not supported in Bulk V2 Query with CSV content type",
    "compound": "Selecting compound data not supported in Bulk Query",
    "aggregate": "Aggregate queries are not supported in Bulk Query",
    "offset": "OFFSET is not supported in Bulk Query",
    "typeof": "TYPEOF is not supported in Bulk Query",
    "base64": "Binary fields are not supported in Bulk Query",
}


class Records:
    """The org's rows, in DuckDB. Safe to use from several threads: each call has a connection of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: Schema, clock: Clock) -> None:
        self._connection = connection
        self._schema = schema
        self._clock = clock
        self._writing = threading.RLock()
        self._cursors = itertools.count()
        create_macros(connection)
        # An org that ended without closing its cursors left their tables in the file.
        connection.execute(f"DROP SCHEMA IF EXISTS {SNAPSHOTS} CASCADE")
        connection.execute(f"CREATE SCHEMA {SNAPSHOTS}")
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
            return Cursor(self.raw, plan, f"{SNAPSHOTS}.cursor_{next(self._cursors)}")

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
        if plan.sobject.needs_filter and parse(soql).where is None:
            message = f"Implementation restriction: {plan.sobject.name} can only be queried with a filter."
            raise SoqlError("API_ERROR", message)
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
        with self._writing:
            return insert_record(self.raw(), self._sobject(sobject), values, user_id, self._clock.now())

    def update(self, sobject: str, record_id: str, values: Mapping[str, Any], *, user_id: str) -> None:
        """Change fields of a record. Raises LookupError when there is none, ValueError for values its fields cannot hold."""
        with self._writing:
            update_record(self.raw(), self._sobject(sobject), record_id, values, user_id, self._clock.now())

    def delete(self, sobject: str, record_id: str, *, user_id: str) -> None:
        """Move a record to the recycle bin. Raises LookupError when there is none."""
        self.update(sobject, record_id, {"IsDeleted": True}, user_id=user_id)

    def undelete(self, sobject: str, record_id: str, *, user_id: str) -> None:
        """Take a record out of the recycle bin. Raises LookupError when there is none."""
        self.update(sobject, record_id, {"IsDeleted": False}, user_id=user_id)

    def get(self, sobject: str, record_id: str, *, viewer: Viewer, api_version: str = "67.0") -> dict[str, Any] | None:
        """All visible fields of a record, deleted or not, in the JSON forms of a query; None when there is none."""
        found = self._sobject(sobject)
        names = [field.name for field in found.fields if viewer.sees_field(found.name, field.name)]
        if not is_id(record_id):
            return None
        soql = f"SELECT {', '.join(names)} FROM {found.name} WHERE Id = '{record_id}'"
        cursor = self.open_cursor(soql, include_deleted=True, viewer=viewer)
        try:
            records = cursor.records(0, 1, api_version)
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
            [deleted, naive_utc(start), naive_utc(end)],
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


class _query_faults:  # noqa: N801  reads as a statement: with _query_faults():
    """A computation that DuckDB refuses (a number that overflows, say) is the query's fault, not the org's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.BinderException)):
            raise SoqlError("MALFORMED_QUERY", "The local org cannot compute this query.") from error
