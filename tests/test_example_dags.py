"""Every DAG in dags/, run by `dag.test()` against a local org; tests/e2e runs them under a real scheduler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from upath import UPath

from airflow_sfcc.localorg.bulk_jobs import BulkTimings
from airflow_sfcc.testing import RunDag, StartOrg
from tests.storages import files_below

EXAMPLE_DAGS = Path(__file__).resolve().parents[1] / "dags"
ROWS = {"Account": 60, "Contact": 60, "Opportunity": 60, "Case": 60, "Invoice__c": 60}


CASES = [(path.stem, "file") for path in sorted(EXAMPLE_DAGS.glob("*.py"))]
CASES += [("salesforce_incremental", "s3"), ("salesforce_task_group", "s3")]


@pytest.mark.parametrize(("dag_id", "root"), CASES, indirect=["root"])
def test_every_example_dag_runs(
    dag_id: str,
    start_sfcc_org: StartOrg,
    run_dag: RunDag,
    root: UPath,
    root_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_sfcc_org(rows=ROWS, bulk_timings=BulkTimings(in_progress_seconds=0.1))
    monkeypatch.setenv("SFCC_LANDING", f"{root_url}/{{sobject}}")
    monkeypatch.setenv("SFCC_DUCKDB", str(tmp_path / "salesforce.duckdb"))
    run = run_dag(dag_id)
    assert run.state == "success", run.tasks
    assert set(run.tasks.values()) == {"success"}
    # Each manifest names this DAG, and so does each folder that an extract has left.
    found = [name for name in files_below(root) if "/extract=" in name]
    manifests = [json.loads((root / name).read_text()) for name in found if name.endswith("/_manifest.json")]
    assert all(manifest["dag_id"] == dag_id for manifest in manifests)
    assert len(manifests) == len({name.rsplit("/", 1)[0] for name in found})
