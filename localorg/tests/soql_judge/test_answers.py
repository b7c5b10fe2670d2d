"""Generated queries answer what Python makes of the same rows. `make soql-differential` runs many more."""

from __future__ import annotations

import pytest

from .judge import judge
from .queries import Generator
from .world import World, records_of

QUICK, MANY = 120, 3000


def answered(world: World, seed: int, count: int) -> int:
    """How many of the queries found something: a test of empty answers would be none."""
    generator = Generator(world, seed)
    return sum(judge(world, generator.case()) > 0 for _ in range(count))


def test_generated_queries(world: World) -> None:
    assert answered(world, 20261124, QUICK) > QUICK // 2


@pytest.mark.conformance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2])
def test_many_generated_queries(world: World, seed: int) -> None:
    assert answered(world, seed, MANY) > MANY // 2


def test_a_wrong_answer_is_noticed(world: World) -> None:
    """The judge is no rubber stamp: other rows make it complain."""
    generator = Generator(world, 5)
    cases = [case for case in (generator.case() for _ in range(40)) if records_of(world, case.soql)[1]]
    taken = {name: rows.pop(0) for name, rows in world.rows.items()}
    try:
        complaints = 0
        for case in cases:
            try:
                judge(world, case)
            except AssertionError:
                complaints += 1
    finally:
        for name, row in taken.items():
            world.rows[name].insert(0, row)
    assert complaints > 5
