"""Every DAG in dags/, run by `dag.test()` against a local org; tests/e2e runs them under a real scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from salesforce_localorg.jobs import BulkTimings
from upath import UPath

from airflow_sfcc.extract import latest_state
from airflow_sfcc.testing import RunDag, SalesforceOrg, StartOrg
from tests.secret_search import SecretForms, files, tables
from tests.storages import files_below

EXAMPLE_DAGS = Path(__file__).resolve().parents[1] / "dags"
ROWS = {"Account": 60, "Contact": 60, "Opportunity": 60, "Case": 60, "Invoice__c": 60}


CASES: list[Any] = [(path.stem, "file") for path in sorted(EXAMPLE_DAGS.glob("*.py"))]
CASES += [("salesforce_task_group", "s3"), pytest.param("salesforce_incremental", "s3", marks=pytest.mark.slow)]


@pytest.fixture
def org(start_sfcc_org: StartOrg, root_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SalesforceOrg:
    """The org that the DAGs read, which land below `root_url`."""
    monkeypatch.setenv("SFCC_LANDING", f"{root_url}/{{sobject}}")
    monkeypatch.setenv("SFCC_DUCKDB", str(tmp_path / "salesforce.duckdb"))
    monkeypatch.setenv("SFCC_TABLES", f"delta+file://{tmp_path}/tables/{{sobject}}")
    return start_sfcc_org(rows=ROWS, bulk_timings=BulkTimings(in_progress_seconds=0.1))


@pytest.mark.parametrize(("dag_id", "root"), CASES, indirect=["root"])
def test_every_example_dag_runs_and_tells_no_secret(
    dag_id: str,
    org: SalesforceOrg,
    run_dag: RunDag,
    root: UPath,
    sfcc_airflow: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = run_dag(dag_id)
    assert run.state == "success", run.tasks
    assert set(run.tasks.values()) == {"success"}
    # Each manifest names this DAG, and so does each folder that an extract has left.
    found = [name for name in files_below(root) if "/extract=" in name]
    manifests = [json.loads((root / name).read_text()) for name in found if name.endswith("/_manifest.json")]
    assert all(manifest["dag_id"] == dag_id for manifest in manifests)
    assert len(manifests) == len({name.rsplit("/", 1)[0] for name in found})
    assert secrets_found(org, root, sfcc_airflow, capfd) == []


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_the_incremental_dag_reads_everything_anew_when_it_is_told_to(
    org: SalesforceOrg, run_dag: RunDag, root: UPath
) -> None:
    """By a parameter of the run, without a deploy; later runs go on from there."""
    modes = []
    for conf in (None, {"mode": "full"}, None):
        run = run_dag("salesforce_incremental", conf=conf)
        assert run.state == "success", run.error
        newest = latest_state(root / "Account_incremental").newest
        assert newest is not None
        modes.append((newest["mode"], newest["rows"]))
    assert modes == [("incremental", ROWS["Account"]), ("full", ROWS["Account"]), ("incremental", 0)]


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_failing_run_tells_no_secret(
    org: SalesforceOrg, run_dag: RunDag, root: UPath, sfcc_airflow: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    org.fail("query", status=401, times=None)  # every token is refused, and renewed once
    assert run_dag("salesforce_query").state == "failed"
    assert len(org.local_org.sessions.issued) > 1
    assert secrets_found(org, root, sfcc_airflow, capfd) == []


def secrets_found(
    org: SalesforceOrg, landing: UPath, home: Path, capfd: pytest.CaptureFixture[str]
) -> list[tuple[str, str]]:
    """Where the secret or a token stands: in what landed, Airflow's files, each row of its database, or what was printed."""
    printed = [(name, text.encode()) for name, text in zip(("stdout", "stderr"), capfd.readouterr())]
    landed = [(path, path.encode() + (landing / path).read_bytes()) for path in files_below(landing)]
    forms = SecretForms(org.connection["login"], org.connection["password"], org.local_org.sessions.issued)
    searched = [*printed, *landed, *files(home), *tables(home / "airflow.db")]
    assert {"table dag_run", "table rendered_task_instance_fields", "table xcom"} <= {place for place, _ in searched}
    return forms.found_in(searched)
