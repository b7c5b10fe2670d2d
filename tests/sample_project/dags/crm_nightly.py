"""Accounts and contacts, every night."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, task

from airflow_sfcc.operators import SalesforceExtractOperator

LANDING = os.environ.get("LANDING", "s3://aws_default@acme-lake/salesforce")

with DAG(
    "crm_nightly",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
):
    extracts = SalesforceExtractOperator.partial(
        task_id="extract",
        destination=f"{LANDING}/{{sobject}}",
        deferrable=True,
    ).expand(sobject=["Account", "Contact"])

    @task
    def total(landed: list[dict[str, int]]) -> int:
        return sum(extract["rows"] for extract in landed)

    total(extracts.output)
