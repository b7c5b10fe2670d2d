"""Reads from Airflow's database what the page shows. A handful of bounded queries, columns only, whatever the number of objects.

Everything is filtered by the DAGs that the user may read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union

import msgspec
from airflow.models.asset import AssetEvent, AssetModel, TaskInletAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Text, and_, cast, func, or_, select

from airflow_sfcc._airflow.event_facts import ExtractFacts, LoadFacts, SyncFacts
from airflow_sfcc._airflow.failures import FAILURE_KEY, failure_key
from airflow_sfcc.page.model import (
    GROUP_OPERATORS,
    SYNC_OPERATORS,
    Attempt,
    Dag,
    Landed,
    Loaded,
    Reported,
    Run,
    Stored,
    TaskKey,
    landed,
)
from airflow_sfcc.page.schedules import due_times

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql.base import Executable

LOAD_OPERATOR = "SalesforceLoadOperator"
OPERATORS = ("SalesforceExtractOperator", *sorted(GROUP_OPERATORS | SYNC_OPERATORS), LOAD_OPERATOR)

Facts = TypeVar("Facts")

MOST_EVENTS = 40_000
MOST_ATTEMPTS = 20_000
MOST_OUTCOMES = 200_000
"""What reports of syncs say of objects: 3,000 objects in 60 nights."""

_EXTRACT = msgspec.json.Decoder(ExtractFacts)
_LOAD = msgspec.json.Decoder(LoadFacts)
_SYNC = msgspec.json.Decoder(SyncFacts)


def read(
    session: Session, readable: Collection[str], since: datetime, now: datetime, *, with_errors: bool = True
) -> Stored:
    """What happened from `since` to `now` in those of the `readable` DAGs that extract from Salesforce or load extracts.

    :param with_errors: read the sentences of failures, which are XComs.
    """
    tasks = _tasks(session, readable, since)
    if not tasks:
        return Stored()
    dags = sorted({dag_id for dag_id, _ in tasks})
    found = _events(session, dags, tasks, since)
    landing = {(each.key.dag_id, each.key.task_id) for each in found.extracts}
    tasks = {key: operator for key, operator in tasks.items() if operator or key in landing}
    attempts = _attempts(session, dags, tasks, since, _notes(session, dags, since) if with_errors else {})
    return Stored(
        landed=found.extracts,
        loaded=found.loaded,
        reports=found.reports,
        attempts=attempts,
        runs=_runs(session, dags, since),
        dags=_dags(session, dags, due_times(session, dags, since, now)),
        tasks=tasks,
        unreadable=found.unreadable,
        is_cut=found.is_cut or len(attempts) >= MOST_ATTEMPTS,
    )


def _rows(session: Session, statement: Executable) -> Any:
    """Rows of columns, without the work that an ORM session does for each."""
    return session.connection().execute(statement)


def _tasks(session: Session, readable: Collection[str], since: datetime) -> dict[tuple[str, str], str]:
    """The operator of every task of ours, by the newest run of each DAG.

    Those of DAGs that have not run yet, and of operators derived from ours, are known by the asset that they read, and have no
    operator here.
    """
    newest = select(func.max(DagRun.id)).where(DagRun.run_after >= since).group_by(DagRun.dag_id)
    ran = _rows(
        session,
        select(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.operator)
        .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .where(DagRun.id.in_(newest), TaskInstance.operator.in_(OPERATORS))
        .distinct(),
    ).all()
    reading = _rows(
        session,
        select(TaskInletAssetReference.dag_id, TaskInletAssetReference.task_id)
        .join(AssetModel, AssetModel.id == TaskInletAssetReference.asset_id)
        .where(AssetModel.uri.like("salesforce://%"))
        .distinct(),
    ).all()
    allowed = frozenset(readable)
    found: dict[tuple[str, str], str] = {}
    for dag_id, task_id in reading:
        if dag_id in allowed:
            found[dag_id, task_id] = ""
    for dag_id, task_id, operator in ran:
        if dag_id in allowed:
            found[dag_id, task_id] = operator or ""
    return found


class Unreadable(NamedTuple):
    """An event that is not what a task of ours writes."""

    key: TaskKey


Event = Union[Landed, Loaded, Reported, Unreadable]
Reader = Callable[[TaskKey, datetime, str, Any], "Event | None"]


@dataclass
class _Events:
    """What was read, the newest first."""

    extracts: list[Landed] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)
    reports: list[Reported] = field(default_factory=list)
    unreadable: int = 0
    is_cut: bool = False
    _outcomes: int = 0

    def add(self, event: Event, operator: str) -> None:
        if isinstance(event, Landed):
            self.extracts.append(event)
        elif isinstance(event, Loaded):
            self.loaded.append(event)
        elif isinstance(event, Reported):
            self._add_report(event)
        else:
            self.unreadable += bool(operator)  # a task that reads the asset may be anybody's

    def _add_report(self, report: Reported) -> None:
        facts = report.facts
        self._outcomes += sum(map(len, (facts.read, facts.unchanged, facts.late, facts.failed)))
        if self._outcomes <= MOST_OUTCOMES:
            self.reports.append(report)
        else:
            self.is_cut = True


class _Remembered:
    """Events that were read and decoded before. Airflow never changes an event, and most of the page's are of earlier nights.

    How an event is decoded goes by its task's operator, which another DAG version may change, so that is remembered too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[int, tuple[str | None, Event]] = {}

    def known(self, ids: Sequence[int], tasks: Mapping[tuple[str, str], str]) -> dict[int, tuple[str | None, Event]]:
        """Those of the events that are remembered as they are read today."""
        with self._lock:
            found = {each: self._events[each] for each in ids if each in self._events}
        return {
            each: (operator, event)
            for each, (operator, event) in found.items()
            if tasks.get((event.key.dag_id, event.key.task_id)) == operator
        }

    def remember(self, events: Mapping[int, tuple[str | None, Event]]) -> None:
        with self._lock:
            self._events.update(events)
            if len(self._events) > 2 * MOST_EVENTS:
                self._events = dict(sorted(self._events.items())[MOST_EVENTS:])


