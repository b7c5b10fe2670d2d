"""``make demo``: the DAG ``salesforce_nightly`` in a real Airflow, against a Salesforce org on this machine."""

from __future__ import annotations

import json
import shutil
import sys

import requests

from airflow_sfcc.wording import plural
from dev.airflow_api import TaskState
from dev.errors import HarnessError
from dev.landing import Landed, as_table, differences, landed_by
from dev.local_airflow import LocalAirflow
from dev.local_org import LocalOrgProcess
from dev.org_and_airflow import running
from dev.paths import DAGS, DEV, ROOT
from dev.processes import ProcessGroup, stop_on_signals
from dev.progress import Progress
from dev.run_lock import run_lock
from dev.task_log import reason

LANDING = DEV / "landing"
AIRFLOW_HOME = DEV / "airflow" / "demo"
ORG_HOME = DEV / "org" / "demo"
DAG_ID = "salesforce_nightly"
TABLES = LANDING / "tables"
TABLES_DAG_ID = "salesforce_tables"
RUN_SECONDS = 180.0
# About one percent of them is in the recycle bin, which the nightly extract leaves out.
ROWS = {"Account": 62_000, "Contact": 62_000, "Opportunity": 42_000, "Case": 42_000, "Invoice__c": 21_000}


class DemoFailedError(HarnessError):
    """The run ended, but not with everything landed."""


def main() -> int:
    """Run the demo; 0 only if every object landed with every row the org holds."""
    stop_on_signals()
    progress = Progress()
    try:
        with run_lock(DEV / ".running"):
            _run(progress)
    except KeyboardInterrupt:
        progress.say("Stopped, and so is everything that was started.")
        return 130
    except (HarnessError, requests.RequestException) as problem:
        progress.say(str(problem), "red")
        progress.say(f"Logs of Airflow and its tasks: {AIRFLOW_HOME / 'logs'}; of the org: {ORG_HOME / 'logs'}")
        return 1
    return 0


def _run(progress: Progress) -> None:
    _clean(progress)
    org = LocalOrgProcess(ORG_HOME, rows=ROWS, job_seconds=3.0)
    environment = {
        "AIRFLOW_CONN_SFCC_DEFAULT": json.dumps(org.connection),
        "SFCC_LANDING": f"file://{LANDING}/{{sobject}}",
        "SFCC_TABLES": f"delta+file://{TABLES}/{{sobject}}",
    }
    airflow = LocalAirflow(AIRFLOW_HOME, DAGS, extra_env=environment)
    with running(org, airflow, progress):
        with progress.step(f"Run of {DAG_ID}"):
            run_id, extracts = _run_dag(airflow, progress, DAG_ID)
        landed = landed_by(LANDING, run_id)
        with progress.step("Comparing the landed rows with the org's own counts"):
            in_org = org.record_counts(extract.sobject for extract in landed)
            problems = differences(landed, in_org, extracts=extracts)
        with progress.step(f"Run of {TABLES_DAG_ID}: what changed since is extracted and merged into tables"):
            _run_dag(airflow, progress, TABLES_DAG_ID)
        problems += _tables_differences(landed)
    progress.show(as_table(landed))
    if problems:
        raise DemoFailedError(" ".join(problems))
    _conclude(progress, landed)


def _tables_differences(landed: list[Landed]) -> list[str]:
    """A sentence for each table that does not have the rows that landed; nothing has changed in the org since."""
    from deltalake import DeltaTable

    wanted = {extract.sobject: extract.rows for extract in landed}
    found = {folder.name: DeltaTable(str(folder)).count() for folder in TABLES.iterdir()}
    return [
        f"The table {name} has {plural(rows, 'row')} of {wanted.get(name, 0):,}."
        for name, rows in found.items()
        if rows != wanted.get(name)
    ] + ([] if found else ["No table was loaded."])


def _clean(progress: Progress) -> None:
    """Begin as on a fresh machine: no process and no file of an earlier demo."""
    with progress.step("Clearing what an earlier demo left"):
        for home in (AIRFLOW_HOME, ORG_HOME):
            ProcessGroup(home, home / "logs").end()
        for folder in (AIRFLOW_HOME, ORG_HOME, LANDING):
            if folder.exists():
                shutil.rmtree(folder)


def _run_dag(airflow: LocalAirflow, progress: Progress, dag_id: str) -> tuple[str, int]:
    """Trigger a DAG and follow it to its end; returns its run id and how many mapped tasks it had."""
    run_id = airflow.trigger(dag_id)
    progress.say(f"Triggered {dag_id} as {run_id}; the UI is at {airflow.url}")
    names: dict[tuple[str, int], str] = {}

    def show(task: TaskState) -> None:
        # Airflow knows a mapped task's name from its first run on, and forgets it when an attempt fails.
        if not task.label.isdigit():
            names[task.key] = task.label
        name = names.get(task.key, f"{task.task_id}[{task.label}]")
        if task.state not in {None, "scheduled", "queued"}:
            progress.say(f"  {name:<14} {task.task_id.rpartition('.')[2]:<8} {task.state}")
        if task.state in {"failed", "upstream_failed", "up_for_retry"}:
            log = airflow.task_log(dag_id, run_id, task)
            raise DemoFailedError(f"The task for {name} failed: {reason(log)}\nIts log: {log}")

    if airflow.wait(dag_id, run_id, on_change=show, timeout=RUN_SECONDS) != "success":
        raise DemoFailedError(f"The run {run_id} ended without success.")
    mapped = [task for task in airflow.task_states(dag_id, run_id) if task.map_index >= 0]
    return run_id, len(mapped)


def _conclude(progress: Progress, landed: list[Landed]) -> None:
    rows, objects = plural(sum(extract.rows for extract in landed), "row"), plural(len(landed), "object")
    progress.say(
        f"{rows} of {objects} landed as typed Parquet with manifests, as many as the org holds outside its recycle bin. "
        f"See {LANDING.relative_to(ROOT)}/<Object>/extract=*/",
        "bold green",
    )
    table = (TABLES / "Account").relative_to(ROOT)
    progress.say(f"Current tables are in Delta Lake, in {TABLES.relative_to(ROOT)}; one line reads one:")
    progress.say(
        f"    .venv/bin/python -c 'import deltalake; print(deltalake.DeltaTable(\"{table}\").to_pyarrow_table())'"
    )


if __name__ == "__main__":
    sys.exit(main())
