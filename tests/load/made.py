"""Destinations made by hand: extracts with the rows that a test wants, and what a table of them has to hold.

The expectations are computed in plain Python, row by row, from what the extracts say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from airflow_sfcc.extract.convert.arrow_types import arrow_schema
from airflow_sfcc.extract.model import Column, plain
from airflow_sfcc.timestamps import iso

BEGINNING = datetime(2027, 1, 1, tzinfo=timezone.utc)
COLUMNS = {"Id": "string", "Name": "string", "Amount": "float64", "SystemModstamp": "timestamp[ms, UTC]"}
Row = Mapping[str, Any]


def at(minute: float) -> datetime:
    """A timestamp, by its minute in these tests' time."""
    return BEGINNING + timedelta(minutes=minute)


@dataclass(frozen=True)
class Made:
    """An extract: `read` is the minute at which it was read, `deleted` the minute of deletion by id."""

    name: str
    read: float
    rows: Sequence[Row] = ()
    deleted: Mapping[str, float] = field(default_factory=dict)
    full: bool = False
    columns: Mapping[str, str] = field(default_factory=lambda: COLUMNS)
    window: tuple[float, float] | None = None
    org_id: str = "00D000000000001"
    sobject: str = "Account"
    version: int = 1

    @cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(str(found["Id"]) for found in self.rows)

    def land(self, destination: UPath) -> None:
        """Write it as a committed extract; one of the same name is replaced."""
        folder = destination / f"extract={self.name}"
        folder.mkdir(parents=True, exist_ok=True)
        schema = [plain(Column(name, "string", kind, True)) for name, kind in self.columns.items()]
        files = [self._write(folder, "part-00000.parquet", self._table())]
        deleted_files = []
        if self.deleted:
            gone = {"Id": list(self.deleted), "DeletedDate": [at(minute) for minute in self.deleted.values()]}
            types = pa.schema([("Id", pa.string()), ("DeletedDate", pa.timestamp("ms", "UTC"))])
            deleted_files = [self._write(folder, "deleted-00000.parquet", pa.table(gone, types))]
        start, end = self.window or (0, self.read)
        manifest = {
            "format_version": 1,
            "extract_id": self.name,
            "version": self.version,
            "org_id": self.org_id,
            "sobject": self.sobject,
            "mode": "full" if self.full else "incremental",
            "cursor_field": "SystemModstamp",
            "where": None,
            "window": None if self.full else {"start": iso(at(start)), "end": iso(at(end))},
            "watermark": iso(at(end)),
            "read_at": iso(at(self.read)),
            "run_id": "made",
            "started_at": iso(at(self.read)),
            "deletes": {"start": iso(at(start)), "end": iso(at(end))} if self.deleted else None,
            "rows": len(self.rows),
            "deleted_rows": len(self.deleted) or None,
            "files": files,
            "deleted_files": deleted_files,
            "schema": schema,
        }
        (folder / "_manifest.json").write_text(json.dumps(manifest))

    def land_with_carried(self, destination: UPath, carried: Made) -> None:
        """The same, with the other's rows carried over in a file of their own."""
        self.land(destination)
        folder = destination / f"extract={self.name}"
        manifest = json.loads((folder / "_manifest.json").read_text())
        manifest["files"].append(self._write(folder, "part-00001.parquet", carried._table()))
        manifest["rows"] += len(carried.rows)
        manifest["carried_rows"] = len(carried.rows)
        (folder / "_manifest.json").write_text(json.dumps(manifest))

    def _table(self) -> pa.Table:
        columns = [Column(name, "string", kind, True) for name, kind in self.columns.items()]
        return pa.Table.from_pylist([dict(row) for row in self.rows], arrow_schema(columns))

    def _write(self, folder: UPath, name: str, table: pa.Table) -> dict[str, Any]:
        with (folder / name).open("wb") as file:
            pq.write_table(table, file)
        return {"path": name, "rows": table.num_rows, "bytes": 1, "sha256": "0" * 64}


