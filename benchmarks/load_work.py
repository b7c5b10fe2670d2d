"""The work of loading: a full extract of 1 or 10 million rows, and one of 100,000 changes into it.

80 % of the changes lie in the newest tenth of the Ids, 20 % anywhere; a tenth are deletions. Rows have 40 columns and about
107 bytes as Zstandard Parquet, and lie in the order of their Ids, as Salesforce gives them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = {
    "Id": "string",
    "IsDeleted": "boolean",
    "Name": "string",
    "SystemModstamp": "timestamp[ms, UTC]",
    **{f"Text{number}__c": "string" for number in range(14)},
    **{f"Pick{number}__c": "string" for number in range(8)},
    **{f"Number{number}__c": "float64" for number in range(6)},
    **{f"Count{number}__c": "int64" for number in range(4)},
    **{f"Flag{number}__c": "boolean" for number in range(2)},
    **{f"Day{number}__c": "date32" for number in range(2)},
}
_REPEATED_TEXTS = [f"Text{number}__c" for number in range(9, 14)]
CHANGES = 100_000
_ROWS_A_FILE = 1_000_000
_ARROW = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "timestamp[ms, UTC]": pa.timestamp("ms", "UTC"),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "date32": pa.date32(),
}


def rows_after(rows: int) -> int:
    """The rows of the table with the changes: a tenth of them are deletions of rows that are there."""
    return rows - sum(1 for number in _chosen(rows) if number % 10 == 3)


def _chosen(rows: int) -> set[int]:
    """The numbers of the changed rows."""
    changes = min(CHANGES, rows // 4)
    newest = rows // 10
    new = {rows - newest + number * 7919 % newest for number in range(min(changes * 8 // 10, newest))}
    return new | {number * 104_729 % (rows - newest) for number in range(changes * 2 // 10)}


def make_work(folder: Path, rows: int) -> None:
    """Write the extracts `base` and `changes` below `folder`, unless they are there."""
    if (folder / "extract=changes" / "_manifest.json").exists():
        return
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")
        base = [(first, min(rows, first + _ROWS_A_FILE)) for first in range(0, rows, _ROWS_A_FILE)]
        files = [
            _write(database, folder / "extract=base", f"part-{index:05d}.parquet", f"range({first}, {last})", 0)
            for index, (first, last) in enumerate(base)
        ]
        _manifest(folder, "base", files, [], rows, full=True)
        numbers = pa.table({"range": pa.array(sorted(_chosen(rows)), pa.int64())})
        database.register("chosen", numbers)
        chosen = "chosen"
        live = f"(SELECT range FROM {chosen} WHERE range % 10 <> 3)"
        gone = f'SELECT {_ID} AS "Id", TIMESTAMPTZ \'2027-01-02 01:00:00+00\' AS "DeletedDate" FROM {chosen} WHERE range % 10 = 3'
        part = _write(database, folder / "extract=changes", "part-00000.parquet", live, 1)
        table = database.sql(gone).to_arrow_table()
        types = pa.schema([("Id", pa.string()), ("DeletedDate", pa.timestamp("ms", "UTC"))])
        pq.write_table(table.cast(types), folder / "extract=changes" / "deleted-00000.parquet", compression="zstd")
        deleted = {"path": "deleted-00000.parquet", "rows": table.num_rows, "bytes": 1, "sha256": ""}
        _manifest(folder, "changes", [part], [deleted], part["rows"], full=False)


_ID = "printf('001%015d', range)"


def _write(database: Any, folder: Path, name: str, source: str, day: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    values = ", ".join(f'{_value(column, kind, day)} AS "{column}"' for column, kind in COLUMNS.items())
    schema = pa.schema([pa.field(column, _ARROW[kind]) for column, kind in COLUMNS.items()])
    rows = 0
    with_ends = [field.name for field in schema if field.name == "Id" or not pa.types.is_string(field.type)]
    dictionaries = [column for column in COLUMNS if column.startswith("Pick") or column in _REPEATED_TEXTS]
    options: dict[str, Any] = {"use_dictionary": dictionaries, "write_statistics": with_ends}
    with pq.ParquetWriter(folder / name, schema, compression="zstd", **options) as writer:
        for batch in database.sql(f"SELECT {values} FROM {source} ORDER BY range").to_arrow_reader(65_536):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=65_536)
            rows += batch.num_rows
    return {"path": name, "rows": rows, "bytes": (folder / name).stat().st_size, "sha256": ""}


def _value(column: str, kind: str, day: int) -> str:
    seed = sum(map(ord, column))
    mixed = f"(hash(range + {seed + day * 1000}) % 1000003)::BIGINT"
    if column == "Id":
        return _ID
    if column == "IsDeleted":
        return "false"
    if column == "Name":
        return f"'Account ' || range || ' of day {day}'"
    if column == "SystemModstamp":
        return f"TIMESTAMPTZ '2027-01-0{day + 1} 00:00:00+00' + to_seconds(range % 3600)"
    values = {
        "string": f"CASE WHEN {mixed} % 3 = 0 THEN 'value ' || {mixed} % 40 END",
        "boolean": f"{mixed} % 2 = 0",
        "float64": f"CASE WHEN {mixed} % 4 = 0 THEN ({mixed} % 100000) / 100.0 END",
        "int64": f"CASE WHEN {mixed} % 2 = 0 THEN {mixed} % 1000 END",
        "date32": f"CASE WHEN {mixed} % 2 = 0 THEN DATE '2020-01-01' + ({mixed} % 2000)::INTEGER END",
    }
    if column.startswith("Text") and column not in _REPEATED_TEXTS:
        return f"'text {seed} ' || to_base((hash(range + {seed + day * 1000}) >> 1)::BIGINT, 36)"
    return values[kind]


def _manifest(folder: Path, name: str, files: Any, deleted: Any, rows: int, *, full: bool) -> None:
    read_at, start = (
        ("2027-01-01T02:00:00.000Z", None) if full else ("2027-01-02T02:00:00.000Z", "2027-01-01T01:45:00.000Z")
    )
    window = None if full else {"start": start, "end": "2027-01-02T01:55:00.000Z"}
    manifest = {
        "format_version": 1,
        "extract_id": name,
        "org_id": "00D000000000001",
        "sobject": "Account",
        "mode": "full" if full else "incremental",
        "cursor_field": "SystemModstamp",
        "where": None,
        "window": window,
        "watermark": read_at,
        "read_at": read_at,
        "run_id": "made",
        "started_at": read_at,
        "deletes": window if deleted else None,
        "rows": rows,
        "deleted_rows": sum(each["rows"] for each in deleted) or None,
        "files": files,
        "deleted_files": deleted,
        "schema": [
            {"name": column, "salesforce_type": "string", "type": kind, "nullable": True}
            for column, kind in COLUMNS.items()
        ],
    }
    (folder / f"extract={name}" / "_manifest.json").write_text(json.dumps(manifest))
