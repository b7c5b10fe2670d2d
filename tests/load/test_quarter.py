"""The simulated quarter, loaded into every kind of table after its nights. `make quarter-load` runs whole quarters."""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from upath import UPath

from airflow_sfcc.extract.manifests import Manifest, read_manifests
from airflow_sfcc.extract.model import RunIdentity
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import MODES, Mode
from airflow_sfcc.load.postgres_table import NUL_SYMBOL
from airflow_sfcc.timestamps import timestamp
from tests.load.tables import KINDS, Loaded, place
from tests.quarter.history import Row, row_of
from tests.quarter.simulation import Simulation
from tests.quarter.world import World

NIGHTS = int(os.environ.get("NIGHTS", "14"))
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "201").split(",")]
MODE_COLUMNS = ("_valid_from", "_valid_to", "_is_current")


class SeenVersions:
    """The versions that loads saw, read off the extracts' files in plain Python, row by row; it knows nothing of tables."""

    def __init__(self) -> None:
        self._noted: set[tuple[str, str]] = set()
        self._versions: dict[str, dict[datetime, tuple[datetime, Row | None]]] = {}
        self._deleted: dict[str, set[datetime]] = {}
        self._snapshots: list[tuple[datetime, datetime, set[str]]] = []

    def note(self, destination: UPath) -> None:
        """Take down what is new among the extracts."""
        for manifest in read_manifests(destination):
            key = (str(manifest["extract_id"]), str(manifest.get("version")))
            if key not in self._noted:
                self._noted.add(key)
                self._take(destination / f"extract={manifest['extract_id']}", manifest)

    def _take(self, folder: UPath, manifest: Manifest) -> None:
        read_at = timestamp(manifest["read_at"])
        rows = [row for file in manifest["files"] for row in _rows_of(folder / file["path"])]
        for row in rows:
            versions = self._versions.setdefault(row["Id"], {})
            before = versions.get(row["SystemModstamp"])
            if before is None or before[0] <= read_at:
                versions[row["SystemModstamp"]] = (read_at, None if row.get("IsDeleted") else row_of(row))
        for file in manifest["deleted_files"]:
            for row in _rows_of(folder / file["path"]):
                self._deleted.setdefault(row["Id"], set()).add(row["DeletedDate"])
        if manifest["mode"] == "full":
            self._snapshots.append((read_at, timestamp(manifest["watermark"]), {row["Id"] for row in rows}))

    def intervals(self) -> dict[tuple[str, datetime], tuple[datetime | None, Row]]:
        """When each version of each record ended, and what it was, by Id and beginning."""
        return {
            (record_id, stamp): (min((end for end in self._ends(record_id) if end > stamp), default=None), row)
            for record_id, versions in self._versions.items()
            for stamp, (_, row) in versions.items()
            if row is not None
        }

    def _ends(self, record_id: str) -> set[datetime]:
        versions = self._versions[record_id]
        ends = set(versions) | self._deleted.get(record_id, set())
        for read_at, watermark, ids in self._snapshots:
            before = [stamp for stamp, (seen, row) in versions.items() if row is not None and seen < read_at]
            if record_id not in ids and before:
                ends.add(max(watermark, max(before) + timedelta(milliseconds=1)))
        return ends


def _rows_of(path: UPath) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows


class LoadingWorld(World):
    """Loads what was committed into tables of each mode, most nights, and compares them with the current table and with the
    versions that the extracts saw. Fields come, widen and go meanwhile."""

    def load_into(self, tables: Loaded, modes: tuple[Mode, ...], chance: random.Random) -> None:
        self.tables, self.modes, self.chance = tables, modes, chance
        self.loads = 0
        self.seen = SeenVersions()
        self.drifting: dict[str, str] = {}

    def _committed(self, run: RunIdentity, manifest: dict[str, Any], read_at: datetime) -> None:
        super()._committed(run, manifest, read_at)
        if self.chance.random() < 0.2:  # this night's load failed; the next one makes up for it
            return
        self.seen.note(self.destination)
        for mode in self.modes:
            result = load(self.destination, self.tables.make(mode), LoadOptions(mode=mode))
            rows = self.tables.rows(mode)
            assert result["rows"] == len(rows)
            self._compare(mode, rows)
        self.loads += 1
        if (self.loads > 1 and not self.drifted) or self.chance.random() < 0.2:
            self._drift()

    def _drift(self) -> None:
        """A field comes, takes decimals too, or goes. Not while a change is on its way that knows the fields of before."""
        if self._due:
            return
        name = self.chance.choice([*self.drifting, ""])
        if not name:
            name = f"Drift{len(self.drifted)}__c"
            self.org.add_field(self.sobject, {"name": name, "type": "int"})
            self.drifting[name] = "int"
        elif self.drifting[name] == "int":
            self.org.change_field(self.sobject, name, {"type": "double", "precision": 18, "scale": 2})
            self.drifting[name] = "double"
        else:
            self.org.remove_field(self.sobject, name)
            del self.drifting[name]
        self.drifted.append(name)
        self._note()

    def update(self, record_id: str, values: dict[str, Any], late: timedelta = timedelta(0)) -> None:
        more = {name: self._number(kind) for name, kind in getattr(self, "drifting", {}).items()}
        super().update(record_id, values | more, late)

    def _number(self, kind: str) -> float:
        number = self.chance.randint(0, 99)
        return number if kind == "int" else number / 4

    def _compare(self, mode: Mode, rows: list[dict[str, Any]]) -> None:
        live = [each for each in rows if each.get("_deleted_at") is None and each.get("_is_current") is not False]
        found = {str(each["Id"]): _as_tables_hold_it(row_of(each)) for each in live}
        assert len(found) == len(live), "the table holds a record twice"
        assert found.keys() == self.table.keys(), mode
        for record_id, row in self.table.items():
            wanted = _as_tables_hold_it(row)
            there = {name: found[record_id][name] for name in wanted}
            assert there == wanted, (mode, record_id)
        if mode == "soft":
            assert {str(each["Id"]) for each in rows} >= found.keys() and len({each["Id"] for each in rows}) == len(
                rows
            )
        if mode == "history":
            _require_no_overlap(rows)
            self._require_all_versions(rows)

    def _require_all_versions(self, rows: list[dict[str, Any]]) -> None:
        """The table has every version that was seen, from when to when, and no other one."""
        found = {(str(each["Id"]), each["_valid_from"]): each for each in rows}
        wanted = self.seen.intervals()
        assert len(found) == len(rows) and found.keys() == wanted.keys()
        for key, (end, row) in wanted.items():
            there = {name: value for name, value in found[key].items() if name not in MODE_COLUMNS}
            assert found[key]["_valid_to"] == end, key
            nothing = row_of(dict.fromkeys(there))
            assert _as_tables_hold_it(row_of(there)) == _as_tables_hold_it({**nothing, **row}), key


def _as_tables_hold_it(row: Row) -> Row:
    """PostgreSQL's text has a symbol for NUL."""
    return {name: value.replace("\0", NUL_SYMBOL) for name, value in row.items()}


def _require_no_overlap(rows: list[dict[str, Any]]) -> None:
    versions: dict[str, list[tuple[Any, Any]]] = {}
    for each in sorted(rows, key=lambda each: (each["Id"], each["_valid_from"])):
        versions.setdefault(each["Id"], []).append((each["_valid_from"], each["_valid_to"]))
        assert each["_is_current"] == (each["_valid_to"] is None)
    for intervals in versions.values():
        for (_, end), (start, _) in pairwise(intervals):
            assert end is not None and end <= start
        assert all(end is None or start < end for start, end in intervals)


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [*KINDS, pytest.param("delta on s3", marks=pytest.mark.slow)])
def test_after_every_loaded_night_the_tables_are_what_the_org_held(
    kind: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    modes = MODES if kind == "duckdb" or NIGHTS > 30 else MODES[:1]
    simulation = Simulation(UPath(tmp_path / "unused"), seed)
    simulation.world.close()
    with place(kind, tmp_path, request) as tables:
        world = simulation.world = LoadingWorld(tables.lake or UPath(tmp_path / "lake"))
        try:
            world.load_into(tables, modes, random.Random(seed))
            simulation.live_through(NIGHTS)
        finally:
            world.close()
    assert world.loads > NIGHTS // 4 and "outage" in simulation.tally.nights and world.drifted
