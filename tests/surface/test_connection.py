"""The connection in every way it can be written down, and its form."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow.sdk import Connection
from salesforce_localorg.bulk_jobs import BulkTimings

from airflow_sfcc._airflow.connection import client_for
from airflow_sfcc.errors import ConfigurationError, ResultsExpiredError
from airflow_sfcc.hooks import SalesforceClientCredentialsHook
from airflow_sfcc.provider import get_provider_info
from airflow_sfcc.salesforce.auth import Credentials
from tests.conftest import KEY, SECRET, RunningOrg
from tests.surface.conftest import Connect


def connection() -> Connection:
    return Connection(conn_id="x", conn_type="sfcc", host="acme.my.salesforce.com", login="key", password="secret")


def test_defaults() -> None:
    client = client_for(connection(), {})
    assert client.session.settings.request_timeout == 130 and client.session.settings.max_retries == 5
    assert client.session.settings.verify is True and client.usage.budget_percent is None


@pytest.mark.parametrize(
    "extra",
    [
        {
            "api_version": "67.0",
            "request_timeout": "30",
            "max_retries": "0",
            "verify": "false",
            "api_call_budget": "80",
        },
        {"api_version": 67.0, "request_timeout": 30, "max_retries": 0, "verify": False, "api_call_budget": 80},
        {"api_version": "v67", "request_timeout": 30.0, "max_retries": 0.0, "verify": "no", "api_call_budget": 80.0},
    ],
)
def test_extras_may_be_text_or_typed(extra: dict[str, Any]) -> None:
    client = client_for(connection(), extra)
    assert client.api_version == "67.0"
    assert client.session.settings.request_timeout == 30 and client.session.settings.max_retries == 0
    assert client.session.settings.verify is False and client.usage.budget_percent == 80


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"api_version": "latest"}, "api_version 'latest'"),
        ({"request_timeout": "soon"}, "request_timeout .* must be a number"),
        ({"request_timeout": "inf"}, "1 to 86,400"),
        ({"max_retries": 99}, "max_retries"),
        ({"api_call_budget": 101}, "0 to 100"),
        ({"allow_http": "perhaps"}, "true or false"),
        ({"allowed_hosts": {"a": 1}}, "list of host names"),
    ],
)
def test_extras_that_cannot_work_are_named(extra: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        client_for(connection(), extra)


def test_the_ui_sends_empty_text_for_untouched_fields() -> None:
    client = client_for(connection(), {"api_version": "", "verify": "", "max_retries": None})
    assert client.session.settings.verify is True
    with pytest.raises(ConfigurationError, match="consumer secret"):
        client_for(
            Connection(conn_id="x", conn_type="sfcc", host="acme.my.salesforce.com", login="key", password=""), {}
        )


FIELDS: dict[str, Any] = {
    "conn_type": "sfcc",
    "host": "acme.my.salesforce.com",
    "login": "3MVG9.key",
    "password": "S/E:C@R#E%T é",
}
EXTRA = {"api_version": "67.0", "api_call_budget": 80, "allowed_hosts": "gateway.acme.example.com", "verify": False}


def from_uri() -> Any:
    """As `airflow connections get` prints it, with special characters in the secret."""
    return Connection.from_uri(Connection(conn_id="x", **FIELDS, extra=json.dumps(EXTRA)).get_uri(), conn_id="x")


def written_by_hand() -> Any:
    key, secret = (quote(FIELDS[name], safe="") for name in ("login", "password"))
    extra = "api_version=67.0&api_call_budget=80&allowed_hosts=gateway.acme.example.com&verify=False"
    return Connection.from_uri(f"sfcc://{key}:{secret}@{FIELDS['host']}/?{extra}", conn_id="x")


def from_json() -> Any:
    return Connection.from_json(json.dumps({**FIELDS, "extra": EXTRA}), conn_id="x")


def from_json_with_extra_as_text() -> Any:
    return Connection.from_json(json.dumps({**FIELDS, "extra": json.dumps(EXTRA)}), conn_id="x")


def from_the_form() -> Any:
    """The UI sends every standard field, and the extra as text."""
    return Connection(conn_id="x", **FIELDS, schema="", port=None, extra=json.dumps({**EXTRA, "request_timeout": None}))


def from_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_X", json.dumps({**FIELDS, "extra": EXTRA}))
    return SalesforceClientCredentialsHook.get_connection("x")


def from_secrets_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Airflow's own backend of local files; what others return takes the same way through Airflow."""
    from airflow.secrets.local_filesystem import LocalFilesystemBackend

    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"x": {**FIELDS, "extra": EXTRA}}))
    return LocalFilesystemBackend(connections_file_path=str(file)).get_connection("x")


