"""What Airflow has stored, as a person wants to see it: for each org, each object, the state of each night.

Pure: no Airflow, no database. Times are aware datetimes; a night is a date in the page's time zone, that of the run's due time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from enum import Enum
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from airflow_sfcc._airflow.event_facts import ExtractFacts, LoadFacts
from airflow_sfcc.wording import plural

RUNNING_STATES = frozenset(
    {"scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting"}
)
FAILED_STATES = frozenset({"failed", "upstream_failed"})

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


class Attempt(NamedTuple):
    """A task instance that did not succeed (yet): Airflow's `state`, None before it is scheduled.

    `label` is what Airflow shows of a mapped task; `ran` whether a worker had it; `note` what `noted_failures` kept.
    """

    key: TaskKey
    state: str | None
    label: str | None
    ran: bool
    ended: datetime | None
    try_number: int
    note: Mapping[str, Any] = {}


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
    def problem(self) -> str | None:
        """What is wrong, as part of a sentence; None when nothing is."""
        if self.is_retired or not self.state.is_problem:
            return None
        late = f"is {hours(self.late_by)} late" if self.late_by else None
        if self.state is State.FAILED:
            return f"{self.name} failed" + (f" and {late}" if late else "")
        if late:
            return f"{self.name} {late}"
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
    """A table, and how far it is behind what has landed: extracts, and the age of the oldest of them."""

    name: str
    loaded: Loaded
    behind: int
    behind_since: datetime | None


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
    def as_of(self) -> datetime | None:
        """When the last of the complete objects landed."""
        return max((each.newest.at for each in self.complete if each.newest), default=None)

    @property
    def verdict(self) -> str:
        """`good`, `wait` while objects are running, or `bad`: a CSS class."""
        if any(each.state in (State.FAILED, State.LATE, State.NOT_RUN, State.INCOMPLETE) for each in self.problems):
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
        parts += _told(self.problems)
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
    """Changes of the object; a column that the task no longer selects is none."""
    return sum(each.change != "unselected" for each in facts.schema_changes)


def overview(stored: Stored, now: datetime, *, zone: tzinfo, nights: int) -> Overview:
    """The page's model.

    :param nights: how many nights are shown; the last is today.
    :param zone: the time zone whose dates nights are.
    """
    return _Builder(stored, now, zone, nights).build()


class _Builder:
    def __init__(self, stored: Stored, now: datetime, zone: tzinfo, nights: int) -> None:
        self._stored = stored
        self._now = now
        self._zone = zone
        today = now.astimezone(zone).date()
        self._nights = tuple(today - timedelta(days=ago) for ago in reversed(range(nights)))
        self._newest_first = sorted(stored.landed, key=_landed_at, reverse=True)
        self._night_of_run = {key: run.due.astimezone(zone).date() for key, run in stored.runs.items()}
        self._run_and_night = {key: (run, self._night_of_run[key]) for key, run in stored.runs.items()}
        scheduled = {key: run for key, run in stored.runs.items() if run.is_scheduled}
        self._run_by_due = {(dag_id, run.due): run for (dag_id, _), run in scheduled.items()}
        self._lines: dict[ObjectKey, ObjectLine] = {}
        self._by_index: dict[tuple[str, str, int], ObjectLine] = {}
        dags = {*stored.dags, *(dag_id for dag_id, _ in stored.runs)}
        self._expected = {dag_id: self._find_expected(dag_id) for dag_id in dags}
        self._expected_nights = {dag_id: self._find_expected_nights(dag_id) for dag_id in dags}
        self._newest_run = {dag_id: self._find_newest_run(dag_id) for dag_id in dags}
        self._by_task: dict[tuple[str, str], dict[ObjectKey, ObjectLine]] = defaultdict(dict)

    def build(self) -> Overview:
        self._add_landed()
        self._add_attempts()
        orgs: dict[str, list[ObjectLine]] = defaultdict(list)
        for line in self._lines.values():
            self._judge(line)
            orgs[line.key.org].append(line)
        for lines in orgs.values():
            _mark_shared_names(lines)
        built = [self._org(key, lines) for key, lines in sorted(orgs.items())]
        return Overview(
            self._now, self._nights, tuple(built), self._stored.dags, self._stored.runs, tuple(self._notices())
        )

    def _notices(self) -> Iterator[str]:
        if self._stored.is_cut:
            yield "There is more than this page reads at once: the oldest nights are not complete here. Choose fewer nights."
        if self._stored.unreadable:
            what = plural(self._stored.unreadable, "asset event")
            yield f"{what} could not be read: other software wrote them, or another version of airflow-sfcc."

    # Lines and their nights

    def _task(self, key: TaskKey) -> str:
        """The task, and for the tasks of a task group the group."""
        operator = self._stored.tasks.get((key.dag_id, key.task_id))
        return key.task_id.rpartition(".")[0] if operator in GROUP_OPERATORS else key.task_id

    def _add_landed(self) -> None:
        known: dict[Place, ObjectLine] = {}
        seen: set[TaskKey] = set()
        for each in self._newest_first:
            # A task with several outlets has an event for each; of a task that ran twice the newest counts.
            if each.key in seen:
                continue
            seen.add(each.key)
            line = known.get(each.place)
            if line is None:
                line = known[each.place] = self._line_of(each)
            self._add(line, each)
        for line in self._lines.values():
            for night in line.landed_nights:
                if len(night.landed) > 1:
                    night.landed.reverse()

    def _add(self, line: ObjectLine, landed: Landed) -> None:
        """Called with the newest first."""
        run, when = self._run_and_night.get(landed.run_key, _NO_RUN)
        if line.newest is None:
            line.newest = landed
        if when is None:
            when = landed.at.astimezone(self._zone).date()
        night = line.nights.get(when)
        if night is None:
            night = line.nights[when] = Night(run=run)
            line.landed_nights.append(night)
        night.landed.append(landed)
        if run is not None and run.is_scheduled and len(line.delays) < USUAL_NIGHTS:
            line.delays.append((landed.at - run.due).total_seconds())

    def _line_of(self, landed: Landed) -> ObjectLine:
        key, facts = landed.key, landed.facts
        org = host_of(facts.instance) if facts.instance else self._org_of(key)
        sobject = facts.sobject or urlsplit(landed.uri).path.rstrip("/").rpartition("/")[2]
        line = self._line(ObjectKey(org, key.dag_id, self._task(key), sobject, landed.uri))
        self._by_index.setdefault((key.dag_id, line.key.task_id, key.map_index), line)
        return line

    def _org_of(self, key: TaskKey) -> str:
        """The org that a newer event of the same task names; older versions of the package named none."""
        of_task = (each for each in self._newest_first if each.key[::2] == key[::2] and each.facts.instance)
        found = next(of_task, None)
        return host_of(found.facts.instance or "") if found else ""

    def _line(self, key: ObjectKey) -> ObjectLine:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = ObjectLine(key)
            self._by_task[key.dag_id, key.task_id][key] = line
        return line

    def _night(self, line: ObjectLine, key: TaskKey, at: datetime | None) -> Night:
        when = self._night_of_run.get((key.dag_id, key.run_id))
        if when is None:
            when = (at or self._now).astimezone(self._zone).date()
        night = line.nights.get(when)
        if night is None:
            night = line.nights[when] = Night()
        return night

    def _add_attempts(self) -> None:
        landed = {each.key: each.at for each in self._stored.landed}
        for each in self._stored.attempts:
            before = landed.get(each.key)
            if before and (each.state not in FAILED_STATES or not each.ended or each.ended <= before):
                continue
            for line in self._lines_of(each):
                night = self._night(line, each.key, each.ended)
                night.attempts = [*night.attempts, each]

    def _lines_of(self, attempt: Attempt) -> Iterable[ObjectLine]:
        """The line that an attempt belongs to; all lines of a task that was not yet mapped."""
        key, task = attempt.key, self._task(attempt.key)
        siblings = self._by_task.get((key.dag_id, task), {})
        named = attempt.note.get("sobject") or attempt.label
        if named:
            found = [line for line in siblings.values() if line.key.sobject.lower() == str(named).lower()]
            if len(found) == 1:
                return found
        is_of_group = self._stored.tasks.get((key.dag_id, key.task_id)) in GROUP_OPERATORS
        if siblings and (is_of_group or (key.map_index < 0 and not named)):
            return list(siblings.values())
        by_index = self._by_index.get((key.dag_id, task, key.map_index))
        if by_index is not None and (not named or by_index.key.sobject.lower() == str(named).lower()):
            return [by_index]
        if attempt.state is None or (key.map_index >= 0 and not named and not attempt.ran):
            return []  # nobody knows yet what it will be
        org = host_of(str(attempt.note.get("instance") or "")) or next((line.key.org for line in siblings.values()), "")
        shown = str(named or (task if key.map_index < 0 else f"{task}[{key.map_index}]"))
        return [self._line(ObjectKey(org or str(attempt.note.get("conn_id") or ""), key.dag_id, task, shown, ""))]

    # What the nights mean

    def _judge(self, line: ObjectLine) -> None:
        expected = self._expected.get(line.key.dag_id, ())
        line.allowance = self._allowance(line, expected)
        for night in line.nights.values():
            night.state = self._state(line, night)
        self._fill_gaps(line, expected)
        self._judge_now(line, expected)

    def _find_expected(self, dag_id: str) -> Sequence[datetime]:
        """When the DAG was due by its schedule, oldest first: runs that it had, and those that it should have had."""
        dag = self._stored.dags.get(dag_id)
        times = {due for owner, due in self._run_by_due if owner == dag_id}
        times |= set(dag.due if dag else ())
        if dag and dag.next_due and dag.next_due <= self._now:
            times.add(dag.next_due)
        return sorted(times)

    def _allowance(self, line: ObjectLine, expected: Sequence[datetime]) -> timedelta:
        """How long after it is due an object may land: twice what is usual, an hour at least, the schedule's interval at most."""
        usual = timedelta(seconds=2 * median(line.delays)) if line.delays else timedelta()
        interval = _interval(expected)
        return max(SHORTEST_ALLOWANCE, min(usual, interval) if interval else usual)

    def _deadline(self, line: ObjectLine, run: Run) -> datetime:
        return run.deadline or run.due + line.allowance

    def _state(self, line: ObjectLine, night: Night) -> State:
        if night.attempts:
            worst = self._state_of_attempts(line, night)
            if worst is not None:
                return worst
        landed = night.landed
        if not landed:
            return State.COMPLETE if any(is_empty(each) for each in night.attempts) else State.NOT_RUN
        last, run = landed[-1], night.run
        night.is_late = run is not None and run.is_scheduled and last.at > self._deadline(line, run)
        if last.facts.warnings and any(each.kind == "rows_fell" for each in last.facts.warnings):
            return State.INCOMPLETE
        for each in landed:
            if each.facts.schema_changes and changes_of(each.facts):
                return State.SCHEMA
        return State.LATE if night.is_late else State.COMPLETE

    def _state_of_attempts(self, line: ObjectLine, night: Night) -> State | None:
        """What the runs that did not land say of the night; None when one that landed later says more."""
        landed_due = max((self._due(each.key, each.at) for each in night.landed), default=None)
        later = [each for each in night.attempts if landed_due is None or self._due(each.key, each.ended) >= landed_due]
        states = {each.state for each in later}
        if states & RUNNING_STATES:
            run = next((self._stored.runs.get(each.key[:2]) for each in later if each.state in RUNNING_STATES), None)
            is_overdue = run is not None and run.is_scheduled and self._now > self._deadline(line, run)
            return State.LATE if is_overdue else State.RUNNING
        if "failed" in states:
            return State.INCOMPLETE if night.landed else State.FAILED
        if landed_due is None and None in states:
            return State.RUNNING
        return None

    def _due(self, key: TaskKey, otherwise: datetime | None) -> datetime:
        run = self._stored.runs.get(key[:2])
        return run.due if run else otherwise or self._now

    def _fill_gaps(self, line: ObjectLine, expected: Sequence[datetime]) -> None:
        """Nights whose runs did not have the object: not run; and none where the object is no longer extracted."""
        if not line.nights:
            return
        first, last = min(line.nights), max(line.nights)
        if self._newest_run.get(line.key.dag_id, date.min) > last:
            runs = [key for key, when in self._night_of_run.items() if key[0] == line.key.dag_id and when > last]
            line.is_retired = self._ran_without(line, runs)
        for due, when in self._expected_nights.get(line.key.dag_id, ()):
            if when in line.nights or when <= first or (line.is_retired and when > last):
                continue
            if self._now > due + line.allowance:
                line.nights[when] = Night(state=State.NOT_RUN)

    def _find_newest_run(self, dag_id: str) -> date:
        return max((when for key, when in self._night_of_run.items() if key[0] == dag_id), default=date.min)

    def _find_expected_nights(self, dag_id: str) -> Sequence[tuple[datetime, date]]:
        return [(due, due.astimezone(self._zone).date()) for due in self._expected[dag_id]]

    def _ran_without(self, line: ObjectLine, runs: Sequence[tuple[str, str]]) -> bool:
        """Whether other objects of the same task landed in those runs: then this one was taken out of the DAG."""
        siblings = self._by_task[line.key.dag_id, line.key.task_id].values()
        wanted = set(runs)
        return any(each.newest is not None and each is not line and each.newest.key[:2] in wanted for each in siblings)

    def _judge_now(self, line: ObjectLine, expected: Sequence[datetime]) -> None:
        night = line.last_night
        line.state = night.state if night else State.NONE
        if line.is_retired:
            return
        done = self._due(line.newest.key, line.newest.at) if line.newest else None
        skipped = [self._due(each.key, each.ended) for each in (night.attempts if night else ()) if is_empty(each)]
        done = max([each for each in (done, *skipped) if each], default=None)
        since = done or self._start_of(min(line.nights, default=self._nights[-1])) - timedelta(microseconds=1)
        missing = next((due for due in expected if due > since), None)
        if missing is None:
            if line.state is State.LATE and night and night.last:
                line.state = State.COMPLETE  # it came late, and it is there
            return
        run = self._run_by_due.get((line.key.dag_id, missing))
        until = self._deadline(line, run) if run else missing + line.allowance
        if self._now > until:
            line.late_by = self._now - missing
            if line.state is not State.FAILED:
                line.state = State.LATE

    def _start_of(self, night: date) -> datetime:
        return datetime(night.year, night.month, night.day, tzinfo=self._zone)

    # Orgs

    def _org(self, key: str, lines: list[ObjectLine]) -> Org:
        lines.sort(key=lambda line: (line.key.sobject.lower(), line.key))
        return Org(key, lines, self._api(lines), self._tables(lines))

    def _api(self, lines: Sequence[ObjectLine]) -> ApiCalls | None:
        reported = [line.newest for line in lines if line.newest and line.newest.facts.api_limit]
        if not reported:
            return None
        newest = max(reported, key=lambda each: each.at)
        by_night: dict[date, int] = defaultdict(int)
        last_day = 0
        since = newest.at.date() - timedelta(days=2 * FRESH_NIGHTS)
        for line in lines:
            for when, night in line.nights.items():
                for each in night.landed if when > since else ():
                    by_night[when] += each.facts.api_calls or 0
                    if newest.at - timedelta(days=1) < each.at:
                        last_day += each.facts.api_calls or 0
        earlier = [by_night[when] for when in sorted(by_night, reverse=True) if by_night[when]][:FRESH_NIGHTS]
        used = newest.facts.api_used or 0
        return ApiCalls(
            used=used,
            limit=newest.facts.api_limit or 0,
            at=newest.at,
            tonight=int(median(earlier)) if earlier else 0,
            budget=newest.facts.budget,
            used_by_others=max(0, used - last_day),
        )

    def _tables(self, lines: Sequence[ObjectLine]) -> list[TableLine]:
        by_place = {line.key.uri: line for line in lines if line.key.uri}
        newest: dict[str, Loaded] = {}
        for each in self._stored.loaded:
            if each.facts.source in by_place and (each.uri not in newest or newest[each.uri].at < each.at):
                newest[each.uri] = each
        found = []
        for uri, loaded in sorted(newest.items()):
            line = by_place[str(loaded.facts.source)]
            waiting = [each.at for night in line.nights.values() for each in night.landed if each.at > loaded.at]
            found.append(TableLine(table_name(uri), loaded, len(waiting), min(waiting, default=None)))
        return found


