"""The local Salesforce org as a process of its own, started as a user would: ``airflow-sfcc org``."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests

from dev.airflow_settings import write_private
from dev.errors import HarnessError
from dev.ports import free_port, raise_if_taken
from dev.processes import ProcessGroup
from dev.waiting import wait_until

API_VERSION = "67.0"


class OrgError(HarnessError):
    """The local org did not start, or returned an error."""


class LocalOrgProcess:
    """Starts and stops one org. Its credentials are known before it responds, so that Airflow can start beside it.

    :param home: the folder for its records, log and credentials; a second start finds the same ones there.
    :param rows: how many records of which object; records in the recycle bin are among them.
    :param port: where it listens on loopback; a free one is picked if not given.
    :param job_seconds: how long a Bulk job takes at least.
    """

    def __init__(
        self,
        home: Path,
        *,
        rows: Mapping[str, int],
        port: int | None = None,
        job_seconds: float = 1.0,
        python: str = sys.executable,
    ) -> None:
        self.home = home.resolve()
        self.rows = rows
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.consumer_key, self._consumer_secret = _load_or_create_credentials(self.home / "credentials.json")
        self.processes = ProcessGroup(self.home, self.home / "logs")
        self._ready_file = self.home / "ready.json"
        self._command = [python, "-m", "airflow_sfcc.cli", "org", "--port", str(self.port)]
        self._command += ["--data-dir", str(self.home / "records"), "--ready-file", str(self._ready_file)]
        self._command += ["--consumer-key", self.consumer_key, "--job-seconds", str(job_seconds)]
        self._command += [option for sobject, count in rows.items() for option in ("--rows", f"{sobject}={count}")]

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to this org, secret included."""
        return {
            "conn_type": "sfcc",
            "host": self.url,
            "login": self.consumer_key,
            "password": self._consumer_secret,
        }

    @property
    def logs(self) -> Path:
        return self.processes.logs

    def start(self) -> None:
        """Start the org and return at once; it responds when its records are generated."""
        raise_if_taken(self.port)
        self._ready_file.unlink(missing_ok=True)
        # The secret goes by the environment: command lines can be read by every user of the machine.
        environment = {**os.environ, "SFCC_ORG_CONSUMER_SECRET": self._consumer_secret}
        self.processes.start("org", self._command, environment)

    def wait_until_ready(self, *, timeout: float = 180.0) -> None:
        """Return when the org responds; raises :class:`OrgError` after ``timeout`` seconds."""

        def ready() -> bool:
            self.processes.raise_if_any_ended()
            return self._ready_file.exists()

        log = self.processes.log_file("org")
        wait_until(
            ready,
            timeout=timeout,
            message=lambda: f"The local org was not ready within {timeout:.0f} s. Its log: {log}",
            error=OrgError,
            poll_seconds=0.2,
        )

    def stop(self) -> None:
        """End the org; safe to call twice."""
        self.processes.end()

    def record_counts(self, sobjects: Iterable[str]) -> dict[str, int]:
        """How many records the org itself says it holds, by object, those in the recycle bin not counted."""
        return record_counts(self.url, self.consumer_key, self._consumer_secret, sobjects)


def record_counts(url: str, consumer_key: str, consumer_secret: str, sobjects: Iterable[str]) -> dict[str, int]:
    """How many records the org at a URL says it holds, by object, those in the recycle bin not counted."""
    form = {"grant_type": "client_credentials", "client_id": consumer_key, "client_secret": consumer_secret}
    with requests.Session() as session:
        session.trust_env = False
        token = _checked(session.post(f"{url}/services/oauth2/token", data=form, timeout=30))["access_token"]
        response = session.get(
            f"{url}/services/data/v{API_VERSION}/limits/recordCount",
            params={"sObjects": ",".join(sobjects)},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
    return {sobject["name"]: sobject["count"] for sobject in _checked(response)["sObjects"]}


def _load_or_create_credentials(file: Path) -> tuple[str, str]:
    """Consumer key and secret, made once so that a stored connection stays valid when the org starts again."""
    if not file.exists():
        created = {"consumer_key": f"3MVG9{secrets.token_hex(20)}", "consumer_secret": secrets.token_hex(24)}
        write_private(file, json.dumps(created))
    stored = json.loads(file.read_text())
    return stored["consumer_key"], stored["consumer_secret"]


def _checked(response: requests.Response) -> dict[str, Any]:
    if not response.ok:
        raise OrgError(f"The local org returned {response.status_code}: {response.text[:300]}")
    body: dict[str, Any] = response.json()
    return body
