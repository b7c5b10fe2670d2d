"""`airflow-sfcc rotate --store` changes the connection in Airflow's own database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.org_setup.credentials_org import ADMIN, OLD, credentials_org

BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_connection_in_the_database_has_the_new_pair(tmp_path: Path) -> None:
    with credentials_org() as org:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        admin = {"conn_type": "sfcc", "host": org.url, "login": ADMIN[0], "password": ADMIN[1]}
        environment |= {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW_CONN_ADMIN": json.dumps(admin)}
        stored = {
            "conn_type": "sfcc",
            "host": org.url,
            "login": OLD[0],
            "password": OLD[1],
            "extra": {"max_retries": 1},
        }

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(BIN / command[0]), *command[1:]], env=environment, capture_output=True, text=True
            )

        assert run("airflow", "db", "migrate").returncode == 0
        rotate = ("airflow-sfcc", "rotate", "sfcc_default", "--with", "admin", "--store")
        assert "Airflow knows no connection 'sfcc_default'" in run(*rotate).stderr
        assert run("airflow", "connections", "add", "sfcc_default", "--conn-json", json.dumps(stored)).returncode == 0
        done = run(*rotate)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert not [secret for secret in org.secrets() if secret in done.stderr]
        shown = json.loads(run("airflow", "connections", "get", "sfcc_default", "--output", "json").stdout)[0]
        assert (shown["login"], shown["password"]) == org.primary != OLD
        assert str(shown["extra_dejson"]["max_retries"]) == "1" and shown["host"] == org.url
        # A backend that comes before the database: nobody would read what is changed there, and the old pair goes.
        kept, pair = tmp_path / "connections.json", org.primary
        kept.write_text(json.dumps({"sfcc_default": {**stored, "login": pair[0], "password": pair[1]}}))
        environment["AIRFLOW__SECRETS__BACKEND"] = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
        environment["AIRFLOW__SECRETS__BACKEND_KWARGS"] = json.dumps({"connections_file_path": str(kept)})
        refused = run(*rotate)
        assert refused.returncode == 1 and "comes before Airflow's database" in refused.stderr
        assert org.primary == pair and org.staged is None
