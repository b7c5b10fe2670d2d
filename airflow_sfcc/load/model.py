"""Extracts and tables as loading sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from airflow_sfcc.errors import TableError
from airflow_sfcc.extract.incremental.schema_drift import wider
from airflow_sfcc.extract.incremental.state import is_snapshot
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.timestamps import timestamp

Mode = Literal["current", "soft", "history"]
MODES: tuple[Mode, ...] = ("current", "soft", "history")

DELETED_AT = "_deleted_at"
VALID_FROM, VALID_TO, IS_CURRENT = "_valid_from", "_valid_to", "_is_current"
TIMESTAMP = "timestamp[ms, UTC]"


@dataclass(frozen=True)
class TableColumn:
    """A column of a table; `type` is one of a manifest's types."""

    name: str
    type: str


MODE_COLUMNS: Mapping[Mode, tuple[TableColumn, ...]] = {
    "current": (),
    "soft": (TableColumn(DELETED_AT, TIMESTAMP),),
    "history": (
        TableColumn(VALID_FROM, TIMESTAMP),
        TableColumn(VALID_TO, TIMESTAMP),
        TableColumn(IS_CURRENT, "boolean"),
    ),
}
"""What each mode adds to the columns of the object."""


@dataclass(frozen=True)
class Extract:
    """A committed extract. `read_ms` is when it was read by the org's clock, in milliseconds since 1970; each later version of it
    counts as read a millisecond later, so that none is taken for another by a clock that stands still.

    `ends` is the end of its windows: none of its stamps are later. None for a full extract, whose rows may bear any.
    """

    extract_id: str
    read_ms: int
    is_snapshot: bool
    watermark: datetime
    ends: datetime | None
    columns: tuple[TableColumn, ...]
    files: tuple[str, ...]
    deleted_files: tuple[str, ...]
    rows: int
    deleted_rows: int
    carries: bool = False
    """Whether some of its files hold rows of an earlier version, with the columns and types that they had."""
    heals: bool = False
    """Whether a reconciliation made it: what it read was in the org then, whatever deletions from before say."""


@dataclass(frozen=True)
class Source:
    """Where a table's rows come from; one table holds one object of one org."""

    org_id: str
    sobject: str
    cursor: str

    @property
    def told(self) -> str:
        """For people."""
        return f"{self.sobject} of the org {self.org_id or 'unknown'} by {self.cursor}"


@dataclass(frozen=True)
class TableState:
    """What a table says of itself: which extracts it has loaded (`read_ms` by id), and with which columns."""

    source: Source
    mode: Mode
    columns: tuple[TableColumn, ...]
    loaded: Mapping[str, int]
    version: int
    rows: int


