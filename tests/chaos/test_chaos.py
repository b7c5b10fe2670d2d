"""A short part of `make chaos`, and of what it must notice when a safeguard is taken out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.campaigns import CAMPAIGNS
from tests.chaos.harness import Chaos, ViolationError
from tests.conftest import RunningOrg

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them"),
    pytest.mark.timeout(1800),
]
ROUNDS = int(os.environ.get("ROUNDS", "1"))
EXTRACTS = int(os.environ.get("SOAK", "40"))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow's, for the workers."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))


def run(chaos: Chaos, name: str, rounds: int) -> None:
    for _ in range(rounds):
        chaos.chance.seed(f"{chaos.seed}/{name}/{chaos.rounds}")
        CAMPAIGNS[name](chaos)
        chaos.rounds += 1


@pytest.mark.usefixtures("home")
def test_on_a_disk(tmp_path: Path) -> None:
    with Chaos(tmp_path, seed=11) as chaos:
        for name in CAMPAIGNS:
            run(chaos, name, 1 if name == "readers" else ROUNDS)


@pytest.mark.usefixtures("home")
def test_in_an_object_store(tmp_path: Path, s3_url: str) -> None:
    with Chaos(tmp_path, seed=12, s3_url=s3_url) as chaos:
        run(chaos, "paused-in-commit", ROUNDS)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_more_in_an_object_store(tmp_path: Path, s3_url: str) -> None:
    with Chaos(tmp_path, seed=13, s3_url=s3_url) as chaos:
        for name in ("killed", "double-starts"):
            run(chaos, name, 2 * ROUNDS)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("broken", "campaign", "seed", "first_round"),
    [
        ("fence", "paused-in-commit", 2, 3),  # paused before a version is put, and woken after the retry
        pytest.param("pages", "network", 3, 0, marks=pytest.mark.slow),
        pytest.param("manifest-first", "readers", 3, 0, marks=pytest.mark.slow),
    ],
)
def test_a_safeguard_that_is_taken_out_is_missed(
    tmp_path: Path, broken: str, campaign: str, seed: int, first_round: int
) -> None:
    with Chaos(tmp_path, seed=seed, broken=broken, rounds=first_round) as chaos, pytest.raises(ViolationError):
        run(chaos, campaign, 40)


@pytest.mark.slow
def test_many_extracts_hold_no_more_than_few(
    start_org: Callable[..., RunningOrg], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    org = start_org(result_page_rows=100, daily_api_requests=1_000_000)
    command = [sys.executable, "-m", "tests.chaos.soak", org.url, str(tmp_path), str(EXTRACTS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    figures = json.loads(ended.stdout.splitlines()[-1])
    record_property("held", figures)
    early, late, at_once = figures["early"], figures["late"], figures["after 20 at once"]
    assert late["memory"] <= early["memory"] * 1.1
    assert (late["handles"], late["threads"]) == (early["handles"], early["threads"])
    assert at_once["threads"] == early["threads"] and at_once["handles"] <= early["handles"] + 5