def row(number: int, minute: float, name: str | None = None, **more: Any) -> Row:
    """A record's row: its Id by number, its stamp by minute."""
    return {
        "Id": f"001{number:015d}",
        "Name": name if name is not None else f"{number} at {minute}",
        "Amount": float(number),
        "SystemModstamp": at(minute),
        **more,
    }


def id_of(number: int) -> str:
    return f"001{number:015d}"


def expected_current(extracts: Iterable[Made]) -> dict[str, Row]:
    """What the current table of these extracts holds, by Id."""
    counting = list(extracts)
    since = max((each.read for each in counting if each.full), default=-1.0)
    newest: dict[str, tuple[datetime, float, Row]] = {}
    gone: dict[str, datetime] = {}
    for each in counting:
        if each.read < since:
            continue
        for found in each.rows:
            candidate = (found["SystemModstamp"], each.read, found)
            if found["Id"] not in newest or candidate[:2] > newest[found["Id"]][:2]:
                newest[found["Id"]] = candidate
        for record_id, minute in each.deleted.items():
            gone[record_id] = max(at(minute), gone.get(record_id, at(minute)))
    return {
        record_id: found
        for record_id, (stamp, _, found) in newest.items()
        if not found.get("IsDeleted") and not (record_id in gone and gone[record_id] > stamp)
    }


def land(destination: UPath, *extracts: Made) -> None:
    for each in extracts:
        each.land(destination)


def expected_soft(extracts: Iterable[Made]) -> dict[str, tuple[Row, datetime | None]]:
    """What a table that keeps deleted rows holds, by Id: the row, and when it was deleted."""
    everything = sorted(extracts, key=lambda each: each.read)
    newest: dict[str, tuple[datetime, float, Row]] = {}
    for each in everything:
        for found in each.rows:
            candidate = (found["SystemModstamp"], each.read, found)
            if found["Id"] not in newest or candidate[:2] > newest[found["Id"]][:2]:
                newest[found["Id"]] = candidate
    result = {}
    for record_id, (stamp, read, found) in newest.items():
        ends = [at(each.deleted[record_id]) for each in everything if record_id in each.deleted]
        ends += [_missing_at(each, stamp) for each in everything if each.read > read and _lacks(each, record_id)]
        when = stamp if found.get("IsDeleted") else min((end for end in ends if end > stamp), default=None)
        result[record_id] = (found, when)
    return result


def expected_history(extracts: Iterable[Made]) -> set[tuple[str, str, datetime, datetime | None]]:
    """The versions that these extracts saw: Id, Name, from, to."""
    everything = sorted(extracts, key=lambda each: each.read)
    seen: dict[str, dict[datetime, tuple[float, Row]]] = {}
    for each in everything:
        for found in each.rows:
            seen.setdefault(found["Id"], {})[found["SystemModstamp"]] = (each.read, found)
    versions = set()
    for record_id, by_stamp in seen.items():
        opens = {stamp: found for stamp, (_, found) in by_stamp.items() if not found.get("IsDeleted")}
        ends = set(by_stamp) | {at(each.deleted[record_id]) for each in everything if record_id in each.deleted}
        for each in everything:
            before = [stamp for stamp in opens if by_stamp[stamp][0] < each.read]
            if _lacks(each, record_id) and before:
                ends.add(_missing_at(each, max(before)))
        for stamp, found in opens.items():
            versions.add((record_id, found["Name"], stamp, min((end for end in ends if end > stamp), default=None)))
    return versions


def _lacks(extract: Made, record_id: str) -> bool:
    return extract.full and record_id not in extract.ids


def _missing_at(extract: Made, stamp: datetime) -> datetime:
    watermark = at((extract.window or (0, extract.read))[1])
    return max(watermark, stamp + timedelta(milliseconds=1))