@dataclass(frozen=True)
class Counts:
    """What a load did, in records; in `history` mode in versions of them."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    skipped_as_older: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.deleted + other.deleted,
            self.skipped_as_older + other.skipped_as_older,
        )


@dataclass(frozen=True)
class Step:
    """Extracts that one commit loads.

    `base`: they are the table. `append`: all of them are newer than everything loaded; `known` are loaded extracts that may
    know of deletions later than something in them. `late`: `known` is the history that the Ids they touch are read from.
    `snapshot`: one full extract, newer than everything loaded, for modes that keep what it lacks.
    """

    kind: Literal["base", "append", "late", "snapshot"]
    extracts: tuple[Extract, ...]
    known: tuple[Extract, ...] = ()


@dataclass(frozen=True)
class Commit:
    """What a target records together with the rows of a step.

    `columns` are those the table is to have, with what the mode adds; `before` is its state, None for a table that is to be
    made. `loaded` are the extracts of the step, `read_ms` by id; with `forgets` none loaded before counts any more.
    """

    source: Source
    mode: Mode
    columns: tuple[TableColumn, ...]
    loaded: Mapping[str, int]
    before: TableState | None
    forgets: bool = False

    @property
    def retyped(self) -> dict[str, tuple[str, str]]:
        """Columns that get another type: the one they have, and the new one."""
        was = {column.name: column.type for column in self.before.columns} if self.before else {}
        return {c.name: (was[c.name], c.type) for c in self.columns if was.get(c.name, c.type) != c.type}

    @property
    def added(self) -> tuple[TableColumn, ...]:
        was = {column.name for column in self.before.columns} if self.before else set()
        return tuple(column for column in self.columns if column.name not in was)


@dataclass(frozen=True)
class Destination:
    """The committed extracts of one destination, in the order in which they were read."""

    source: Source
    extracts: tuple[Extract, ...] = field(repr=False)


def destination_of(root_url: str, manifests: Sequence[Manifest]) -> Destination:
    """The extracts that a table can be made of; `root_url` is how DuckDB names their destination.

    Raises TableError when there are none, or they are not of one org, object and cursor field.
    """
    counting = [each for each in manifests if each.get("watermark") and each.get("cursor_field")]
    if not counting:
        raise TableError(
            f"{root_url} holds no extract that a table can be made of: land one with mode='incremental', or a full one with "
            "Id and the cursor field, as Parquet."
        )
    source = _source(counting[-1])
    since = max((place for place, each in enumerate(counting) if is_snapshot(each)), default=0)
    for place, each in enumerate(counting):
        other = _source(each)
        if other != source and (place >= since or replace(other, cursor=source.cursor) != source):
            raise TableError(
                f"{root_url} holds extracts of {other.told} ({each['extract_id']}) and of {source.told} "
                f"({counting[-1]['extract_id']}): give each object and org its own destination."
            )
    # A full extract may go on by another field; what lies before it is in another order.
    return Destination(source, tuple(_extract(root_url, each) for each in counting if _source(each) == source))


def _source(manifest: Manifest) -> Source:
    return Source(str(manifest.get("org_id") or ""), str(manifest["sobject"]), str(manifest["cursor_field"]))


def _extract(root_url: str, manifest: Manifest) -> Extract:
    folder = f"{root_url}/{str(manifest['path']).rstrip('/').rsplit('/', 1)[-1]}"
    snapshot = is_snapshot(manifest)
    read_at = timestamp(manifest.get("read_at") or manifest["started_at"])
    ends = [timestamp(manifest[name]["end"]) for name in ("window", "deletes") if manifest.get(name)]
    return Extract(
        extract_id=str(manifest["extract_id"]),
        read_ms=round(read_at.timestamp() * 1000) + int(manifest.get("version") or 1) - 1,
        is_snapshot=snapshot,
        watermark=timestamp(manifest["watermark"]),
        ends=None if snapshot or not ends else max(ends),
        columns=tuple(TableColumn(str(each["name"]), str(each["type"])) for each in manifest["schema"]),
        files=_files(folder, manifest["files"]),
        deleted_files=_files(folder, manifest.get("deleted_files") or ()),
        rows=int(manifest["rows"]),
        deleted_rows=int(manifest.get("deleted_rows") or 0),
        carries=bool(manifest.get("carried_rows")),
        heals=manifest.get("kind") == "heal",
    )


def _files(folder: str, files: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Files with rows; raises TableError for what is no Parquet."""
    found = []
    for file in files:
        if not str(file["path"]).endswith(".parquet"):
            raise TableError(
                f"{folder}/{file['path']} is no Parquet file, and tables are made of those: extract with "
                "file_format='parquet' into a destination of its own."
            )
        if file["rows"]:
            found.append(f"{folder}/{file['path']}")
    return tuple(found)


def widened(before: Sequence[TableColumn], extracts: Iterable[Extract], newest_ms: int = -1) -> tuple[TableColumn, ...]:
    """The columns that hold what the table has and what the extracts bring. No column ever goes.

    Salesforce tells no names apart that differ only in case, so a column keeps the one that it had first. `newest_ms` is when
    the newest loaded extract was read: where types are a matter of choice, that of what was read last holds.
    """
    columns = {column.name.lower(): column for column in before}
    for extract in extracts:
        for column in extract.columns:
            name = column.name.lower()
            was = columns.get(name)
            if was is None:
                columns[name] = column
            else:
                types = (was.type, column.type) if extract.read_ms >= newest_ms else (column.type, was.type)
                columns[name] = replace(was, type=wider(*types))
    return tuple(columns.values())
