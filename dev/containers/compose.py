"""One stack under a name of its own: up, healthy, used, down, and nothing left of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from dev.airflow_api import AirflowApi
from dev.containers.shell import CommandError, run, succeeds
from dev.local_org import record_counts
from dev.ports import free_port

if TYPE_CHECKING:
    from typing_extensions import Self

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

    def __init__(self, images: Mapping[str, str], *, workers: int = 1) -> None:
        self.project = f"airflow-sfcc-test-{os.getpid()}"
        ports = {name: free_port() for name in ("AIRFLOW_PORT", "LOCAL_ORG_PORT", "S3_PORT")}
        self.s3_url = f"http://127.0.0.1:{ports['S3_PORT']}"
        self.org_url = f"http://127.0.0.1:{ports['LOCAL_ORG_PORT']}"
        self.airflow_url = f"http://127.0.0.1:{ports['AIRFLOW_PORT']}"
        self._workers = workers
        self._env = {
            **images,
            **{name: str(port) for name, port in ports.items()},
            "STACK_IMAGE": "airflow-sfcc-stack:test",
        }
        self._env |= {"WORKER_CONCURRENCY": "2", "LOCAL_ORG_OPTIONS": "--rows Account=12000"}

    def __enter__(self) -> Self:
        try:
            self._compose("build", "stack-secrets")
            self._compose("up", "--no-build", "--detach", "--scale", f"airflow-worker={self._workers}")
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
        told = self._compose("logs", "--no-color")
        return [name for name in SECRETS if self.secret(name) in told]

    def record_counts(self, sobjects: Iterable[str]) -> dict[str, int]:
        """How many records the stack's org says it holds, by object."""
        return record_counts(self.org_url, self.secret("consumer_key"), self.secret("consumer_secret"), sobjects)

    def logs(self, service: str) -> str:
        return self._compose("logs", "--tail=40", service)

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while waiting := [name for name, state in self._states().items() if state not in ("healthy", "done")]:
            if time.monotonic() > deadline:
                raise CommandError(f"Not healthy within {HEALTHY_SECONDS} s: {', '.join(waiting)}")
            time.sleep(3)

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
