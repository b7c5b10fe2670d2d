"""What was deleted and when: the recycle bin's dates and the log that getDeleted reads.

Facts: SOAP API Developer Guide, "getDeleted()" and "undelete()"; Salesforce Help, "Manage the Recycle Bin" (15 days).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import duckdb

from salesforce_localorg.records.tables import first_row, identifier
from salesforce_localorg.schema import SObject

BOOKKEEPING = "bookkeeping"  # the database schema of tables that belong to no object
DELETE_LOG = f"{BOOKKEEPING}.delete_log"

# Histories of all objects have one key prefix, so generated ids are unique within their object only.
# purge_at is null once the record is gone for good, and for records that were generated as deleted: those stay.
# with_id names the parent whose deletion took the record along.
_CREATE = f"""CREATE TABLE IF NOT EXISTS {DELETE_LOG}
    (sobject VARCHAR, id VARCHAR, deleted_at TIMESTAMP, purge_at TIMESTAMP, with_id VARCHAR)"""


def create_delete_log(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the log's table where it is missing."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {BOOKKEEPING}")
    connection.execute(_CREATE)


def log_generated(connection: duckdb.DuckDBPyConnection, sobject: SObject) -> None:
    """Enter the records that were generated as deleted, with the date of their stamp."""
    if sobject.field("IsDeleted") and sobject.field("SystemModstamp"):
        connection.execute(
            f"""INSERT INTO {DELETE_LOG} SELECT ?, "Id", "SystemModstamp", NULL, NULL FROM {identifier(sobject.name)}
                WHERE "IsDeleted" AND "Id" NOT IN (SELECT id FROM {DELETE_LOG} WHERE sobject = ?)""",
            [sobject.name, sobject.name],
        )


def log_deleted(
    connection: duckdb.DuckDBPyConnection,
    sobject: SObject,
    ids: Sequence[str],
    when: datetime,
    purge_at: datetime | None,
    parents: Sequence[str | None],
) -> None:
    """Enter records as deleted at `when`; `purge_at` None means that they are gone already."""
    connection.execute(f"DELETE FROM {DELETE_LOG} WHERE sobject = ? AND id IN (SELECT unnest(?))", [sobject.name, ids])
    connection.execute(
        f"INSERT INTO {DELETE_LOG} SELECT ?, unnest(?), ?, ?, unnest(?::VARCHAR[])",
        [sobject.name, ids, when, purge_at, parents],
    )


def log_purged(connection: duckdb.DuckDBPyConnection, sobject: str, ids: Sequence[str]) -> None:
    """Note that records left the recycle bin for good; the date of their deletion stays."""
    connection.execute(
        f"UPDATE {DELETE_LOG} SET purge_at = NULL WHERE sobject = ? AND id IN (SELECT unnest(?))", [sobject, ids]
    )


def log_undeleted(connection: duckdb.DuckDBPyConnection, sobject: str, ids: Sequence[str]) -> None:
    """Strike records off the log, since they exist again."""
    connection.execute(f"DELETE FROM {DELETE_LOG} WHERE sobject = ? AND id IN (SELECT unnest(?))", [sobject, ids])


def taken_along(connection: duckdb.DuckDBPyConnection, parents: Sequence[str]) -> dict[str, list[str]]:
    """Ids by object of what the deletion of these records took into the recycle bin with them."""
    rows = connection.execute(
        f"SELECT sobject, id FROM {DELETE_LOG} WHERE purge_at IS NOT NULL AND with_id IN (SELECT unnest(?))", [parents]
    ).fetchall()
    return _by_object(rows)


def due_for_purge(connection: duckdb.DuckDBPyConnection, now: datetime) -> dict[str, list[str]]:
    """Ids by object of what has lain in the recycle bin long enough."""
    rows = connection.execute(f"SELECT sobject, id FROM {DELETE_LOG} WHERE purge_at <= ?", [now]).fetchall()
    return _by_object(rows)


def next_purge(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """When the next record leaves the recycle bin."""
    row = first_row(connection, f"SELECT min(purge_at) FROM {DELETE_LOG}")
    return row[0] if row else None


def deleted_between(
    connection: duckdb.DuckDBPyConnection, sobject: SObject, start: datetime, end: datetime
) -> list[tuple[str, datetime]]:
    """Ids and dates of deletion in [start, end), oldest first."""
    return connection.execute(
        f"SELECT id, deleted_at FROM {DELETE_LOG} WHERE sobject = ? AND deleted_at >= ? AND deleted_at < ? "
        "ORDER BY deleted_at, id",
        [sobject.name, start, end],
    ).fetchall()


def _by_object(rows: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, record_id in rows:
        found.setdefault(name, []).append(record_id)
    return found
