"""One stack under a name of its own: up, healthy, used, down, and nothing left of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from dev.airflow_api import AirflowApi
from dev.commands import CommandError, run, succeeds
from dev.local_org import record_counts
from dev.ports import free_port
from dev.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

    from dev.progress import Progress

HEALTHY_SECONDS = 900
SECRETS = (
    "admin_password",
    "api_secret_key",
    "consumer_secret",
    "fernet_key",
    "jwt_secret",
    "postgres_password",
    "redis_password",
    "s3_secret_key",
)
KINDS = {"container": ("ps", "--all"), "network": ("network", "ls"), "volume": ("volume", "ls")}


class ComposeStack:
    """Use it as a context manager: what it started is gone after the block, however the block ends."""

    def __init__(self, images: Mapping[str, str], progress: Progress, *, workers: int = 1) -> None:
        self.project = f"airflow-sfcc-test-{os.getpid()}"
        ports = {name: free_port() for name in ("AIRFLOW_PORT", "LOCAL_ORG_PORT", "S3_PORT")}
        self.s3_url = f"http://127.0.0.1:{ports['S3_PORT']}"
        self.org_url = f"http://127.0.0.1:{ports['LOCAL_ORG_PORT']}"
        self.airflow_url = f"http://127.0.0.1:{ports['AIRFLOW_PORT']}"
        self._workers = workers
        self._progress = progress
        self._env = {
            **images,
            **{name: str(port) for name, port in ports.items()},
            "STACK_IMAGE": "airflow-sfcc-stack:test",
        }
        self._env |= {"WORKER_CONCURRENCY": "2", "LOCAL_ORG_OPTIONS": "--rows Account=12000"}

    def __enter__(self) -> Self:
        try:
            with self._progress.step("Building the stack's image"):
                self._compose("build", "stack-secrets")
            with self._progress.step("Starting the containers"):
                self._compose("up", "--no-build", "--detach", "--scale", f"airflow-worker={self._workers}")
            with self._progress.step("Waiting until all services are healthy"):
                self._wait_until_healthy()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        with self._progress.step("Taking the stack down"):
            self._compose("down", "--volumes", "--remove-orphans")

    def leftovers(self) -> dict[str, list[str]]:
        """Ids of what Docker still has of this stack, by kind; empty when all is gone."""
        mark = f"label=com.docker.compose.project={self.project}"
        found = {kind: run("docker", *command, "--quiet", "--filter", mark).split() for kind, command in KINDS.items()}
        return {kind: ids for kind, ids in found.items() if ids}

    def api(self) -> AirflowApi:
        """Airflow's API, with the password that the stack generated."""
        return AirflowApi(self.airflow_url, "admin", self.secret("admin_password"))

    def secret(self, name: str) -> str:
        return self._compose("exec", "-T", "airflow-apiserver", "cat", f"/run/stack-secrets/{name}").strip()

    def secrets_in_logs(self) -> list[str]:
        """Names of the generated secrets that some container's log shows."""
        logs = self._compose("logs", "--no-color")
        return [name for name in SECRETS if self.secret(name) in logs]

    def record_counts(self, sobjects: Iterable[str]) -> dict[str, int]:
        """How many records the stack's org says it holds, by object."""
        return record_counts(self.org_url, self.secret("consumer_key"), self.secret("consumer_secret"), sobjects)

    def logs(self, service: str) -> str:
        return self._compose("logs", "--tail=40", service)

    def _wait_until_healthy(self) -> None:
        wait_until(
            lambda: not self._not_healthy(),
            timeout=HEALTHY_SECONDS,
            message=lambda: f"Not healthy within {HEALTHY_SECONDS} s: {', '.join(self._not_healthy())}",
            error=CommandError,
            poll_seconds=3,
        )

    def _not_healthy(self) -> list[str]:
        return [name for name, state in self._states().items() if state not in ("healthy", "done")]

    def _states(self) -> dict[str, str]:
        ids = run(
            "docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"
        ).split()
        return {each["Name"].lstrip("/"): _state(each["State"]) for each in json.loads(run("docker", "inspect", *ids))}

    def _compose(self, *arguments: str) -> str:
        return run(*compose_command(), "--project-name", self.project, *arguments, env=self._env, timeout=1800)


def _state(state: Mapping[str, object]) -> str:
    if state["Status"] == "exited":
        return "done" if state["ExitCode"] == 0 else f"ended with exit code {state['ExitCode']}"
    health = state.get("Health")
    return str(health["Status"]) if isinstance(health, dict) else str(state["Status"])


def compose_command() -> tuple[str, ...]:
    """Docker Compose as it is installed here. Raises CommandError when it is not."""
    if succeeds("docker", "compose", "version"):
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise CommandError(
        "Docker Compose is not installed; on Debian: apt-get install docker.io docker-compose debootstrap"
    )
