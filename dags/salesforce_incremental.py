"""Every hour what changed in Salesforce lands, deletions too, and the current tables are built anew in a DuckDB file.

Edit OBJECTS. The first run lands everything. To read everything anew, trigger the DAG with `mode` set to `full`: the runs
after it go on from there, and no deploy is needed. Runs that failed or were skipped are made up for by the next one, and any
run may be cleared at any time (docs/incremental.md explains why).

Needs the connection `sfcc_default`, and DuckDB on the worker. Files land below SFCC_LANDING, where `{sobject}` becomes
the object's name; the DuckDB file is SFCC_DUCKDB.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import Param, dag, task

from airflow_sfcc.operators import SalesforceExtractOperator

OBJECTS = ["Account", "Contact", "Opportunity"]

DEMO = Path(__file__).resolve().parents[1] / "dev"
LANDING = os.environ.get("SFCC_LANDING", f"file://{DEMO}/landing/{{sobject}}") + "_incremental"
DUCKDB = os.environ.get("SFCC_DUCKDB", f"{DEMO}/landing/salesforce.duckdb")


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    params={"mode": Param("incremental", enum=["incremental", "full"], description="full reads everything anew")},
    tags=["salesforce", "incremental"],
    doc_md=__doc__,
)
def salesforce_incremental() -> None:
    extract = SalesforceExtractOperator.partial(
        task_id="extract",
        destination=LANDING,
        mode="{{ params.mode }}",
        deletes="hard",
        deferrable=True,
    ).expand(sobject=OBJECTS)

    @task
    def current_tables() -> dict[str, int]:
        """Replace each object's table; returns how many records each has."""
        import duckdb
        from airflow.sdk import ObjectStoragePath

        from airflow_sfcc.extract import current_table_sql, register_storage

        rows = {}
        Path(DUCKDB).parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(DUCKDB) as database:
            for sobject in OBJECTS:
                destination = ObjectStoragePath(LANDING.replace("{sobject}", sobject))
                register_storage(database, destination)
                query = current_table_sql(destination)
                database.execute(f'CREATE OR REPLACE TABLE "{sobject}" AS {query}')
                found = database.execute(f'SELECT count(*) FROM "{sobject}"').fetchone()
                rows[sobject] = int(found[0]) if found else 0
        return rows

    extract >> current_tables()


salesforce_incremental()
