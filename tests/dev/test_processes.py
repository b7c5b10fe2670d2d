"""Processes that were started together end together, whatever ends the one that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.paths import ROOT
from dev.processes import ProcessGroup

# Starts a process that starts another one in a session of its own, as Airflow's components do, then waits to be killed.
STARTER = """
import os, signal, sys, time
from pathlib import Path
from dev.processes import ProcessGroup

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it starts in the background
home = Path(sys.argv[1])
child = "import subprocess, sys, time; subprocess.Popen(['sleep', '1000'], start_new_session=True); time.sleep(1000)"
ProcessGroup(home, home / "logs").start("component", [sys.executable, "-c", child], os.environ)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_killed_starter_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    group = ProcessGroup(tmp_path, tmp_path / "logs")
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for_members(group, 2)
        starter.send_signal(number)
        starter.wait(timeout=60)
        wait_for_members(group, 0)
    finally:
        starter.kill()
        starter.wait()
        group.end()


def test_a_group_starts_anew_after_its_end(tmp_path: Path) -> None:
    group = ProcessGroup(tmp_path, tmp_path / "logs")
    try:
        for _ in range(2):
            group.start("component", ["sleep", "1000"], {"PATH": "/usr/bin:/bin"})
            wait_for_members(group, 1)
            group.raise_if_any_ended()
            group.end()
            assert not group.members()
    finally:
        group.end()


def wait_for_members(group: ProcessGroup, wanted: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while len(group.members()) != wanted:
        assert time.monotonic() < deadline, f"{group.members()} instead of {wanted} processes"
        time.sleep(0.1)
