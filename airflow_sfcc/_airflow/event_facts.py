"""What an asset event's `extra` says of the extract or load behind it: written by tasks, read by the page "Salesforce".

An event is data that anybody with access to Airflow's API can make, so reading it is checked and bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from airflow_sfcc.extract.model import Plan
    from airflow_sfcc.salesforce.usage import ApiUsage
    from airflow_sfcc.sync.model import Report, Usage

MOST_CHANGES = 50
"""Schema changes that an event lists; an object may lose hundreds of columns at once."""

MOST_NAMES = 10_000
"""Objects that a sync's event lists with one result; there are orgs with thousands."""

Text = Annotated[str, msgspec.Meta(max_length=4_000)]
Name = Annotated[str, msgspec.Meta(max_length=255)]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=MOST_NAMES)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class SchemaChange(msgspec.Struct, frozen=True, gc=False):
    """One change: `added`, `removed`, `access_lost`, `retyped`, `selected` or `unselected`."""

    column: Name = ""
    change: Name = ""


class Warned(msgspec.Struct, frozen=True, gc=False):
    """Something a person should know of: its kind (`rows_fell`, `nothing_new`, `schema_change`, `budget`) and a sentence."""

    kind: Name
    sentence: Text


class Window(msgspec.Struct, frozen=True, gc=False):
    start: Name | None = None
    end: Name | None = None


class ExtractFacts(msgspec.Struct, frozen=True, gc=False):
    """The `extra` of an extract's event. Only what every version of the package has written is required.

    `files` and `seconds` are those of the whole extract; `api_used` of `api_limit` calls is what the org reported when it
    was committed, for all that call it, within its last 24 hours. `budget` is the connection's, in percent.
    """

    rows: Number
    bytes: Number
    manifest: Text
    watermark: Name | None = None
    sobject: Name | None = None
    org_id: Name | None = None
    instance: Name | None = None
    conn_id: Name | None = None
    mode: Name | None = None
    api: Name | None = None
    api_reason: Text | None = None
    job_id: Name | None = None
    files: Number | None = None
    deleted_rows: Number | None = None
    window: Window | None = None
    seconds: Seconds | None = None
    api_calls: Number | None = None
    api_used: Number | None = None
    api_limit: Number | None = None
    budget: Seconds | None = None
    schema_changes: tuple[SchemaChange, ...] = ()
    warnings: tuple[Warned, ...] = ()


class LoadFacts(msgspec.Struct, frozen=True, gc=False):
    """The `extra` of a load's event; `source` is where its extracts are, as their asset is named."""

    table: Text
    rows: Number
    inserted: Number = 0
    updated: Number = 0
    deleted: Number = 0
    sobject: Name | None = None
    source: Text | None = None
    extracts: Number | None = None
    seconds: Seconds | None = None


class SyncFacts(msgspec.Struct, frozen=True, gc=False):
    """The `extra` of a sync's report: what became of the objects, most of which have no event of their own.

    `destination` is where they land, as their assets are named, with `{sobject}`. `read` are the objects that were extracted.
    `plan_calls` are the API calls of the plan; those of extracts are in their events.
    """

    destination: Text
    instance: Name
    report: Text
    read: Names = ()
    unchanged: Names = ()
    late: Names = ()
    failed: Names = ()
    plan_calls: Number = 0
    api_used: Number | None = None
    api_limit: Number | None = None
    budget: Seconds | None = None


class Extracted(msgspec.Struct, frozen=True):
    """What was extracted, as far as the result of the extract does not say it: from its plan, or from its manifest."""

    sobject: str
    instance: str = ""
    org_id: str | None = None
    mode: str = "full"
    schema_changes: Sequence[dict[str, Any]] = ()
    api_reason: str | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> Extracted:
        increment = plan.increment
        return cls(plan.sobject, plan.instance, plan.org_id, increment.mode, increment.schema_changes, plan.api_reason)

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> Extracted:
        """Of an extract that an earlier attempt committed; why it chose its API is in its log."""
        names = ("sobject", "instance", "org_id", "mode", "schema_changes")
        return cls(**{name: manifest[name] for name in names if name in manifest})


def facts_of_extract(
    extracted: Extracted,
    result: Mapping[str, Any],
    usage: ApiUsage,
    conn_id: object,
    warnings: Sequence[Warned] = (),
) -> dict[str, Any]:
    """The `extra` of an extract that landed; plain JSON. The SOQL is not in it: its literals may be personal data."""
    changes = extracted.schema_changes[:MOST_CHANGES]
    return {
        **{name: result[name] for name in ("rows", "bytes", "watermark", "manifest")},
        **{name: result[name] for name in ("deleted_rows", "api", "job_id", "window", "seconds", "api_calls")},
        "files": len(result["files"]),
        "sobject": extracted.sobject,
        "org_id": extracted.org_id,
        "instance": extracted.instance,
        "conn_id": conn_id if isinstance(conn_id, str) else None,
        "mode": extracted.mode,
        "api_reason": extracted.api_reason,
        "api_used": usage.used,
        "api_limit": usage.limit,
        "budget": usage.budget_percent,
        "schema_changes": [{"column": each["column"], "change": each["change"]} for each in changes],
        "warnings": [msgspec.to_builtins(each) for each in warnings],
    }


def facts_of_load(result: Mapping[str, Any], source: str, sobject: str | None) -> dict[str, Any]:
    """The `extra` of a load; plain JSON."""
    names = ("table", "version", "rows", "inserted", "updated", "deleted", "seconds")
    return {
        **{name: result[name] for name in names},
        "source": source,
        "sobject": sobject,
        "extracts": len(result["extracts"]),
    }


def facts_of_sync(
    report: Report, path: str, destination: str, instance: str, plan_calls: int, usage: Usage
) -> dict[str, Any]:
    """The `extra` of a sync's report; plain JSON. Sentences are not in it: they are XComs, which fewer may read."""

    def names(*results: Any) -> list[str]:
        return [each.name for each in report.of(*results)][:MOST_NAMES]

    return {
        "destination": destination,
        "instance": instance,
        "report": path,
        "read": names("new", "changed"),
        "unchanged": names("unchanged"),
        "late": names("late"),
        "failed": names("failed"),
        "plan_calls": plan_calls,
        "api_used": usage.used,
        "api_limit": usage.limit,
        "budget": usage.budget,
    }
