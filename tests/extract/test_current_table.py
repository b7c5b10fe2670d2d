"""The SQL in the documentation is the SQL that the package writes."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import duckdb
from upath import UPath

from airflow_sfcc.extract import current_table_sql, register_storage
from tests.conftest import RunningOrg
from tests.extract.runs import extract
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


def test_destinations_with_filesystems_of_their_own_are_read_by_one_connection(
    org: RunningOrg, s3_folder: UPath, tmp_path: Path
) -> None:
    found = {}
    with duckdb.connect(str(tmp_path / "all.duckdb")) as connection:
        for sobject in ("Account", "Contact"):
            options = {**s3_folder.storage_options, "use_listings_cache": sobject == "Account"}
            destination = UPath(str(s3_folder / sobject), **options)
            extract(org, destination, sobject=sobject, mode="incremental", fields=["Name"])
            register_storage(connection, destination)
            connection.execute(f"CREATE TABLE {sobject} AS {current_table_sql(destination)}")
            found[sobject] = connection.execute(f"SELECT count(*) FROM {sobject}").fetchone()
    assert found == {name: (org.org.records.count(name),) for name in ("Account", "Contact")}


def test_a_folder_on_a_disk_needs_no_filesystem(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        register_storage(connection, tmp_path.as_uri())
        assert connection.list_filesystems() == []
