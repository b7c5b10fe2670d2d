"""A real Airflow (API server, scheduler, dag-processor, triggerer) on SQLite below one folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from airflow_sfcc.timestamps import timestamp
from dev.airflow_api import AirflowApi, TaskState
from dev.airflow_settings import ADMIN, airflow_environment, load_or_create_secrets, write_schedule_policy
from dev.errors import HarnessError
from dev.ports import free_port, raise_if_taken
from dev.processes import ProcessGroup
from dev.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# The logs are read from disk by the API server, so nobody needs the servers that would hand them over the network.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
FINISHED = {"success", "failed"}


class AirflowNotReadyError(HarnessError):
    """Something Airflow should have done did not happen in time; the message says what was waited for."""


class LocalAirflow:
    """Starts, drives and stops one Airflow. Use it as a context manager: nothing it started outlives the block.

    :param home: the folder for its database, logs and secrets; created if missing, reusable between starts.
    :param dags: the folder with the DAG files.
    :param python: the interpreter that has Airflow installed.
    :param extra_env: environment variables for its processes, e.g. ``AIRFLOW_CONN_…``.
    :param port: where the UI and the APIs listen on loopback; a free one is picked if not given.
    :param scheduled: whether DAGs also run at the times of their schedule; runs triggered by an asset start in any case.
    :param components: what to start of `COMPONENTS`; the API server alone shows what is in the database.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        python: str = sys.executable,
        extra_env: Mapping[str, str] | None = None,
        port: int | None = None,
        scheduled: bool = False,
        components: Collection[str] = tuple(COMPONENTS),
    ) -> None:
        self._components = components
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.dags = dags.resolve()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.username = ADMIN
        self._python = python
        self._scheduled = scheduled
        keys = load_or_create_secrets(self.home)
        self.password = keys.admin_password
        settings = airflow_environment(self.home, self.dags, self.port, keys)
        self.env = {**settings, **(extra_env or {})}
        self.processes = ProcessGroup(self.home, self.home / "logs" / "components")
        self.api = AirflowApi(self.url, self.username, self.password)

    def __enter__(self) -> Self:
        try:
            self.processes.end()
            self.migrate()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def logs(self) -> Path:
        """Task logs by DAG and run, and ``components/<name>.log`` for each process."""
        return self.home / "logs"

    def task_log(self, dag_id: str, run_id: str, task: TaskState) -> Path:
        """The log file of a task's latest attempt."""
        mapped = [f"map_index={task.map_index}"] if task.map_index >= 0 else []
        parts = [f"dag_id={dag_id}", f"run_id={run_id}", f"task_id={task.task_id}", *mapped]
        return self.logs.joinpath(*parts, f"attempt={task.try_number}.log")

    def migrate(self, *, timeout: float = 180.0) -> None:
        """Create or update the metadata database."""
        self.processes.run("db-migrate", self._airflow("db", "migrate"), self.env, timeout=timeout)

    def start(self, *, timeout: float = 300.0) -> None:
        """Start all components and return when each responds or has sent its heartbeat."""
        raise_if_taken(self.port)
        write_schedule_policy(self.home, scheduled=self._scheduled)
        since = datetime.now(timezone.utc)
        for name, arguments in COMPONENTS.items():
            if name not in self._components:
                continue
            self.processes.start(name, self._airflow(*arguments), self.env)
        self._until(
            lambda: not self._silent_components(since),
            timeout,
            lambda: self._not_started(since, timeout),
        )

    def stop(self) -> None:
        """End every process of this Airflow, workers and tasks too; safe to call twice."""
        self.processes.end()

    def wait_for_dag(self, dag_id: str, *, timeout: float = 180.0) -> None:
        """Return when the DAG can be triggered; if it does not appear the error carries Airflow's import errors."""
        self._until(
            lambda: self.api.dag_exists(dag_id),
            timeout,
            lambda: self._dag_missing(dag_id, timeout),
        )

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, *, timeout: float = 180.0) -> str:
        """Wait until the DAG is known, unpause it, start a run now, and return its ``run_id``."""
        self.wait_for_dag(dag_id, timeout=timeout)
        self.api.unpause(dag_id)
        return self.api.trigger(dag_id, conf)

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        return self.api.task_states(dag_id, run_id)

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        map_index: int = -1,
        key: str = "return_value",
    ) -> Any:
        return self.api.xcom(dag_id, run_id, task_id, map_index=map_index, key=key)

    def wait(
        self,
        dag_id: str,
        run_id: str,
        *,
        on_change: Callable[[TaskState], None] | None = None,
        timeout: float = 900.0,
    ) -> str:
        """Follow a run to its end and return ``success`` or ``failed``.

        :param on_change: called with every task instance that is new or whose state or try number changed since the last poll.
        """
        seen: dict[tuple[str, int], TaskState] = {}

        def finished() -> bool:
            # Read before the tasks, so that the last poll shows how they ended.
            state = self.api.run_state(dag_id, run_id)
            for task in self.task_states(dag_id, run_id):
                if seen.get(task.key) != task:
                    seen[task.key] = task
                    if on_change:
                        on_change(task)
            return state in FINISHED

        self._until(
            finished,
            timeout,
            lambda: _run_unfinished(dag_id, run_id, timeout, list(seen.values())),
        )
        return self.api.run_state(dag_id, run_id)

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: set[str],
        *,
        map_index: int = -1,
        timeout: float = 300.0,
    ) -> TaskState:
        """Return the task as soon as it is in one of ``states``, e.g. ``{"deferred"}``."""

        def task() -> TaskState | None:
            wanted = (task_id, map_index)
            found = [t for t in self.task_states(dag_id, run_id) if t.key == wanted and t.state in states]
            return found[0] if found else None

        def message() -> str:
            now = [t.state for t in self.task_states(dag_id, run_id) if t.key == (task_id, map_index)]
            return f"Task {task_id} of {dag_id} was not {' or '.join(sorted(states))} within {timeout:.0f} s but {now}."

        return self._until(task, timeout, message)

    def _airflow(self, *arguments: str) -> list[str]:
        return [self._python, "-m", "airflow", *arguments]

    def _until(
        self,
        condition: Callable[[], T | None],
        timeout: float,
        message: Callable[[], str],
    ) -> T:
        """Poll ``condition`` until it is true and return its value; every wait of this class is bounded here."""

        def checked() -> T | None:
            self.processes.raise_if_any_ended()
            return condition()

        return wait_until(checked, timeout=timeout, message=message, error=AirflowNotReadyError)

    def _silent_components(self, since: datetime) -> list[str]:
        """The components without a sign of life after ``since`` (a reused database holds old heartbeats)."""
        try:
            health = self.api.health()
        except requests.RequestException:
            return ["api-server"]
        return [
            component
            for component in ("scheduler", "dag_processor", "triggerer")
            if component.replace("_", "-") in self._components
            and (health[component]["status"] != "healthy" or _heartbeat(health, component) < since)
        ]

    def _not_started(self, since: datetime, timeout: float) -> str:
        missing = ", ".join(self._silent_components(since))
        return (
            f"Airflow was not ready within {timeout:.0f} s: no sign of life from {missing}. "
            f"See its log below {self.processes.logs}"
        )

    def _dag_missing(self, dag_id: str, timeout: float) -> str:
        errors = "\n".join(self.api.import_errors()) or "no import errors; is the file in the DAGs folder?"
        return f"Airflow did not find the DAG {dag_id} within {timeout:.0f} s. It reports: {errors}"


def _heartbeat(health: dict[str, dict[str, str | None]], component: str) -> datetime:
    return timestamp(health[component][f"latest_{component}_heartbeat"] or "")


def _run_unfinished(dag_id: str, run_id: str, timeout: float, tasks: list[TaskState]) -> str:
    open_tasks = ", ".join(f"{task.label} is {task.state}" for task in tasks if task.state not in FINISHED)
    return f"Run {run_id} of {dag_id} did not finish within {timeout:.0f} s: {open_tasks or 'it has no open tasks'}."
