"""The local stack's description is complete, parses, and holds no secret; its secrets are generated as it expects."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
import requests
import yaml
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from cryptography.fernet import Fernet
from salesforce_localorg.command import org

ROOT = Path(__file__).parents[1]
COMPOSE_FILE = ROOT / "docker-compose.yaml"

ONE_SHOT = {"stack-secrets", "airflow-init"}
AIRFLOW_COMPONENTS = {
    "airflow-apiserver": "api-server",
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag-processor",
    "airflow-triggerer": "triggerer",
    "airflow-worker": "celery worker",
}
SERVERS = {"postgres", "redis", "object-storage", "local-org"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def generate_secrets(folder: Path) -> None:
    command = ["sh", str(ROOT / "docker/generate-secrets.sh"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


@pytest.fixture
def generated(tmp_path: Path) -> dict[str, str]:
    generate_secrets(tmp_path / "secrets")
    return contents(tmp_path / "secrets")


def test_every_component_of_the_stack_is_there(services: dict[str, Any]) -> None:
    assert set(services) == ONE_SHOT | set(AIRFLOW_COMPONENTS) | SERVERS
    for name, command in AIRFLOW_COMPONENTS.items():
        assert services[name]["command"] == command.split()
    assert services["airflow-init"]["command"] == ["db", "migrate"]


def test_what_keeps_running_has_a_health_check_and_what_ends_is_not_restarted(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in ONE_SHOT:
            assert "healthcheck" not in service
            assert service.get("restart", "no") == "no"
        else:
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
            assert service["restart"] == "unless-stopped", name


def test_components_wait_for_what_they_need(services: dict[str, Any]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert how == {"condition": wanted}
    for name in AIRFLOW_COMPONENTS:
        assert {"airflow-init", "postgres", "redis"} <= set(services[name]["depends_on"])
    assert set(services["airflow-init"]["depends_on"]) == {"postgres", "stack-secrets"}
    assert "airflow-apiserver" in services["airflow-scheduler"]["depends_on"]
    assert {"airflow-apiserver", "object-storage", "local-org"} <= set(services["airflow-worker"]["depends_on"])


def test_every_volume_that_is_used_is_declared(compose: dict[str, Any]) -> None:
    named = re.compile(r"(?:\$\{\w+:-)?([a-z][a-z-]*)\}?:/")
    used = {
        match[1]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if (match := named.match(volume))
    }
    assert used == set(compose["volumes"])


def test_every_variable_has_a_default_and_an_explanation() -> None:
    text = COMPOSE_FILE.read_text(encoding="utf-8").replace("$$", "")  # which a shell in the container sees
    variables = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert variables
    assert [name for name, default in variables if not default.startswith(":-")] == []
    assert [name for name, _ in variables if f"#   {name} " not in text] == []
    assert re.findall(r"\$[A-Za-z_]\w*", text) == []


def test_no_secret_is_written_down(services: dict[str, Any]) -> None:
    telling = re.compile(r"PASSWORD|SECRET|FERNET|SQL_ALCHEMY_CONN|TOKEN|(^|_)KEY")
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if telling.search(name):
                assert name.endswith(("_CMD", "_FILE")), name
                assert "/run/stack-secrets/" in value, name


def test_ports_are_open_to_this_machine_only_unless_asked_otherwise(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in ports)


def test_every_secret_that_the_stack_reads_is_generated(generated: dict[str, str]) -> None:
    readers = [COMPOSE_FILE, ROOT / "docker/entrypoint.sh"]
    named = {name for file in readers for name in re.findall(r"/run/stack-secrets/([\w.]+)", file.read_text())}
    named |= set(re.findall(r"\$secrets/(\w+)", (ROOT / "docker/local-org.sh").read_text()))
    named |= set(re.findall(r"^connect \w+ ([\w.]+)$", (ROOT / "docker/entrypoint.sh").read_text(), re.MULTILINE))
    assert {"fernet_key", "jwt_secret", "consumer_secret", "connection.json", "redis.conf", "broker_url"} <= named
    assert named <= set(generated)


def test_generated_secrets_are_usable(generated: dict[str, str]) -> None:
    Fernet(generated["fernet_key"])
    assert len(generated["jwt_secret"]) >= 64
    assert all(value and value == value.strip() for value in generated.values())
    assert f":{generated['postgres_password']}@postgres/" in generated["sql_alchemy_conn"]
    assert json.loads(generated["simple_auth_manager_passwords.json"]) == {"admin": generated["admin_password"]}


def test_generated_connection_leads_to_the_local_org(generated: dict[str, str], services: dict[str, Any]) -> None:
    connection = json.loads(generated["connection.json"])
    assert connection == {
        "conn_type": "sfcc",
        "host": "http://local-org:8711",
        "login": generated["consumer_key"],
        "password": generated["consumer_secret"],
        "extra": {"allow_http": True},
    }
    assert services["local-org"]["ports"][0].endswith(":8711")


def test_the_broker_asks_for_the_password_that_its_users_have(generated: dict[str, str]) -> None:
    assert f"requirepass {generated['redis_password']}\n" in generated["redis.conf"]
    assert generated["broker_url"] == f"redis://:{generated['redis_password']}@redis:6379/0"


def test_the_landing_leads_to_the_bucket_of_the_object_storage(
    generated: dict[str, str], services: dict[str, Any]
) -> None:
    connection = json.loads(generated["landing_connection.json"])
    assert connection["conn_type"] == "aws"
    assert connection["extra"]["endpoint_url"] == "http://object-storage:9000"
    bucket = services["object-storage"]["environment"]["S3_BUCKET"]
    landing = services["airflow-worker"]["environment"]["SFCC_LANDING"]
    assert f"-s3://aws_landing@{bucket}}}/" in landing
    assert "connect AIRFLOW_CONN_AWS_LANDING landing_connection.json" in (ROOT / "docker/entrypoint.sh").read_text()


def test_the_local_org_is_started_with_options_it_has_and_answers_under_its_name() -> None:
    script = (ROOT / "docker/local-org.sh").read_text(encoding="utf-8")
    given = re.findall(r"^    (--[\w-]+)(?: (\S+))? \\$", script, flags=re.MULTILINE)
    known = {name for option in org.params for name in option.opts}
    assert {name for name, _ in given} <= known
    assert ("--my-domain", "local-org") in given
    assert ("--port", "8711") in given
    secret = next(option for option in org.params if "--consumer-secret" in option.opts)
    assert secret.envvar is not None
    assert f"export {secret.envvar[0]}\n" in script


def test_the_object_storage_takes_requests_of_the_stacks_key_only(tmp_path: Path) -> None:
    """Nobody writes without the key, and no page of another site is told that it may read."""
    program = ROOT / "docker" / "object_storage.py"
    port = free_port()
    serving = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('storage', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
        "module.serve('stack', 'its secret', 'landing', '127.0.0.1', int(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", serving, str(program), str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(f"{url}/-/healthy", process)

        def client(secret: str) -> Any:
            keys = {"aws_access_key_id": "stack", "aws_secret_access_key": secret, "region_name": "us-east-1"}
            return boto3.client("s3", endpoint_url=url, **keys)

        client("its secret").put_object(Bucket="landing", Key="a b/ü+&=.parquet", Body=b"rows")
        found = client("its secret").list_objects_v2(Bucket="landing", Prefix="a b/")
        assert [each["Key"] for each in found["Contents"]] == ["a b/ü+&=.parquet"]
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            client("another").put_object(Bucket="landing", Key="x", Body=b"")
        origin = {"Origin": "https://example.com"}
        for answer in (
            requests.put(f"{url}/landing/x", data=b"", headers=origin, timeout=10),
            requests.get(f"{url}/landing", headers=origin, timeout=10),
            requests.post(f"{url}/moto-api/reset", headers=origin, timeout=10),
            requests.options(f"{url}/landing", headers=origin, timeout=10),
        ):
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the object storage ended"
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(url, timeout=10).status_code == 204
            return
        time.sleep(0.1)
    raise AssertionError("the object storage did not start within a minute")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_secrets_stay_on_a_second_start_and_differ_between_stacks(tmp_path: Path) -> None:
    generate_secrets(tmp_path / "one")
    first = contents(tmp_path / "one")
    generate_secrets(tmp_path / "one")
    generate_secrets(tmp_path / "other")
    other = contents(tmp_path / "other")
    assert contents(tmp_path / "one") == first
    assert [name for name in first if first[name] == other[name]] == []


def test_secrets_are_closed_to_other_users(tmp_path: Path) -> None:
    generate_secrets(tmp_path / "secrets")
    for path in [tmp_path / "secrets", *(tmp_path / "secrets").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO == 0, path.name


def compose_commands() -> list[list[str]]:
    commands = [["docker-compose"], ["docker", "compose"]]
    return [command for command in commands if shutil.which(command[0]) and _runs([*command, "version"])]


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.skipif(not compose_commands(), reason="Docker Compose is not installed.")
def test_docker_compose_accepts_the_file() -> None:
    for command in compose_commands():
        parsed = subprocess.run(
            [*command, "--file", str(COMPOSE_FILE), "config", "--services"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert parsed.returncode == 0, parsed.stderr
        assert set(AIRFLOW_COMPONENTS) <= set(parsed.stdout.split())


def test_all_that_the_image_copies_goes_to_the_engine() -> None:
    """A pattern of COPY that matches nothing is no error where another one of the same line matches something."""
    admitted = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    copied: set[str] = set()
    for line in (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            copied.update(word for word in line.split()[1:-1] if not word.startswith("--"))
    assert "docker/*.py" in copied and copied <= admitted
