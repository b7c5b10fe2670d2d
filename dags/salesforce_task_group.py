"""A large object, its result pages downloaded by all workers at once: plan, eight downloads, commit."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import dag

from airflow_sfcc.taskgroups import salesforce_extract

LANDING = os.environ.get("SFCC_LANDING", f"file://{Path(__file__).resolve().parents[1]}/dev/landing/{{sobject}}")


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["salesforce", "example"],
    doc_md=__doc__,
)
def salesforce_task_group() -> None:
    salesforce_extract("contacts", sobject="Contact", destination=f"{LANDING}_by_many", shares=8)


salesforce_task_group()
