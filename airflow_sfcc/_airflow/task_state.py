"""What a task remembers from one try to the next, in Airflow's task state store (Airflow 3.3 and newer).

It names the Bulk job; finished pages are known by their staged files. Nothing here is needed for a right result: what is
lost, or cannot be read, is asked of Salesforce again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sfcc.extract.checkpoint import Checkpoint

log = logging.getLogger(__name__)

KEY = "sfcc_extract"
RETENTION = timedelta(days=7)
"""Salesforce keeps a job's results as long."""


class TaskState:
    """The memory of one task instance.

    Airflow keeps it through retries and deferral, and 3.3 also when the task is cleared. A cleared task starts over, so
    what is stored carries the run it belongs to: how often the DAG run was cleared, and the first try since then.
    """

    def __init__(self, store: Any, run: str, *, more_tries: bool) -> None:
        self._store = store
        self._run = run
        stored = self._read()
        self._stored = _checkpoint_of(stored)
        self._is_of_this_run = stored.get("run") == run
        self.more_tries = more_tries
        """Whether Airflow will try the task again if it fails now."""

    @classmethod
    def of(cls, context: Context, retries: int, *, durable: bool) -> TaskState:
        """The memory of the task in `context`; one that forgets when it is not to be `durable`, or Airflow has none."""
        store: Any = context.get("task_state_store") if durable else None
        if store is None:
            if durable:
                log.info(
                    "This Airflow keeps no task state (3.3 and newer do): if the worker dies, a retry starts afresh"
                )
            return cls(None, "", more_tries=False)
        ti, dag_run = context["ti"], context["dag_run"]
        first_try = ti.max_tries - retries + 1
        return cls(store, f"{dag_run.clear_number}/{first_try}", more_tries=ti.try_number <= ti.max_tries)

    @property
    def is_durable(self) -> bool:
        return self._store is not None

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What an earlier try of this run left."""
        return self._stored if self._is_of_this_run else None

    @property
    def abandoned_job(self) -> str | None:
        """The job of a run before the task was cleared, if that run did not finish."""
        return None if self._is_of_this_run or self._stored is None else self._stored.job_id

    def save(self, checkpoint: Checkpoint) -> None:
        if self._store is not None:
            self._quietly(
                "kept", lambda: self._store.set(KEY, {"run": self._run, **checkpoint.to_json()}, retention=RETENTION)
            )

    def forget(self) -> None:
        if self._store is not None:
            self._quietly("removed", lambda: self._store.delete(KEY))

    def _read(self) -> Mapping[str, Any]:
        value = None
        if self._store is not None:
            value = self._quietly("read", lambda: self._store.get(KEY))
        return value if isinstance(value, Mapping) else {}

    def _quietly(self, done: str, action: Any) -> Any:
        try:
            return action()
        except Exception as problem:
            log.warning("Airflow's task state could not be %s (%s); the extract goes on", done, type(problem).__name__)
            return None


def _checkpoint_of(value: Mapping[str, Any]) -> Checkpoint | None:
    from airflow_sfcc.extract.checkpoint import Checkpoint

    return Checkpoint.from_json(value)
