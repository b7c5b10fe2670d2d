"""Runs whenever the nightly extract has landed accounts: scheduled on the asset, whose event says what landed."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, dag, task

log = logging.getLogger(__name__)

LANDING = os.environ.get("SFCC_LANDING", f"file://{Path(__file__).resolve().parents[1]}/dev/landing/{{sobject}}")
ACCOUNTS = Asset(LANDING.replace("{sobject}", "Account"))


@dag(
    schedule=[ACCOUNTS],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["salesforce", "example"],
    doc_md=__doc__,
)
def salesforce_asset_triggered() -> None:
    @task
    def report(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        events = triggering_asset_events.get(ACCOUNTS, ())  # by values() each comes twice: for its asset and its alias
        for event in events:
            log.info("Accounts landed: %s, see %s", f"{event.extra['rows']:,}", event.extra["manifest"])
        return [dict(event.extra) for event in events]

    report()


salesforce_asset_triggered()
