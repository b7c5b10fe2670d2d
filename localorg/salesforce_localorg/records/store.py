"""The org's rows, in DuckDB."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb

from salesforce_localorg.clock import Clock
from salesforce_localorg.ids import is_id
from salesforce_localorg.records.changing_tables import RECYCLE_BIN, ChangingTables
from salesforce_localorg.records.csv_export import CsvExport, export_pages
from salesforce_localorg.records.cursor import SNAPSHOTS, Cursor
from salesforce_localorg.records.delete_log import (
    deleted_between,
    log_generated,
)
from salesforce_localorg.records.generate import generate_rows
from salesforce_localorg.records.macros import create_macros
from salesforce_localorg.records.stored_values import naive_utc, stored_values
from salesforce_localorg.records.tables import first_row, identifier
from salesforce_localorg.records.views import is_view
from salesforce_localorg.schema import Schema, SObject, Viewer
from salesforce_localorg.soql import Plan, SoqlError, compile_query, parse
from salesforce_localorg.soql.column_metadata import column_metadata

# salesforce-protocol.md#job-errors; what Salesforce says of the others is not documented.
_BULK_REFUSALS = {
    "subquery": "Aggregate Relationships not supported in Bulk V2 Query with CSV content type",
    "compound": "Selecting compound data not supported in Bulk Query",
    "aggregate": "Aggregate queries are not supported in Bulk Query",
    "offset": "OFFSET is not supported in Bulk Query",
    "typeof": "TYPEOF is not supported in Bulk Query",
    "base64": "Binary fields are not supported in Bulk Query",
}


# What jobs of Bulk API 1.0 refuse for the sake of CSV; their JSON takes it.
_CSV_REFUSALS = {
    "subquery": "Aggregate Relationships not supported in Bulk Query with CSV content type",
    "typeof": "TYPEOF not supported in Bulk Query with CSV content type",
}


class Records(ChangingTables):
    """The org's rows, in DuckDB. Safe to use from several threads: each call has a connection of its own."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, schema: Schema, clock: Clock, in_bin: timedelta = RECYCLE_BIN
    ) -> None:
        super().__init__(connection, schema, clock, in_bin)
        self._cursors = itertools.count()
        create_macros(connection)
        # An org that ended without closing its cursors left their tables in the file.
        connection.execute(f"DROP SCHEMA IF EXISTS {SNAPSHOTS} CASCADE")
        connection.execute(f"CREATE SCHEMA {SNAPSHOTS}")

    @classmethod
    def open(cls, schema: Schema, *, clock: Clock, path: Path | None = None) -> Records:
        """The rows kept at `path`, or new ones in memory."""
        return cls(duckdb.connect(str(path) if path else ":memory:"), schema, clock)

    def generate(
        self, counts: Mapping[str, int], *, seed: int, progress: Callable[[str, int], None] | None = None
    ) -> None:
        """Fill the tables; see `generate_rows`."""
        with self._writing:
            generate_rows(self._connect(), self._schema, counts, seed, progress)
            for sobject in self._schema:
                if not is_view(sobject):
                    log_generated(self._connect(), sobject)

    def count(self, sobject: str) -> int:
        """How many rows of the object are neither in the recycle bin nor archived."""
        self._settled()
        found = self._sobject(sobject)
        hidden = [identifier(name) for name in ("IsDeleted", "IsArchived") if found.field(name)]
        live = f"WHERE NOT {' AND NOT '.join(hidden)}" if hidden else ""
        row = first_row(self._connect(), f"SELECT count(*) FROM {identifier(found.name)} {live}")
        return int(row[0]) if row else 0

    def holds(self, sobject: str, record_id: str) -> bool | None:
        """Whether a record is live (True), in the recycle bin (False) or nowhere (None)."""
        self._settled()
        found = self._sobject(sobject)
        live = 'NOT "IsDeleted"' if found.field("IsDeleted") else "TRUE"
        sql = f'SELECT {live} FROM {identifier(found.name)} WHERE "Id" = ?'
        row = first_row(self._connect(), sql, [record_id])
        return None if row is None else bool(row[0])

    def holder(self, sobject: str, field_name: str, value: Any, but: str | None) -> str | None:
        """The id of a live record other than `but` that holds the value in the field; text compares without case.

        Raises ValueError for a value that the field cannot hold.
        """
        self._settled()
        found = self._sobject(sobject)
        stored = stored_values(found, {field_name: value})[field_name]
        live = ' AND NOT "IsDeleted"' if found.field("IsDeleted") else ""
        column = identifier(field_name)
        equal = f"lower({column}) = lower(?)" if isinstance(stored, str) else f"{column} = ?"
        sql = f'SELECT "Id" FROM {identifier(found.name)} WHERE {equal} AND "Id" IS DISTINCT FROM ?{live} LIMIT 1'
        row = first_row(self._connect(), sql, [stored, but])
        return None if row is None else str(row[0])

    def open_cursor(self, soql: str, *, include_deleted: bool, viewer: Viewer, encode_as: str | None = None) -> Cursor:
        """Run a query and keep its result as it is now; see `Cursor` for `encode_as`. Raises SoqlError."""
        plan = self._plan(soql, include_deleted=include_deleted, viewer=viewer)
        _check_filter(plan, soql, "MALFORMED_QUERY")
        self._settled()
        # Parents and children are read by several statements, between which nothing may change.
        with self._writing if plan.children else contextlib.nullcontext(), _query_faults():
            return Cursor(self._connect, plan, f"{SNAPSHOTS}.cursor_{next(self._cursors)}", encode_as)

    def column_metadata(self, soql: str, *, viewer: Viewer) -> dict[str, Any]:
        """What the columns of a query are, without its rows. Raises SoqlError."""
        query = parse(soql)
        return column_metadata(query, self._plan(soql, include_deleted=False, viewer=viewer), self._schema)

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
        self._settled()
        with _query_faults():
            return export_pages(self._connect(), plan, directory, page_rows, delimiter, line_ending)

    def check_bulk(self, soql: str, *, viewer: Viewer) -> SObject:
        """The object of a query that Bulk API 2.0 takes. Raises SoqlError with the refusal otherwise.

        Source: salesforce-protocol.md#job-errors.
        """
        return self._bulk_plan(soql, include_deleted=True, viewer=viewer).sobject

    def check_bulk_batch(self, soql: str, *, viewer: Viewer, sobject: str, content_type: str) -> None:
        """Whether a job of Bulk API 1.0 for `sobject` takes the query. Raises SoqlError with the refusal otherwise.

        Source: the query tests of salesforcer, which run against a real org.
        """
        plan = self._plan(soql, include_deleted=True, viewer=viewer)
        if plan.sobject.name != sobject:
            raise SoqlError(
                "INVALID_TYPE_FOR_OPERATION",
                f"The root entity of the requested query ({plan.sobject.name}) does not match the entity of the requested "
                f"Bulk API Job ({sobject})",
            )
        _check_filter(plan, soql, "MALFORMED_QUERY")
        for feature, message in _BULK_REFUSALS.items():
            if feature in plan.features and feature not in _CSV_REFUSALS:
                raise SoqlError("FUNCTIONALITY_NOT_ENABLED", message)
        for feature, message in _CSV_REFUSALS.items():
            if feature in plan.features and content_type == "CSV":
                raise SoqlError("FeatureNotEnabled", message)

    def _bulk_plan(self, soql: str, *, include_deleted: bool, viewer: Viewer) -> Plan:
        plan = self._plan(soql, include_deleted=include_deleted, viewer=viewer)
        if not plan.sobject.bulk:
            raise SoqlError("INVALIDENTITY", f"Entity '{plan.sobject.name}' is not supported by the Bulk API.")
        _check_filter(plan, soql, "API_ERROR")
        for feature, message in _BULK_REFUSALS.items():
            if feature in plan.features:
                raise SoqlError("API_ERROR", message)
        return plan

    def _plan(self, soql: str, *, include_deleted: bool, viewer: Viewer) -> Plan:
        return compile_query(
            parse(soql), schema=self._schema, viewer=viewer, include_deleted=include_deleted, now=self._clock.now()
        )

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
        """Ids and times of deletion in [start, end) of records that are deleted now, in the recycle bin or for good."""
        self._settled()
        found = deleted_between(self._connect(), self._sobject(sobject), naive_utc(start), naive_utc(end))
        return [(record, stamp.replace(tzinfo=timezone.utc)) for record, stamp in found]

    def updated_between(self, sobject: str, start: datetime, end: datetime) -> list[str]:
        """Ids of live records whose SystemModstamp lies in [start, end)."""
        self._settled()
        found = self._sobject(sobject)
        if not found.field("SystemModstamp"):
            return []
        live = 'NOT "IsDeleted" AND' if found.field("IsDeleted") else ""
        rows = self._connect().execute(
            f'SELECT "Id" FROM {identifier(found.name)} WHERE {live} "SystemModstamp" >= ? AND "SystemModstamp" < ? '
            'ORDER BY "SystemModstamp", "Id"',
            [naive_utc(start), naive_utc(end)],
        )
        return [record for (record,) in rows.fetchall()]

    def restricting(self, sobject: str, record_id: str) -> tuple[SObject, list[str]] | None:
        """The live children because of which Salesforce does not delete a record (restrictedDelete): object and names."""
        self._settled()
        for relationship in self._sobject(sobject).child_relationships:
            child = self._schema.sobject(relationship.child_sobject)
            reference = child.field(relationship.field) if child else None
            if child is None or reference is None or not relationship.restricted_delete or is_view(child):
                continue
            live = ' AND NOT "IsDeleted"' if child.field("IsDeleted") else ""
            name = identifier(child.name_field.name if child.name_field else "Id")
            sql = f"SELECT {name} FROM {identifier(child.name)} WHERE {identifier(reference.name)} = ?{live} ORDER BY 1 LIMIT 5"
            names = [str(found) for (found,) in self._connect().execute(sql, [record_id]).fetchall()]
            if names:
                return child, names
        return None

    def id_ranges(self, sobject: str, size: int) -> list[str]:
        """Conditions on the Id that cut the object's records into pieces of `size`; at least one."""
        self._settled()
        found = self._sobject(sobject)
        numbered = f'SELECT "Id", row_number() OVER (ORDER BY "Id") - 1 AS place FROM {identifier(found.name)}'
        sql = f'SELECT "Id" FROM ({numbered}) WHERE place % ? = 0 ORDER BY "Id"'
        starts = [record_id for (record_id,) in self._connect().execute(sql, [size]).fetchall()] or ["0" * 15]
        ends = [f" AND Id < '{each}'" for each in starts[1:]] + [""]
        return [f"Id >= '{start}'{end}" for start, end in zip(starts, ends)]

    def raw(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the database as it is now, for reading rows without SOQL."""
        self._settled()
        return self._connect()

    def close(self) -> None:
        self._connection.close()


def _check_filter(plan: Plan, soql: str, code: str) -> None:
    if plan.sobject.needs_filter and parse(soql).where is None:
        message = f"Implementation restriction: {plan.sobject.name} can only be queried with a filter."
        raise SoqlError(code, message)


class _query_faults:  # noqa: N801  reads as a statement: with _query_faults():
    """A computation that DuckDB refuses (a number that overflows, say) is the query's fault, not the org's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.BinderException)):
            raise SoqlError("MALFORMED_QUERY", "The local org cannot compute this query.") from error
