"""Makes the page's model of what Airflow has stored. Pure, as the model is."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from statistics import median
from urllib.parse import urlsplit

from airflow_sfcc.page.model import (
    BUDGET_ENDED,
    FAILED_STATES,
    FRESH_NIGHTS,
    GROUP_OPERATORS,
    PLAN_SYNC,
    READ,
    RUNNING_STATES,
    SHORTEST_ALLOWANCE,
    SYNC_OPERATORS,
    SYNC_REPORT,
    UNCHANGED,
    USUAL_NIGHTS,
    ApiCalls,
    Attempt,
    Landed,
    Loaded,
    Night,
    ObjectKey,
    ObjectLine,
    Org,
    Overview,
    Place,
    Reported,
    Run,
    RunKey,
    State,
    Stored,
    TableLine,
    TaskKey,
    changes_of,
)
from airflow_sfcc.wording import plural


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
        self._sync_tasks = {key for key, operator in stored.tasks.items() if operator in SYNC_OPERATORS}
        self._reports = _newest_of_each_run(stored.reports)
        self._reported_lines: dict[tuple[str, ...], dict[str, ObjectLine]] = defaultdict(dict)
        self._reported_runs: dict[tuple[str, str], set[RunKey]] = defaultdict(set)

    def build(self) -> Overview:
        self._add_landed()
        self._add_reports()
        self._add_attempts()
        self._add_failures_without_a_note()
        self._add_unfinished_syncs()
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
        operator = self._operator(key)
        is_of_group = operator in GROUP_OPERATORS or operator in SYNC_OPERATORS
        return key.task_id.rpartition(".")[0] if is_of_group else key.task_id

    def _operator(self, key: TaskKey) -> str | None:
        return self._stored.tasks.get((key.dag_id, key.task_id))

    def _add_landed(self) -> None:
        known: dict[Place, ObjectLine] = {}
        seen: set[object] = set()
        for each in self._newest_first:
            # A task with several outlets has an event for each; of a task that ran twice the newest counts. A task of a sync has
            # events of several objects, and an object may be another task's when the run is cleared.
            is_of_sync = each.place[:2] in self._sync_tasks
            what = (each.run_key, self._task(each.key), each.uri) if is_of_sync else each.key
            if what in seen:
                continue
            seen.add(what)
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
        if (key.dag_id, key.task_id) not in self._sync_tasks:
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

    def _when(self, key: TaskKey, at: datetime | None) -> date:
        found = self._night_of_run.get((key.dag_id, key.run_id))
        return found or (at or self._now).astimezone(self._zone).date()

    def _add_attempt(self, line: ObjectLine, attempt: Attempt) -> None:
        when = self._when(attempt.key, attempt.ended)
        night = line.nights.get(when)
        if night is None:
            night = line.nights[when] = Night()
        night.attempts = (*night.attempts, attempt)

    def _attempts(self, *, of_reports: bool) -> Iterator[Attempt]:
        """Those after which nothing landed."""
        events = {each.key: each.at for each in self._stored.landed}
        events.update({each.key: each.at for each in self._stored.reports})
        for each in self._stored.attempts:
            before = events.get(each.key)
            if before and (each.state not in FAILED_STATES or not each.ended or each.ended <= before):
                continue
            if (self._operator(each.key) == SYNC_REPORT) == of_reports:
                yield each

    def _add_attempts(self) -> None:
        for each in self._attempts(of_reports=False):
            for line in self._lines_of(each):
                self._add_attempt(line, each)

    def _lines_of(self, attempt: Attempt) -> Iterable[ObjectLine]:
        """The line that an attempt belongs to; all lines of a task that was not yet mapped."""
        key, task = attempt.key, self._task(attempt.key)
        siblings = self._by_task.get((key.dag_id, task), {})
        if self._operator(key) in SYNC_OPERATORS:
            return self._lines_of_sync(attempt, task)
        named = attempt.note.get("sobject") or attempt.label
        if named:
            found = [line for line in siblings.values() if line.key.sobject.lower() == str(named).lower()]
            if len(found) == 1:
                return found
        is_of_group = self._operator(key) in GROUP_OPERATORS
        if siblings and (is_of_group or (key.map_index < 0 and not named)):
            return list(siblings.values())
        by_index = self._by_index.get((key.dag_id, task, key.map_index))
        if by_index is not None and (not named or by_index.key.sobject.lower() == str(named).lower()):
            return [by_index]
        if attempt.state is None or (key.map_index >= 0 and not named and not attempt.ran):
            return []  # nobody knows yet what it will be
        shown = str(named or (task if key.map_index < 0 else f"{task}[{key.map_index}]"))
        return [self._line_without_landing(attempt, task, shown)]

    def _line_without_landing(self, attempt: Attempt, task: str, shown: str) -> ObjectLine:
        siblings = self._by_task.get((attempt.key.dag_id, task), {})
        org = host_of(str(attempt.note.get("instance") or "")) or next((line.key.org for line in siblings.values()), "")
        org = org or str(attempt.note.get("conn_id") or "")
        return self._line(ObjectKey(org, attempt.key.dag_id, task, shown, ""))

    # Objects of syncs: what has no event of its own is known by the report

    def _add_reports(self) -> None:
        """Objects that are complete without an event of the night, and those that wait; called with the newest first."""
        for each in self._reports:
            self._reported_runs[each.key.dag_id, self._task(each.key)].add(each.key[:2])
            facts = each.facts
            for state, names in ((UNCHANGED, facts.unchanged), (READ, facts.read), (BUDGET_ENDED, facts.late)):
                self._add_outcomes(each, state, names)
            for name in facts.failed:
                self._reported_line(each, name)

    def _add_outcomes(self, report: Reported, state: str, names: Sequence[str]) -> None:
        attempt = Attempt(report.key, state, None, True, report.at, 0)
        alone, when = (attempt,), self._when(report.key, report.at)
        run = self._stored.runs.get(report.key[:2])
        delay = (report.at - run.due).total_seconds() if run and run.is_scheduled else None
        known = self._lines_at(report)
        for name in names:
            line = known.get(name) or self._reported_line(report, name)
            night = line.nights.get(when)
            if night is None:
                night = line.nights[when] = Night(attempts=alone)
            elif state == READ and any(each.run_key == report.key[:2] for each in night.landed):
                continue
            else:
                night.attempts = (*night.attempts, attempt)
            if state == BUDGET_ENDED:
                continue
            line.reported = line.reported or report
            if delay is not None and len(line.delays) < USUAL_NIGHTS:
                line.delays.append(delay)

    def _reported_line(self, report: Reported, name: str) -> ObjectLine:
        known, facts, key = self._lines_at(report), report.facts, report.key
        if name not in known:
            uri = facts.destination.replace("{sobject}", name)
            known[name] = self._line(ObjectKey(host_of(facts.instance), key.dag_id, self._task(key), name, uri))
        return known[name]

    def _lines_at(self, report: Reported) -> dict[str, ObjectLine]:
        """The lines of the report's objects by their names, as far as they were looked up: nights are thousands."""
        facts, key = report.facts, report.key
        return self._reported_lines[key.dag_id, key.task_id, facts.instance, facts.destination]

    def _lines_of_sync(self, attempt: Attempt, group: str) -> Iterable[ObjectLine]:
        """The line that the attempt names; all of the group where the plan failed. Else the report's tells of the objects."""
        if self._operator(attempt.key) == PLAN_SYNC:
            if attempt.state not in FAILED_STATES:
                return []
            return self._current(attempt.key.dag_id, group) or [self._line_without_landing(attempt, group, group)]
        named = str(attempt.note.get("sobject") or attempt.label or "")
        if attempt.state is None or not _API_NAME.fullmatch(named):
            return []
        siblings = self._by_task.get((attempt.key.dag_id, group), {}).values()
        same = [line for line in siblings if line.key.sobject.lower() == named.lower()]
        newest = max(same, key=lambda line: line.complete_at or _LONG_AGO, default=None)
        return [newest or self._line_without_landing(attempt, group, named)]

    def _current(self, dag_id: str, group: str) -> list[ObjectLine]:
        """The objects that the newest report knows, or that came after it; all without a report."""
        lines = list(self._by_task.get((dag_id, group), {}).values())
        newest = next(
            (each for each in self._reports if (each.key.dag_id, self._task(each.key)) == (dag_id, group)), None
        )
        if newest is None:
            return lines
        facts = newest.facts
        names = (*facts.read, *facts.unchanged, *facts.late, *facts.failed)
        known = {facts.destination.replace("{sobject}", name) for name in names}
        return [line for line in lines if line.key.uri in known or (line.newest and line.newest.at > newest.at)]

    def _add_failures_without_a_note(self) -> None:
        """Objects that failed as the report says, where their task left nothing, or what it left is not the reader's to see."""
        for report in self._reports:
            attempt = Attempt(report.key, "failed", None, True, report.at, 0)
            when = self._when(report.key, report.at)
            for name in report.facts.failed:
                line = self._reported_line(report, name)
                night = line.nights.get(when)
                known = night.attempts if night else ()
                if not any(each.key[:2] == report.key[:2] and each.state in FAILED_STATES for each in known):
                    self._add_attempt(line, attempt)

    def _add_unfinished_syncs(self) -> None:
        """While there is no report, and where there will be none, objects of which nothing else is known share its state."""
        for each in self._attempts(of_reports=True):
            if each.state == "skipped":
                continue
            when, run = self._when(each.key, each.ended), each.key[:2]
            for line in self._current(each.key.dag_id, self._task(each.key)):
                night = line.nights.get(when) or Night()
                known = {*(landed.run_key for landed in night.landed), *(known.key[:2] for known in night.attempts)}
                if run not in known:
                    self._add_attempt(line, each)

    # What the nights mean

    def _judge(self, line: ObjectLine) -> None:
        expected = self._expected.get(line.key.dag_id, ())
        line.allowance = self._allowance(line, expected)
        for night in line.nights.values():
            if len(night.attempts) > 1:
                night.attempts = sorted(night.attempts, key=lambda each: self._due(each.key, each.ended))
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
            return State.COMPLETE if any(each.is_complete for each in night.attempts) else State.NOT_RUN
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
        open_ones = [each for each in night.attempts if not each.is_complete]
        if not open_ones:  # most nights of a sync are so
            return None
        landed_due = [self._due(each.key, each.at) for each in night.landed]
        empty_due = [self._due(each.key, each.ended) for each in night.attempts if each.is_complete]
        done = max([*landed_due, *empty_due], default=None)
        later = [each for each in open_ones if done is None or self._due(each.key, each.ended) >= done]
        if not later:
            return None
        states = {each.state for each in later}
        if states & RUNNING_STATES:
            run = next((self._stored.runs.get(each.key[:2]) for each in later if each.state in RUNNING_STATES), None)
            is_overdue = run is not None and run.is_scheduled and self._now > self._deadline(line, run)
            return State.LATE if is_overdue else State.RUNNING
        if "failed" in states:
            return State.INCOMPLETE if done and not self._has_no_table(night, later) else State.FAILED
        if BUDGET_ENDED in states:
            return State.LATE
        if done is None and None in states:
            return State.RUNNING
        return None

    def _has_no_table(self, night: Night, failed: Sequence[Attempt]) -> bool:
        """Whether a sync extracted the object, and failed to load it."""
        last = night.last
        return last is not None and any(
            each.key[:2] == last.run_key and self._operator(each.key) in SYNC_OPERATORS for each in failed
        )

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
        if wanted & self._reported_runs.get((line.key.dag_id, line.key.task_id), set()):
            return True
        return any(each.newest is not None and each is not line and each.newest.key[:2] in wanted for each in siblings)

    def _judge_now(self, line: ObjectLine, expected: Sequence[datetime]) -> None:
        night = line.last_night
        line.state = night.state if night else State.NONE
        if line.is_retired:
            return
        known = [self._due(each.key, each.at) for each in (line.newest, line.reported) if each]
        skipped = [self._due(each.key, each.ended) for each in (night.attempts if night else ()) if each.is_complete]
        done = max([*known, *skipped], default=None)
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
        syncs = [each for each in self._reports if lines and host_of(each.facts.instance) == lines[0].key.org]
        known: list[Landed | Reported] = [line.newest for line in lines if line.newest]
        told = [each for each in (*known, *syncs) if each.facts.api_limit]
        if not told:
            return None
        newest = max(told, key=lambda each: each.at)
        by_night: dict[date, int] = defaultdict(int)
        last_day = 0
        for when, at, calls in self._calls(lines, syncs, newest.at.date() - timedelta(days=2 * FRESH_NIGHTS)):
            by_night[when] += calls
            if newest.at - timedelta(days=1) < at:
                last_day += calls
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

    def _calls(
        self, lines: Sequence[ObjectLine], syncs: Sequence[Reported], since: date
    ) -> Iterator[tuple[date, datetime, int]]:
        """Calls that extracts and plans of syncs made, with their nights and times."""
        for line in lines:
            for when, night in line.nights.items():
                for each in night.landed if when > since else ():
                    yield when, each.at, each.facts.api_calls or 0
        for report in syncs:
            when = self._when(report.key, report.at)
            if when > since:
                yield when, report.at, report.facts.plan_calls

    def _tables(self, lines: Sequence[ObjectLine]) -> list[TableLine]:
        by_place = {line.key.uri: line for line in lines if line.key.uri}
        loads: dict[str, list[Loaded]] = defaultdict(list)
        for each in sorted(self._stored.loaded, key=lambda each: each.at):
            if each.facts.source in by_place:
                loads[each.uri].append(each)
        return [
            self._table(uri, of_table, by_place[str(of_table[-1].facts.source)])
            for uri, of_table in sorted(loads.items())
        ]

    def _table(self, uri: str, loads: Sequence[Loaded], line: ObjectLine) -> TableLine:
        loaded = loads[-1]
        landed = sorted((each.at, each.key) for night in line.nights.values() for each in night.landed)
        # A task of a sync loads what it has just landed, and Airflow stores its events in any order.
        waiting = [at for at, key in landed if at > loaded.at and key != loaded.key]
        since = waiting[0] if waiting else None
        behind_by = self._now - since if since else None
        usual = _usual_wait([at for at, _ in landed], [each.at for each in loads])
        is_overdue = behind_by is not None and behind_by > max(SHORTEST_ALLOWANCE, 2 * usual) and not line.is_retired
        return TableLine(table_name(uri), loaded, len(waiting), since, behind_by, is_overdue, line)


def _usual_wait(landed: Sequence[datetime], loads: Sequence[datetime]) -> timedelta:
    """How long the oldest of the extracts that a load took had usually waited; both in their order."""
    waits = []
    for before, load in pairwise(loads):
        first = bisect_right(landed, before)
        if first < len(landed) and landed[first] <= load:
            waits.append((load - landed[first]).total_seconds())
    return timedelta(seconds=median(waits[-USUAL_NIGHTS:])) if waits else timedelta()


def _newest_of_each_run(reports: Iterable[Reported]) -> list[Reported]:
    """The newest first: of a run that was cleared its last report counts."""
    newest: dict[TaskKey, Reported] = {}
    for each in sorted(reports, key=lambda each: each.at):
        newest[each.key] = each
    return sorted(newest.values(), key=lambda each: each.at, reverse=True)


_API_NAME = re.compile(r"[A-Za-z]\w*")
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)
_NO_RUN: tuple[None, None] = (None, None)


def _landed_at(landed: Landed) -> datetime:
    return landed.at


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
