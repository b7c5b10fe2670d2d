"""Salesforce to Snowflake: extract, write the change set, load it with Snowflake's own COPY INTO, merge.

Copy this file and `warehouse_sql.py` into your DAGs folder, edit what is in capitals, and install
apache-airflow-providers-snowflake. Not run against Snowflake: the syntax of its SQL is checked, and what it does is tested by
DuckDB. Why change sets may be merged again at any time: docs/loading.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import ObjectStoragePath, dag, task
from warehouse_sql import SNOWFLAKE, merging, staging

from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceLoadOperator

OWN = {"SystemModstamp": "timestamp[ms, UTC]", "IsDeleted": "boolean"}  # which each extract with deletes has
OBJECTS = {
    "Account": {"Id": "string", "Name": "string", "AnnualRevenue": "float64", **OWN},
    "Contact": {"Id": "string", "LastName": "string", "Email": "string", **OWN},
}
"""The objects, with the columns that are extracted, in their order, and their types as the manifests have them. New ones go to
the end."""
LAKE = "s3://aws_default@lake/crm"
STAGE = "@CRM.PUBLIC.LAKE"  # an external stage of s3://lake/crm


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    tags=["salesforce", "tables"],
    doc_md=__doc__,
)
def salesforce_to_snowflake() -> None:
    for sobject, columns in OBJECTS.items():
        changes = f"{LAKE}/changes/{sobject}"
        extract = SalesforceExtractOperator(
            task_id=f"extract_{sobject}",
            sobject=sobject,
            fields=list(columns),
            destination=f"{LAKE}/extracts/{sobject}",
            mode="incremental",
            deletes="hard",
        )
        load = SalesforceLoadOperator(task_id=f"changes_{sobject}", extracts=extract.output, table=f"changes+{changes}")

        @task.short_circuit(task_id=f"any_{sobject}")
        def any_changes(folder: str = changes) -> bool:
            from airflow_sfcc.load.change_files import pending

            return bool(pending(ObjectStoragePath(folder)))

        @task(task_id=f"forget_{sobject}")
        def forget(loaded: dict[str, int], folder: str = changes) -> list[str]:
            """What is merged need not be merged again."""
            from airflow_sfcc.load.change_files import forget_merged

            return forget_merged(ObjectStoragePath(folder), loaded["version"])

        table = f"CRM.PUBLIC.{sobject}"
        copy = (
            f"COPY INTO {table}_staged FROM '{STAGE}/changes/{sobject}/changes/' "
            "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE) MATCH_BY_COLUMN_NAME = CASE_SENSITIVE"
        )
        merge = SQLExecuteQueryOperator(
            task_id=f"merge_{sobject}",
            conn_id="snowflake_default",
            sql=[*staging(SNOWFLAKE, table, columns), copy, *merging(SNOWFLAKE, table, columns)],
        )
        load >> any_changes() >> merge >> forget(load.output)


salesforce_to_snowflake()
