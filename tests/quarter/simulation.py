"""Months of a nightly extract, by chance but repeatable: what people do to records, and what becomes of the nights."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from upath import UPath

from airflow_sfcc.extract.model import RunIdentity
from airflow_sfcc.reconcile.reconciling import reconcile
from tests.quarter.world import LATEST_COMMIT, SECOND, ConcurrentRunError, WorkerDiedError, World, run_of

DAY = timedelta(days=1)
FIRST_NIGHT = datetime.fromisoformat("2027-02-02T02:00:00+00:00")
OUTAGE_DAYS = 7
NAMES = ["Acme", "NA", "Ünïcødé 🙂", 'with "quotes"', "two\nlines", "O'Neil, Ltd.", "null", "x" * 255]


class SimulatedFailureError(Exception):
    """A run that failed."""


@dataclass
class Tally:
    """How often what happened; a quarter in which something never did would prove nothing about it."""

    changes: dict[str, int]
    nights: dict[str, int]

    def change(self, kind: str) -> None:
        self.changes[kind] = self.changes.get(kind, 0) + 1

    def night(self, kind: str) -> None:
        self.nights[kind] = self.nights.get(kind, 0) + 1


class Simulation:
    """One seed's course of events."""

    def __init__(
        self,
        folder: Path | UPath,
        seed: int,
        *,
        changes_a_day: int = 12,
        refreshes: bool = False,
        reconciles: bool = False,
    ) -> None:
        """With `refreshes`, formulas and roll-ups change too; with `reconciles`, each night ends with a comparison."""
        self.chance = random.Random(seed)
        self.world = World(folder, refreshes=refreshes)
        self._reconciles = reconciles
        self.tally = Tally({}, {})
        self._changes_a_day = changes_a_day
        self._missing: list[int] = []

    def live_through(self, nights: int) -> None:
        """That many nights, with a week's outage after two fifths of them; after every commit the table is checked."""
        outage = range(nights * 2 // 5, nights * 2 // 5 + OUTAGE_DAYS)
        for number in range(nights):
            due = FIRST_NIGHT + number * DAY
            self._day_until(due)
            if number in outage:
                self.tally.night("outage")
            else:
                self._night(number, due)

    # Days

    def _day_until(self, due: datetime) -> None:
        """Changes at any time of the day, more of them just before the night's run is due."""
        left = (due - self.world.now).total_seconds()
        moments = sorted(
            max(0, int(left - self.chance.uniform(0, 480 if self.chance.random() < 0.4 else left)))
            for _ in range(self.chance.randint(self._changes_a_day // 2, self._changes_a_day * 3 // 2))
        )
        begun = self.world.now
        for seconds in moments:
            self._wait_until(begun + seconds * SECOND)
            self._change()
            if self.chance.random() < 0.15 / self._changes_a_day and self.world.nights:
                # What changed since is in no window yet, so last night's files hold the only copy of what was before.
                self._extract(self.world.nights[-1].run)
                self.tally.night("cleared the day after")
        self._wait_until(due)

    def _wait_until(self, moment: datetime) -> None:
        if moment > self.world.now:
            self.world.wait(moment - self.world.now)

    def _change(self) -> None:
        world, chance = self.world, self.chance
        late = (
            timedelta(seconds=chance.randint(1, int(LATEST_COMMIT.total_seconds())))
            if chance.random() < 0.25
            else timedelta(0)
        )
        kind = chance.choices(
            ["insert", "update", "delete", "hard_delete", "undelete", "merge"], [20, 45, 10, 8, 9, 8]
        )[0]
        free, binned = world.free, world.binned
        if kind == "insert":
            world.insert(self._values(), late)
        elif kind == "undelete" and binned:
            world.undelete(chance.choice(binned), late)
        elif kind == "hard_delete" and free + binned:
            world.hard_delete(chance.choice(free + binned), late)
        elif kind == "merge" and len(free) > 1:
            master, loser = chance.sample(free, 2)
            world.merge(master, loser, self._values(), late)
        elif kind == "delete" and free:
            world.delete(chance.choice(free), late)
        elif free:
            kind = "update"
            world.update(chance.choice(free), self._values(), late)
        else:
            return
        self.tally.change(f"{kind}, late" if late else kind)

    def _values(self) -> dict[str, object]:
        chance = self.chance
        values: dict[str, object] = {
            "Name": f"{chance.choice(NAMES)}"[:240] + f" {chance.randint(0, 999)}",
            "AnnualRevenue": chance.choice([None, 0, -0.01, 12345678.9, 1e7, chance.uniform(-1e9, 1e9)]),
            "NumberOfEmployees": chance.choice([None, 0, chance.randint(1, 10**7)]),
            "Description": chance.choice([None, "", "NA", "line\r\nline", 'tab\t,"q"']),
        }
        return dict(chance.sample(sorted(values.items(), key=lambda item: item[0]), chance.randint(1, 4))) | {
            "Name": values["Name"]
        }

    # Nights

    def _night(self, number: int, due: datetime) -> None:
        self._wait_until(due + timedelta(seconds=self.chance.randint(0, 900)))
        kinds: dict[str, tuple[int, Callable[[int, datetime], None]]] = {
            "normal": (68, self._normal),
            "skipped": (6, lambda number, due: None),
            "failed": (6, self._fail),
            "failed, then retried": (8, self._fail_and_retry),
            "worker died, then retried": (5, self._die_and_retry),
            "two at once": (5, self._two_at_once),
            "full refresh": (3, self._refresh),
        }
        kind = self.chance.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        if self.world.refreshes:
            self.world.recalculate(number)
        kinds[kind][1](number, due)
        self.tally.night(kind)
        if self._reconciles and self.world.nights:
            self._reconcile()
        if self.chance.random() < 0.12 and self.world.nights:
            night = self.chance.choice(self.world.nights[-20:])
            self._extract(night.run)
            self.tally.night("cleared")
        if self.chance.random() < 0.15 and self._missing:
            late = self._missing.pop(self.chance.randrange(len(self._missing)))
            self._extract(run_of(late, FIRST_NIGHT + late * DAY))
            self.tally.night("failed, then run days later")

    def _extract(self, run: RunIdentity) -> None:
        self.world.run(run, self._busy, api=self.chance.choice(["rest", "rest", "rest", "bulk", "auto"]))

    def _reconcile(self) -> None:
        """Nothing is wrong after any night, however late changes are committed."""
        self._busy("reconcile")
        world = self.world
        result = reconcile(world.client(), world.destination, RunIdentity("quarter", "reconcile", "x", -1, world.now))
        assert result["is_right"], result
        self.tally.night("proven right")

    def _normal(self, number: int, due: datetime) -> None:
        self._extract(run_of(number, due))

    def _fail(self, number: int, due: datetime) -> None:
        self._end_in_the_middle(number, due, SimulatedFailureError())
        self._missing.append(number)

    def _fail_and_retry(self, number: int, due: datetime) -> None:
        self._end_in_the_middle(number, due, SimulatedFailureError())
        self._retry(number, due)

    def _die_and_retry(self, number: int, due: datetime) -> None:
        self._end_in_the_middle(number, due, WorkerDiedError())
        self._retry(number, due)

    def _retry(self, number: int, due: datetime) -> None:
        self.world.wait(timedelta(minutes=self.chance.randint(1, 20)))
        self._extract(run_of(number, due))

    def _end_in_the_middle(self, number: int, due: datetime, error: Exception) -> None:
        last = self.chance.choice(["plan", "read", "commit"])

        def until(stage: str) -> None:
            self._busy(stage)
            if stage == last:
                raise error

        with suppress(type(error)):
            self.world.run(run_of(number, due), until)

    def _two_at_once(self, number: int, due: datetime) -> None:
        """A person triggers another run while the night's is at work: the one that commits second is refused."""
        by_hand = RunIdentity("quarter", "extract", f"manual__{number}", -1, self.world.now)

        def meanwhile(stage: str) -> None:
            if stage == "commit":
                self._extract(by_hand)

        try:
            self.world.run(run_of(number, due), meanwhile)
        except ConcurrentRunError:
            self._retry(number, due)
        else:
            raise AssertionError("both runs committed from the same state")

    def _refresh(self, number: int, due: datetime) -> None:
        self.world.run(RunIdentity("quarter", "refresh", f"refresh__{number}", -1, due), self._busy, mode="full")

    def _busy(self, stage: str) -> None:
        """The org does not sleep while a run is under way."""
        for _ in range(self.chance.choice([0, 0, 1, 2])):
            self.world.wait(timedelta(seconds=self.chance.randint(0, 40)))
            self._change()
