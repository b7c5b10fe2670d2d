"""The rows of a change in the order of their Ids, in parts that can be sorted within the memory limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_sfcc.load.scratch import Scratch, literal
from airflow_sfcc.load.targets import Change

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUES = 4_000_000
"""Values that are sorted at once. DuckDB sorts whole rows, and runs out of a limit of 256 MB somewhat above this."""

_SAMPLE = 10_000


def parts_of(scratch: Scratch, change: Change) -> list[str]:
    """SELECTs whose results, one after another, are the rows of the change in their order."""
    if not change.order:
        return [change.rows]
    width = len(scratch.columns(f"({change.rows})"))
    number = math.ceil(scratch.value(f"SELECT count(*) FROM ({change.rows})") * width / MOST_VALUES)
    bounds = [literal(each) for each in _bounds(scratch, change.rows, number)] if number > 1 else []
    conditions = [
        " AND ".join(
            [
                *([f'"Id" >= {bounds[place - 1]}'] if place else []),
                *([f'"Id" < {bounds[place]}'] if bounds[place:] else []),
            ]
        )
        for place in range(len(bounds) + 1)
    ]
    return [
        f"SELECT * FROM ({change.rows}){f' WHERE {condition}' if condition else ''} ORDER BY {change.order}"
        for condition in conditions
    ]


def batches_of(scratch: Scratch, change: Change, rows: int) -> Iterator[pa.RecordBatch]:
    """The same as Arrow, a part at a time."""
    for part in parts_of(scratch, change):
        yield from scratch.batches(part, rows)


def _bounds(scratch: Scratch, rows: str, number: int) -> list[str]:
    """Ids that divide the rows into about as many parts."""
    found = scratch.rows(
        f'SELECT "Id" FROM (SELECT "Id" FROM ({rows})) USING SAMPLE reservoir({_SAMPLE} ROWS) REPEATABLE (1)'
    )
    ids = sorted(str(each) for (each,) in found)
    return sorted({ids[len(ids) * place // number] for place in range(1, number)})