GROUP_OPERATORS = frozenset({"PlanOperator", "DownloadOperator", "CommitOperator"})
"""The operators of the task group `salesforce_extract`: its tasks are one line."""


def _first_full(nights: Iterable[Night]) -> ExtractFacts | None:
    """What the first full extract of the nights brought."""
    return next((each.landed[-1].facts for each in nights if each.landed[-1].facts.mode != "incremental"), None)


_NO_RUN: tuple[None, None] = (None, None)


def _landed_at(landed: Landed) -> datetime:
    return landed.at


def is_empty(attempt: Attempt) -> bool:
    """Whether the extract found nothing to land: `skip_if_empty`. Tasks that a branch left out were on no worker."""
    return attempt.state == "skipped" and attempt.ran


def host_of(instance: str) -> str:
    """`acme.my.salesforce.com` of `https://acme.my.salesforce.com`."""
    return urlsplit(instance).netloc.lower() if "://" in instance else instance.lower()


def table_name(uri: str) -> str:
    """A table's asset without what precedes its last two names."""
    return "/".join(urlsplit(uri).path.strip("/").split("/")[-2:]) or uri


def _interval(expected: Sequence[datetime]) -> timedelta | None:
    return expected[-1] - expected[-2] if len(expected) > 1 else None


def _mark_shared_names(lines: Sequence[ObjectLine]) -> None:
    seen: dict[str, list[ObjectLine]] = defaultdict(list)
    for line in lines:
        if not line.is_retired:
            seen[line.key.sobject].append(line)
    for same in seen.values():
        for line in same:
            line.is_shared_name = len(same) > 1
