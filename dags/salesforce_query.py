"""A few records, handed to the next task: the ten best open opportunities."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.sdk import dag, task

from airflow_sfcc.operators import SalesforceQueryOperator


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["salesforce", "example"],
    doc_md=__doc__,
)
def salesforce_query() -> None:
    best = SalesforceQueryOperator(
        task_id="best_open_opportunities",
        soql=(
            "SELECT Name, Amount, StageName, Account.Name FROM Opportunity "
            "WHERE IsClosed = false AND Amount >= :least ORDER BY Amount DESC NULLS LAST LIMIT 10"
        ),
        bind={"least": 1000},
    )

    @task
    def total(opportunities: Any) -> float:
        return float(sum(opportunity["Amount"] for opportunity in opportunities))

    total(best.output)


salesforce_query()
