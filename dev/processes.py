"""Processes that are started together and ended together, none left behind.

Airflow's components start processes of their own (workers, supervisors, tasks), some in new process groups, and a
component that crashed leaves them orphaned. So a process is recognised by a mark in its environment, which children
inherit and nobody else carries, not by its parent, group or name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil  # type: ignore[import-untyped]

from dev.errors import HarnessError
from dev.paths import ROOT

MARK = "AIRFLOW_SFCC_STACK"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessDiedError(HarnessError):
    """A process that should keep running has ended; the message says which, how, and where its log is."""


class ProcessGroup:
    """The processes that carry the mark of one folder.

    :param home: the folder the processes work in; it is the mark, so it must belong to this group alone.
    :param logs: where each process's output goes, one ``<name>.log`` per process.
    """

    def __init__(self, home: Path, logs: Path) -> None:
        self.home = home.resolve()
        self.logs = logs
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._watchdog: subprocess.Popen[bytes] | None = None

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start ``command`` in the background, its output in ``<logs>/<name>.log``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._watchdog = self._watchdog or _start_watchdog(self.home)
        with self.log_file(name).open("wb") as log:
            self._started[name] = subprocess.Popen(
                command,
                env=self._marked(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A session of its own keeps the terminal's Ctrl-C from it: end() decides the order.
                start_new_session=True,
            )

    def run(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        timeout: float,
    ) -> None:
        """Run ``command`` to its end; raises :class:`ProcessDiedError` if it fails or takes longer than ``timeout`` seconds."""
        self.start(name, command, env)
        try:
            self._started[name].wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise ProcessDiedError(
                f"{name} did not finish within {timeout:.0f} s. Its log: {self.log_file(name)}"
            ) from None
        self.raise_if_failed(name)
        del self._started[name]

    def kill(self, name: str) -> None:
        """SIGKILL for a process and all below it, as when their machine loses its power; it is no longer expected to run."""
        process = psutil.Process(self._started[name].pid)
        _signal_all([process, *process.children(recursive=True)], signal.SIGKILL)
        self._started.pop(name).wait(timeout=5.0)

    def raise_if_failed(self, name: str) -> None:
        """Raise :class:`ProcessDiedError` with the end of its log if ``name`` ended with a non-zero code."""
        code = self._started[name].poll()
        if code:
            raise ProcessDiedError(
                f"{name} ended with exit code {code}. Its log: {self.log_file(name)}\n{tail(self.log_file(name))}"
            )

    def raise_if_any_ended(self) -> None:
        """Raise :class:`ProcessDiedError` if one of the started processes is no longer running."""
        for name, process in self._started.items():
            self.raise_if_failed(name)
            if process.poll() is not None:
                raise ProcessDiedError(f"{name} ended although it should keep running. Its log: {self.log_file(name)}")

    def end(self, *, grace: float = 8.0) -> None:
        """End every process of this group: SIGTERM, then SIGKILL after ``grace`` seconds.

        Also ends what an earlier, crashed run of the same folder left behind.
        """
        with _signals_held_back():
            _signal_all(self.members(), signal.SIGTERM)
            if not self._wait_until_gone(grace):
                _signal_all(self.members(), signal.SIGKILL)
                self._wait_until_gone(5.0)
            for process in self._started.values():
                process.wait(timeout=5.0)
            self._started.clear()
            if self._watchdog:
                self._watchdog.communicate()
                self._watchdog = None

    def members(self) -> list[psutil.Process]:
        """The running processes that carry this group's mark."""
        return [process for process in psutil.process_iter() if _mark_of(process) == str(self.home)]

    def log_file(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _marked(self, env: Mapping[str, str]) -> dict[str, str]:
        # SPT_NOENV keeps setproctitle, which Airflow uses, from writing its titles over the environment.
        return {**env, MARK: str(self.home), "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}

    def _wait_until_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.members():
            if time.monotonic() > deadline:
                return False
            for process in self._started.values():
                process.poll()
            time.sleep(0.1)
        return True


def _start_watchdog(home: Path) -> subprocess.Popen[bytes]:
    """Start the process that ends the group when this one is gone, even if by SIGKILL: then its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "dev.watchdog", str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file, empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end the program by :class:`KeyboardInterrupt`, so that ``with`` blocks clean up.

    Only the first signal counts: a second one must not interrupt the cleaning up, which is bounded in time.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        _ignore_stop_signals()
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def _mark_of(process: psutil.Process) -> str | None:
    # The environment of other users' processes cannot be read: they are none of ours.
    with suppress(psutil.Error, OSError):
        if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            mark: str | None = process.environ().get(MARK)
            return mark
    return None


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Ignore impatient second signals while processes are being ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = _ignore_stop_signals()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ignore_stop_signals() -> dict[signal.Signals, Any]:
    return {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
