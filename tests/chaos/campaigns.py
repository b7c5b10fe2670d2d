"""The campaigns: in each, one thing is done to extracts over and over, at other points each time, by one seed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from upath import UPath

from airflow_sfcc.extract.manifests import read_files, read_manifests
from tests.chaos.faults import CALLS, DISKS, NETWORK, OF_LATER_VERSIONS, POINTS
from tests.chaos.harness import Chaos, ViolationError, contents
from tests.extract.runs import read_rows

FULL: dict[str, Any] = {}
INCREMENTAL: dict[str, Any] = {"mode": "incremental", "lag": 0}
MODES = {"full": FULL, "incremental": INCREMENTAL}


def killed(chaos: Chaos) -> None:
    """SIGKILL at any time, or inside the commit; the retry lands everything, and again over what was committed."""
    path, url = chaos.destination()
    options = chaos.chance.choice(list(MODES.values()))
    if chaos.chance.random() < 0.5:  # there is a version already
        chaos.require_success(chaos.run(url, 1, options), "The first run")
    at = chaos.chance.choice([None, *POINTS])
    attempt = chaos.start(url, 2, options, clear=1, die_at=at, call=chaos.chance.randint(1, CALLS.get(at or "", 1)))
    if at is None:
        time.sleep(chaos.chance.uniform(0.1, 1.2))
        attempt.signal(signal.SIGKILL)
    attempt.wait()
    chaos.faults[f"killed {at or 'at any time'}"] += 1
    chaos.require_success(chaos.run(url, 3, options, clear=1), "The retry after a kill")
    chaos.check(path)


def paused(chaos: Chaos) -> None:
    """SIGSTOP at any time; the retry runs, and the attempt is woken before, while or after it commits."""
    _paused(chaos, None)


def paused_in_the_commit(chaos: Chaos) -> None:
    """The same at each point inside the commit."""
    _paused(chaos, list(POINTS)[chaos.rounds % len(POINTS)])


def _paused(chaos: Chaos, point: str | None) -> None:
    path, url = chaos.destination()
    options = chaos.chance.choice(list(MODES.values()))
    if chaos.chance.random() < 0.5 or point in OF_LATER_VERSIONS:
        chaos.require_success(chaos.run(url, 1, options), "The first run")
    call = chaos.chance.randint(1, CALLS.get(point or "", 1))
    older = chaos.start(url, 2, options, clear=1, stop_at=point, call=call)
    if point is None:
        time.sleep(chaos.chance.uniform(0.1, 1.2))
        older.signal(signal.SIGSTOP)
    elif older.wait(or_stopped=True) != "stopped":
        point = f"{point} (not reached)"
    chaos.faults[f"paused {point or 'at any time'}"] += 1
    newer = chaos.start(url, 3, options, clear=1)
    wake = chaos.chance.choice(["while", "after"])
    if wake == "while":
        time.sleep(chaos.chance.uniform(0.2, 1.0))
        older.signal(signal.SIGCONT)
    ended = newer.wait()
    older.signal(signal.SIGCONT)
    woken = older.wait()
    chaos.require_success(ended, f"A healthy retry, of an attempt that was paused {point} and ended so: {woken},")
    if woken not in ("0", "killed") and "ConcurrentRunError" not in woken:
        chaos.faults[f"woken: {woken[:60]}"] += 1
    chaos.check(path)


def disks(chaos: Chaos) -> None:
    """A disk that is full, read-only or broken from some write on: what was committed stays, and a retry lands all."""
    path, url = chaos.destination()
    options = chaos.chance.choice(list(MODES.values()))
    has_version = chaos.chance.random() < 0.5
    if has_version:
        chaos.require_success(chaos.run(url, 1, options), "The first run")
    before = contents(path)
    kind = chaos.chance.choice(list(DISKS))
    ended = chaos.run(url, 2, options, clear=1, disk=kind, call=chaos.chance.randint(1, 30))
    chaos.faults[kind] += 1
    if ended != "0" and has_version:
        chaos.check(path, tidy=False)
    elif ended != "0":
        chaos.require_untouched(path, before)
    chaos.require_success(chaos.run(url, 3, options, clear=1), "The retry on a good disk")
    chaos.check(path)


def double_starts(chaos: Chaos) -> None:
    """Two attempts at once, of the same try or of two; at least one commits, and what is there is whole."""
    path, url = chaos.destination()
    options = chaos.chance.choice(list(MODES.values()))
    if chaos.chance.random() < 0.3:
        chaos.require_success(chaos.run(url, 1, options), "The first run")
    first = chaos.start(url, 2, options, clear=1)
    time.sleep(chaos.chance.choice([0, chaos.chance.uniform(0, 0.9)]))
    second = chaos.start(url, chaos.chance.choice([2, 3]), options, clear=1)
    chaos.faults["double start"] += 1
    ended = [first.wait(), second.wait()]
    if "0" not in ended:
        raise ViolationError(f"Of two attempts none committed: {ended}")
    for each in ended:
        if each != "0" and "ConcurrentRunError" not in each:
            chaos.faults[f"the other one: {each[:60]}"] += 1
    chaos.check(path)


def network(chaos: Chaos) -> None:
    """Responses to result pages that break off, come twice, or are another page's; until an attempt succeeds."""
    path, url = chaos.destination()
    chaos.network.done.clear()
    chaos.network.pages.clear()
    chaos.network.kinds = chaos.chance.sample(list(NETWORK), chaos.chance.randint(1, len(NETWORK)))
    chaos.network.rate = chaos.chance.choice([0.05, 0.2, 0.5])
    try:
        for try_number in range(1, 5):
            if chaos.run(url, try_number) == "0":
                break
        else:
            chaos.network.rate = 0.0
            chaos.require_success(chaos.run(url, 5), "A try over a good network")
    finally:
        chaos.network.rate = 0.0
        chaos.faults.update(chaos.network.done)
    chaos.check(path)


