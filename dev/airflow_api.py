"""The few calls of Airflow's public REST API (``/api/v2``) that running and watching a DAG takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import requests

from dev.errors import HarnessError

PAGE = 100


class AirflowApiError(HarnessError):
    """Airflow returned an error; the message has the call, the status and Airflow's text."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class TaskState:
    """One task instance as Airflow sees it now. ``label`` is what the UI shows: a mapped task's object name."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    label: str

    @property
    def key(self) -> tuple[str, int]:
        return self.task_id, self.map_index


class AirflowApi:
    """A client of one Airflow, signed in as one user of its simple auth manager."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": username, "password": password}
        self._session = requests.Session()
        # Airflow is on loopback: a proxy from the user's environment could not reach it.
        self._session.trust_env = False

    def health(self) -> dict[str, dict[str, str | None]]:
        """Each component's ``status`` and latest heartbeat (ISO 8601); needs no sign-in."""
        response = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=10)
        response.raise_for_status()
        return cast("dict[str, dict[str, str | None]]", response.json())

    def dag_exists(self, dag_id: str) -> bool:
        try:
            self.call("GET", f"/dags/{quote(dag_id)}")
        except AirflowApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def import_errors(self) -> list[str]:
        """File name and stack trace of every DAG file that Airflow could not import."""
        response = self.call("GET", "/importErrors", params={"limit": PAGE})
        return [f"{error['filename']}: {error['stack_trace']}" for error in response["import_errors"]]

    def unpause(self, dag_id: str) -> None:
        self.call("PATCH", f"/dags/{quote(dag_id)}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run now and return its ``run_id``."""
        body = {"logical_date": None, "conf": conf or {}}
        return cast(
            "str",
            self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)["dag_run_id"],
        )

    def run_state(self, dag_id: str, run_id: str) -> str:
        return cast("str", self.call("GET", run_path(dag_id, run_id))["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        """All task instances of a run, mapped ones included."""
        states: list[TaskState] = []
        while True:
            page = self.call(
                "GET",
                f"{run_path(dag_id, run_id)}/taskInstances",
                params={"limit": PAGE, "offset": len(states), "order_by": "id"},
            )
            states += [_task_state(instance) for instance in page["task_instances"]]
            if not page["task_instances"] or len(states) >= page["total_entries"]:
                return states

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        map_index: int = -1,
        key: str = "return_value",
    ) -> Any:
        """The value a task pushed; raises :class:`AirflowApiError` with status 404 if there is none."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self.call("GET", path, params={"map_index": map_index, "deserialize": "true"})["value"]

    def put_connection(self, conn_id: str, connection: Mapping[str, Any]) -> None:
        """Store or replace a connection as its form does.

        :param connection: ``conn_type``, ``host``, ``login``, ``password`` and, as JSON text, ``extra``.
        """
        body = {"connection_id": conn_id, **connection}
        try:
            self.call("POST", "/connections", json=body)
        except AirflowApiError as error:
            if error.status != 409:
                raise
            self.call("PATCH", f"/connections/{quote(conn_id)}", json=body)

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, *, map_index: int = -1) -> None:
        """Mark a task ``success`` or ``failed``, as a person does in the UI; a running task is killed by it."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}"
        path += f"/{map_index}" if map_index >= 0 else ""
        self.call("PATCH", path, json={"new_state": state})

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One call below ``/api/v2``; signs in when needed. Raises :class:`AirflowApiError` unless Airflow says 2xx."""
        response = self._request(method, path, **kwargs)
        if response.status_code == 401:
            self._sign_in()
            response = self._request(method, path, **kwargs)
        if not response.ok:
            raise AirflowApiError(
                f"Airflow returned {response.status_code} for {method} {path}: {response.text[:500]}",
                response.status_code,
            )
        return response.json() if response.content else None

    def _request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self._session.request(method, f"{self.url}/api/v2{path}", timeout=30, **kwargs)

    def _sign_in(self) -> None:
        response = self._session.post(f"{self.url}/auth/token", json=self._credentials, timeout=30)
        response.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"


def run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _task_state(instance: dict[str, Any]) -> TaskState:
    mapped = instance["map_index"] >= 0
    return TaskState(
        task_id=instance["task_id"],
        map_index=instance["map_index"],
        state=instance["state"],
        try_number=instance["try_number"],
        label=instance["rendered_map_index"] or (str(instance["map_index"]) if mapped else instance["task_id"]),
    )
