"""A load that is killed (SIGKILL) at any moment: readers see the table before it or after it, and the retry ends exact."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import TableBusyError
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import Mode
from tests.load.made import Made, expected_current, expected_history, id_of, row
from tests.load.tables import KINDS, Loaded, place

KILLS = int(os.environ.get("KILLS", "3"))
"""For each kind of table. `make load-kill-test` tries more."""

ROWS = 20_000


class Worker:
    """Runs loads in processes of their own, one after another."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.load.worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(
        self, task: dict[str, Any], kill_after: float | None = None, meanwhile: Callable[[], None] | None = None
    ) -> int:
        """The load's exit status. With `meanwhile` it is not killed but stopped, and goes on after that."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        pid = self._line("started")
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if meanwhile else signal.SIGKILL)
            if meanwhile:
                meanwhile()
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        return self._line("ended")

    def _line(self, word: str) -> int:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(f"{word} "):
                return int(line.split()[1])
        raise AssertionError("the worker ended")

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def seen(loaded: Loaded, mode: Mode) -> Any:
    if mode == "current":
        return {record_id: found["Name"] for record_id, found in loaded.by_id().items()}
    return {(each["Id"], each["Name"], each["_valid_from"], each["_valid_to"]) for each in loaded.rows()}


def wanted(made: list[Made], mode: Mode) -> Any:
    if mode == "current":
        return {record_id: found["Name"] for record_id, found in expected_current(made).items()}
    return expected_history(made)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((kind, "current") for kind in KINDS), pytest.param("duckdb", "history", marks=pytest.mark.slow)],
)
def test_a_load_killed_at_any_moment(
    kind: str, mode: Mode, worker: Worker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lake, chance = UPath(tmp_path / "lake"), random.Random(11)
    with place(kind, tmp_path, request) as loaded:
        task = {"kind": kind, "lake": str(lake), "place": loaded.place, "mode": mode}
        made = [Made("base", 10, [row(number, 1) for number in range(0, ROWS * 2, 2)], full=True)]
        made[0].land(lake)
        assert worker.run(task) == 0
        before = wanted(made, mode)
        assert seen(loaded, mode) == before
        usual, killed, moved = 0.0, 0, 0
        for number in range(KILLS + 1):
            read = 20 + 10 * number
            numbers = sorted(chance.sample(range(ROWS * 2), 300))
            gone = {id_of(each): read - 2 for each in numbers[::10]}
            made.append(
                Made(f"n{number}", read, [row(each, read - 5) for each in numbers], gone, window=(read - 12, read))
            )
            made[-1].land(lake)
            after = wanted(made, mode)
            if number:
                killed += worker.run(task, chance.uniform(0, usual)) == signal.SIGKILL
                there = seen(loaded, mode)
                assert there in (before, after), "a reader saw a half"
                moved += there == after
                load(lake, loaded.make("Account"), LoadOptions(mode=mode))
            else:
                started = time.monotonic()
                assert worker.run(task) == 0
                usual = time.monotonic() - started
            assert seen(loaded, mode) == after, "the retry is exact"
            before = after
    assert killed, "no load was killed before it ended"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_load_that_wakes_up_beside_another_is_exact_or_refused(
    kind: str, worker: Worker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Its machine slept, or its container was frozen, and the scheduler started the task again meanwhile."""
    lake, chance, refused, loaded_beside = UPath(tmp_path / "lake"), random.Random(5), 0, 0
    with place(kind, tmp_path, request) as loaded:
        task = {"kind": kind, "lake": str(lake), "place": loaded.place, "mode": "current"}
        made = [Made("base", 10, [row(number, 1) for number in range(ROWS)], full=True)]
        made[0].land(lake)
        started = time.monotonic()
        assert worker.run(task) == 0
        usual = time.monotonic() - started
        for number in range(max(3, KILLS // 2)):
            read = 20 + 10 * number
            changed = [row(each, read - 5) for each in sorted(chance.sample(range(ROWS * 2), 300))]
            made.append(Made(f"n{number}", read, changed, {id_of(number): read - 2}, window=(read - 12, read)))
            made[-1].land(lake)
            after = wanted(made, "current")

            def another(after: Any = after) -> None:
                nonlocal refused, loaded_beside
                try:
                    load(lake, loaded.make("Account"))
                except TableBusyError:
                    refused += 1
                else:
                    loaded_beside += 1
                    assert seen(loaded, "current") == after

            worker.run(task, chance.uniform(0, usual), another)
            load(lake, loaded.make("Account"))
            assert seen(loaded, "current") == after
    assert refused + loaded_beside == max(3, KILLS // 2)
