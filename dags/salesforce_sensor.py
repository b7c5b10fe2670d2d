"""Waits until there is a big open opportunity, then queries its accounts with @task.soql."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import dag, task

from airflow_sfcc.sensors import SalesforceQuerySensor


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["salesforce", "example"],
    doc_md=__doc__,
)
def salesforce_sensor() -> None:
    wait = SalesforceQuerySensor(
        task_id="wait_for_a_big_one",
        soql="SELECT COUNT() FROM Opportunity WHERE IsClosed = false AND Amount >= :least",
        bind={"least": 1000},
        deferrable=True,
        poke_interval=30,
        timeout=3600,
    )

    @task.soql(bind={"least": 1000})  # type: ignore[attr-defined,untyped-decorator,unused-ignore]
    def accounts() -> str:
        return (
            "SELECT Account.Name, Amount FROM Opportunity "
            "WHERE IsClosed = false AND Amount >= :least ORDER BY Amount DESC NULLS LAST LIMIT 5"
        )

    wait >> accounts()


salesforce_sensor()
