"""`airflow-sfcc org` is the local org's own command, for those who have its packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from salesforce_localorg.command import org

from airflow_sfcc.cli import commands


def test_org_takes_the_options_of_salesforce_localorg() -> None:
    told = CliRunner().invoke(commands, ["org", "--help"]).output

    options = {option for parameter in org.params for option in parameter.opts}
    assert not {option for option in options if option not in told}


def test_what_needs_no_local_org_works_without_its_packages(tmp_path: Path) -> None:
    for name in ("salesforce_localorg", "deltalake"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module', name='{name}')")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_sfcc.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            check=False,
        )

    told = run("--help")
    assert told.returncode == 0 and "vacuum" in told.stdout and "needs airflow-sfcc[localorg]" in told.stdout
    for arguments in (["org"], ["org", "--port", "0"], ["org", "--help"]):
        refused = run(*arguments)
        assert refused.returncode == 1 and "'salesforce_localorg'" in refused.stderr
        assert "pip install 'airflow-sfcc[localorg]'" in refused.stderr and "Traceback" not in refused.stderr
    table = run("vacuum", f"delta+file://{tmp_path}")
    assert table.returncode == 1 and "pip install 'airflow-sfcc[delta]'" in table.stderr
    assert "local org" not in table.stderr and "Traceback" not in table.stderr


def test_missing_packages_are_named(tmp_path: Path) -> None:
    (tmp_path / "duckdb.py").write_text("raise ModuleNotFoundError(\"No module named 'duckdb'\", name='duckdb')")

    done = subprocess.run(
        [sys.executable, "-m", "airflow_sfcc.cli", "org", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'airflow-sfcc[localorg]'" in done.stderr
    assert "'duckdb'" in done.stderr
    assert "Traceback" not in done.stderr
