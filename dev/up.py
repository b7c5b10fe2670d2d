"""``make up``: Airflow with its UI and a local Salesforce org, in the foreground until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from dev.airflow_settings import write_private
from dev.errors import HarnessError
from dev.local_airflow import LocalAirflow
from dev.local_org import LocalOrgProcess
from dev.org_and_airflow import running
from dev.paths import DAGS, DEV
from dev.processes import stop_on_signals
from dev.progress import Progress
from dev.run_lock import run_lock

ROWS = {"Account": 20_000, "Contact": 20_000, "Opportunity": 12_000, "Case": 12_000, "Invoice__c": 12_000}


def main(arguments: list[str] | None = None) -> int:
    """Start everything, say how to use it, and stop it all at Ctrl-C."""
    options = _options(arguments)
    stop_on_signals()
    progress = Progress()
    try:
        org, airflow = _org_and_airflow(options)
        with (
            run_lock(options.home / ".running"),
            running(org, airflow, progress),
            _ready_file(options.ready_file, org, airflow),
        ):
            _explain(progress, org, airflow, options)
            while True:
                time.sleep(1)
                airflow.processes.raise_if_any_ended()
                org.processes.raise_if_any_ended()
    except KeyboardInterrupt:
        progress.say("Stopped.")
        return 0
    except (HarnessError, requests.RequestException) as problem:
        progress.say(str(problem), "red")
        return 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.up", description=__doc__)
    parser.add_argument(
        "--airflow-port",
        type=int,
        default=int(os.environ.get("AIRFLOW_PORT", "8080")),
        help="port of Airflow's UI (default: AIRFLOW_PORT or 8080)",
    )
    parser.add_argument(
        "--org-port",
        type=int,
        default=int(os.environ.get("LOCAL_ORG_PORT", "8711")),
        help="port of the local Salesforce org (default: LOCAL_ORG_PORT or 8711)",
    )
    parser.add_argument("--with-connection", action="store_true", help="sfcc_default is there already")
    parser.add_argument("--home", type=Path, default=DEV, help="folder for what it keeps (default: dev/)")
    parser.add_argument("--ready-file", type=Path, help="write URLs and credentials here (JSON) once all is running")
    return parser.parse_args(arguments)


def _org_and_airflow(options: argparse.Namespace) -> tuple[LocalOrgProcess, LocalAirflow]:
    """Both keep what they hold (connections, runs, records) for the next time."""
    home = options.home.resolve()
    org = LocalOrgProcess(home / "org" / "up", rows=ROWS, port=options.org_port, job_seconds=8.0)
    landing = home / "landing"
    environment = {"SFCC_LANDING": f"file://{landing}/{{sobject}}", "SFCC_DUCKDB": str(landing / "salesforce.duckdb")}
    environment["SFCC_TABLES"] = f"delta+file://{landing}/tables/{{sobject}}"
    if options.with_connection:
        environment["AIRFLOW_CONN_SFCC_DEFAULT"] = json.dumps(org.connection)
    airflow = LocalAirflow(
        home / "airflow" / "up", DAGS, extra_env=environment, port=options.airflow_port, scheduled=True
    )
    return org, airflow


@contextmanager
def _ready_file(file: Path | None, org: LocalOrgProcess, airflow: LocalAirflow) -> Iterator[None]:
    """Write the file that says all is running, and remove it when that ends."""
    if file is None:
        yield
        return
    ready = {
        "url": airflow.url,
        "username": airflow.username,
        "password": airflow.password,
        "pid": os.getpid(),
        "org_url": org.url,
        "connection": org.connection,
    }
    unfinished = file.with_name(file.name + ".part")
    write_private(unfinished, json.dumps(ready))
    unfinished.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _explain(progress: Progress, org: LocalOrgProcess, airflow: LocalAirflow, options: argparse.Namespace) -> None:
    connection = org.connection
    made = (
        "The connection sfcc_default is there already (from the environment, so the UI does not list it)."
        if options.with_connection
        else f"""Make the connection at {airflow.url}/connections (Add Connection):

    Connection ID      sfcc_default
    Connection Type    Salesforce (Client Credentials)
    My Domain          {connection["host"]}
    Port               {org.port}
    Consumer Key       {connection["login"]}
    Consumer Secret    {connection["password"]}"""
    )
    progress.console.print(
        f"""
Airflow is at   {airflow.url}
  user name     {airflow.username}
  password      {airflow.password}

The org is at   {org.url}

{made}

Then trigger the DAG salesforce_nightly. Files land below {_short(options.home / "landing")}. Ctrl-C stops everything.
Unpause salesforce_asset_triggered as well, and it runs whenever accounts have landed. Other DAGs that are unpaused run
at the times of their schedules from now on; no run is made up for.
""",
        markup=False,
    )


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
