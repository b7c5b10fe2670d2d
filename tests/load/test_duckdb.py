"""What is peculiar to tables in DuckDB files: the room of replaced rows."""

from __future__ import annotations

from pathlib import Path

import duckdb
from upath import UPath

from airflow_sfcc.load.loading import load
from tests.load.made import Made, row
from tests.load.tables import in_duckdb

ROWS = 150_000
"""More than one row group."""


def stored(path: str) -> int:
    """Rows in the file, with those that are deleted."""
    with duckdb.connect(path, read_only=True) as connection:
        found = connection.execute("SELECT estimated_size FROM duckdb_tables() WHERE table_name = 'Account'").fetchone()
        assert found
        return int(found[0])


def test_replaced_rows_give_their_room_back_now_and_then(tmp_path: Path) -> None:
    """Not at each load, which would write most of the file anew for a few scattered changes."""
    loaded, lake = in_duckdb(tmp_path), UPath(tmp_path / "lake")
    Made("base", 10, [row(number, 1) for number in range(ROWS)], full=True).land(lake)
    load(lake, loaded.make("Account"))
    sizes = []
    for number in range(1, 7):
        read = 10 + 10 * number
        changed = [row(each, read - 5) for each in range(number, ROWS, 10)]
        Made(f"night{number}", read, changed, window=(read - 12, read)).land(lake)
        load(lake, loaded.make("Account"))
        sizes.append(stored(loaded.place))
    assert sizes[0] == ROWS + ROWS // 10, "the first nights leave the deleted rows where they are"
    assert max(sizes) < 1.6 * ROWS, "and then they go"
