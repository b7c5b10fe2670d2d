"""What the stages of an extract hand to one another: typed and immutable inside, plain JSON outside.

`plain` makes JSON of it, for a file or for XCom; `from_plain` reads it back and checks it. Timestamps are aware datetimes
inside and ISO 8601 text outside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from airflow_sfcc.errors import ExtractError, QueryError
from airflow_sfcc.extract.described import Described
from airflow_sfcc.salesforce.bulk import ResultPage
from airflow_sfcc.salesforce.soql import datetime_literal
from airflow_sfcc.timestamps import iso

FileFormat = Literal["parquet", "csv", "jsonl"]
Api = Literal["auto", "rest", "bulk"]
Numbers = Literal["float", "decimal"]
Mode = Literal["full", "incremental"]
Deletes = Literal["ignore", "soft", "hard"]
OnSchemaChange = Literal["evolve", "fail"]
Kind = Literal["extract", "heal", "refresh"]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
PlainId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9-]{0,99}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
COLUMN_TYPE = (
    r"\A(?:string|boolean|int64|float64|date32|timestamp\[ms, UTC\]|time32\[ms\]"
    r"|decimal128\((?:3[0-8]|[12][0-9]|[1-9]), -?[0-9]{1,2}\))\Z"
)
"""The types that a column can have. What is read from a file and is none of them must not get into SQL."""
ColumnType = Annotated[str, msgspec.Meta(pattern=COLUMN_TYPE)]
Instance = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[A-Za-z0-9.:_\[\]-]+\Z")]
"""Scheme, host and port, which links in the UI begin with."""
_STAGED_NAME = r"\At[0-9]{5}-[0-9]{5}-[0-9a-f]{8}(\.share-[0-9a-f]{8})?/page-[0-9]{5,}(\.[a-z0-9]+)+\Z"
"""A name, and no path: nothing of it leads out of the extract's staging folder."""

NO_ID = "000000000000000AAA"
"""The Id of every row of objects whose rows have none of their own, such as big objects."""

DEFAULT_PAGE_SIZE = 100_000
"""Rows requested per Bulk result page where the org does not list result pages by itself."""

DEFAULT_PARALLEL_PAGES = 3

DEFAULT_LAG = timedelta(minutes=5)
"""A row becomes visible up to minutes after the time it is stamped with.

Source: salesforce-protocol.md#incremental-extracts, late commit.
"""

DEFAULT_LOOKBACK = timedelta(minutes=10)

T = TypeVar("T")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is handed on: a key that is missing, unknown or of another type is an error when it is read."""


def plain(model: Model) -> dict[str, Any]:
    """The model as plain JSON: lists too, where the model has tuples, which Airflow's XCom would wrap."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(model))
    return data


def from_plain(data: object, kind: type[T], what: str) -> T:
    """The model of that `kind` in plain JSON. Raises ExtractError, which calls it `what`, for anything else."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise ExtractError(
            f"{what} is not what this version of the package writes ({problem}): it was made by another version, or changed. "
            "Clear the task, with everything upstream that belongs to the extract, to run it from the start."
        ) from None


NUMBER_TYPES = frozenset({"double", "currency", "percent"})
FIXED_TYPES = {
    "boolean": "boolean",
    "int": "int64",
    "long": "int64",
    "date": "date32",
    "datetime": "timestamp[ms, UTC]",
    "time": "time32[ms]",
}
"""Column types by Salesforce's; of numbers the option `numbers` decides, all others are text."""


class Column(Model, frozen=True, omit_defaults=True):
    """One column of the result.

    `name` is the dotted path in the schema's spelling (`Account.Owner.Name`); `salesforce_type` describe's type;
    `type` one of boolean, int64, float64, decimal128(p, s), date32, timestamp[ms, UTC], time32[ms], string. `hashed` is
    how its values are hashed before they land, with the fingerprint of the key: `hmac-sha256:3f9a1c2b7d6e5f40`.
    """

    name: str
    salesforce_type: str
    type: ColumnType
    nullable: bool
    hashed: str | None = None

    @property
    def as_read(self) -> Column:
        """The column as its values are read; that of a hashed column has another type."""
        if self.hashed is None:
            return self
        kind = "float64" if self.salesforce_type in NUMBER_TYPES else FIXED_TYPES.get(self.salesforce_type, "string")
        return msgspec.structs.replace(self, type=kind)


class Window(Model, frozen=True):
    """`[start, end)`, aware and in whole seconds; `start` None is the beginning of time."""

    start: Timestamp | None
    end: Timestamp

    def condition(self, cursor_field: str) -> str:
        """The window as a SOQL condition."""
        upper = f"{cursor_field} < {datetime_literal(self.end)}"
        return upper if self.start is None else f"{cursor_field} >= {datetime_literal(self.start)} AND {upper}"

    @property
    def as_text(self) -> dict[str, str | None]:
        """As manifests write it."""
        return {"start": iso(self.start) if self.start else None, "end": iso(self.end)}


