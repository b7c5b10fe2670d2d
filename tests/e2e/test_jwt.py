"""A real Airflow that logs in with a private key: in workers and in the triggerer, with no trace of it anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.key_pairs import KeyPair
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer

from dev.local_airflow import LocalAirflow
from tests.conftest import CONFIG, KEY, RunningOrg
from tests.e2e.test_example_dags import answers
from tests.secret_search import SecretForms, files, tables

pytestmark = pytest.mark.e2e

DAG = """
from airflow.sdk import DAG
from airflow_sfcc.operators import SalesforceExtractOperator

with DAG("jwt", schedule=None):
    SalesforceExtractOperator(
        task_id="extract", sobject="Account", destination={destination!r}, api="bulk", deferrable=True, poll_interval=1,
    )
"""


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return KeyPair.generate()


@pytest.fixture(scope="module")
def jwt_org(local_airflow: LocalAirflow, pair: KeyPair) -> Iterator[RunningOrg]:
    config = replace(
        CONFIG,
        counts={"User": 20, "Account": 300},
        certificate=pair.certificate,
        client_credentials_enabled=False,
        bulk_timings=BulkTimings(in_progress_seconds=3),
    )
    with LocalOrg(config) as org:
        org.generate()
        with OrgServer(org) as server:
            connection = {"conn_type": "sfcc", "host": server.url, "login": KEY, "password": pair.private_key}
            extra = f'{{"username": "{org.run_as}"}}'
            local_airflow.api.put_connection("sfcc_default", {**connection, "extra": extra})
            yield RunningOrg(org, server)


def test_an_extract_defers_and_lands_and_no_secret_is_left(
    jwt_org: RunningOrg, local_airflow: LocalAirflow, landing: Path, pair: KeyPair
) -> None:
    destination = f"file://{landing}/by_key/{{sobject}}"
    (local_airflow.dags / "by_key.py").write_text(DAG.format(destination=destination), encoding="utf-8")
    seen: set[str] = set()
    run_id = local_airflow.trigger("jwt")
    state = local_airflow.wait("jwt", run_id, on_change=lambda task: seen.add(str(task.state)))
    assert state == "success" and "deferred" in seen
    assert local_airflow.xcom("jwt", run_id, "extract")["rows"] == jwt_org.org.records.count("Account")

    approved, jwt_org.org.pre_authorised = jwt_org.org.pre_authorised, set()
    jwt_org.org.expire_sessions()
    failing = local_airflow.trigger("jwt")
    local_airflow.wait_for_task("jwt", failing, "extract", {"failed"})
    jwt_org.org.pre_authorised = approved

    searched = [
        *files(local_airflow.home, landing),
        *tables(local_airflow.home / "airflow.db"),
        *answers(local_airflow.api),
    ]
    forms = SecretForms(KEY, "", jwt_org.org.sessions.issued, private_key=pair.private_key)
    assert forms.found_in(searched) == []
    text = b"\n".join(text for _, text in searched)
    assert b"pre-authorized for the app" in text, "the search did not see the log of the failure"


def test_the_button_in_the_form(jwt_org: RunningOrg, local_airflow: LocalAirflow, pair: KeyPair) -> None:
    """As the form sends it: its field for the secret has one line, so the key's line breaks are gone."""
    one_line = pair.private_key.replace("\n", " ")
    tested = _test(local_airflow, jwt_org, password=one_line, extra={"username": jwt_org.org.run_as})
    assert tested["status"] is True and str(jwt_org.org.run_as) in tested["message"]
    tested = _test(local_airflow, jwt_org, password=one_line, extra={})
    assert tested["status"] is False and "Set username" in tested["message"]


def test_a_key_file_survives_that_the_connection_is_edited(
    jwt_org: RunningOrg, local_airflow: LocalAirflow, pair: KeyPair, tmp_path: Path
) -> None:
    """Airflow masks the setting, since its name looks like a secret, and puts its value back when the form is saved."""
    path = tmp_path / "airflow.key"
    path.write_text(pair.private_key, encoding="utf-8")
    extra = json.dumps({"username": jwt_org.org.run_as, "private_key_file": str(path)})
    stored = {"conn_type": "sfcc", "host": jwt_org.url, "port": 443, "login": KEY, "extra": extra}
    local_airflow.api.put_connection("sfcc_key_file", stored)
    shown = local_airflow.api.call("GET", "/connections/sfcc_key_file")
    assert json.loads(shown["extra"])["private_key_file"] == "***"
    edited = {name: shown[name] for name in ("connection_id", "conn_type", "host", "port", "login", "extra")}
    local_airflow.api.call("PATCH", "/connections/sfcc_key_file", json={**edited, "description": "edited"})
    tested = local_airflow.api.call("POST", "/connections/test", json=edited)
    assert tested["status"] is True, tested["message"]


def _test(airflow: LocalAirflow, org: RunningOrg, *, password: str, extra: dict[str, Any]) -> dict[str, Any]:
    fields = {"connection_id": "not_stored", "conn_type": "sfcc", "host": org.url, "login": KEY, "password": password}
    tested = airflow.api.call("POST", "/connections/test", json={**fields, "extra": json.dumps(extra)})
    return dict(tested)
