"""The manifest: what an extract landed, written last (DESIGN.md, "What lands")."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from airflow_sfcc import __version__
from airflow_sfcc.extract.incremental.side_files import NO_COMPANIONS, Companions
from airflow_sfcc.extract.pages import Part
from airflow_sfcc.extract.plan.columns import Column
from airflow_sfcc.extract.plan.planner import ExtractPlan, utc_now

FORMAT_VERSION = 1


def schema_fingerprint(columns: Sequence[Column]) -> str:
    """SHA-256 over names and types, in order."""
    text = json.dumps([column.to_json() for column in columns], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def make_manifest(
    plan: ExtractPlan, parts: Sequence[Part], companions: Companions = NO_COMPANIONS, *, api_calls: int
) -> dict[str, Any]:
    """The manifest of a finished extract. `api_calls` counts all stages."""
    position = plan.position
    all_parts = [*parts, *companions.carried]
    return {
        "format_version": FORMAT_VERSION,
        "extract_id": plan.extract_id,
        "org_id": plan.org_id,
        "instance": plan.instance,
        "sobject": plan.sobject,
        "soql": plan.soql,
        "api": plan.api,
        "api_version": plan.api_version,
        "job_id": plan.job_id,
        "job_ids": list(plan.job_ids),
        "mode": position.mode,
        "cursor_field": position.cursor_field,
        "where": position.where,
        "window": position.window,
        "watermark": position.watermark,
        "read_at": position.read_at,
        "deletes": companions.deletes_known,
        "include_deleted": plan.include_deleted,
        "rows": sum(part.rows for part in all_parts),
        "carried_rows": sum(part.rows for part in companions.carried),
        "deleted_rows": companions.deleted_rows,
        "bytes": sum(part.bytes for part in all_parts),
        "files": [_file(part) for part in all_parts],
        "deleted_files": [_file(part) for part in companions.deleted],
        "schema": [column.to_json() for column in plan.columns],
        "schema_fingerprint": schema_fingerprint(plan.columns),
        "schema_changes": list(position.schema_changes),
        "stale_fields": list(position.stale_fields),
        "api_calls": api_calls,
        "started_at": plan.started_at,
        "finished_at": utc_now(),
        "dag_id": plan.dag_id,
        "task_id": plan.task_id,
        "run_id": plan.run_id,
        "map_index": plan.map_index,
        "package_version": __version__,
    }


def _file(part: Part) -> dict[str, Any]:
    return {"path": part.name, "rows": part.rows, "bytes": part.bytes, "sha256": part.sha256}
