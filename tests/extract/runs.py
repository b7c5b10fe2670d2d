"""Running extracts without Airflow, and reading what they landed with other programs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
from upath import UPath

from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request, RunIdentity
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.salesforce import SalesforceClient
from airflow_sfcc.salesforce.bulk import poll_delays

NIGHT = datetime(2026, 11, 23, 2, tzinfo=timezone.utc)


def run_identity(run_id: str = "scheduled__2026-11-23", map_index: int = -1) -> RunIdentity:
    return RunIdentity("nightly", "extract", run_id, map_index, NIGHT)


class Org(Protocol):
    """Something to extract from."""

    def client(self) -> SalesforceClient: ...


def extract(
    org: Org,
    destination: Path | UPath,
    *,
    client: SalesforceClient | None = None,
    run_id: str = "scheduled__2026-11-23",
    run: RunIdentity | None = None,
    hash_key: HashKey | None = None,
    **request: Any,
) -> dict[str, Any]:
    """One extract from plan to manifest; what is staged is removed when it fails. Returns the manifest."""
    client = client or org.client()
    plan = make_plan(client, Request(**request), run or run_identity(run_id), UPath(destination), hash_key=hash_key)
    extraction = Extraction(client, UPath(destination), plan, hash_key=hash_key)
    try:
        extraction.start()
        wait_for_job(extraction)
        result = extraction.commit(extraction.land())
    except BaseException:
        extraction.discard()
        raise
    assert result["manifest"] == str(extraction.landing.folder / "_manifest.json")
    path = UPath(destination) / f"extract={plan.extract_id}" / "_manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def wait_for_job(extraction: Extraction) -> None:
    if extraction.plan.job_id is None:
        return
    for _ in poll_delays(0.02):
        if not extraction.job().is_waiting:
            return


def read_rows(folder: Path | UPath, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows of an extract as Python values, by readers that share no code with the writers."""
    rows: list[dict[str, Any]] = []
    for file in manifest["files"]:
        path = folder / file["path"]
        rows.extend(READERS["".join(path.suffixes)](path, manifest))
    return rows


def _read_parquet(path: Path | UPath, _: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(path.read_bytes())).to_pylist()
    return rows


def _read_csv(path: Path | UPath, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    types = {column["name"]: column["type"] for column in manifest["schema"]}
    names, *rows = csv_rows(gzip.decompress(path.read_bytes()).decode())
    return [{name: _value(types[name], text or None) for name, text in zip(names, row)} for row in rows]


def csv_rows(text: str) -> list[list[str]]:
    """The rows of CSV text by Python's own reader. Before Python 3.11 it refuses NUL, so another character stands in."""
    stand_in = next(each for each in map(chr, range(0xE000, 0xF900)) if each not in text)
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(io.StringIO(text.replace("\0", stand_in), newline=""))
    return [[value.replace(stand_in, "\0") for value in row] for row in rows]


def _read_jsonl(path: Path | UPath, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    types = {column["name"]: column["type"] for column in manifest["schema"]}
    with gzip.open(io.BytesIO(path.read_bytes()), "rb") as file:
        lines = file.read().split(b"\n")
    rows = [json.loads(line) for line in lines if line]
    return [{name: _value(types[name], value) for name, value in row.items()} for row in rows]


def _value(kind: str, value: Any) -> Any:
    if not isinstance(value, str) or kind == "string":
        return value
    if kind == "boolean":
        return {"true": True, "false": False}[value]
    if kind == "date32":
        return date.fromisoformat(value)
    if kind == "timestamp[ms, UTC]":
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    if kind == "time32[ms]":
        return time.fromisoformat(value.removesuffix("Z"))
    if kind.startswith("decimal128"):
        return Decimal(value)
    return int(value) if kind == "int64" else float(value)


READERS = {".parquet": _read_parquet, ".csv.gz": _read_csv, ".jsonl.gz": _read_jsonl}
