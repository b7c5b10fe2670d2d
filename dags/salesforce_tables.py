"""Every hour what changed in Salesforce is extracted and merged into tables, deletions too.

Edit OBJECTS. Each object is a pair of tasks, extract then load, that waits for no other object. Runs that failed or were
skipped are made up for by the next one, and any run may be cleared at any time (docs/loading.md).

Needs the connection `sfcc_default`, and `airflow-sfcc[delta]` on the workers. Files land below SFCC_LANDING, tables are
below SFCC_TABLES; in both, `{sobject}` becomes the object's name.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import dag, task_group

from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceLoadOperator

OBJECTS = ["Account", "Contact", "Opportunity"]

DEMO = Path(__file__).resolve().parents[1] / "dev"
LANDING = os.environ.get("SFCC_LANDING", f"file://{DEMO}/landing/{{sobject}}")
TABLES = os.environ.get("SFCC_TABLES", f"delta+file://{DEMO}/landing/tables/{{sobject}}")


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    tags=["salesforce", "tables"],
    doc_md=__doc__,
)
def salesforce_tables() -> None:
    @task_group
    def table(sobject: str) -> None:
        extract = SalesforceExtractOperator(
            task_id="extract",
            sobject=sobject,
            destination=LANDING,
            mode="incremental",
            deletes="hard",
            deferrable=True,
            map_index_template="{{ task.sobject }}",
        )
        SalesforceLoadOperator(
            task_id="load",
            extracts=extract.output,
            table=TABLES,
            map_index_template="{{ task.table_name or task.table }}",
        )

    table.expand(sobject=OBJECTS)


salesforce_tables()
