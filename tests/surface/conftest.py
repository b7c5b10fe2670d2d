"""An Airflow connection to a local org, and a task's context, without a running Airflow."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

# Before Airflow is imported: nothing of a person's own Airflow is read or written.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-sfcc-tests-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")

import pytest

from tests.conftest import KEY, SECRET, RunningOrg
from tests.extract.runs import NIGHT

Connect = Callable[..., None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Sets the connection `sfcc_default`, as a person would in the environment."""

    def set_connection(host: str, extra: dict[str, Any] | None = None, **changes: Any) -> None:
        fields = {"conn_type": "sfcc", "host": host, "login": KEY, "password": SECRET, "extra": extra or {}}
        monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", json.dumps({**fields, **changes}))

    return set_connection


@pytest.fixture
def connected_org(org: RunningOrg, connect: Connect) -> RunningOrg:
    """A local org that `sfcc_default` points to."""
    connect(org.url, {"max_retries": 1, "request_timeout": 10})
    return org


@pytest.fixture
def context() -> dict[str, Any]:
    """What a task of a scheduled run gets."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    ti = SimpleNamespace(dag_id="nightly", task_id="extract", run_id="scheduled__2026-11-23", map_index=-1)
    dag_run = SimpleNamespace(logical_date=NIGHT, run_after=NIGHT)
    return {"ti": ti, "dag_run": dag_run, "outlet_events": OutletEventAccessors()}
