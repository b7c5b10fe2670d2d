"""The SQL in the documentation is the SQL that the package writes."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import duckdb

from airflow_sfcc.extract import current_table_sql
from tests.quarter.simulation import DAY, FIRST_NIGHT
from tests.quarter.world import World, run_of

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "incremental.md"


def test_the_documented_query_gives_the_current_table(tmp_path: Path) -> None:
    world = World(tmp_path, rows=8)
    try:
        for number in range(3):
            world.wait(FIRST_NIGHT + number * DAY + timedelta(minutes=10) - world.now)
            world.run(run_of(number, FIRST_NIGHT + number * DAY))
            world.hard_delete(world.free[0])
            world.update(world.free[1], {"Name": f"after night {number}"})
        (documented,) = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
        query = documented.replace("landing/Account", str(tmp_path))
        with duckdb.connect() as connection:
            by_hand = connection.execute(query).fetchall()
            written = connection.execute(current_table_sql(tmp_path.as_uri())).fetchall()
        assert sorted(by_hand) == sorted(written) and {row[0] for row in written} == world.table.keys()
    finally:
        world.close()
