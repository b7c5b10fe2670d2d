"""When DAGs were due by their own timetables. Airflow stores runs, and no run of a night in which its scheduler was down."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow.models.serialized_dag import SerializedDagModel
from airflow.timetables.base import TimeRestriction
from sqlalchemy import func, select

if TYPE_CHECKING:
    from airflow.timetables.base import Timetable
    from pendulum import DateTime
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

MOST_RUNS = 2_000
"""Of one DAG. One that is due more often is judged by the runs that it had."""


def due_times(session: Session, dags: Iterable[str], since: datetime, now: datetime) -> dict[str, Sequence[datetime]]:
    """When each DAG was due from `since` to `now`; without those that have no schedule, or too often to be counted here."""
    newest = (
        select(SerializedDagModel.dag_id, func.max(SerializedDagModel.created_at).label("created_at"))
        .where(SerializedDagModel.dag_id.in_(list(dags)))
        .group_by(SerializedDagModel.dag_id)
        .subquery()
    )
    found = session.execute(
        select(SerializedDagModel.dag_id, SerializedDagModel.id, SerializedDagModel.dag_hash).join(
            newest,
            (newest.c.dag_id == SerializedDagModel.dag_id) & (newest.c.created_at == SerializedDagModel.created_at),
        )
    ).all()
    until = now.replace(hour=23, minute=59, second=59, microsecond=0)
    times: dict[str, Sequence[datetime]] = {}
    for dag_id, serialized_id, dag_hash in found:
        known = _Known(session, serialized_id, dag_hash)
        times[dag_id] = [due for due in _due(known, since, until + timedelta(days=1)) if due <= now]
    return times


class _Known:
    """A serialized DAG, which is read only when its times are not remembered; equal when its content is."""

    def __init__(self, session: Session, serialized_id: Any, dag_hash: str) -> None:
        self._session = session
        self._id = serialized_id
        self._hash = dag_hash

    def __hash__(self) -> int:
        return hash(self._hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and other._hash == self._hash

    def timetable(self) -> Timetable | None:
        """The DAG's timetable; None where the DAG is gone meanwhile."""
        serialized = self._session.get(SerializedDagModel, self._id)
        data: Any = serialized.data if serialized else None
        del self._session  # the cache outlives the request
        return _timetable(data["dag"]["timetable"]) if data else None


@lru_cache(maxsize=500)
def _due(known: _Known, since: datetime, until: datetime) -> Sequence[datetime]:
    """Remembered for a day: `since` and `until` are the limits of days."""
    import pendulum

    try:
        timetable = known.timetable()
        if timetable is None or not timetable.can_be_scheduled:
            return ()
        restriction = TimeRestriction(earliest=pendulum.instance(since), latest=pendulum.instance(until), catchup=True)
        return _runs(timetable, restriction)
    except Exception as problem:  # a timetable of the DAG's author may do anything
        log.warning("When a DAG was due is not known, only when it ran (%s: %s)", type(problem).__name__, problem)
        return ()


def _runs(timetable: Timetable, restriction: TimeRestriction) -> Sequence[datetime]:
    due: list[DateTime] = []
    last = None
    while len(due) <= MOST_RUNS:
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info is None:
            return tuple(due)
        due.append(info.run_after)
        last = info.data_interval
    return ()


def _timetable(encoded: Any) -> Timetable:
    decoders: Any
    try:
        from airflow.serialization import decoders
    except ImportError:  # before Airflow 3.2
        from airflow.serialization import serialized_objects as decoders
    found: Timetable = decoders.decode_timetable(encoded)
    return found
