"""The manifest: what an extract landed, written last (DESIGN.md, "What lands")."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from airflow_sfcc import __version__
from airflow_sfcc.extract.incremental.side_files import NO_SIDE_FILES, SideFiles
from airflow_sfcc.extract.land import describe_file
from airflow_sfcc.extract.model import Column, Part, Plan, plain
from airflow_sfcc.timestamps import iso, utc_now

FORMAT_VERSION = 1


def schema_fingerprint(columns: Sequence[Column]) -> str:
    """SHA-256 over names and types, in order."""
    text = json.dumps([plain(column) for column in columns], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def make_manifest(
    plan: Plan, parts: Sequence[Part], side_files: SideFiles = NO_SIDE_FILES, *, api_calls: int
) -> dict[str, Any]:
    """The manifest of a finished extract. `api_calls` counts all stages."""
    increment = plan.increment
    all_parts = [*parts, *side_files.carried]
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
        "mode": increment.mode,
        "cursor_field": increment.cursor_field,
        "where": increment.where,
        "window": increment.window.as_text if increment.window else None,
        "watermark": iso(increment.watermark) if increment.watermark else None,
        "read_at": iso(increment.read_at),
        "kind": increment.kind,
        "deletes": side_files.deletes_known,
        "include_deleted": plan.include_deleted,
        "rows": sum(part.rows for part in all_parts),
        "carried_rows": sum(part.rows for part in side_files.carried),
        "deleted_rows": side_files.deleted_rows,
        "bytes": sum(part.bytes for part in all_parts),
        "files": [_file(part) for part in all_parts],
        "deleted_files": [_file(part) for part in side_files.deleted],
        "schema": [plain(column) for column in plan.columns],
        "dropped_columns": list(plan.dropped),
        "left_out_fields": [plain(field) for field in plan.left_out],
        "schema_fingerprint": schema_fingerprint(plan.columns),
        "describe": describe_file.name_of(plan.described),
        "schema_changes": list(increment.schema_changes),
        "stale_fields": list(increment.stale_fields),
        "api_calls": api_calls,
        "started_at": iso(plan.started_at),
        "finished_at": utc_now(),
        "dag_id": plan.dag_id,
        "task_id": plan.task_id,
        "run_id": plan.run_id,
        "map_index": plan.map_index,
        "run_key": plan.run_key,
        "package_version": __version__,
    }


def _file(part: Part) -> dict[str, Any]:
    return {"path": part.name, "rows": part.rows, "bytes": part.bytes, "sha256": part.sha256}
