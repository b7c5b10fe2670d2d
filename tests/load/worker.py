"""A worker whose loads can be killed: a process that imports once, and forks for each load, as Airflow's supervisor does.

It reads lines of JSON (`kind`, `lake`, `place`, `mode`) and prints `started PID`, then, when the load has ended, `ended STATUS`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import deltalake  # noqa: F401  (imported before the fork, so that a load is quick)
import duckdb  # noqa: F401
import psycopg
import pyarrow.parquet  # noqa: F401
from upath import UPath

import airflow_sfcc.load.delta.rewrite
from airflow_sfcc.load.delta.table import DeltaTable
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.postgres_table import PostgresTable
from airflow_sfcc.load.targets import Target


def target_of(kind: str, place: str) -> Target:
    """The table `Account` in a place of its kind; of PostgreSQL, `port/schema`."""
    if kind == "duckdb":
        return DuckDBTable(Path(place), "Account")
    if kind == "delta":
        setattr(airflow_sfcc.load.delta.rewrite, "FILE_BYTES", 200_000)  # noqa: B010  so that a table has several
        return DeltaTable(UPath(place) / "Account", "Account")
    port, _, schema = place.partition("/")
    return PostgresTable(
        lambda: psycopg.connect(host="127.0.0.1", port=int(port), user="postgres", dbname="postgres"),
        schema,
        "Account",
        "Account",
    )


def run_load(task: dict[str, Any]) -> None:
    load(UPath(task["lake"]), target_of(task["kind"], task["place"]), LoadOptions(mode=task["mode"]))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                run_load(json.loads(line))
                status = 0
            finally:
                os._exit(status)
        print("started", pid, flush=True)
        print("ended", os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
