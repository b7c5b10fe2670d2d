"""What Airflow has stored, as a person wants to see it: for each org, each object, the state of each night.

Pure: no Airflow, no database. Times are aware datetimes; a night is a date in the page's time zone, that of the run's due time.
`building` makes it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple

import msgspec

from airflow_sfcc._airflow.event_facts import ExtractFacts, LoadFacts, SyncFacts
from airflow_sfcc.wording import plural

RUNNING_STATES = frozenset(
    {"scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting"}
)
FAILED_STATES = frozenset({"failed", "upstream_failed"})

UNCHANGED, READ, BUDGET_ENDED = "unchanged", "read", "budget ended"
"""States that a sync's report gives to objects, beside Airflow's: nothing had changed; extracted, by a task whose events are
lost; not extracted, since the calls that the connection may make were used up."""

GROUP_OPERATORS = frozenset({"PlanOperator", "DownloadOperator", "CommitOperator"})
"""The operators of the task group `salesforce_extract`: its tasks are one line."""

PLAN_SYNC, SYNC, SYNC_REPORT = "PlanSyncOperator", "SyncOperator", "SyncReportOperator"
SYNC_OPERATORS = frozenset({PLAN_SYNC, SYNC, SYNC_REPORT})
"""The operators of the task group `salesforce_sync`: its tasks are a line for each object."""

SHORTEST_ALLOWANCE = timedelta(hours=1)
USUAL_NIGHTS = 14
"""Nights that the usual duration, rows and calls are the median of."""

FRESH_NIGHTS = 7


class State(str, Enum):
    """What became of an object in a night. The value is a CSS class, `label` what people read."""

    COMPLETE = "complete"
    LATE = "late"
    INCOMPLETE = "incomplete"
    SCHEMA = "schema"
    FAILED = "failed"
    RUNNING = "running"
    NOT_RUN = "not-run"
    NONE = "none"

    @property
    def label(self) -> str:
        return _LABELS[self]

    @property
    def sign(self) -> str:
        """One character, for those who do not see colours."""
        return _SIGNS[self]

    @property
    def is_problem(self) -> bool:
        return self not in (State.COMPLETE, State.RUNNING, State.NONE)


_LABELS = {
    State.COMPLETE: "complete",
    State.LATE: "late",
    State.INCOMPLETE: "incomplete",
    State.SCHEMA: "schema change",
    State.FAILED: "failed",
    State.RUNNING: "running",
    State.NOT_RUN: "not run",
    State.NONE: "nothing expected",
}
_SIGNS = {
    State.COMPLETE: "",
    State.LATE: "L",
    State.INCOMPLETE: "I",
    State.SCHEMA: "S",
    State.FAILED: "F",
    State.RUNNING: "…",
    State.NOT_RUN: "–",
    State.NONE: "",
}
NOT_THERE = frozenset({State.FAILED, State.LATE, State.NOT_RUN, State.INCOMPLETE})
"""States of an object whose newest rows are not there, or not all."""

WORST_FIRST = (
    State.FAILED,
    State.LATE,
    State.NOT_RUN,
    State.INCOMPLETE,
    State.SCHEMA,
    State.RUNNING,
    State.COMPLETE,
    State.NONE,
)


class TaskKey(NamedTuple):
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


RunKey = tuple[str, str]
"""A DAG's id, and a run's."""

Place = tuple[str, str, int, str, "str | None", "str | None"]
"""What tells which line an extract belongs to."""


class Landed(NamedTuple):
    """An extract that was committed `at`, into the asset `uri`. Made by `landed`."""

    key: TaskKey
    at: datetime
    uri: str
    facts: ExtractFacts
    run_key: RunKey
    place: Place


def landed(key: TaskKey, at: datetime, uri: str, facts: ExtractFacts) -> Landed:
    """An extract with the keys that it is sorted by: they are made once, and the page is made of thousands."""
    place = (key.dag_id, key.task_id, key.map_index, uri, facts.sobject, facts.instance)
    return Landed(key, at, uri, facts, (key.dag_id, key.run_id), place)


class Loaded(NamedTuple):
    """A load of the table that the asset `uri` is."""

    key: TaskKey
    at: datetime
    uri: str
    facts: LoadFacts


class Reported(NamedTuple):
    """The report of a sync."""

    key: TaskKey
    at: datetime
    facts: SyncFacts


class Attempt(NamedTuple):
    """A task instance that did not succeed (yet): Airflow's `state`, None before it is scheduled. Or what the report of a sync
    says of an object.

    `label` is what Airflow shows of a mapped task; `ran` whether a worker had it; `note` what `noted_failures` kept.
    """

    key: TaskKey
    state: str | None
    label: str | None
    ran: bool
    ended: datetime | None
    try_number: int
    note: Mapping[str, Any] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all there was has landed before: nothing to land (`skip_if_empty`), or as a report says. Tasks that a branch
        left out were on no worker."""
        return self.state in (UNCHANGED, READ) or (self.state == "skipped" and self.ran)


