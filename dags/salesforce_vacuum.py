"""Once a week, what nobody reads any more goes: leftovers of runs that died, and full extracts beyond the newest seven.

What the current table or the next incremental extract needs always stays. The nightly DAG lands what this one tidies.

Files are below SFCC_LANDING, where `{sobject}` becomes the object's name.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from airflow.sdk import dag

from airflow_sfcc.operators import SalesforceVacuumOperator

OBJECTS = ["Account", "Contact", "Opportunity", "Case", "Invoice__c"]

LANDING = os.environ.get("SFCC_LANDING", f"file://{Path(__file__).resolve().parents[1]}/dev/landing/{{sobject}}")


@dag(
    schedule="@weekly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["salesforce", "housekeeping"],
    doc_md=__doc__,
)
def salesforce_vacuum() -> None:
    SalesforceVacuumOperator(task_id="vacuum", destination=LANDING, sobjects=OBJECTS, keep=7)


salesforce_vacuum()
