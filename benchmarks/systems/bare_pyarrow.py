"""The ceiling: the same pages as local files, unpacked, parsed and written as typed zstd Parquet, with no check at all.

One process, two threads, each with a page of its own; the types are the ones that our files have.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from isal import igzip
from measured import Task, main

TYPES = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "date32": pa.date32(),
    "timestamp[ms, UTC]": pa.timestamp("ms", tz="UTC"),
}


def prepare(task: Task) -> Callable[[], int]:
    schema = pa.schema([(name, TYPES[kind]) for name, kind in task["types"].items()])
    convert = pa_csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
    )
    read = pa_csv.ReadOptions(block_size=task.get("block_bytes", 4 * 1024 * 1024), use_threads=False)
    parse = pa_csv.ParseOptions(newlines_in_values=True)

    def page(path: str) -> int:
        target = Path(task["folder"]) / f"{Path(path).stem}.parquet"
        with igzip.open(path, "rb") as file, pq.ParquetWriter(target, schema, compression="zstd") as writer:
            table = pa.Table.from_batches(list(pa_csv.open_csv(file, read, parse, convert)))
            writer.write_table(table)
            return int(table.num_rows)

    def work() -> int:
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(page, task["page_files"]))

    return work


main(prepare)
