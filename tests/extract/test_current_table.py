"""The SQL in the documentation is the SQL that the package writes."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
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


EVIL = "Id\" FROM x); COPY (SELECT 42) TO '{}'; --"


@pytest.mark.parametrize("where", ["cursor_field", "schema"])
def test_names_in_a_manifest_are_names_and_no_sql(org: RunningOrg, tmp_path: Path, where: str) -> None:
    manifest = extract(org, tmp_path, sobject="Account", mode="incremental", fields=["Name"])
    evil = EVIL.format(tmp_path / "written")
    path = tmp_path / f"extract={manifest['extract_id']}" / "_manifest.json"
    column = {"name": evil, "salesforce_type": "string", "type": "string", "nullable": True}
    changes = {"cursor_field": evil} if where == "cursor_field" else {"schema": [*manifest["schema"], column]}
    path.write_text(json.dumps({**manifest, **changes}))
    with duckdb.connect() as connection, pytest.raises(duckdb.BinderException):
        connection.execute(current_table_sql(str(tmp_path)))
    assert not (tmp_path / "written").exists()


def test_the_current_table_is_of_the_newest_versions_alone(tmp_path: Path) -> None:
    """Files that no manifest lists, copied folders and versions of before count for nothing."""
    world = World(tmp_path, rows=8)
    try:
        for _ in range(3):
            world.wait(FIRST_NIGHT + timedelta(minutes=10) - world.now if not world.nights else timedelta(minutes=1))
            manifest = world.run(run_of(0, FIRST_NIGHT))
        folder = tmp_path / f"extract={manifest['extract_id']}"
        stray = folder / "part-00000-t00009-00009-00000000.parquet"
        table = duckdb.read_parquet(str(folder / manifest["files"][0]["path"])).select(
            "* REPLACE ('stray' AS Name, Id || 'x' AS Id)"
        )
        table.write_parquet(str(stray))
        shutil.copytree(folder, f"{folder}.bak")
        assert manifest["version"] == 3 and world.current_table() == world.table
    finally:
        world.close()
