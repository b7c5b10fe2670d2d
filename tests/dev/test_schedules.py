"""What the demo's Airflow starts by itself: runs that an asset triggers, and none that a schedule has missed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dev.airflow_settings import without_airflow, write_schedule_policy
from dev.paths import ROOT

# Airflow reads its local settings when it is imported, so each Airflow is a process of its own.
NEXT_RUNS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

runs = {}
for dag in DagBag(sys.argv[1]).dags.values():
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    info = stored.next_dagrun_info(last_automated_run_info=None)
    runs[dag.dag_id] = [info and info.run_after.isoformat(), bool(stored.timetable.asset_condition)]
print(json.dumps(runs))
"""


def next_runs(home: Path, *, scheduled: bool) -> dict[str, Any]:
    """(when it runs next because of the time, whether assets start it) of each example DAG."""
    write_schedule_policy(home, scheduled=scheduled)
    environment = {**without_airflow(os.environ), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-c", NEXT_RUNS, str(ROOT / "dags")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    runs: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return runs


def test_a_dag_that_is_unpaused_waits_for_its_next_time(tmp_path: Path) -> None:
    before = datetime.now(timezone.utc)
    runs = next_runs(tmp_path, scheduled=True)
    run_after, by_asset = runs["salesforce_nightly"]
    assert before < datetime.fromisoformat(run_after) <= before + timedelta(hours=24, minutes=10) and not by_asset
    assert datetime.fromisoformat(runs["salesforce_incremental"][0]) > before
    assert runs["salesforce_asset_triggered"] == [None, True]


def test_without_schedules_assets_still_start_runs(tmp_path: Path) -> None:
    runs = next_runs(tmp_path, scheduled=False)
    assert {run_after for run_after, _ in runs.values()} == {None}
    assert runs["salesforce_asset_triggered"] == [None, True] and runs["salesforce_nightly"] == [None, False]
