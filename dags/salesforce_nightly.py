"""Every night each Salesforce object lands complete, typed and counted.

Edit OBJECTS. Everything else is one operator, mapped over that list: each object becomes a task instance that shows its
name in the UI, waits for its Bulk job without holding a worker, and is retried by itself.

Needs the connection `sfcc_default`. Files land below SFCC_LANDING, where `{sobject}` becomes the object's name.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import dag

from airflow_sfcc.operators import SalesforceExtractOperator

OBJECTS = ["Account", "Contact", "Opportunity", "Case", "Invoice__c"]

LANDING = os.environ.get("SFCC_LANDING", f"file://{Path(__file__).resolve().parents[1]}/dev/landing/{{sobject}}")


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["salesforce", "nightly"],
    doc_md=__doc__,
)
def salesforce_nightly() -> None:
    SalesforceExtractOperator.partial(
        task_id="extract",
        destination=LANDING,
        deferrable=True,
    ).expand(sobject=OBJECTS)


salesforce_nightly()