_remembered = _Remembered()


def _events(session: Session, dags: Sequence[str], tasks: Mapping[tuple[str, str], str], since: datetime) -> _Events:
    wanted = and_(AssetEvent.source_dag_id.in_(dags), AssetEvent.timestamp >= since)
    newest_first = select(AssetEvent.id).where(wanted).order_by(AssetEvent.id.desc()).limit(MOST_EVENTS)
    ids = [event_id for (event_id,) in _rows(session, newest_first)]
    known = _remembered.known(ids, tasks)
    missing = [each for each in ids if each not in known]
    if missing:
        decoded = _decoded(session, tasks, and_(wanted, AssetEvent.id >= min(missing)))
        _remembered.remember(decoded)
        known |= decoded  # what is read for other DAGs may push it out of the memory at once
    events = _Events(is_cut=len(ids) >= MOST_EVENTS)
    for operator, event in (known[each] for each in ids if each in known):
        if operator is not None:
            events.add(event, operator)
    return events


def _decoded(
    session: Session, tasks: Mapping[tuple[str, str], str], wanted: Any
) -> dict[int, tuple[str | None, Event]]:
    """Events by their ids, each with the operator of its task; None where that is not one of ours."""
    found = _rows(
        session,
        select(
            AssetEvent.id,
            AssetEvent.source_dag_id,
            AssetEvent.source_run_id,
            AssetEvent.source_task_id,
            AssetEvent.source_map_index,
            AssetEvent.timestamp,
            AssetModel.uri,
            cast(AssetEvent.extra, Text),
        )
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(wanted),
    )
    decoded: dict[int, tuple[str | None, Event]] = {}
    for event_id, dag_id, run_id, task_id, map_index, at, uri, extra in found:
        key = TaskKey(dag_id or "", run_id or "", task_id or "", -1 if map_index is None else map_index)
        operator = tasks.get((key.dag_id, key.task_id))
        readers = _OF_SYNCS if operator in SYNC_OPERATORS else (_load if operator == LOAD_OPERATOR else _extract,)
        decoded[event_id] = (operator, _first(readers, key, at, uri, extra) or Unreadable(key))
    return decoded


def _first(readers: Iterable[Reader], key: TaskKey, at: datetime, uri: str, extra: Any) -> Event | None:
    """The event as the first reader that can read it does."""
    for read in readers:
        event = read(key, at, uri, extra)
        if event is not None:
            return event
    return None


def _extract(key: TaskKey, at: datetime, uri: str, extra: Any) -> Landed | None:
    facts = _facts(_EXTRACT, extra)
    return landed(key, at, uri, facts) if facts else None


def _load(key: TaskKey, at: datetime, uri: str, extra: Any) -> Loaded | None:
    facts = _facts(_LOAD, extra)
    return Loaded(key, at, uri, facts) if facts else None


def _sync(key: TaskKey, at: datetime, uri: str, extra: Any) -> Reported | None:
    facts = _facts(_SYNC, extra)
    return Reported(key, at, facts) if facts else None


_OF_SYNCS: tuple[Reader, ...] = (_extract, _load, _sync)
"""A sync's tasks announce all three; none has all that another must have."""


