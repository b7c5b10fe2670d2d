"""Extracts that are committed beside those of a destination: they have no window, and move no watermark.

Each attempt has an id of its own, so that none replaces what another one has brought.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from airflow_sfcc.extract.model import Column, Increment, Plan, RunIdentity
from airflow_sfcc.reconcile.model import Compared
from airflow_sfcc.salesforce.client import SalesforceClient


def columns_of(compared: Compared) -> tuple[Column, ...]:
    """The columns of the newest extract."""
    return tuple(msgspec.convert(column, Column) for column in compared.newest["schema"])


def plan_beside(
    client: SalesforceClient,
    compared: Compared,
    run: RunIdentity,
    *,
    kind: Literal["heal", "refresh"],
    soql: str,
    columns: Sequence[Column],
    number: int = 0,
    api: Literal["rest", "bulk"] = "rest",
    api_reason: str = "it reads single records",
    page_size: int = 1,
) -> Plan:
    """The plan of such an extract; `number` tells those of one attempt apart."""
    token = client.auth.token
    manifest = compared.newest
    read_at = client.now
    name = f"{run.extract_id}.{kind}.{read_at.isoformat()}.{number}"
    return Plan(
        extract_id=f"{read_at.strftime('%Y%m%dT%H%M%SZ')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}",
        org_id=token.org_id,
        instance=str(token.instance),
        sobject=compared.sobject,
        soql=soql,
        api=api,
        api_reason=api_reason,
        may_fall_back=False,
        api_version=client.api_version,
        include_deleted=bool(manifest.get("include_deleted")) and kind == "heal",
        columns=tuple(columns),
        file_format="parquet",
        numbers="decimal" if any(column.type.startswith("decimal") for column in columns) else "float",
        page_size=page_size,
        parallel_pages=3,
        started_at=read_at,
        dag_id=run.dag_id,
        task_id=run.task_id,
        run_id=run.run_id,
        map_index=run.map_index,
        increment=Increment(
            "incremental",
            read_at,
            where=compared.where,
            cursor_field=compared.cursor,
            watermark=compared.until,
            stale_fields=tuple(manifest.get("stale_fields") or ()),
            kind=kind,
        ),
        dropped=tuple(manifest.get("dropped_columns") or ()),
    )
