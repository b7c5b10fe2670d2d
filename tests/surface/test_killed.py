"""A worker that is killed (SIGKILL) at any moment: the retry ends with the org's rows, and fetches no finished page again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from salesforce_localorg.faults import Fault
from salesforce_localorg.records import Records
from upath import UPath

from tests.conftest import RunningOrg
from tests.extract.runs import read_rows
from tests.storages import files_below
from tests.surface.conftest import Connect
from tests.surface.test_durable import PAGE_ROWS

KILLS = int(os.environ.get("KILLS", "3"))
"""For each kind of org. `make kill-test` tries more."""

PAGE_SECONDS = 0.08


class Worker:
    """Runs tries in processes of their own, one after another."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.surface.worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(self, destination: str, try_number: int, *, wait_to_kill: Callable[[], object] | None = None) -> int:
        """The try's exit status; it is killed when `wait_to_kill` returns."""
        assert self._process.stdin
        self._process.stdin.write(f"{destination} {try_number}\n")
        self._process.stdin.flush()
        pid = int(self._answer("started"))
        if wait_to_kill is not None:
            wait_to_kill()
            with suppress(ProcessLookupError):  # it had ended by itself
                os.kill(pid, signal.SIGKILL)
        return int(self._answer("ended"))

    def _answer(self, word: str) -> str:
        """What follows the word; Airflow writes lines of its own."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(f"{word} "):
                return line.split()[1]
        raise AssertionError("the worker ended")

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture
def worker(slow_paged_org: RunningOrg, root_url: str) -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def slow_paged_org(start_org: Callable[..., RunningOrg], connect: Connect, shape: str) -> RunningOrg:
    org = start_org(result_page_rows=PAGE_ROWS, result_pages_shape=shape)
    org.org.faults.add(Fault(route="job_results", times=None, stall_seconds=PAGE_SECONDS, stall_after=400))
    connect(org.url, {"request_timeout": 30})
    return org


def finished_pages(folder: UPath) -> set[str]:
    """What the receipts say was fetched before the kill: path and query of each page."""
    urls = set()
    for name in files_below(folder):
        if not re.fullmatch(r"_staging/[^/]+/[^/]+/page-[^/]+\.json", name):
            continue
        try:
            parts = urlsplit(json.loads((folder / name).read_text())["url"])
        except ValueError:
            continue  # killed while it was written, so the page does not count as finished
        urls.add(f"{parts.path}?{parts.query}")
    return urls


def pages_asked(org: RunningOrg) -> list[str]:
    return [call.path for call in org.org.calls if "/results?" in call.path]


def calls_of(org: RunningOrg) -> int:
    return sum(org.org.calls.counts.values())


def landed_ids(folder: UPath) -> list[str]:
    (name,) = [name for name in files_below(folder) if name.endswith("/_manifest.json")]
    return [row["Id"] for row in read_rows((folder / name).parent, json.loads((folder / name).read_text()))]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", ["documented", pytest.param("absent", marks=pytest.mark.slow)])
def test_a_worker_killed_at_any_moment(
    slow_paged_org: RunningOrg, worker: Worker, records: Records, root: UPath, root_url: str
) -> None:
    org, expected = slow_paged_org, records.count("Contact")
    assert worker.run(f"{root_url}/undisturbed", 1) == 0
    usual = calls_of(org)
    chance = random.Random(5)

    def wait_for_a_moment() -> None:
        """Until the org has had some of a try's usual calls, and a little longer: how fast the machine is does not matter."""
        calls = calls_of(org) + chance.randint(1, usual)
        deadline = time.monotonic() + 60
        while calls_of(org) < calls and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, PAGE_SECONDS))

    killed = saved = 0
    for number in range(KILLS):
        folder, url = root / str(number), f"{root_url}/{number}"
        killed += worker.run(url, 1, wait_to_kill=wait_for_a_moment) == signal.SIGKILL
        finished = finished_pages(folder)
        org.org.calls.clear()  # it keeps the last calls only
        assert worker.run(url, 2) == 0
        assert not finished & set(pages_asked(org)), "a finished page is not fetched again"
        saved += len(finished)
        ids = landed_ids(folder)
        assert len(ids) == len(set(ids)) == expected
        assert not [name for name in files_below(folder) if name.startswith("_staging/")]
    assert killed > KILLS / 2 and saved > KILLS / 2, "the kills came while pages were fetched"