def _facts(decoder: msgspec.json.Decoder[Facts], extra: Any) -> Facts | None:
    with suppress(msgspec.MsgspecError, RecursionError, TypeError):
        return decoder.decode(extra)
    return None


def _attempts(
    session: Session,
    dags: Sequence[str],
    tasks: Mapping[tuple[str, str], str],
    since: datetime,
    notes: Mapping[TaskKey, Sequence[Mapping[str, Any]]],
) -> list[Attempt]:
    """Task instances that did not succeed; those that did have events."""
    task_ids = sorted({task_id for (_, task_id), operator in tasks.items() if operator != LOAD_OPERATOR})
    found = _rows(
        session,
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.state,
            TaskInstance._rendered_map_index,
            TaskInstance.hostname,
            TaskInstance.end_date,
            TaskInstance.try_number,
        )
        .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .where(
            DagRun.run_after >= since,
            TaskInstance.dag_id.in_(dags),
            TaskInstance.task_id.in_(task_ids),
            or_(TaskInstance.state.is_(None), TaskInstance.state.not_in(("success", "removed"))),
        )
        .order_by(DagRun.run_after.desc())
        .limit(MOST_ATTEMPTS),
    )
    attempts = []
    for dag_id, run_id, task_id, map_index, state, label, hostname, ended, try_number in found:
        if (dag_id, task_id) not in tasks:
            continue
        key = TaskKey(dag_id, run_id, task_id, map_index)
        known = (key, state and str(state), label, bool(hostname), ended, try_number or 0)
        attempts += [Attempt(*known, note) for note in notes.get(key, (_NO_NOTE,))]
    attempts.reverse()
    return attempts


_NO_NOTE: Mapping[str, Any] = {}


def _notes(session: Session, dags: Sequence[str], since: datetime) -> dict[TaskKey, list[Mapping[str, Any]]]:
    """What tasks kept of their failures: one note, or one for each object of a sync."""
    is_note = or_(XComModel.key == FAILURE_KEY, XComModel.key.startswith(failure_key(""), autoescape=True))
    found = _rows(
        session,
        select(
            XComModel.dag_id,
            XComModel.run_id,
            XComModel.task_id,
            XComModel.map_index,
            cast(XComModel.value, Text),
        )
        .where(is_note, XComModel.dag_id.in_(dags), XComModel.timestamp >= since)
        .order_by(XComModel.timestamp.desc())
        .limit(MOST_ATTEMPTS),
    )
    notes: dict[TaskKey, list[Mapping[str, Any]]] = {}
    for dag_id, run_id, task_id, map_index, value in found:
        note = _note(value)
        if note:
            notes.setdefault(TaskKey(dag_id, run_id, task_id, map_index), []).append(note)
    return notes


def _note(value: str | None) -> Mapping[str, Any]:
    """A failure's XCom as it was pushed. Airflow stores the JSON of a value as JSON, so as text within text."""
    try:
        plain = msgspec.json.decode(value or "null")
        if isinstance(plain, str):
            plain = msgspec.json.decode(plain)
    except (msgspec.MsgspecError, RecursionError):
        return _NO_NOTE
    if not isinstance(plain, dict):
        return _NO_NOTE
    return {name: each for name, each in plain.items() if isinstance(each, str)}


def _runs(session: Session, dags: Sequence[str], since: datetime) -> dict[tuple[str, str], Run]:
    deadlines = (
        select(Deadline.dagrun_id, func.min(Deadline.deadline_time).label("time"))
        .group_by(Deadline.dagrun_id)
        .subquery()
    )
    found = _rows(
        session,
        select(DagRun.dag_id, DagRun.run_id, DagRun.run_after, DagRun.run_type, deadlines.c.time)
        .outerjoin(deadlines, deadlines.c.dagrun_id == DagRun.id)
        .where(DagRun.dag_id.in_(dags), DagRun.run_after >= since)
        .order_by(DagRun.run_after.desc())
        .limit(MOST_ATTEMPTS),
    )
    return {
        (dag_id, run_id): Run(due, str(run_type).rpartition(".")[2].lower() == "scheduled", deadline)
        for dag_id, run_id, due, run_type, deadline in found
    }


def _dags(session: Session, dags: Iterable[str], due: Mapping[str, Sequence[datetime]]) -> dict[str, Dag]:
    found = _rows(
        session,
        select(
            DagModel.dag_id, DagModel.is_paused, DagModel.timetable_summary, DagModel.next_dagrun_create_after
        ).where(DagModel.dag_id.in_(list(dags))),
    )
    return {
        dag_id: Dag(bool(is_paused), schedule, next_due, tuple(due.get(dag_id, ())))
        for dag_id, is_paused, schedule, next_due in found
    }
