"""One object with chosen fields, parents among them, as gzip CSV; and a whole query as JSON Lines."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from airflow.sdk import dag

from airflow_sfcc.operators import SalesforceExtractOperator

LANDING = os.environ.get("SFCC_LANDING", f"file://{Path(__file__).resolve().parents[1]}/dev/landing/{{sobject}}")


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["salesforce", "example"],
    doc_md=__doc__,
)
def salesforce_extract() -> None:
    SalesforceExtractOperator(
        task_id="big_contacts_as_csv",
        sobject="Contact",
        fields=["Id", "LastName", "Email", "Account.Name", "Account.Owner.Name", "SystemModstamp"],
        where="Account.AnnualRevenue >= :revenue AND Email != null",
        bind={"revenue": 1_000_000},
        destination=f"{LANDING}_csv",
        file_format="csv",
    )
    SalesforceExtractOperator(
        task_id="pipeline_as_jsonl",
        soql="SELECT StageName, COUNT(Id) deals, SUM(Amount) amount FROM Opportunity GROUP BY StageName",
        destination=f"{LANDING}_pipeline",
        file_format="jsonl",
    )


salesforce_extract()
