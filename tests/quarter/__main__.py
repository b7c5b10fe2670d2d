"""`make quarter`: whole quarters, one after another; stops at the first night whose table is not what the org held."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.quarter.simulation import Simulation


def main() -> None:
    """Parse the command line and live through the quarters."""
    parser = argparse.ArgumentParser(prog="make quarter", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many quarters, each by another seed")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--nights", type=int, default=90)
    parser.add_argument("--refresh", action="store_true", help="with formulas and roll-ups, read again each night")
    parser.add_argument("--reconcile", action="store_true", help="each night ends with a proof against the org")
    options = parser.parse_args()
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        _quarter(seed, options.nights, refreshes=options.refresh, reconciles=options.reconcile)
    print(f"==> {options.seeds} quarters of {options.nights} nights: the current table was right after every commit")


def _quarter(seed: int, nights: int, **modes: bool) -> None:
    started, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="sfcc-quarter-") as folder:
        simulation = Simulation(Path(folder), seed, **modes)
        try:
            simulation.live_through(nights)
        except BaseException:
            print(f"Seed {seed} failed: make quarter SEEDS=1 FIRST_SEED={seed}", file=sys.stderr)
            raise
        finally:
            simulation.world.close()
    world, tally = simulation.world, simulation.tally
    seconds = f"{time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
    print(f"seed {seed}: {world.checks} tables right, {world.in_flight} records in flight at a window's end, {seconds}")
    for name, counts in (("changes", tally.changes), ("nights", tally.nights)):
        print(f"    {name}: " + "; ".join(f"{counts[kind]} {kind}" for kind in sorted(counts)), flush=True)


if __name__ == "__main__":
    main()