class Run(NamedTuple):
    """A DAG run: when it was due, whether by its schedule, and the deadline that a DeadlineAlert set."""

    due: datetime
    is_scheduled: bool
    deadline: datetime | None = None


class Dag(NamedTuple):
    """A DAG's schedule: `next_due` is when Airflow creates its next run, `due` when its timetable had runs, oldest first."""

    is_paused: bool
    schedule: str | None
    next_due: datetime | None
    due: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Stored:
    """All that was read from Airflow's database. `tasks` has each task's operator; `unreadable` counts events that are not ours
    though they look so; `is_cut` says that there were more than are read."""

    landed: Sequence[Landed] = ()
    loaded: Sequence[Loaded] = ()
    reports: Sequence[Reported] = ()
    attempts: Sequence[Attempt] = ()
    runs: Mapping[tuple[str, str], Run] = field(default_factory=dict)
    dags: Mapping[str, Dag] = field(default_factory=dict)
    tasks: Mapping[tuple[str, str], str] = field(default_factory=dict)
    unreadable: int = 0
    is_cut: bool = False


class Night(msgspec.Struct, gc=False):
    """What happened to an object in one night: all its runs, in their order.

    `run` is that of the last that landed, while Airflow has it. There are thousands, so the garbage collector is spared them.
    """

    landed: list[Landed] = msgspec.field(default_factory=list)
    attempts: Sequence[Attempt] = ()
    state: State = State.NONE
    is_late: bool = False
    run: Run | None = None

    @property
    def last(self) -> Landed | None:
        return self.landed[-1] if self.landed else None

    @property
    def rows(self) -> int | None:
        """Rows of the night: of an incremental extract those of all its runs, else those of the last."""
        if self.last is None:
            return None
        if self.last.facts.mode == "incremental":
            return sum(each.facts.rows for each in self.landed)
        return self.last.facts.rows

    @property
    def error(self) -> str | None:
        """The sentence of the newest failure."""
        failed = [each for each in self.attempts if each.state in FAILED_STATES]
        return next((str(each.note["error"]) for each in reversed(failed) if each.note.get("error")), None)


class ObjectKey(NamedTuple):
    """What makes a line of the grid: an object of an org, as one task lands it in one place."""

    org: str
    dag_id: str
    task_id: str
    sobject: str
    uri: str

    @property
    def id(self) -> str:
        return hashlib.sha256("\0".join(self).encode()).hexdigest()[:16]


