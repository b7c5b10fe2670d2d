"""How often a DAG is due, from what Airflow's metadata database knows of it. For commands, never for a task."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

_RUNS = 20
"""Enough for a schedule of weekdays to show its weekend."""


def longest_wait(dag_id: str) -> timedelta | None:
    """The longest time between two runs of the next ones that are due.

    None where that cannot be told: no database here, an unknown DAG, or one that assets or people start.
    """
    try:
        from airflow.models.serialized_dag import SerializedDagModel

        dag = SerializedDagModel.get_dag(dag_id)
        return None if dag is None else wait_of(dag.timetable)
    except Exception:  # there may be no database, one of another version, or a timetable of a plugin that is not here
        return None


def wait_of(timetable: Any) -> timedelta | None:
    """The longest time between two runs of a timetable that are due one after another."""
    from airflow.timetables.base import TimeRestriction

    now = datetime.now(timezone.utc)
    restriction = TimeRestriction(earliest=_pendulum(now), latest=None, catchup=True)
    due: list[datetime] = []
    last = None
    while len(due) < _RUNS:
        if hasattr(timetable, "next_dagrun_info_v2"):  # newer Airflows
            last = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)
        else:
            interval = last.data_interval if last else None
            last = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
        if last is None or last.run_after is None:
            break
        due.append(last.run_after)
    waits = [later - earlier for earlier, later in pairwise(due)]
    return max(waits, default=None)


def _pendulum(time: datetime) -> Any:
    """Timetables want pendulum's dates."""
    import pendulum

    return pendulum.instance(time)
