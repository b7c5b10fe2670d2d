"""The SQL that merges Salesforce change sets into a table of a warehouse: one template, four dialects.

The change sets lie as Parquet files in the folder `changes` of the object (docs/loading.md). A load of them: `staging` makes an
empty table, the vendor's COPY fills it, `merging` brings it into the table. Doing it again changes nothing.

These statements are checked for syntax, and their effect is tested by DuckDB. They were not run against the vendors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OWN = {"_sequence": "int64", "_deleted": "boolean", "_replaces": "boolean"}
"""What each row of a change set has before the object's columns."""


@dataclass(frozen=True)
class Dialect:
    """`types` by the manifests' types; `quote` goes around names; without `merges` rows are deleted and inserted."""

    types: Mapping[str, str]
    quote: str = '"'
    merges: bool = True

    def name(self, column: str) -> str:
        return f"{self.quote}{column}{self.quote}"

    def type(self, kind: str) -> str:
        if kind.startswith("decimal128"):
            return kind.replace("decimal128", self.types["decimal128"])
        return self.types[kind]

    def columns(self, columns: Mapping[str, str]) -> str:
        return ", ".join(f"{self.name(column)} {self.type(kind)}" for column, kind in columns.items())


_COMMON = {
    "boolean": "BOOLEAN",
    "int64": "BIGINT",
    "float64": "DOUBLE PRECISION",
    "date32": "DATE",
    "decimal128": "DECIMAL",
}
SNOWFLAKE = Dialect({**_COMMON, "string": "VARCHAR", "timestamp[ms, UTC]": "TIMESTAMP_NTZ"})
REDSHIFT = Dialect({**_COMMON, "string": "VARCHAR(65535)", "timestamp[ms, UTC]": "TIMESTAMP"}, merges=False)
DATABRICKS = Dialect({**_COMMON, "float64": "DOUBLE", "string": "STRING", "timestamp[ms, UTC]": "TIMESTAMP"}, quote="`")
BIGQUERY = Dialect(
    {
        **_COMMON,
        "boolean": "BOOL",
        "int64": "INT64",
        "float64": "FLOAT64",
        "string": "STRING",
        "decimal128": "NUMERIC",
        "timestamp[ms, UTC]": "TIMESTAMP",
    },
    quote="`",
)


def staging(dialect: Dialect, table: str, columns: Mapping[str, str]) -> list[str]:
    """The table, unless it is there, and an empty one beside it, `<table>_staged`, for the vendor's COPY."""
    return [
        f"CREATE TABLE IF NOT EXISTS {table} ({dialect.columns(columns)})",
        f"DROP TABLE IF EXISTS {table}_staged",
        f"CREATE TABLE {table}_staged ({dialect.columns({**OWN, **columns})})",
    ]


def merging(dialect: Dialect, table: str, columns: Mapping[str, str]) -> list[str]:
    """Bring `<table>_staged` into the table: of each Id the newest row; after a full extract nothing else stays."""
    key, newest = dialect.name("Id"), f"{table}_newest"
    return [
        f"DROP TABLE IF EXISTS {newest}",
        f"CREATE TABLE {newest} AS {_newest(dialect, table, columns)}",
        *(_merge if dialect.merges else _delete_and_insert)(dialect, table, columns),
        f"DELETE FROM {table} WHERE EXISTS (SELECT 1 FROM {newest} WHERE {dialect.name('_replaces')}) "
        f"AND {key} NOT IN (SELECT {key} FROM {newest} WHERE NOT {dialect.name('_deleted')})",
    ]


def _newest(dialect: Dialect, table: str, columns: Mapping[str, str]) -> str:
    """A row without an Id stays: it says that the change set is all there is."""
    sequence, replaces = dialect.name("_sequence"), dialect.name("_replaces")
    names = ", ".join(map(dialect.name, ("_deleted", "_replaces", *columns)))
    order = f"PARTITION BY {dialect.name('Id')} ORDER BY {sequence} DESC"
    return (
        f"SELECT {names} FROM (SELECT *, ROW_NUMBER() OVER ({order}) AS place_of_row FROM {table}_staged "
        f"WHERE {sequence} >= (SELECT COALESCE(MAX({sequence}), 0) FROM {table}_staged WHERE {replaces})) AS numbered "
        "WHERE place_of_row = 1"
    )


def _merge(dialect: Dialect, table: str, columns: Mapping[str, str]) -> list[str]:
    key, deleted = dialect.name("Id"), dialect.name("_deleted")
    names = [dialect.name(column) for column in columns]
    return [
        f"MERGE INTO {table} AS t USING {table}_newest AS s ON t.{key} = s.{key} "
        f"WHEN MATCHED AND s.{deleted} THEN DELETE "
        f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{name} = s.{name}' for name in names)} "
        f"WHEN NOT MATCHED AND NOT s.{deleted} THEN INSERT ({', '.join(names)}) "
        f"VALUES ({', '.join(f's.{name}' for name in names)})"
    ]


def _delete_and_insert(dialect: Dialect, table: str, columns: Mapping[str, str]) -> list[str]:
    """For Redshift, whose MERGE takes no conditions; both in one transaction."""
    key, names = dialect.name("Id"), ", ".join(map(dialect.name, columns))
    return [
        f"DELETE FROM {table} USING {table}_newest WHERE {table}.{key} = {table}_newest.{key}",
        f"INSERT INTO {table} ({names}) SELECT {names} FROM {table}_newest WHERE NOT {dialect.name('_deleted')}",
    ]
