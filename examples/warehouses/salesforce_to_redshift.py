"""Salesforce to Redshift: extract, write the change set, load it with Redshift's own COPY, merge.

Copy this file and `warehouse_sql.py` into your DAGs folder, edit what is in capitals, and install
apache-airflow-providers-amazon. Not run against Redshift: the syntax of its SQL is checked, and what it does is tested by
DuckDB. Why change sets may be merged again at any time: docs/loading.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import ObjectStoragePath, dag, task
from warehouse_sql import REDSHIFT, merging, staging

from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceLoadOperator

OWN = {"SystemModstamp": "timestamp[ms, UTC]", "IsDeleted": "boolean"}  # which each extract with deletes has
OBJECTS = {
    "Account": {"Id": "string", "Name": "string", "AnnualRevenue": "float64", **OWN},
    "Contact": {"Id": "string", "LastName": "string", "Email": "string", **OWN},
}
"""The objects, with the columns that are extracted, in their order, and their types as the manifests have them. New ones go to
the end."""
LAKE = "s3://aws_default@lake/crm"
BUCKET_URL = "s3://lake/crm"  # the same place, without the connection
ROLE = "arn:aws:iam::123456789012:role/redshift-reads-the-lake"


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    tags=["salesforce", "tables"],
    doc_md=__doc__,
)
def salesforce_to_redshift() -> None:
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

        table = f"crm.{sobject.lower()}"
        copy = f"COPY {table}_staged FROM '{BUCKET_URL}/changes/{sobject}/changes/' IAM_ROLE '{ROLE}' FORMAT AS PARQUET"
        merge = SQLExecuteQueryOperator(
            task_id=f"merge_{sobject}",
            conn_id="redshift_default",
            autocommit=False,  # all in one transaction
            sql=[*staging(REDSHIFT, table, columns), copy, *merging(REDSHIFT, table, columns)],
        )
        load >> any_changes() >> merge >> forget(load.output)


salesforce_to_redshift()
