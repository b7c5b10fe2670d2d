"""Measures one system in its own process, with nothing but the standard library.

A system's script gives `main` a function that prepares (logs in, waits for the job) and returns the work. The task
comes as JSON on the standard input; what was measured goes as one line of JSON to the standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Task = dict[str, Any]


def main(prepare: Callable[[Task], Callable[[], int]]) -> None:
    task = json.loads(sys.stdin.read())
    work = prepare(task)
    idle = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    cpu, start = _cpu(), time.perf_counter()
    rows = work()
    seconds, cpu = time.perf_counter() - start, _cpu() - cpu
    measured = {
        "rows": rows,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "idle_rss_mb": idle,
        "peak_rss_mb": _memory("VmHWM"),
    }
    print("\n" + json.dumps(measured), flush=True)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _memory(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{what}:")]
    return round(int(line.split()[1]) / 1024, 1)
