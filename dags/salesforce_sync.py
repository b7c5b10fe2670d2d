"""Every night the whole org: each object's changes as files, and a table of each.

Edit OBJECTS; `airflow-sfcc objects sfcc_default` shows what they select and how each object is read. New objects join by
themselves. The task `report` says what became of each object (docs/whole-org.md).

Needs the connection `sfcc_default`, and `airflow-sfcc[delta]` on the workers. Files land below SFCC_LANDING, tables are
below SFCC_TABLES; in both, `{sobject}` becomes the object's name.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import dag

from airflow_sfcc import taskgroups

OBJECTS = ["*", "!*History", "!*Share", "!*Feed", "!Attachment"]

DEMO = Path(__file__).resolve().parents[1] / "dev"
LANDING = os.environ.get("SFCC_LANDING", f"file://{DEMO}/landing/{{sobject}}")
TABLES = os.environ.get("SFCC_TABLES", f"delta+file://{DEMO}/landing/tables/{{sobject}}")


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    tags=["salesforce", "sync"],
    doc_md=__doc__,
)
def salesforce_sync() -> None:
    taskgroups.salesforce_sync("org", objects=OBJECTS, destination=LANDING, table=TABLES, deletes="hard")


salesforce_sync()
