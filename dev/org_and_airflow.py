"""The local org and Airflow beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from dev.local_airflow import LocalAirflow
from dev.local_org import LocalOrgProcess
from dev.ports import raise_if_taken
from dev.progress import Progress


@contextmanager
def running(org: LocalOrgProcess, airflow: LocalAirflow, progress: Progress) -> Iterator[None]:
    """Both are started and ready in the block, and stopped after it however it ends."""
    with ExitStack() as cleanup:
        cleanup.callback(org.stop)
        cleanup.callback(airflow.stop)
        cleanup.callback(progress.say, "Stopping Airflow and the org")
        for process in (org, airflow):
            process.stop()  # what an earlier, crashed run left
            raise_if_taken(process.port)
        org.start()
        progress.say(f"A Salesforce org starts at {org.url} and makes its records meanwhile")
        with progress.step("Airflow's database (SQLite)"):
            airflow.migrate()
        with progress.step("Airflow: API server, scheduler, dag-processor, triggerer"):
            airflow.start()
        with progress.step(f"The org with {sum(org.rows.values()):,} records"):
            org.wait_until_ready()
        yield
