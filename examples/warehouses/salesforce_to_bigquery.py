"""Salesforce to BigQuery: extract, write the change set, load it with BigQuery's own load job, merge.

Copy this file and `warehouse_sql.py` into your DAGs folder, edit what is in capitals, and install
apache-airflow-providers-google. Not run against BigQuery: the syntax of its SQL is checked, and what it does is tested by
DuckDB. Why change sets may be merged again at any time: docs/loading.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from airflow.sdk import ObjectStoragePath, dag, task
from warehouse_sql import BIGQUERY, merging, staging

from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceLoadOperator

OWN = {"SystemModstamp": "timestamp[ms, UTC]", "IsDeleted": "boolean"}  # which each extract with deletes has
OBJECTS = {
    "Account": {"Id": "string", "Name": "string", "AnnualRevenue": "float64", **OWN},
    "Contact": {"Id": "string", "LastName": "string", "Email": "string", **OWN},
}
"""The objects, with the columns that are extracted, in their order, and their types as the manifests have them. New ones go to
the end."""
LAKE = "gs://google_cloud_default@lake/crm"
BUCKET, PREFIX = "lake", "crm"  # the same place
DATASET = "project.crm"


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    tags=["salesforce", "tables"],
    doc_md=__doc__,
)
def salesforce_to_bigquery() -> None:
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

        table = f"{DATASET}.{sobject}"
        stage, merge = (
            BigQueryInsertJobOperator(
                task_id=f"{name}_{sobject}",
                configuration={"query": {"query": ";\n".join(statements), "useLegacySql": False}},
            )
            for name, statements in (
                ("stage", staging(BIGQUERY, table, columns)),
                ("merge", merging(BIGQUERY, table, columns)),
            )
        )
        copy = GCSToBigQueryOperator(
            task_id=f"copy_{sobject}",
            bucket=BUCKET,
            source_objects=[f"{PREFIX}/changes/{sobject}/changes/*.parquet"],
            destination_project_dataset_table=f"{table}_staged",
            source_format="PARQUET",
            write_disposition="WRITE_TRUNCATE",
            autodetect=False,
        )
        load >> any_changes() >> stage >> copy >> merge >> forget(load.output)


salesforce_to_bigquery()
