"""A short quarter: `make quarter` runs whole ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from tests.quarter.simulation import Simulation


@pytest.mark.parametrize("seed", [101, pytest.param(102, marks=pytest.mark.slow)])
def test_after_every_committed_night_the_current_table_is_what_the_org_held(root: UPath, seed: int) -> None:
    simulation = Simulation(root, seed)
    try:
        simulation.live_through(24)
    finally:
        simulation.world.close()
    assert simulation.world.checks > 10 and simulation.world.in_flight > 0
    assert {"insert", "update", "delete", "hard_delete", "undelete", "merge"} <= simulation.tally.changes.keys()
    assert {"normal", "outage"} < simulation.tally.nights.keys()


def test_calculated_fields_are_those_of_the_org_and_comparing_raises_no_false_alarm(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, 201, reconciles=True, refreshes=True)
    try:
        simulation.live_through(18)
    finally:
        simulation.world.close()
    assert simulation.tally.nights["proven right"] > 3
    assert simulation.world.checks > 5 and simulation.world.refreshed > 20


@pytest.mark.slow
def test_the_same_on_s3(s3_folder: UPath) -> None:
    simulation = Simulation(s3_folder, 103)
    try:
        simulation.live_through(12)
    finally:
        simulation.world.close()
    assert simulation.world.checks > 3 and {"normal", "outage"} < simulation.tally.nights.keys()