class RunTimes(Model, frozen=True):
    """What the scheduler says of a run.

    `due` is its logical date, or when it was due. `interval` is its data interval, None where that is empty, as it is
    for cron schedules since Airflow 3. `is_backfill` says that a person requested this interval and no other.
    """

    due: Timestamp
    interval: tuple[Timestamp, Timestamp] | None = None
    is_backfill: bool = False

    @property
    def logical_end(self) -> datetime:
        return self.interval[1] if self.interval else self.due


class RunIdentity(Model, frozen=True):
    """Which task instance an extract belongs to; `due` is the run's logical date, or when it was due.

    `interval` and `is_backfill` are those of RunTimes. `run_key` is another one once the task was cleared; `try_number` is
    Airflow's.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    due: Timestamp
    interval: tuple[Timestamp, Timestamp] | None = None
    is_backfill: bool = False
    run_key: str = ""
    try_number: int = 1

    @property
    def times(self) -> RunTimes:
        return RunTimes(self.due, self.interval, self.is_backfill)

    @property
    def extract_id(self) -> str:
        """`20261123T020000Z-3f9a1c2b`: the same for every try of one task instance, so that a rerun replaces its own."""
        key = "\0".join((self.dag_id, self.task_id, self.run_id, str(self.map_index)))
        stamp = self.due.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        return f"{stamp}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


class IncrementalOptions(Model, frozen=True, kw_only=True):
    """How an extract continues from the ones before; names and meanings are those of SalesforceExtractOperator."""

    mode: Mode = "full"
    deletes: Deletes = "ignore"
    cursor_field: str | None = None
    initial_start: Timestamp | None = None
    lookback: timedelta = DEFAULT_LOOKBACK
    lag: timedelta = DEFAULT_LAG
    on_schema_change: OnSchemaChange = "evolve"


class Request(IncrementalOptions, frozen=True, kw_only=True):
    """What the user wants; names and meanings are those of SalesforceExtractOperator."""

    sobject: str | None = None
    fields: Sequence[str] | None = None
    exclude_fields: Sequence[str] | None = None
    where: str | None = None
    soql: str | None = None
    bind: Mapping[str, Any] | None = None
    file_format: FileFormat = "parquet"
    api: Api = "auto"
    numbers: Numbers = "float"
    columns: Mapping[str, str] | None = None
    page_size: int = DEFAULT_PAGE_SIZE
    parallel_pages: int = DEFAULT_PARALLEL_PAGES
    slice_at: Sequence[datetime] = ()
    """Timestamps of CreatedDate at which the query is cut into several Bulk jobs (see `slices`)."""

    def __post_init__(self) -> None:
        if bool(self.sobject) == bool(self.soql):
            raise QueryError("Give exactly one of sobject and soql.")
        if self.soql and (self.fields or self.exclude_fields or self.where):
            raise QueryError("fields, exclude_fields and where go with sobject; with soql, write them into the query.")
        for name in ("fields", "exclude_fields"):
            if isinstance(given := getattr(self, name), str):
                raise QueryError(
                    f"{name} is the text {given!r}: give a list of API names. A template that names a list stays one with "
                    "render_template_as_native_obj=True in the DAG."
                )
        if self.fields is not None and not self.fields:
            raise QueryError("fields is empty: name the fields to extract, or leave fields out for all.")
        if self.where and re.match(r"\s*where\b", self.where, re.IGNORECASE):
            raise QueryError(f"where={self.where!r}: write the condition alone, without the word WHERE.")


class DeletesPlan(Model, frozen=True):
    """Which deletions to request: those in `window`. Fail if the deletion log does not reach back to `needed_from`; None
    disables the check."""

    window: Window
    needed_from: Timestamp | None


class Increment(Model, frozen=True):
    """Where an extract stands among those of its destination. It is decided when the extract is planned, and ends up in
    the manifest.

    `read_at` is the org's time at which the extract was planned: it sees at least all that was visible then.
    `planned_from` is the watermark that the window's start was taken from, which must still hold when the extract is
    committed if `from_watermark` is set. `kind` tells an
    extract from what is committed beside extracts, which has no window: single records that were wrong, or calculated fields.
    """

    mode: Mode
    read_at: Timestamp
    where: str | None = None
    cursor_field: str | None = None
    window: Window | None = None
    watermark: Timestamp | None = None
    deletes: DeletesPlan | None = None
    initial_start: Timestamp | None = None
    from_watermark: bool = False
    planned_from: Timestamp | None = None
    stale_fields: tuple[str, ...] = ()
    schema_changes: tuple[dict[str, Any], ...] = ()
    kind: Kind = "extract"

    @property
    def condition(self) -> str | None:
        """The window as a SOQL condition; None for a full extract."""
        if self.window is None or self.cursor_field is None:
            return None
        return self.window.condition(self.cursor_field)

    @property
    def sentence(self) -> str:
        """What of the object is read, for people."""
        if self.window is None:
            return "It reads the whole object."
        start, end = self.window.start, self.window.end
        return (
            f"It reads what changed by {self.cursor_field} {f'from {iso(start)} ' if start else ''}up to {iso(end)}; what "
            f"changes later comes with a later run (in the org it is {iso(self.read_at)})"
        )


class LeftOut(Model, frozen=True):
    """A field of the object that the extract leaves out, although nobody named it: `why` says what kind of field it is."""

    name: str
    salesforce_type: str
    why: Literal["binary", "compound", "list of ids"]


class Plan(Model, frozen=True):
    """Everything the later stages need.

    `may_fall_back` says that REST may read what Bulk refuses or fails at. `expected_rows` is the count that the API was
    chosen by, if there was one. `api_calls` counts the calls of stages that ran elsewhere, `starts` how often this attempt
    began from nothing; `dropped` are the columns that a rule dropped. `job_id` is set once a Bulk job is submitted. A query
    that is cut into slices has the SOQL of each in `slices`, and after submission the id of each one's job, in that order, in
    `job_ids`; `job_id` is the first. `run_key` and `try_number` are those of the run that it was made for. `described` is what
    the data dictionary is to know.
    """

    extract_id: PlainId
    org_id: str | None
    instance: Instance
    sobject: str
    soql: str
    api: Literal["rest", "bulk"]
    api_reason: str
    may_fall_back: bool
    api_version: str
    include_deleted: bool
    columns: tuple[Column, ...]
    file_format: FileFormat
    numbers: Numbers
    page_size: int
    parallel_pages: int
    started_at: Timestamp
    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    increment: Increment
    dropped: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    expected_rows: int | None = None
    job_id: str | None = None
    job_ids: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    api_calls: int = 0
    starts: int = 0
    run_key: str = ""
    try_number: int = 1
    described: Described | None = None
    format_version: int = 2

    @property
    def queries(self) -> tuple[str, ...]:
        """The SOQL of each Bulk job."""
        return self.slices or (self.soql,)

    def is_of_same_job(self, other: Plan) -> bool:
        """Whether a job's result and its staged files would be the same for both plans."""
        return all(getattr(self, name) == getattr(other, name) for name in _JOB_DEPENDS_ON)

    def submitted(self, *job_ids: str) -> Plan:
        """The plan with its Bulk jobs, one for each of `queries`."""
        return msgspec.structs.replace(self, job_id=job_ids[0], job_ids=job_ids)

    def with_calls(self, api_calls: int) -> Plan:
        return msgspec.structs.replace(self, api_calls=api_calls)

    def by_rest(self, reason: str) -> Plan:
        return msgspec.structs.replace(self, api="rest", api_reason=reason, job_id=None, job_ids=(), slices=())