@dataclass
class ObjectLine:
    """One object with its nights, oldest first."""

    key: ObjectKey
    nights: dict[date, Night] = field(default_factory=dict)
    newest: Landed | None = None
    reported: Reported | None = None
    """The newest report that calls the object complete."""
    state: State = State.NONE
    late_by: timedelta | None = None
    allowance: timedelta = SHORTEST_ALLOWANCE
    is_retired: bool = False
    is_shared_name: bool = False
    landed_nights: list[Night] = field(default_factory=list)
    """Those in which something landed, newest first."""
    delays: list[float] = field(default_factory=list)
    """Seconds from due to landed, of the newest scheduled runs."""

    @property
    def id(self) -> str:
        return self.key.id

    @property
    def name(self) -> str:
        """The object's name, with the DAG's where several lines have it."""
        return f"{self.key.sobject} ({self.key.dag_id})" if self.is_shared_name else self.key.sobject

    @property
    def last_night(self) -> Night | None:
        return self.nights[max(self.nights)] if self.nights else None

    def recent(self, number: int) -> list[Night]:
        """The newest nights in which something landed, newest first."""
        return self.landed_nights[:number]

    @cached_property
    def seconds(self) -> float | None:
        """The usual duration."""
        known = [n.last.facts.seconds for n in self.recent(FRESH_NIGHTS) if n.last and n.last.facts.seconds is not None]
        return median(known) if known else None

    @cached_property
    def growth(self) -> float | None:
        """How much larger (as a share) the newest full extract is than the oldest of the nights shown; None where unknown."""
        newest, oldest = _first_full(self.landed_nights), _first_full(reversed(self.landed_nights))
        if newest is None or oldest is None or newest is oldest or not oldest.rows:
            return None
        return newest.rows / oldest.rows - 1

    @property
    def complete_at(self) -> datetime | None:
        """When the object was last known to be complete."""
        return max((each.at for each in (self.newest, self.reported) if each), default=None)

    @property
    def is_waiting(self) -> bool:
        """Whether the next run of a sync is to extract it, since calls were used up."""
        night = self.last_night
        return night is not None and any(each.state == BUDGET_ENDED for each in night.attempts)

    @property
    def problem(self) -> str | None:
        """What is wrong, as part of a sentence; None when nothing is."""
        if self.is_retired or not self.state.is_problem:
            return None
        late = f"is {hours(self.late_by)} late" if self.late_by else None
        if self.state is State.FAILED:
            return f"{self.name} failed" + (f" and {late}" if late else "")
        if late or self.is_waiting:
            return f"{self.name} {late or 'is late'}"
        if self.state is State.SCHEMA and self.last_night and self.last_night.last:
            return f"{self.name} {schema_sentence(self.last_night.last.facts)}"
        if self.state is State.INCOMPLETE and self.last_night:
            return f"{self.name} {incomplete_sentence(self.last_night)}"
        return f"{self.name} was {'late' if self.state is State.LATE else 'not run'}"


@dataclass(frozen=True)
class ApiCalls:
    """Calls of an org's last 24 hours against its daily limit, and what tonight adds by the median of earlier nights."""

    used: int
    limit: int
    at: datetime
    tonight: int
    budget: float | None
    used_by_others: int = 0

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else 0.0

    @property
    def forecast(self) -> int:
        return self.used_by_others + self.tonight

    @property
    def ceiling(self) -> int:
        """At how many calls the connection's budget stops extracts; the limit where there is none."""
        return int(self.limit * self.budget / 100) if self.budget else self.limit


@dataclass(frozen=True)
class TableLine:
    """A table, its object, and how far it is behind what has landed: extracts, and the age of the oldest of them.

    `is_overdue`: they have waited for longer than usual.
    """

    name: str
    loaded: Loaded
    behind: int
    behind_since: datetime | None
    behind_by: timedelta | None
    is_overdue: bool
    line: ObjectLine

    @property
    def has_all(self) -> bool:
        """Whether nothing waits to be loaded, and the object itself is there: what failed or is late has nothing to load."""
        return not self.behind and self.line.state not in NOT_THERE

    @property
    def as_of(self) -> datetime:
        """When the object was last known to be complete, all of which the table has."""
        return self.line.complete_at or self.loaded.at


@dataclass
class Org:
    """An org with its objects, by name."""

    key: str
    objects: list[ObjectLine]
    api: ApiCalls | None = None
    tables: list[TableLine] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.key or "unknown org"

    @property
    def current(self) -> list[ObjectLine]:
        """The objects that are still extracted."""
        return [each for each in self.objects if not each.is_retired]

    @property
    def complete(self) -> list[ObjectLine]:
        return [each for each in self.current if each.state is State.COMPLETE]

    @property
    def running(self) -> list[ObjectLine]:
        return [each for each in self.current if each.state is State.RUNNING]

    @property
    def problems(self) -> list[ObjectLine]:
        """Worst first, the latest first among equals."""
        wrong = [each for each in self.current if each.problem]
        return sorted(
            wrong, key=lambda each: (WORST_FIRST.index(each.state), -(each.late_by or timedelta()), each.name)
        )

    @property
    def overdue_tables(self) -> list[TableLine]:
        """The longest behind first."""
        late = [each for each in self.tables if each.is_overdue]
        return sorted(late, key=lambda each: (-(each.behind_by or timedelta()), each.name))

    @property
    def as_of(self) -> datetime | None:
        """When the last of the complete objects landed, or was found unchanged."""
        return max((each.complete_at for each in self.complete if each.complete_at), default=None)

    @property
    def verdict(self) -> str:
        """`good`, `wait` while objects are running, or `bad`: a CSS class."""
        if self.overdue_tables or any(each.state in NOT_THERE for each in self.problems):
            return "bad"
        if self.problems:
            return "look"
        return "wait" if self.running or not self.complete else "good"

    def sentence(self, when: str) -> str:
        """The one sentence of the morning; `when` is `as_of` for people."""
        total, complete = len(self.current), len(self.complete)
        if not total:
            return "No object is extracted any more."
        if complete == total:
            parts = [f"All {plural(total, 'object')} complete" if total > 1 else "The object is complete"]
        else:
            parts = [f"{complete:,} of {plural(total, 'object')} complete"]
        parts[0] += f" as of {when}" if when and complete else ""
        parts += [*_told(self.problems), *_told_tables(self.overdue_tables)]
        if self.running:
            parts.append(f"{len(self.running):,} still running")
        return "; ".join(parts) + "."


