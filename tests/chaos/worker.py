"""A worker whose attempts can be killed, paused and broken: it imports once, and forks for each attempt.

It reads lines of JSON (see `Order`) and writes `started PID`; how an attempt ends is in the file that its order names.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import airflow_sfcc.extract.extraction
import airflow_sfcc.hooks  # noqa: F401  (imported before the fork, so that an attempt is quick)
from tests.chaos import faults
from tests.surface.test_durable import TaskInstance


def attempt(order: dict[str, Any]) -> None:
    """One attempt at the task, with what the order says is to be done to it."""
    os.environ["AIRFLOW_CONN_SFCC_DEFAULT"] = json.dumps(order["connection"])
    if order.get("broken"):
        faults.break_build(order["broken"])
    if order.get("stop_at"):
        faults.before(order["stop_at"], faults.stop_itself, order.get("call", 1))
    if order.get("die_at"):
        faults.before(order["die_at"], faults.die, order.get("call", 1))
    if order.get("disk"):
        faults.fail_storage(order["disk"], order["call"])
    task = TaskInstance(
        Path(),
        url=order["destination"],
        try_number=order["try_number"] - 1,
        max_tries=99,
        clear_number=order.get("clear", 0),
    )
    task.run(parallel_pages=2, retries=98, page_size=100, poll_interval=0.02, **order["options"])


def import_early() -> None:
    """What every attempt imports, before the fork, so that an attempt is quick."""
    names = ["airflow.sdk.execution_time.supervisor", "airflow.plugins_manager", "duckdb", "pyarrow.parquet"]
    names += ["airflow_sfcc._airflow.extract_task", "airflow_sfcc.load.loading", "airflow_sfcc.plugin"]
    if "AIRFLOW_CONN_LAKE" in os.environ:
        names += ["s3fs", "aiobotocore.session", "airflow.providers.amazon.aws.fs.s3"]
    for name in names:
        importlib.import_module(name)


def main() -> None:
    import_early()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits: attempts that are paused end when they like
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            ended = "0"
            try:
                attempt(order)
            except BaseException as problem:
                ended = f"1 {type(problem).__name__}: {problem}"
            finally:
                written = Path(f"{order['ended']}.new")
                written.write_text(ended)
                written.rename(order["ended"])
                os._exit(0)
        print("started", pid, flush=True)


if __name__ == "__main__":
    main()