_JOB_DEPENDS_ON = (
    "soql",
    "slices",
    "include_deleted",
    "api_version",
    "org_id",
    "instance",
    "columns",
    "file_format",
)


class StagedFile(Model, frozen=True):
    """A file of rows that is staged.

    `name` is its name below the extract's staging folder, with that of its attempt; `url` the result page it was read from
    (None by REST), `next_locator` as that page's response had it. `own_ids` is False where rows have no Id of their own, by which
    an extract that counts for the current table would merge them.

    It is complete and readable by itself, so that it outlives the process that fetched it.
    """

    index: Count
    name: Annotated[str, msgspec.Meta(pattern=_STAGED_NAME)]
    rows: Count
    bytes: Count
    sha256: str
    url: str | None = None
    next_locator: str | None = None
    own_ids: bool = True


class Part(Model, frozen=True):
    """A part file: its name below the extract's folder, and what it holds."""

    name: str
    rows: int
    bytes: int
    sha256: str


def page_name(index: int, extension: str) -> str:
    return f"page-{index:05d}.{extension}"


def part_name(index: int, extension: str) -> str:
    return f"part-{index:05d}.{extension}"


class Share(Model, frozen=True):
    """What one of several workers is to land: some result pages of a planned extract."""

    extract_id: PlainId
    job_id: str
    sobject: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_]+\Z")]
    pages: tuple[ResultPage, ...] = ()


class Landed(Model, frozen=True):
    """What one of several workers has landed; `api_calls` are its own."""

    pages: tuple[StagedFile, ...]
    rows: int
    api_calls: Count
    host: str
