"""The settings of a small, private Airflow: SQLite, one folder, quick to start, reachable from this machine only."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

ADMIN = "admin"


@dataclass(frozen=True)
class AirflowSecrets:
    """What one Airflow must keep between its starts, so that stored connections and sessions stay readable."""

    fernet_key: str
    jwt_secret: str
    api_secret_key: str
    admin_password: str


def load_or_create_secrets(home: Path) -> AirflowSecrets:
    """The secrets of the Airflow in ``home``, generated the first time; their file is readable by its owner only."""
    file = home / "secrets.json"
    if file.exists():
        return AirflowSecrets(**json.loads(file.read_text()))
    created = AirflowSecrets(
        fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
        jwt_secret=secrets.token_urlsafe(48),
        api_secret_key=secrets.token_urlsafe(48),
        admin_password=secrets.token_urlsafe(9),
    )
    write_private(file, json.dumps(asdict(created)))
    return created


def write_private(file: Path, text: str) -> None:
    """Write a file that was never readable by anyone but its owner."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def airflow_environment(home: Path, dags: Path, port: int, keys: AirflowSecrets) -> dict[str, str]:
    """The whole environment for Airflow's processes: the user's own, minus their Airflow settings, plus ours."""
    url = f"http://127.0.0.1:{port}"
    passwords = home / "simple_auth_manager_passwords.json"
    write_private(passwords, json.dumps({ADMIN: keys.admin_password}))
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": keys.fernet_key,
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": keys.api_secret_key,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": keys.jwt_secret,
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # New and edited DAG files appear within seconds; unchanged ones are not parsed over and over.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # A worker notices up to one heartbeat late that its task has deferred. If the trigger fires before that, the
        # scheduler takes the resumed task for one that was killed (seen with the default of 5 s and 3-second jobs).
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    if sys.platform == "linux":
        # Python 3.14 starts workers by importing Airflow afresh, seconds for each, unless they fork.
        settings["AIRFLOW__CORE__MP_START_METHOD"] = "fork"
    return {**without_airflow(os.environ), **settings}


def write_schedule_policy(home: Path, *, scheduled: bool) -> None:
    """Decide which runs Airflow starts by itself; those that an asset triggers always start.

    Left alone, a DAG that runs at 02:00 starts last night's run when it is unpaused (``catchup=False`` leaves out
    all past runs but the newest), and the run a person triggers then waits behind it. Airflow calls ``dag_policy`` of the
    module ``airflow_local_settings`` for every DAG it has parsed:
    https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/cluster-policies.html

    :param scheduled: DAGs run at the times of their schedules from now on; off, they never run because of the time.
    """
    policy = home / "config" / "airflow_local_settings.py"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(_FROM_NOW_ON.format(now=datetime.now(timezone.utc).isoformat()) if scheduled else _NEVER_BY_TIME)


_FROM_NOW_ON = """\
from datetime import datetime


def dag_policy(dag):
    if dag.timetable.asset_condition or not dag.timetable.can_be_scheduled:
        return
    started = datetime.fromisoformat("{now}")
    dag.start_date = max(dag.start_date or started, started)
    for task in dag.tasks:
        task.start_date = dag.start_date
"""

_NEVER_BY_TIME = """\
from airflow.sdk import DAG


def dag_policy(dag):
    if not dag.timetable.asset_condition:
        dag.timetable = DAG("unscheduled", schedule=None).timetable
"""


def without_airflow(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings and connections of another Airflow the user may have."""
    return {name: value for name, value in environment.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))}
