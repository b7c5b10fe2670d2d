"""The server and the command: sockets, TLS, start and stop, what the command prints and refuses."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from caller import Serve

from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer

SMALL = [
    each
    for name in ("Account", "Contact", "Opportunity", "Case", "Lead", "Task", "Event", "Invoice__c")
    for each in ("--rows", f"{name}=5")
]


def test_tls_is_trusted_through_the_given_authority(serve: Serve) -> None:
    caller = serve(tls=True)

    assert caller.server.url.startswith("https://127.0.0.1:")
    assert caller.log_in().json()["instance_url"] == caller.server.url
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(caller.url("/services/data"), timeout=10)


def test_faults_cut_tls_connections_too(serve: Serve) -> None:
    caller = serve(tls=True)
    caller.org.faults.add(Fault(route="versions", reset=True))
    caller.org.faults.add(Fault(route="versions", skip=1, cut_after=10, cut="close"))

    for _ in range(2):
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            caller.get("/services/data")
    assert caller.get("/services/data").status_code == 200


def test_taken_port_is_an_os_error(org_schema: Schema, org_records: Records) -> None:
    with LocalOrg(OrgConfig(), schema=org_schema, records=org_records) as org, OrgServer(org) as first:
        second = OrgServer(org, port=first.port)
        with pytest.raises(OSError):
            second.start()


def test_stop_frees_the_port_and_ends_stalled_calls(org_schema: Schema, org_records: Records) -> None:
    with LocalOrg(OrgConfig(), schema=org_schema, records=org_records) as org:
        org.faults.add(Fault(route="versions", stall_seconds=3600))
        with OrgServer(org) as server:
            failures: list[Exception] = []

            def read() -> None:
                try:
                    requests.get(server.url + "/services/data", timeout=30)
                except requests.RequestException as error:
                    failures.append(error)

            reader = threading.Thread(target=read)
            reader.start()
            time.sleep(0.3)
            began = time.monotonic()
        reader.join(10)
        assert time.monotonic() - began < 8
        assert len(failures) == 1
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_two_orgs_live_side_by_side(serve: Serve) -> None:
    first, second = serve(), serve()

    token = str(first.session.headers["Authorization"])
    assert second.get("/limits", headers={"Authorization": token}).status_code == 401


def test_secret_is_in_no_representation(serve: Serve) -> None:
    caller = serve()

    secret = caller.org.config.consumer_secret
    assert secret not in repr(caller.server.credentials)
    assert secret not in repr(caller.org.config)


def test_rows_in_a_data_folder_are_found_again(tmp_path: Path, org_schema: Schema) -> None:
    config = OrgConfig(counts={"Account": 20}, seed=3)
    with LocalOrg(config, schema=org_schema, data_dir=tmp_path) as org:
        org.generate()
        record_id = org.records.insert("Account", {"Name": "kept"}, user_id=org.run_as_user_id)

    with LocalOrg(config, schema=org_schema, data_dir=tmp_path) as org:
        org.generate()
        found = org.records.get("Account", record_id, viewer=org.viewer)
        assert found is not None
        assert found["Name"] == "kept"

    other = OrgConfig(counts={"Account": 21}, seed=3)
    with (
        LocalOrg(other, schema=org_schema, data_dir=tmp_path) as org,
        pytest.raises(ValueError, match="other settings"),
    ):
        org.generate()


def _as_in_the_foreground() -> None:
    """A shell has what it starts in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(*arguments: str, ready: Path) -> Iterator[subprocess.Popen[str]]:
    """`salesforce-localorg` as a process that has written its ready file."""
    command = [
        sys.executable,
        "-m",
        "salesforce_localorg",
        "--port",
        "0",
        *SMALL,
        "--ready-file",
        str(ready),
        *arguments,
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=_as_in_the_foreground)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the org did not write its ready file within a minute"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_serves_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready.json"
    with running("--consumer-key", "key", "--consumer-secret", "hush hush", ready=ready) as process:
        told: dict[str, Any] = json.loads(ready.read_text())
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        assert told["pid"] == process.pid
        assert told["connection"] == {"conn_type": "sfcc", "host": told["url"], "login": "key", "password": "hush hush"}
        form = {"grant_type": "client_credentials", "client_id": "key", "client_secret": "hush hush"}
        assert requests.post(told["url"] + "/services/oauth2/token", data=form, timeout=10).status_code == 200

        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert f"Host             {told['url']}" in output
    assert "hush hush" not in output + errors, "a secret that the caller knows does not go into a log"
    assert "Traceback" not in errors
    assert not ready.exists()


def test_printed_lines_work_with_tls_and_through_the_proxy(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with running("--proxy-port", "0", "--my-domain", "acme.my.salesforce.com", ready=ready) as process:
        told: dict[str, Any] = json.loads(ready.read_text())
        assert told["connection"]["extra"] == {"verify": told["ca_file"]}
        assert told["my_domain_host"] == "acme.my.salesforce.com"
        output = process.stdout
        assert output is not None
        lines = list(itertools.takewhile(lambda line: "https://acme.my" not in line, output))
        shown = any('export AIRFLOW_CONN_SFCC_DEFAULT=\'{"conn_type": "sfcc"' in line for line in lines)
        assert shown == (find_spec("airflow_sfcc") is not None)
        commands = [line for line in lines if line.strip().startswith(("curl", "export HTTPS_PROXY="))]
        script = [*commands, "curl -s https://acme.my.salesforce.com/services/data"]
        answer = subprocess.run(["bash", "-c", "".join(script)], capture_output=True, text=True, timeout=60)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    token, _, versions = answer.stdout.partition("}")
    assert json.loads(token + "}")["instance_url"] == told["url"]
    assert json.loads(versions)[-1]["version"] == "68.0"
    assert not Path(told["ca_file"]).exists()


def test_command_loads_describe_files(tmp_path: Path, org_schema: Schema) -> None:
    account = org_schema.sobject("Account")
    assert account is not None
    described = {**account.to_describe("67.0"), "name": "Widget__c", "keyPrefix": "a77", "custom": True}
    saved = tmp_path / "widget.json"
    saved.write_text(json.dumps(described))

    ready = tmp_path / "ready.json"
    with running("--describe", str(saved), "--rows", "Widget__c=3", ready=ready):
        told: dict[str, Any] = json.loads(ready.read_text())
        form = {
            "grant_type": "client_credentials",
            "client_id": told["consumer_key"],
            "client_secret": told["consumer_secret"],
        }
        token = requests.post(told["url"] + "/services/oauth2/token", data=form, timeout=10).json()["access_token"]
        answer = requests.get(
            told["url"] + "/services/data/v67.0/query",
            params={"q": "SELECT COUNT() FROM Widget__c"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        )
        assert answer.json()["totalSize"] in (2, 3)


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "salesforce_localorg", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rows", "Nonsense=5"], "the org has no object 'Nonsense'"),
        (["--rows", "Account=many"], "write it as Account=50000"),
        (["--describe", "/no/such/file.json"], "No such file"),
    ],
)
def test_wrong_arguments_get_one_sentence(arguments: list[str], sentence: str) -> None:
    done = run_command("--port", "0", *arguments)

    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_taken_port_gets_one_sentence(shared_server: OrgServer) -> None:
    done = run_command("--port", str(shared_server.port), *SMALL)

    assert done.returncode == 1
    assert "could not start" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
