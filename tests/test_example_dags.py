"""Every DAG in dags/, run by `dag.test()` against a local org; tests/e2e runs them under a real scheduler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_sfcc.localorg.bulk_jobs import BulkTimings
from airflow_sfcc.testing import RunDag, StartOrg

EXAMPLE_DAGS = Path(__file__).resolve().parents[1] / "dags"
ROWS = {"Account": 60, "Contact": 60, "Opportunity": 60, "Case": 60, "Invoice__c": 60}


@pytest.mark.parametrize("dag_id", [path.stem for path in sorted(EXAMPLE_DAGS.glob("*.py"))])
def test_every_example_dag_runs(
    dag_id: str, start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_sfcc_org(rows=ROWS, bulk_timings=BulkTimings(in_progress_seconds=0.1))
    monkeypatch.setenv("SFCC_LANDING", f"file://{tmp_path}/{{sobject}}")
    monkeypatch.setenv("SFCC_DUCKDB", str(tmp_path / "salesforce.duckdb"))
    run = run_dag(dag_id)
    assert run.state == "success", run.tasks
    assert set(run.tasks.values()) == {"success"}
    # Each manifest names this DAG, and so does each folder that an extract has left.
    manifests = [json.loads(path.read_text()) for path in tmp_path.glob("*/extract=*/_manifest.json")]
    assert all(manifest["dag_id"] == dag_id for manifest in manifests)
    assert len(manifests) == len(list(tmp_path.glob("*/extract=*")))
