"""A worker whose tasks can be killed: a process that imports once, and forks for each try, as Airflow's supervisor does.

It reads lines `DESTINATION TRY` and answers `started PID`, then, when the try has ended, `ended STATUS`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import airflow_sfcc.extract.extraction
import airflow_sfcc.hooks  # noqa: F401  (imported before the fork, so that a try is quick)
from tests.surface.test_durable import PAGE_ROWS, TaskInstance


def run_try(destination: str, try_number: str) -> None:
    task = TaskInstance(Path(), url=destination, try_number=int(try_number) - 1, max_tries=9)
    task.run(parallel_pages=2, retries=9, page_size=PAGE_ROWS)


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                run_try(*line.split())
                status = 0
            finally:
                os._exit(status)
        print("started", pid, flush=True)
        print("ended", os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
