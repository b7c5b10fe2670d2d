"""Starts when the org has new or changed cases: a watcher in the triggerer polls once a minute."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_sfcc.watchers import SalesforceRecordsTrigger

SECONDS = float(os.environ.get("SFCC_WATCH_SECONDS", "60"))
CASES = Asset(
    name="salesforce_cases",
    uri="salesforce://acme.my.salesforce.com/Case",
    watchers=[AssetWatcher(name="new_cases", trigger=SalesforceRecordsTrigger("Case", poll_interval=SECONDS))],
)


@dag(
    schedule=[CASES],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["salesforce", "example"],
    doc_md=__doc__,
)
def salesforce_watcher() -> None:
    @task
    def report(triggering_asset_events: Any = None) -> int:
        events = triggering_asset_events.get(CASES, ())
        return sum(event.extra["payload"]["records"] for event in events)

    report()


salesforce_watcher()
