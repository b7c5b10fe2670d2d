"""Starting the benchmark's org, and knowing what it holds."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_sfcc.extract.model import Request, RunIdentity
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.timestamps import utc_now
from benchmarks.environments import PROJECT
from benchmarks.workload import CONSUMER_KEY, CONSUMER_SECRET, PAGE_ROWS, SOBJECT, soql

START_SECONDS = 300


@dataclass(frozen=True)
class Pages:
    """A complete job's result pages: their URLs, their gzip files on disk, and the size of their text."""

    urls: list[str]
    files: list[str]
    rows: int
    csv_bytes: int


class Org:
    """The org of one benchmark run."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self.client: SalesforceClient = connect(url, CONSUMER_KEY, CONSUMER_SECRET)
        self._pages: dict[int, Pages] = {}

    @property
    def token(self) -> str:
        return str(self.client.auth.token.access_token)

    def pages(self, rows: int) -> Pages:
        """The pages of the query for so many rows; written now if they were not before."""
        if rows not in self._pages:
            job = self.client.bulk.create(soql(rows))
            while self.client.bulk.get(job.id).is_waiting:
                time.sleep(0.2)
            job = self.client.bulk.get(job.id)
            urls = [page.url for page in self.client.bulk.result_pages(job) or ()]
            self._pages[rows] = self._kept(urls, job.records_processed or 0)
        return self._pages[rows]

    def _kept(self, urls: list[str], rows: int) -> Pages:
        for index in (self._folder / "exports").glob("*/export.json"):
            export = json.loads(index.read_text())
            if export["rows"] == rows:
                files = [str(index.parent / name) for name, *_ in export["pages"]]
                return Pages(urls, files, rows, sum(page[2] for page in export["pages"]))
        raise RuntimeError(f"No export of {rows} rows was kept.")

    def warm_rest(self, rows: int) -> None:
        """Run the query once as each kind of client sends it, so that its responses are kept."""
        for page in self.client.query_pages(soql(rows)):
            del page

    def types(self) -> dict[str, str]:
        """The columns and their types, as our files have them."""
        run = RunIdentity("bench", "types", "run", -1, _now())
        plan = make_plan(self.client, Request(soql=soql(1), api="rest"), run)
        return {column.name: column.type for column in plan.columns}

    @contextmanager
    def throttled(self, fault: dict[str, Any]) -> Iterator[None]:
        """Throttle result pages inside a `with` block."""
        session = self.client.session
        session.request("POST", f"{self.url}/_org/faults", json=fault).raise_for_status()
        try:
            yield
        finally:
            session.request("DELETE", f"{self.url}/_org/faults").raise_for_status()


def _now() -> Any:
    from datetime import datetime

    return datetime.fromisoformat(utc_now().replace("Z", "+00:00"))


@contextmanager
def running_org(folder: Path, rows: int, page_rows: int = PAGE_ROWS) -> Iterator[Org]:
    """An org with so many live rows, kept in `folder` for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    counts = json.dumps({"User": 20, SOBJECT: rows + rows // 50 + 100})  # about one in a hundred is deleted
    command = [sys.executable, "-m", "benchmarks.org", "--folder", str(folder), "--rows", counts]
    command += ["--page-rows", str(page_rows), "--ready-file", str(ready)]
    with (folder / "org.log").open("w") as log:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        try:
            yield Org(_wait(process, ready)["url"], folder)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _wait(process: subprocess.Popen[bytes], ready: Path) -> dict[str, Any]:
    for _ in range(START_SECONDS * 5):
        if ready.exists():
            data: dict[str, Any] = json.loads(ready.read_text())
            return data
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"The benchmark's org did not start; see {ready.with_name('org.log')}.")
