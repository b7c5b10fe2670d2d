"""The simulated quarter, loaded into every kind of table after its nights. `make quarter-load` runs whole quarters."""

from __future__ import annotations

import os
import random
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.extract.model import RunIdentity
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import MODES, Mode
from airflow_sfcc.load.postgres_table import NUL_SYMBOL
from tests.load.tables import KINDS, Loaded, place
from tests.quarter.history import Row, row_of
from tests.quarter.simulation import Simulation
from tests.quarter.world import World

NIGHTS = int(os.environ.get("NIGHTS", "14"))
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "201").split(",")]


class LoadingWorld(World):
    """Loads what was committed into tables of each mode, most nights, and compares them with the current table."""

    def load_into(self, tables: Loaded, modes: tuple[Mode, ...], chance: random.Random) -> None:
        self.tables, self.modes, self.chance = tables, modes, chance
        self.loads = 0

    def _committed(self, run: RunIdentity, manifest: dict[str, Any], read_at: datetime) -> None:
        super()._committed(run, manifest, read_at)
        if self.chance.random() < 0.2:  # this night's load failed; the next one makes up for it
            return
        for mode in self.modes:
            result = load(self.destination, self.tables.make(mode), LoadOptions(mode=mode))
            rows = self.tables.rows(mode)
            assert result["rows"] == len(rows)
            self._compare(mode, rows)
        self.loads += 1

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


def _as_tables_hold_it(row: Row) -> Row:
    """DuckDB's file format does not tell -0.0 from 0.0 where both are neighbours; PostgreSQL's text has a symbol for NUL."""
    return {name: _ZERO if value == _NEGATIVE_ZERO else value.replace("\0", NUL_SYMBOL) for name, value in row.items()}


_ZERO, _NEGATIVE_ZERO = row_of({"": 0.0})[""], row_of({"": -0.0})[""]


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
@pytest.mark.parametrize("kind", KINDS)
def test_after_every_loaded_night_the_tables_are_what_the_org_held(
    kind: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    modes = MODES if kind == "duckdb" or NIGHTS > 30 else MODES[:1]
    simulation = Simulation(UPath(tmp_path / "unused"), seed)
    simulation.world.close()
    world = simulation.world = LoadingWorld(UPath(tmp_path / "lake"))
    try:
        with place(kind, tmp_path, request) as tables:
            world.load_into(tables, modes, random.Random(seed))
            simulation.live_through(NIGHTS)
    finally:
        world.close()
    assert world.loads > NIGHTS // 4 and "outage" in simulation.tally.nights
