"""This project, in a process that has loaded what an Airflow task has loaded."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from measured import Task, main


def prepare(task: Task) -> Callable[[], int]:
    for name in ("airflow.sdk", "airflow.sdk.execution_time.task_runner"):
        importlib.import_module(name)
    if task["format"] == "none":
        return lambda: 0
    importlib.import_module("airflow_sfcc.operators")
    upath = importlib.import_module("upath")
    plans = importlib.import_module("airflow_sfcc.extract.plan.planner")
    extraction_type = importlib.import_module("airflow_sfcc.extract.extraction").Extraction
    connect = importlib.import_module("airflow_sfcc.salesforce").connect
    client = connect(task["url"], task["consumer_key"], task["consumer_secret"])
    request = plans.Request(
        soql=task["soql"], api=task["api"], file_format=task["format"].removesuffix(".gz"), **task.get("options", {})
    )
    run = plans.RunIdentity("bench", "extract", "run", -1, datetime(2026, 11, 23, tzinfo=timezone.utc))
    plan = plans.make_plan(client, request, run)
    extraction = extraction_type(client, upath.UPath(Path(task["folder"])), plan)
    extraction.start()
    while extraction.plan.job_id and extraction.job().is_waiting:
        time.sleep(0.05)

    def work() -> int:
        result: dict[str, Any] = extraction.commit(extraction.land())
        return int(result["rows"])

    return work


main(prepare)
