"""A destination that an earlier version of the package landed, before attempts and versions: extracts go on from it.

`data/landed_before` was written by that version, by the course of events that `events` repeats: a full extract, then two
nights, each in three file formats.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.extract import latest_state, read_manifests
from airflow_sfcc.extract.land.vacuum import vacuum
from airflow_sfcc.extract.model import RunIdentity
from tests.extract.runs import read_rows
from tests.quarter.simulation import DAY, FIRST_NIGHT
from tests.quarter.world import World, run_of

LANDED = Path(__file__).parent / "data" / "landed_before"
FORMATS = ["parquet", "csv", "jsonl"]
FIELDS = ["Id", "Name", "SystemModstamp", "IsDeleted", "Industry", "AnnualRevenue", "NumberOfEmployees"]
NEW_KEYS = ["kind", "dropped_columns", "left_out_fields", "describe", "run_key", "version", "attempt"]


@pytest.fixture(params=FORMATS)
def file_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(tmp_path: Path, file_format: str) -> Iterator[World]:
    world = World(
        tmp_path / file_format, rows=12, request={"file_format": file_format, "fields": FIELDS}, checked=False
    )
    yield world
    world.close()


def until_due(world: World, number: int) -> None:
    due = FIRST_NIGHT + number * DAY
    world.wait(max(timedelta(0), due + timedelta(minutes=10) - world.now))


def events(world: World, *, runs: bool) -> None:
    """What happened; with `runs` it is extracted again, by this version."""
    if runs:
        world.run(RunIdentity("quarter", "refresh", "by hand", -1, world.now), mode="full")
    for number in (0, 1):
        until_due(world, number)
        world.update(world.free[number], {"Name": f"changed before night {number}"})
        world.hard_delete(world.free[5])
        if runs:
            world.run(run_of(number, FIRST_NIGHT + number * DAY))


def landed(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests, by their extracts' folders."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("extract=*/_manifest.json")}


def test_what_lands_first_is_named_and_told_as_before(world: World, tmp_path: Path, file_format: str) -> None:
    events(world, runs=True)
    before, now = landed(LANDED / file_format), landed(tmp_path / file_format)
    assert sorted(before) == sorted(now) and len(now) == 3
    changing = (
        "instance",
        "read_at",
        "deletes",
        "started_at",
        "finished_at",
        "api_calls",
        "soql",
        "bytes",
        "files",
        "deleted_files",
    )
    for folder, manifest in before.items():
        assert [key for key in now[folder] if key not in NEW_KEYS] == list(manifest)
        assert {*now[folder]} - {*manifest} == {*NEW_KEYS}
        assert {key: value for key, value in now[folder].items() if key not in (*changing, *NEW_KEYS)} == {
            key: value for key, value in manifest.items() if key not in changing
        }
        files = [sorted(path.name for path in (root / file_format / folder).iterdir()) for root in (LANDED, tmp_path)]
        assert files[0] == files[1]
        rows = [
            read_rows(UPath(root / file_format / folder), landed(root / file_format)[folder])
            for root in (LANDED, tmp_path)
        ]
        assert rows[0] == rows[1]


def test_incremental_extracts_go_on_from_it(world: World, tmp_path: Path, file_format: str) -> None:
    events(world, runs=False)
    shutil.copytree(LANDED / file_format, tmp_path / file_format)
    state = latest_state(str(tmp_path / file_format))
    assert state.snapshot and state.snapshot["version"] == 1 and len(state.manifests) == 3
    until_due(world, 2)
    world.update(world.free[3], {"Name": "changed before night 2"})
    world.checked = file_format == "parquet"
    third = world.run(run_of(2, FIRST_NIGHT + 2 * DAY))
    assert third["window"] == {"start": "2027-02-03T01:50:00.000Z", "end": "2027-02-04T02:00:00.000Z"}
    assert [each["version"] for each in read_manifests(str(tmp_path / file_format))] == [1, 1, 1, 1]


def test_a_night_of_before_that_is_run_again_keeps_what_only_its_first_reading_saw(
    world: World, tmp_path: Path, file_format: str
) -> None:
    events(world, runs=False)
    shutil.copytree(LANDED / file_format, tmp_path / file_format)
    folder = tmp_path / file_format / f"extract={run_of(1, FIRST_NIGHT + DAY).extract_id}"
    first = json.loads((folder / "_manifest.json").read_text())
    until_due(world, 2)
    world.update(world.free[0], {"Name": "changed since"})
    again = world.run(run_of(1, FIRST_NIGHT + DAY))
    assert (again["version"], again["window"], again["rows"]) == (2, first["window"], first["rows"])
    assert again["carried_rows"] == 1
    names = {path.name for path in folder.iterdir()}
    listed = {file["path"] for file in (*again["files"], *again["deleted_files"])}
    assert names == {"_manifest.json", "_manifest-00002.json", *listed}
    (moved,) = [each for each in read_manifests(str(tmp_path / file_format)) if each["version"] == 2]
    assert moved["files"] == again["files"]
    assert vacuum(str(tmp_path / file_format), older_than=timedelta(0)) == []
