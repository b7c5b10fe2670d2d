"""The same property with events in any order, which shrinks to the shortest course of events that breaks it."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.quarter.simulation import DAY, FIRST_NIGHT
from tests.quarter.world import ConcurrentRunError, WorkerDiedError, World, run_of

PICKS = st.integers(0, 10**6)
LATE = st.sampled_from([0, 0, 0, 1, 59, 60, 239, 240]).map(lambda seconds: timedelta(seconds=seconds))
GAPS = st.sampled_from([1, 30, 61, 299, 301, 900, 40_000]).map(lambda seconds: timedelta(seconds=seconds))
STAGES = st.sampled_from(["plan", "read", "commit"])


class AnyOrder(RuleBasedStateMachine):
    """Records change and runs start whenever hypothesis likes; `World.run` checks the table after each commit."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="sfcc-order-")
        self.world = World(
            Path(self.folder.name), rows=4, request={"fields": ["Id", "Name", "Phone", "SystemModstamp"]}
        )
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            self.folder.cleanup()

    def _pick(self, ids: list[str], pick: int) -> str:
        return ids[pick % len(ids)]

    @rule(gap=GAPS)
    def time_passes(self, gap: timedelta) -> None:
        self.world.wait(gap)

    @rule(late=LATE, pick=PICKS)
    def insert(self, late: timedelta, pick: int) -> None:
        self.world.insert({"Name": f"new {pick}"}, late)

    @precondition(lambda self: self.world.free)
    @rule(late=LATE, pick=PICKS)
    def update(self, late: timedelta, pick: int) -> None:
        self.world.update(self._pick(self.world.free, pick), {"Phone": str(pick)}, late)

    @precondition(lambda self: self.world.free)
    @rule(late=LATE, pick=PICKS)
    def delete(self, late: timedelta, pick: int) -> None:
        self.world.delete(self._pick(self.world.free, pick), late)

    @precondition(lambda self: self.world.binned)
    @rule(late=LATE, pick=PICKS)
    def undelete(self, late: timedelta, pick: int) -> None:
        self.world.undelete(self._pick(self.world.binned, pick), late)

    @precondition(lambda self: self.world.free + self.world.binned)
    @rule(late=LATE, pick=PICKS)
    def hard_delete(self, late: timedelta, pick: int) -> None:
        self.world.hard_delete(self._pick(self.world.free + self.world.binned, pick), late)

    @precondition(lambda self: len(self.world.free) > 1)
    @rule(late=LATE, pick=PICKS)
    def merge(self, late: timedelta, pick: int) -> None:
        master, loser = self.world.free[pick % (len(self.world.free) - 1) :][:2]
        self.world.merge(master, loser, {"Phone": str(pick)}, late)

    def _next(self) -> None:
        self.number += 1
        due = FIRST_NIGHT + self.number * DAY
        self.world.wait(max(timedelta(0), due - self.world.now))

    @rule(pick=PICKS, stage=STAGES)
    def night(self, pick: int, stage: str) -> None:
        """A night during which a record changes."""

        def meanwhile(at: str) -> None:
            if at == stage and self.world.free:
                self.update(timedelta(0), pick)
                self.world.wait(timedelta(seconds=7))

        self._next()
        self.world.run(run_of(self.number, FIRST_NIGHT + self.number * DAY), meanwhile)

    @rule(stage=STAGES, error=st.sampled_from([ZeroDivisionError, WorkerDiedError]))
    def night_that_fails(self, stage: str, error: type[Exception]) -> None:
        def fail(at: str) -> None:
            if at == stage:
                raise error

        self._next()
        try:
            self.world.run(run_of(self.number, FIRST_NIGHT + self.number * DAY), fail)
        except error:
            return
        raise AssertionError("the run did not fail")

    @precondition(lambda self: self.number)
    @rule(pick=PICKS)
    def clear(self, pick: int) -> None:
        """Any earlier night runs again, whether it had committed or not."""
        number = 1 + pick % self.number
        self.world.run(run_of(number, FIRST_NIGHT + number * DAY))

    @rule()
    def full_refresh(self) -> None:
        self._next()
        self.world.run(run_of(10_000 + self.number, FIRST_NIGHT + self.number * DAY), mode="full")

    @rule()
    def two_at_once(self) -> None:
        self._next()
        due = FIRST_NIGHT + self.number * DAY

        def other(stage: str) -> None:
            if stage == "commit":
                self.world.run(run_of(20_000 + self.number, due + timedelta(seconds=1)))

        try:
            self.world.run(run_of(self.number, due), other)
        except ConcurrentRunError:
            return
        raise AssertionError("both runs committed from the same state")


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=4, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
