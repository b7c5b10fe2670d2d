"""delta-rs by itself: its MERGE by Id, or a table written from a stream of rows."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from changes import DELETED, base_batches, base_files, changes
from deltalake import DeltaTable, write_deltalake
from measured import Task, main


def prepare(task: Task) -> Callable[[], int]:
    def rows() -> int:
        return sum(pa.table(DeltaTable(task["place"]).get_add_actions(flatten=True))["num_records"].to_pylist())

    def first() -> int:
        schema = pq.read_schema(base_files(task["extracts"])[0])
        write_deltalake(task["place"], pa.RecordBatchReader.from_batches(schema, base_batches(task["extracts"])))
        return rows()

    def merge() -> int:
        source = changes(task["extracts"])
        columns = {f"`{name}`": f"s.`{name}`" for name in source.schema.names if name != DELETED}
        (
            DeltaTable(task["place"])
            .merge(source, "t.`Id` = s.`Id`", source_alias="s", target_alias="t")
            .when_matched_delete(f"s.`{DELETED}`")
            .when_matched_update(columns, "s.`SystemModstamp` > t.`SystemModstamp`")
            .when_not_matched_insert(columns, f"NOT s.`{DELETED}`")
            .execute()
        )
        return rows()

    return first if task["first"] else merge


main(prepare)
