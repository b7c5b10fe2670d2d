"""A short quarter: `make quarter` runs whole ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quarter.simulation import Simulation


@pytest.mark.parametrize("seed", [101, 102])
def test_after_every_committed_night_the_current_table_is_what_the_org_held(tmp_path: Path, seed: int) -> None:
    simulation = Simulation(tmp_path, seed)
    try:
        simulation.live_through(24)
    finally:
        simulation.world.close()
    assert simulation.world.checks > 10 and simulation.world.in_flight > 0
    assert {"insert", "update", "delete", "hard_delete", "undelete", "merge"} <= simulation.tally.changes.keys()
    assert {"normal", "outage"} < simulation.tally.nights.keys()
