"""Many extracts one after another, and 20 at once, in one process: what it holds afterwards is what it held early on.

python -m tests.chaos.soak URL FOLDER EXTRACTS      prints memory, handles and threads as one line of JSON
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from upath import UPath

from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.salesforce import connect
from tests.conftest import KEY, SECRET
from tests.extract.runs import run_identity, wait_for_job

EARLY = 20
AT_ONCE = 20


def one(url: str, folder: Path, number: int) -> None:
    client = connect(host=url, consumer_key=KEY, consumer_secret=SECRET)
    destination = UPath(folder / str(number % 50))
    request = Request(sobject="Contact", fields=["Id", "LastName", "Email"], api=("bulk", "rest")[number % 2])
    extraction = Extraction(client, destination, make_plan(client, request, run_identity(str(number)), destination))
    extraction.start()
    wait_for_job(extraction)
    extraction.commit(extraction.land())


def held() -> dict[str, int]:
    """Memory in KiB, open handles, threads."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "memory": int(memory.split()[1]),
        "handles": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "threads": threading.active_count(),
    }


def main() -> None:
    url, folder, extracts = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    figures: dict[str, Any] = {}
    for number in range(extracts):
        one(url, folder, number)
        if number + 1 == EARLY:
            figures["early"] = held()
    figures["late"] = held()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: one(url, folder, number), range(extracts, extracts + AT_ONCE)))
    figures["after 20 at once"] = held()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
