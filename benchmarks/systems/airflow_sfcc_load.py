"""This project's loading, without Airflow around it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import Task, main


def prepare(task: Task) -> Callable[[], int]:
    loading = importlib.import_module("airflow_sfcc.load.loading")
    upath = importlib.import_module("upath").UPath
    for name in ("duckdb", "pyarrow.parquet", "numpy"):
        importlib.import_module(name)
    extracts = upath(task["extracts"])
    target = _target(task, extracts, upath)

    def work() -> int:
        return int(loading.load(extracts, target)["rows"])

    return work


def _target(task: Task, extracts: Any, upath: Any) -> Any:
    place, kind = task["place"], task["format"]
    if kind == "delta":
        importlib.import_module("deltalake")
        tables = importlib.import_module("airflow_sfcc.load.delta.table")
        return tables.DeltaTable(upath(place), "Account", source=extracts)
    if kind == "duckdb":
        return importlib.import_module("airflow_sfcc.load.duckdb_table").DuckDBTable(Path(place), "Account")
    psycopg = importlib.import_module("psycopg")
    tables = importlib.import_module("airflow_sfcc.load.postgres_table")
    return tables.PostgresTable(lambda: psycopg.connect(place), "crm", "Account", "Account")


main(prepare)
