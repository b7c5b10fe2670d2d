"""The testing kit from outside: the sample project in a folder of its own, with both distributions installed from wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from datetime import datetime, timezone
from pathlib import Path

import pytest

from airflow_sfcc.salesforce import connect
from airflow_sfcc.testing import RunDag, StartOrg

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "tests" / "sample_project"


def run(*command: str, cwd: Path, **env: str) -> str:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_", "PYTHON"))
    }
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return done.stdout


def installed_wheel(folder: Path) -> Path:
    """A Python that has both wheels; what they depend on comes from the Python that runs this test."""
    for project in (ROOT, ROOT / "localorg"):
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"), cwd=project)
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    for wheel in (folder / "dist").glob("*.whl"):
        shutil.unpack_archive(wheel, packages, "zip")
    theirs = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(theirs) + "\n")
    return folder / "venv" / "bin" / "python"


@pytest.mark.slow
def test_the_sample_project_passes_against_the_wheel(tmp_path: Path) -> None:
    python = str(installed_wheel(tmp_path))
    project = tmp_path / "project"
    shutil.copytree(SAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    where = run(python, "-c", "import airflow_sfcc; print(airflow_sfcc.__file__)", cwd=project)
    assert where.startswith(str(tmp_path)), "the package is the wheel's, not this checkout's"
    told = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project, AIRFLOW_HOME=str(tmp_path / "home"))
    assert "3 passed" in told


def test_the_plugin_costs_other_users_of_pytest_nothing() -> None:
    heavy = ("airflow", "pyarrow", "duckdb", "requests", "starlette", "salesforce_localorg")
    script = (
        "import sys, pytest; before = set(sys.modules); import airflow_sfcc.testing; "
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_pytest_shows_of_a_failing_test_has_no_lines_of_the_orgs_server(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import logging, requests\n"
        "def test_it(sfcc_org):\n"
        "    requests.get(f'{sfcc_org.url}/services/data', timeout=20)\n"
        "    logging.getLogger('mine').info('a line of my own')\n"
        "    assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--log-level=INFO"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120).stdout
    assert "a line of my own" in shown
    assert "uvicorn" not in shown


def test_an_org_tells_the_time_that_the_test_set(start_sfcc_org: StartOrg) -> None:
    org = start_sfcc_org()
    org.set_time(datetime(2026, 3, 1, 2, tzinfo=timezone.utc))
    (account,) = org.insert("Account", {"Name": "Acme"})
    client = connect(org.url, org.connection["login"], org.connection["password"])
    (record,) = client.query("SELECT CreatedDate FROM Account WHERE Id = :id", {"id": account})
    assert record["CreatedDate"].startswith("2026-03-01T02:00:0")


def test_orgs_behind_different_connections_do_not_mix(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path
) -> None:
    """An incremental extract goes on from what its own org left, and refuses what another one did."""
    from airflow.sdk import DAG

    from airflow_sfcc.operators import SalesforceExtractOperator

    def state(conn_id: str) -> str:
        start_sfcc_org(rows={"Account": 3}, conn_id=conn_id)
        with DAG(f"from_{conn_id}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
            SalesforceExtractOperator(
                task_id="extract", sobject="Account", destination=f"file://{tmp_path}", mode="incremental",
                salesforce_conn_id=conn_id,
            )  # fmt: skip
        return run_dag(dag).state

    assert [state(conn_id) for conn_id in ("sfcc_here", "sfcc_there", "sfcc_here")] == ["success", "failed", "success"]


def test_an_org_may_be_logged_in_to_with_a_private_key(start_sfcc_org: StartOrg) -> None:
    from airflow_sfcc.hooks import SalesforceClientCredentialsHook

    org = start_sfcc_org(records={"Account": [{"Name": "Acme"}]}, flow="jwt")
    assert "PRIVATE KEY" in org.connection["password"]
    assert SalesforceClientCredentialsHook().query_all("SELECT Name FROM Account") == [{"Name": "Acme"}]
    with pytest.raises(ValueError, match="'client-credentials' or 'jwt'"):
        start_sfcc_org(flow="password")  # type: ignore[arg-type]


def test_a_route_that_the_org_does_not_have_is_an_error(start_sfcc_org: StartOrg) -> None:
    org = start_sfcc_org()
    with pytest.raises(ValueError, match=r"no route 'queyr'. Did you mean query"):
        org.fail("queyr", status=503)
    with pytest.raises(ValueError, match=r"no route 'job_creat'. Did you mean job_create"):
        org.calls("job_creat")
    with pytest.raises(ValueError, match=r"no route 'query\|query_all'"):  # a count is of one route
        org.calls("query|query_all")
    assert org.calls("job_create") == 0


def test_a_fault_that_no_call_meets_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import requests\n"
        "def test_unmet(sfcc_org):\n"
        "    sfcc_org.fail('job_create', status=503)\n"
        "def test_met(sfcc_org):\n"
        "    sfcc_org.fail('versions|query', status=503)\n"
        "    assert requests.get(f'{sfcc_org.url}/services/data', timeout=20).status_code == 503\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120).stdout
    assert "No call met the fault on job_create" in shown
    assert "2 passed, 1 error" in shown


def test_a_run_tells_what_its_failed_tasks_raised(start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path) -> None:
    from airflow.sdk import DAG

    from airflow_sfcc.operators import SalesforceExtractOperator

    start_sfcc_org(rows={"Account": 3})
    with DAG("telling", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        SalesforceExtractOperator.partial(task_id="extract", destination=f"file://{tmp_path}/{{sobject}}").expand(
            sobject=["Accont", "Account"]
        )
    run = run_dag(dag)
    assert run.state == "failed" and list(run.errors) == ["extract[0]"]
    assert run.error and run.error.startswith("AirflowFailException: ") and "Accont" in run.error
    with DAG("well", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        SalesforceExtractOperator(task_id="extract", destination=f"file://{tmp_path}/{{sobject}}", sobject="Account")
    assert run_dag(dag).error is None