class _Reader:
    """Looks by manifest every few milliseconds, as a warehouse's job would; what it sees must be one whole version."""

    def __init__(self, path: UPath, expected: int) -> None:
        self._path, self._expected = path, expected
        self._stop = threading.Event()
        self.looks = 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.003) and self.problem is None:
            try:
                self._look()
            except Exception as problem:
                self.problem = f"{type(problem).__name__}: {problem}"

    def _look(self) -> None:
        manifests = read_manifests(self._path)
        if len(manifests) != 1:
            self.problem = f"{len(manifests)} extracts are seen instead of one"
            return
        folder = self._path / f"extract={manifests[0]['extract_id']}"
        rows = read_files(manifests[0], lambda manifest: read_rows(folder, manifest), self._path)
        names = {row["LastName"] for row in rows}
        self.looks += 1
        if len({row["Id"] for row in rows}) != len(rows) or len(rows) != self._expected or len(names) != 1:
            self.problem = f"{len(rows)} rows of {len(names)} versions are seen"

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)


def readers(chaos: Chaos) -> None:
    """Re-runs replace a version while a reader looks."""
    path, url = chaos.destination()

    def change(number: int) -> None:
        chaos.org.records.raw().execute(f'UPDATE "Contact" SET "LastName" = \'version {number}\'')

    change(0)
    chaos.require_success(chaos.run(url, 1), "The first run")
    reader = _Reader(path, len(chaos.ids))
    try:
        for number in range(2, 6):
            change(number)
            chaos.faults["re-run while it is read"] += 1
            chaos.require_success(chaos.run(url, number, clear=number), "A re-run while it is read")
    finally:
        reader.end()
    chaos.faults["looks"] += reader.looks
    if reader.problem:
        raise ViolationError(f"A reader by manifest: {reader.problem}")
    chaos.check(path)


CAMPAIGNS: dict[str, Callable[[Chaos], None]] = {
    "killed": killed,
    "paused": paused,
    "paused-in-commit": paused_in_the_commit,
    "disks": disks,
    "double-starts": double_starts,
    "network": network,
    "readers": readers,
}
