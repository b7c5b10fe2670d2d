"""A worker whose tasks can be killed: a process that imports once, and forks for each try, as Airflow's supervisor does.

It reads lines `DESTINATION STORE TRY` and answers `started PID`, then, when the try has ended, `ended STATUS`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import airflow_sfcc.extract.extraction
import airflow_sfcc.hooks  # noqa: F401  (imported before the fork, so that a try is quick)
from tests.surface.test_durable import PAGE_ROWS, Store, TaskInstance


class FileStore(Store):
    """The task state store in a file, since it outlives the worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value)
        self._write()

    def delete(self, key: str) -> None:
        super().delete(key)
        self._write()

    def _write(self) -> None:
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self.values))
        written.replace(self._path)


def run_try(destination: str, store: str, try_number: str) -> None:
    kept = FileStore(Path(store))
    task = TaskInstance(Path(), url=destination, store=kept, try_number=int(try_number) - 1, max_tries=9)
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
