"""`make scale-test`: the task group on one and on two Celery workers, then with one killed; on Debian's PostgreSQL and Redis.

The local org throttles each connection, as Salesforce does, so that what is measured is waiting for bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import requests

from airflow_sfcc.timestamps import timestamp
from dev.celery_worker_name import WORKER_NAME
from dev.commands import CommandError, run, succeeds
from dev.errors import HarnessError
from dev.local_airflow import LocalAirflow
from dev.local_org import LocalOrgProcess
from dev.ports import free_port
from dev.processes import stop_on_signals
from dev.progress import Progress

DAG_ID = "scale"
SHARES = 8
LEAST_GAIN = 1.8
ROWS_PER_BYTE_A_SECOND = 15
ONE_DELETED_IN = 100  # of the rows that a local org generates
READY_SECONDS = 120.0
MIDDLE_SECONDS = 600.0
DAG = f"""
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG
from airflow_sfcc.taskgroups import salesforce_extract
with DAG("{DAG_ID}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    salesforce_extract(
        "extract", sobject="Opportunity", fields=["Id", "StageName", "CreatedDate"], shares={SHARES},
        destination="file://LANDING", parallel_pages=1, default_args={{"retries": 3, "retry_delay": timedelta(seconds=1)}},
    )
"""


class CeleryAirflow(LocalAirflow):
    """A local Airflow whose tasks run in Celery workers, each one task at a time."""

    def __init__(self, home: Path, dags: Path) -> None:
        self._postgres, self._redis = free_port(), free_port()
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow@127.0.0.1:{self._postgres}/postgres",
            "CELERY__BROKER_URL": f"redis://127.0.0.1:{self._redis}/0",
            "CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://airflow@127.0.0.1:{self._postgres}/postgres",
            "CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_DETECTION_INTERVAL": "5",
        }
        super().__init__(home, dags, extra_env={f"AIRFLOW__{name}": value for name, value in settings.items()})

    def migrate(self, *, timeout: float = 180.0) -> None:
        """The servers first: the database is PostgreSQL's."""
        data = Path(tempfile.mkdtemp(prefix="sfcc-scale-postgres-"))
        (programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        if as_postgres:
            shutil.chown(data, "postgres", "postgres")
        self._database = data
        run(*as_postgres, str(programs / "initdb"), "-D", str(data / "db"), "-U", "airflow", "--auth=trust", cwd=data)
        serve = [str(programs / "postgres"), "-D", str(data / "db"), "-p", str(self._postgres), "-k", str(data)]
        self.processes.start("postgres", [*as_postgres, *serve], self.env)
        redis = [
            "redis-server",
            "--port",
            str(self._redis),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(data),
            "--set-proc-title",
            "no",
        ]
        self.processes.start("redis", redis, self.env)
        ready = [str(programs / "pg_isready"), "--host", "127.0.0.1", "--port", str(self._postgres)]
        self._until(lambda: succeeds(*ready), READY_SECONDS, lambda: "PostgreSQL did not start.")
        super().migrate(timeout=timeout)

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(getattr(self, "_database", ""), ignore_errors=True)

    def start_worker(self, name: str) -> None:
        """Start a worker, which gives its own name as the host of its task instances, and wait until it takes tasks."""
        arguments = ("celery", "worker", "--concurrency", "1", "--skip-serve-logs", "--celery-hostname", f"{name}@%h")
        host = {"AIRFLOW__CORE__HOSTNAME_CALLABLE": "dev.celery_worker_name.worker_name", WORKER_NAME: name}
        self.processes.start(name, self._airflow(*arguments), {**self.env, **host})
        self._until(
            lambda: f"{name}@" in self._celery_log(name) and " ready." in self._celery_log(name),
            READY_SECONDS,
            lambda: f"{name} took no tasks within {READY_SECONDS:.0f} s. Its log: {self.processes.log_file(name)}",
        )

    def kill_at_work(self, name: str, run_id: str) -> None:
        """Kill a worker that has ended a download, half way through another one."""
        self._until(
            lambda: _is_half_way([each for each in downloads(self, run_id) if each["hostname"] == name]),
            MIDDLE_SECONDS,
            lambda: f"{name} was at no second download within {MIDDLE_SECONDS:.0f} s; with fewer rows, lower the rate",
        )
        self.processes.kill(name)

    def _celery_log(self, name: str) -> str:
        return self.processes.log_file(name).read_text(errors="replace")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make scale-test")
    parser.add_argument("--rows", type=int, default=5_000_000)
    rate = "of each connection, as packed by gzip; by default such that any number of rows takes about as long"
    parser.add_argument("--bytes-per-second", type=int, help=rate)
    options = parser.parse_args()
    stop_on_signals()
    progress = Progress()
    folder = Path(tempfile.mkdtemp(prefix="sfcc-scale-"))
    try:
        rate_limit = options.bytes_per_second or options.rows // ROWS_PER_BYTE_A_SECOND
        measure(folder, options.rows, rate_limit, progress)
    except (HarnessError, requests.RequestException) as problem:
        for bulky in ("org", "landing"):
            shutil.rmtree(folder / bulky, ignore_errors=True)
        progress.say(f"The scale test failed: {problem}\nIts logs are kept in {folder}.", "red")
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        return 130
    shutil.rmtree(folder)
    return 0


def measure(folder: Path, rows: int, bytes_per_second: int, progress: Progress) -> None:
    (folder / "dags").mkdir()
    (folder / "dags" / "scale.py").write_text(DAG.replace("LANDING", str(folder / "landing")))
    generated = rows + 2 * rows // ONE_DELETED_IN  # at least `rows` are outside the recycle bin
    org = LocalOrgProcess(folder / "org", rows={"Account": 1000, "Opportunity": generated})
    airflow = CeleryAirflow(folder / "airflow", folder / "dags")
    try:
        org.start()
        with ExitStack() as cleanup:
            with progress.step("PostgreSQL, Redis and Airflow"):
                cleanup.enter_context(airflow)
            with progress.step(f"The org with {generated:,} records"):
                org.wait_until_ready(timeout=1800)
            expected = org.record_counts(["Opportunity"])["Opportunity"]
            progress.say(f"{expected:,} rows, {bytes_per_second:,} bytes/s for each connection, {os.cpu_count()} cores")
            throttle = {"route": "job_results", "bytes_per_second": bytes_per_second, "times": None}
            requests.post(f"{org.url}/_org/faults", json=throttle, timeout=30).raise_for_status()
            airflow.api.put_connection("sfcc_default", org.connection)
            airflow.start_worker("worker-1")
            run = partial(extract, airflow, folder, expected, progress)
            one = run("one worker")
            airflow.start_worker("worker-2")
            two = run("two workers", workers=2)
            progress.say(f"Two workers beat one by {one / two:.2f}x")
            run("two workers, one killed in the middle", kill="worker-2", workers=2)
            if one / two < LEAST_GAIN:
                raise CommandError(f"Two workers should beat one by {LEAST_GAIN}x at least.")
    finally:
        org.stop()


def extract(
    airflow: CeleryAirflow,
    folder: Path,
    expected: int,
    progress: Progress,
    what: str,
    *,
    workers: int = 1,
    kill: str | None = None,
) -> float:
    """Run the DAG, check every row, and return how many seconds the downloads took, first start to last end."""
    run_id = airflow.trigger(DAG_ID)
    with progress.step(f"Run with {what}"):
        if kill:
            airflow.kill_at_work(kill, run_id)
        if airflow.wait(DAG_ID, run_id, timeout=3600) != "success":
            raise CommandError(f"{what}: the run failed; see {airflow.logs}")
    result = airflow.xcom(DAG_ID, run_id, "extract.commit")
    manifest = json.loads(Path(result["manifest"].removeprefix("file://")).read_text())
    files = [Path(result["path"].removeprefix("file://")) / file["path"] for file in manifest["files"]]
    ids = [pq.read_table(file, columns=["Id"])["Id"] for file in files]
    landed = len(set().union(*(column.to_pylist() for column in ids)))
    if not sum(map(len, ids)) == landed == manifest["rows"] == expected:
        raise CommandError(
            f"{what}: {landed:,} rows landed, {manifest['rows']:,} in the manifest, {expected:,} in the org"
        )
    done = downloads(airflow, run_id)
    seconds = (
        max(timestamp(each["end_date"]) for each in done) - min(timestamp(each["start_date"]) for each in done)
    ).total_seconds()
    again = sum(each["try_number"] > 1 for each in done)
    pages: Counter[str] = Counter()
    for each in done:
        share = airflow.xcom(DAG_ID, run_id, "extract.download", map_index=each["map_index"])
        pages[each["hostname"]] += len(share["pages"])
    spread = ", ".join(f"{number} pages by {worker}" for worker, number in sorted(pages.items()))
    took = f"downloads took {seconds:.0f} s; {spread}; {again} needed a second attempt"
    progress.say(f"{what}: {landed:,} rows, exactly those of the org; {took}")
    if len(pages) != workers or bool(again) != bool(kill):
        raise CommandError(f"{what}: the downloads were not where they should be: {spread}, {again} retried")
    shutil.rmtree(folder / "landing")
    return float(seconds)


def downloads(airflow: LocalAirflow, run_id: str) -> list[dict[str, Any]]:
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
    found = airflow.api.call("GET", path.replace("+", "%2B"), params={"limit": 100})["task_instances"]
    return [each for each in found if each["task_id"] == "extract.download" and each["map_index"] >= 0]


def _is_half_way(at_worker: list[dict[str, Any]]) -> bool:
    """Whether a running download has taken half of what one that ended took."""
    took = [each["duration"] for each in at_worker if each["state"] == "success"]
    started = [timestamp(each["start_date"]) for each in at_worker if each["state"] == "running"]
    now = datetime.now(timezone.utc)
    return bool(took and started) and (now - started[0]).total_seconds() > min(took) / 2


if __name__ == "__main__":
    sys.exit(main())