@dataclass(frozen=True)
class Overview:
    """The whole page: the nights shown, oldest first, and the orgs."""

    now: datetime
    nights: tuple[date, ...]
    orgs: tuple[Org, ...]
    dags: Mapping[str, Dag]
    runs: Mapping[tuple[str, str], Run]
    notices: tuple[str, ...] = ()

    def line(self, line_id: str) -> tuple[Org, ObjectLine] | None:
        return next(((org, line) for org in self.orgs for line in org.objects if line.id == line_id), None)


def _told(problems: Sequence[ObjectLine]) -> list[str]:
    """The problems as parts of a sentence: by name where they are few, else by number."""
    if len(problems) <= MOST_NAMED:
        return [each.problem or "" for each in problems]
    parts: list[str] = []
    for state, same in groupby(problems, key=lambda each: each.state):
        lines = list(same)
        if len(lines) == 1:
            parts.append(lines[0].problem or "")
            continue
        longest = max(lines, key=lambda each: each.late_by or timedelta())
        late = (
            f", the longest {longest.name} by {hours(longest.late_by)}"
            if state is State.LATE and longest.late_by
            else ""
        )
        parts.append(f"{len(lines):,} {_MANY[state]}{late}")
    return parts


def _told_tables(tables: Sequence[TableLine]) -> list[str]:
    """The tables that are behind as parts of a sentence, the longest first."""
    if len(tables) <= MOST_NAMED:
        return [f"table {each.name} is {hours(each.behind_by)} behind" for each in tables]
    longest = tables[0]
    return [f"{len(tables):,} tables are behind, the longest {longest.name} by {hours(longest.behind_by)}"]


MOST_NAMED = 3
_MANY = {
    State.FAILED: "failed",
    State.LATE: "are late",
    State.NOT_RUN: "were not run",
    State.INCOMPLETE: "are incomplete",
    State.SCHEMA: "have other columns",
}


def hours(late_by: timedelta | None) -> str:
    """`40 min`, `26 h`, `3 days`."""
    minutes = int((late_by or timedelta()).total_seconds() // 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"


def schema_sentence(facts: ExtractFacts) -> str:
    """`lost 2 columns and gained 1`."""
    numbers: dict[str, int] = defaultdict(int)
    for each in facts.schema_changes:
        numbers[{"access_lost": "removed"}.get(each.change, each.change)] += 1
    verbs = (("removed", "lost"), ("added", "gained"), ("retyped", "changed the type of"))
    parts = [f"{verb} {plural(numbers[change], 'column')}" for change, verb in verbs if numbers[change]]
    return " and ".join(parts) or "has other columns"


def incomplete_sentence(night: Night) -> str:
    warned = [each for each in (night.last.facts.warnings if night.last else ()) if each.kind == "rows_fell"]
    if warned:
        return "has far fewer rows than usual"
    return "landed only in part"


def changes_of(facts: ExtractFacts) -> int:
    """Changes of the object; a column that the task selects now, or no longer, is none."""
    return sum(each.change not in ("selected", "unselected") for each in facts.schema_changes)


def _first_full(nights: Iterable[Night]) -> ExtractFacts | None:
    """What the first full extract of the nights brought."""
    return next((each.landed[-1].facts for each in nights if each.landed[-1].facts.mode != "incremental"), None)
