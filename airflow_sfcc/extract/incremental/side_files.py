"""What is committed beside the rows that were just read: deletions, and rows that only an earlier reading saw."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq

from airflow_sfcc.extract.convert.arrow_types import arrow_schema
from airflow_sfcc.extract.convert.writers import EXTENSIONS, part_writer
from airflow_sfcc.extract.incremental.carried_rows import Opener, carry_rows
from airflow_sfcc.extract.incremental.deletions import COLUMNS, Deletions, find_deletions
from airflow_sfcc.extract.incremental.state import is_snapshot, latest_state, window_of
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.model import Part, Plan, part_name
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.timestamps import timestamp


@dataclass(frozen=True)
class SideFiles:
    """Part files of carried rows, files of deletions, and the interval of which all deletions are known, as in the manifest."""

    carried: tuple[Part, ...] = ()
    deleted: tuple[Part, ...] = ()
    deletes_known: dict[str, str | None] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.carried, *self.deleted)

    @property
    def deleted_rows(self) -> int | None:
        """Deletions in the files; None where none were requested."""
        return sum(part.rows for part in self.deleted) if self.deleted else None


NO_SIDE_FILES = SideFiles()


def gather_side_files(
    client: SalesforceClient,
    plan: Plan,
    parts: Mapping[Part, StoragePath],
    committed: Manifest | None,
    folder: StoragePath,
    open_file: Opener,
) -> SideFiles:
    """Stage, by `open_file`, what belongs to the extract beside its `parts` (with the files behind them).

    `committed` is what this extract has committed so far in its `folder`. Raises DeleteLogError when deletions are missing,
    and FileNotFoundError when a newer version has superseded `committed`.
    """
    if plan.increment.mode == "full" and plan.increment.deletes is None:
        return NO_SIDE_FILES
    before = _counting(committed, folder) if plan.increment.mode == "incremental" else None
    carried = _carried(folder, before, parts, open_file, plan.dropped) if before else ()
    deletions = _deletions(client, folder, plan, before)
    if deletions is None:
        return SideFiles(carried)
    known = deletions.known.as_text if deletions.known else None
    return SideFiles(carried, (write_deletions(plan, deletions, open_file),), known)


def _counting(committed: Manifest | None, folder: StoragePath) -> Manifest | None:
    """What was committed, unless a full extract has been read since: then nothing of it counts."""
    if committed is None or not committed.get("window"):
        return None
    relevant = latest_state(folder.parent).relevant
    counting = {each["extract_id"] for each in relevant if not is_snapshot(each)}
    return committed if committed["extract_id"] in counting else None


def _carried(
    folder: StoragePath,
    before: Manifest,
    parts: Mapping[Part, StoragePath],
    open_file: Opener,
    dropped: Collection[str],
) -> tuple[Part, ...]:
    files = carry_rows(
        [folder / file["path"] for file in before["files"] if file["rows"]],
        list(parts.values()),
        open_file,
        lambda index, extension: part_name(len(parts) + index, extension),
        dropped=dropped,
    )
    return tuple(Part(file.name, file.rows, file.bytes, file.sha256) for file in files)


def _deletions(client: SalesforceClient, folder: StoragePath, plan: Plan, before: Manifest | None) -> Deletions | None:
    """Deletions as the org knows them now, together with those that the version before had."""
    wanted = plan.increment.deletes
    if wanted is None:
        return None
    found = find_deletions(client, plan.sobject, wanted, now=plan.increment.read_at)
    if before is None or not before.get("deletes"):
        return found
    timestamps = dict(found.timestamps)
    for record_id, when in _read_deletions(folder / file["path"] for file in before["deleted_files"]):
        timestamps[record_id] = max(when, timestamps.get(record_id, when))
    return Deletions(timestamps, window_of(before["deletes"]))


def write_deletions(plan: Plan, deletions: Deletions, open_file: Opener) -> Part:
    """Stage the deletions as the extract's file of them."""
    name = f"deleted-00000.{EXTENSIONS[plan.file_format]}"
    with open_file(name) as file:
        writer = part_writer(plan.file_format, file, arrow_schema(COLUMNS))
        for batch in deletions.table().to_batches():
            writer.write(batch)
        writer.finish()
    return Part(name, len(deletions.timestamps), file.bytes, file.sha256)


def _read_deletions(paths: Iterable[StoragePath]) -> Iterator[tuple[str, datetime]]:
    for path in paths:
        for row in _ROWS[path.name.split(".", 1)[1]](path):
            yield row["Id"], timestamp(row["DeletedDate"])


def _parquet_rows(path: StoragePath) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows


def _csv_rows(path: StoragePath) -> list[dict[str, Any]]:
    return list(csv.DictReader(gzip.decompress(path.read_bytes()).decode().splitlines()))


def _json_rows(path: StoragePath) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


_ROWS: Mapping[str, Callable[[StoragePath], list[dict[str, Any]]]] = {
    "parquet": _parquet_rows,
    "csv.gz": _csv_rows,
    "jsonl.gz": _json_rows,
}
