"""The events that the OpenLineage provider's listener writes while a real Airflow runs an extract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dev.local_airflow import LocalAirflow
from tests.conftest import KEY, SECRET, RunningOrg
from tests.openlineage import check_event

pytestmark = pytest.mark.e2e

DAG = """\
from datetime import datetime, timezone
from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.sdk import DAG
from airflow_sfcc.operators import SalesforceExtractOperator
with DAG("lineage", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
    SalesforceExtractOperator(task_id="extract", sobject="Contact", fields=["Id", "LastName", "Account.Name"], api="bulk",
                              destination="file://{folder}/{{sobject}}", salesforce_conn_id="sfcc_lineage",
                              deferrable=True, poll_interval=2)
enable_lineage(dag)
"""


def test_what_an_extract_read_and_wrote(org: RunningOrg, local_airflow: LocalAirflow, tmp_path: Path) -> None:
    connection = {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    local_airflow.api.put_connection("sfcc_lineage", connection)
    (local_airflow.dags / "lineage.py").write_text(DAG.format(folder=tmp_path))
    run_id = local_airflow.trigger("lineage")
    assert local_airflow.wait("lineage", run_id) == "success"
    result = local_airflow.xcom("lineage", run_id, "extract")

    text = (local_airflow.home / "openlineage.jsonl").read_text(encoding="utf-8")
    events: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for event in events:
        check_event(event)
    ended = [
        event for event in events if event["job"]["name"] == "lineage.extract" and event["eventType"] == "COMPLETE"
    ]
    (read,), (landed,) = ended[-1]["inputs"], ended[-1]["outputs"]
    assert (read["namespace"], read["name"]) == (f"salesforce://{urlsplit(org.url).netloc}", "Contact")
    assert (landed["namespace"], landed["name"]) == ("file", f"{tmp_path}/Contact")
    statistics = landed["outputFacets"]["outputStatistics"]
    assert {name: statistics[name] for name in ("rowCount", "size", "fileCount")} == {
        "rowCount": org.org.records.count("Contact"),
        "size": result["bytes"],
        "fileCount": len(result["files"]),
    }
    columns = ["Id", "LastName", "Account.Name"]
    assert [field["name"] for field in landed["facets"]["schema"]["fields"]] == columns
    assert set(landed["facets"]["columnLineage"]["fields"]) == set(columns)
    assert SECRET not in text and "SELECT" not in text
