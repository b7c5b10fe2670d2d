"""dlt: a resource of Arrow tables with a primary key and a column that marks deletions, merged into a table."""

from __future__ import annotations

import os

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "SCHEMA__NAMING": "direct", "RUNTIME__LOG_LEVEL": "ERROR"}

from collections.abc import Callable, Iterator
from typing import Any

import dlt
import pyarrow as pa
from changes import DELETED, base_batches, changes
from measured import Task, main

TABLE, DATASET = "Account", "crm"


def prepare(task: Task) -> Callable[[], int]:
    pipeline = dlt.pipeline(
        "bench",
        destination=_destination(task),
        dataset_name=DATASET,
        pipelines_dir=f"{task['folder']}/pipelines",
    )

    def rows_of_work() -> Iterator[pa.Table]:
        if not task["first"]:
            yield changes(task["extracts"])
            return
        for batch in base_batches(task["extracts"]):
            table = pa.Table.from_batches([batch])
            yield table.append_column(DELETED, pa.array([False] * batch.num_rows))

    # Delta has one strategy, `upsert`; the databases' usual one deletes and inserts.
    strategy = "upsert" if task["format"] == "delta" else "delete-insert"
    disposition: Any = "append" if task["first"] else {"disposition": "merge", "strategy": strategy}
    resource = dlt.resource(
        rows_of_work,
        name=TABLE,
        primary_key="Id",
        write_disposition=disposition,
        columns={DELETED: {"hard_delete": True}},
        table_format="delta" if task["format"] == "delta" else None,
    )

    def work() -> int:
        pipeline.run(resource).raise_on_failed_jobs()
        return _count(pipeline, task)

    return work


def _destination(task: Task) -> Any:
    if task["format"] == "delta":
        return dlt.destinations.filesystem(bucket_url=f"file://{task['place']}")
    if task["format"] == "duckdb":
        return dlt.destinations.duckdb(task["place"])
    return dlt.destinations.postgres(task["place"])


def _count(pipeline: Any, task: Task) -> int:
    if task["format"] == "delta":
        from deltalake import DeltaTable

        actions = DeltaTable(f"{task['place']}/{DATASET}/{TABLE}").get_add_actions(flatten=True)
        return sum(pa.table(actions)["num_records"].to_pylist())
    with pipeline.sql_client() as client:
        (row,) = client.execute_sql(f'SELECT count(*) FROM {DATASET}."{TABLE}"')
        return int(row[0])


main(prepare)