def from_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What `airflow connections add` stores, as the metadata database's model reads it."""
    from airflow.models.connection import Connection as Stored

    return Stored(conn_id="x", **FIELDS, extra=json.dumps(EXTRA))


@pytest.mark.parametrize(
    "way",
    [
        from_uri,
        written_by_hand,
        from_json,
        from_json_with_extra_as_text,
        from_the_form,
        from_environment,
        from_secrets_backend,
        from_command_line,
    ],
    ids=lambda way: way.__name__,
)
def test_every_way_to_write_a_connection_makes_the_same_client(
    way: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stored = way(monkeypatch, tmp_path) if signature(way).parameters else way()
    client = client_for(stored, stored.extra_dejson)
    assert stored.conn_type == "sfcc"
    credentials = client.auth.tokens.credentials
    assert isinstance(credentials, Credentials)
    assert str(credentials.login) == "https://acme.my.salesforce.com"
    assert (credentials.consumer_key, credentials.consumer_secret) == (FIELDS["login"], FIELDS["password"])
    assert client.api_version == "67.0" and client.usage.budget_percent == 80
    assert client.session.settings.verify is False
    assert client.auth.tokens.rule.allowed_hosts == {"gateway.acme.example.com"}


def test_a_uri_from_the_environment(org: RunningOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    host = org.url.removeprefix("http://")
    monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", f"sfcc://{KEY}:{SECRET}@{host}/?api_version=67.0&max_retries=1")
    hook = SalesforceClientCredentialsHook()
    assert hook.describe("Account")["name"] == "Account"
    assert hook.client.api_version == "67.0"


def test_test_connection_says_who_you_are(connected_org: RunningOrg) -> None:
    ok, sentence = SalesforceClientCredentialsHook().test_connection()
    assert ok, sentence
    assert connected_org.url in sentence and "API version 68.0" in sentence and "API calls left" in sentence


def test_test_connection_says_what_to_mend(connected_org: RunningOrg, connect: Connect) -> None:
    connected_org.org.run_as = None
    ok, sentence = SalesforceClientCredentialsHook().test_connection()
    assert not ok and "choose a Run As user" in sentence
    connect("login.salesforce.com")
    assert "My Domain" in SalesforceClientCredentialsHook().test_connection()[1]


def test_the_form_is_provider_metadata() -> None:
    from airflow.providers_manager import ProvidersManager

    hooks = ProvidersManager().hooks  # type: ignore[no-untyped-call]
    assert hooks["sfcc"] is not None and hooks["sfcc"].hook_name == "Salesforce (Client Credentials)"
    kind = get_provider_info()["connection-types"][0]
    sensitive = ("token", "secret", "password", "proxy", "key", "auth")
    assert not [name for name in kind["conn-fields"] if any(word in name for word in sensitive)]
    assert kind["ui-field-behaviour"]["relabeling"]["host"] == "My Domain"


def test_run_and_get_conn_work_as_in_the_http_provider(connected_org: RunningOrg) -> None:
    hook = SalesforceClientCredentialsHook()
    version = hook.client.api_version
    response = hook.run(f"/services/data/v{version}/sobjects", headers={"X-PrettyPrint": "1"})
    assert response.json()["sobjects"]
    with hook.get_conn({"X-Test": "1"}) as session:
        answer = session.get(f"{hook.base_url}/services/data/v{version}/limits")
    assert answer.status_code == 200 and "DailyApiRequests" in answer.json()


def test_a_bulk_job_from_its_submission_to_its_end(connected_org: RunningOrg) -> None:
    connected_org.org.bulk_jobs.timings = BulkTimings(in_progress_polls=2)
    hook = SalesforceClientCredentialsHook()
    job = hook.bulk_query("SELECT Id FROM Contact WHERE LastName != :name", {"name": "O'Neil"})
    assert hook.get_bulk_job(job.id).sobject == "Contact"
    assert hook.abort_bulk_job(job.id).state == "Aborted"
    hook.delete_bulk_job(job.id)
    with pytest.raises(ResultsExpiredError, match=job.id):
        hook.get_bulk_job(job.id)
