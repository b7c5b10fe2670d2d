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
