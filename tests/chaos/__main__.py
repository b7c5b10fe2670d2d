"""`make chaos`: every campaign on a disk and in an S3-compatible server, by seeds; ends with exit code 1 after a violation.

For each it prints rounds, faults by kind, attempts, and violations with what repeats them.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Before Airflow is imported: nothing of a person's own Airflow is read or written.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-sfcc-chaos-"))

import requests

from tests.chaos.campaigns import CAMPAIGNS
from tests.chaos.faults import BROKEN
from tests.chaos.harness import Chaos, ViolationError


@contextmanager
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    requests.put(f"{url}/lake", timeout=30).raise_for_status()
    yield url
    server.stop()


def campaign(name: str, storage: str, shape: str, rounds: int, seed: int, broken: str | None) -> int:
    """Run a campaign; returns how many violations there were."""
    folder = Path(tempfile.mkdtemp(prefix="sfcc-chaos-"))
    started, violations = time.monotonic(), 0
    with s3_server() if storage == "s3" else _none() as s3_url, Chaos(folder, seed, shape, s3_url, broken) as chaos:
        for _ in range(rounds):
            chaos.chance.seed(f"{seed}/{name}/{chaos.rounds}")
            try:
                CAMPAIGNS[name](chaos)
            except ViolationError as violation:
                violations += 1
                print(f"    VIOLATION in round {chaos.rounds}: {violation}", flush=True)
            chaos.rounds += 1
    seconds = time.monotonic() - started
    print(
        f"{name} on {storage}, pages {shape}: {chaos.rounds} rounds, {chaos.attempts} attempts, {violations} violations, "
        f"{seconds:.0f} s (seed {seed})"
    )
    for kind, times in sorted(chaos.faults.items()):
        print(f"    {times:5} {kind}")
    if violations:
        print(f"    to repeat: make chaos CAMPAIGN={name} STORAGE={storage} SHAPE={shape} SEED={seed} ROUNDS={rounds}")
    sys.stdout.flush()
    shutil.rmtree(folder, ignore_errors=True)
    return violations


@contextmanager
def _none() -> Iterator[None]:
    yield None


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="of each campaign on each storage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--campaign", choices=CAMPAIGNS, action="append")
    parser.add_argument("--storage", choices=("disk", "s3"), action="append")
    parser.add_argument("--shape", choices=("documented", "absent"), action="append")
    parser.add_argument("--broken", choices=BROKEN, help="take a safeguard out: the campaigns must notice")
    options = parser.parse_args()
    violations = 0
    for name in options.campaign or CAMPAIGNS:
        storages = options.storage or (["disk"] if name in ("disks", "network") else ["disk", "s3"])
        shapes = options.shape or (["documented", "absent"] if name == "network" else ["documented"])
        for storage in storages:
            for shape in shapes:
                violations += campaign(name, storage, shape, options.rounds, options.seed, options.broken)
    if options.broken:
        print(f"==> without {options.broken}: {violations} violations noticed")
        sys.exit(0 if violations else 1)
    print(f"==> {violations} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
