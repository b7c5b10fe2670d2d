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
from salesforce_localorg.jobs import BulkTimings

from airflow_sfcc._airflow.connection import EXTRAS, client_for
from airflow_sfcc.errors import ConfigurationError, ResultsExpiredError, SfccError, UnavailableError
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
        ({"api_call_budget": True}, "api_call_budget .* must be a number, 0 to 100, not True"),
        ({"max_retries": 2.7}, "max_retries .* must be a whole number, 0 to 20, not 2.7"),
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


def test_a_blank_is_as_good_as_nothing() -> None:
    client = client_for(connection(), {**dict.fromkeys(EXTRAS, " "), "api_version": " 67.0\n"})
    assert client.api_version == "67.0" and client.usage.budget_percent is None
    assert client.session.settings.verify is True, "and not this folder, in which no certificate is"


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


def test_test_connection_says_what_to_fix(connected_org: RunningOrg, connect: Connect) -> None:
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


@pytest.mark.parametrize("value", ["{}\n", "{}\r\n", " {} ", "\ufeff{}".replace("\ufeff", "\n")])
def test_a_key_or_secret_pasted_with_a_line_break_works(
    connected_org: RunningOrg, connect: Connect, value: str
) -> None:
    connect(connected_org.url, login=value.format(KEY), password=value.format(SECRET))
    assert SalesforceClientCredentialsHook().describe("Account")["name"] == "Account"


def test_a_line_break_within_the_secret_is_said_so(connected_org: RunningOrg, connect: Connect) -> None:
    connect(connected_org.url, password=f"{SECRET[:9]}\n{SECRET[9:]}")
    with pytest.raises(
        ConfigurationError, match=r"consumer secret has a line break .*within: copy it again"
    ) as problem:
        SalesforceClientCredentialsHook().describe("Account")
    assert SECRET[9:] not in str(problem.value) and connected_org.calls("token") == 0


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"api_budget": 80}, r"'api_budget', which is no setting.*Did you mean api_call_budget\?"),
        ({"Verify": False}, r"Did you mean verify\?"),
        ({"xyzzy": 1}, r"It knows allow_http, allowed_hosts, api_call_budget"),
    ],
)
def test_an_unknown_extra_is_refused(connected_org: RunningOrg, connect: Connect, extra: Any, says: str) -> None:
    connect(connected_org.url, extra)
    with pytest.raises(ConfigurationError, match=says):
        SalesforceClientCredentialsHook().describe("Account")
    assert connected_org.calls("token") == 0


@pytest.mark.parametrize("extra", ["[1]", "not JSON", '"text"', "5"])
def test_an_extra_that_is_no_object_is_refused(extra: str) -> None:
    from airflow.models.connection import Connection as Stored

    stored = Stored(conn_id="x", **{**FIELDS, "extra": None})
    stored._extra = extra
    with pytest.raises(ConfigurationError, match="must be a JSON object"):
        client_for(stored, {})


@pytest.mark.parametrize("conn_type", ["http", "salesforce", "postgres", "SFCC"])
def test_a_connection_of_another_type_is_refused_before_anything_is_sent(
    connected_org: RunningOrg, connect: Connect, conn_type: str
) -> None:
    connect(connected_org.url, conn_type=conn_type)
    with pytest.raises(
        ConfigurationError, match=rf"'sfcc_default' is of type '{conn_type}', not 'sfcc'.*nothing was sent"
    ):
        SalesforceClientCredentialsHook().describe("Account")
    assert connected_org.calls("token") == 0


@pytest.mark.parametrize(
    "uri", ["sfcc://{key}:sec/ret+12345678@acme.my.salesforce.com", "sfcc://{key}:123456/78@acme.my.salesforce.com/"]
)
def test_a_uri_whose_secret_is_not_encoded_is_set_but_unreadable(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", uri.format(key=KEY))
    with pytest.raises(ConfigurationError, match=r"(?s)set but unreadable.*percent-encoded") as problem:
        SalesforceClientCredentialsHook().describe("Account")
    assert "12345678" not in str(problem.value) and "123456" not in str(problem.value)


def test_a_missing_connection_is_permanent_in_the_worker_too(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.exceptions import AirflowFailException

    from airflow_sfcc.operators import SalesforceQueryOperator

    monkeypatch.delenv("AIRFLOW_CONN_SFCC_DEFAULT", raising=False)
    says = r"knows no connection 'sfcc_default': add it .*AIRFLOW_CONN_SFCC_DEFAULT"
    with pytest.raises(AirflowFailException, match=says) as met:
        SalesforceQueryOperator(task_id="q", soql="SELECT Id FROM Account").execute(context)
    assert "dags test" not in str(met.value)


def test_the_hint_for_dags_test_shows_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SFCC_DEFAULT", raising=False)
    monkeypatch.setattr("sys.argv", ["airflow", "dags", "test", "nightly"])
    with pytest.raises(ConfigurationError, match="Airflow looks in the environment only"):
        SalesforceClientCredentialsHook().describe("Account")


@pytest.mark.parametrize("content", [None, "no PEM", ""])
def test_a_ca_bundle_that_cannot_be_read_is_said_so(
    connected_org: RunningOrg, connect: Connect, tmp_path: Path, content: str | None
) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    connect(connected_org.url, {"verify": str(bundle)})
    with pytest.raises(ConfigurationError, match=r"verify in the connection's extra names .*ca\.pem") as problem:
        SalesforceClientCredentialsHook().describe("Account")
    assert problem.value.permanent


def test_a_ca_bundle_of_the_environment_that_is_gone(org: RunningOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    client = client_for(Connection(conn_id="x", **{**FIELDS, "password": "secret-secret"}), {"max_retries": 0})
    with pytest.raises(ConfigurationError, match=r"(?s)a file on this machine cannot be read.*REQUESTS_CA_BUNDLE"):
        client.describe("Account")


@pytest.mark.parametrize(
    ("proxy", "kind", "says"),
    [
        ("http://no-such-proxy.invalid:3128", UnavailableError, "the name of the proxy does not resolve"),
        ("http://127.0.0.1:1", UnavailableError, "the proxy did not let the request through"),
        ("socks5h://127.0.0.1:1", ConfigurationError, "PySocks is not installed"),
        ("nonsense://127.0.0.1:1", SfccError, "proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_blamed_itself(
    monkeypatch: pytest.MonkeyPatch, proxy: str, kind: type[SfccError], says: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = client_for(Connection(conn_id="x", **{**FIELDS, "password": "secret-secret"}), {"max_retries": 0})
    with pytest.raises(kind, match=says) as problem:
        client.describe("Account")
    assert "My Domain in the connection's host" not in str(problem.value)


def test_the_http_operator_works_with_the_connection(connected_org: RunningOrg, context: Any) -> None:
    from airflow.providers.http.operators.http import HttpOperator

    told = HttpOperator(
        task_id="limits", method="GET", http_conn_id="sfcc_default", endpoint="/services/data/v67.0/limits"
    ).execute(context)
    assert "DailyApiRequests" in json.loads(told)


def test_the_hook_takes_its_parents_keywords(connected_org: RunningOrg) -> None:
    from inspect import signature as signature_of

    from airflow.providers.http.hooks.http import HttpHook

    plain = {
        name: parameter.default
        for name, parameter in signature_of(HttpHook.__init__).parameters.items()
        if name not in ("self", "http_conn_id")
    }
    hook = SalesforceClientCredentialsHook(http_conn_id="sfcc_default", **{**plain, "method": "GET"})
    assert hook.describe("Account")["name"] == "Account"
    with pytest.raises(ConfigurationError, match="auth_type and adapter cannot be chosen"):
        SalesforceClientCredentialsHook(auth_type=object())


def test_run_honours_the_connections_ca(
    start_org: Callable[..., RunningOrg], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = start_org(tls=True)
    connect(org.url, {"verify": str(org.server.ca_file), "max_retries": 0})
    assert SalesforceClientCredentialsHook().run("/services/data/").json()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    assert SalesforceClientCredentialsHook().run("/services/data/").json()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    connect(org.url, {"max_retries": 0})
    with pytest.raises(UnavailableError, match="certificate"):
        SalesforceClientCredentialsHook().run("/services/data/")


def test_options_of_run_are_not_ignored(connected_org: RunningOrg) -> None:
    hook = SalesforceClientCredentialsHook()
    response = hook.run("/services/data/v67.0/nonsense", extra_options={"check_response": False, "stream": True})
    assert response.status_code == 404
    session = hook.get_conn(extra_options={"proxies": {"https": "http://proxy:1"}, "verify": False, "cert": "c"})
    assert (session.proxies, session.verify, session.cert) == ({"https": "http://proxy:1"}, False, "c")


def test_the_form_of_airflow_3_1_comes_from_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server of 3.1 puts stand-ins where wtforms is missing, and reads these two."""
    import sys
    from types import ModuleType

    class Field:
        def __init__(self, label: str, description: str) -> None:
            self.label, self.description = label, description

    stand_in = ModuleType("wtforms")
    stand_in.StringField = stand_in.BooleanField = Field  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wtforms", stand_in)
    form = get_provider_info()["connection-types"][0]
    widgets = SalesforceClientCredentialsHook.get_connection_form_widgets()
    assert {name: field.label for name, field in widgets.items()} == {
        name: about["label"] for name, about in form["conn-fields"].items()
    }
    behaviour = SalesforceClientCredentialsHook.get_ui_field_behaviour()
    assert behaviour["relabeling"]["password"] == "Consumer Secret" and "schema" in behaviour["hidden_fields"]


def test_every_field_of_the_form_is_an_extra_that_is_known() -> None:
    assert set(get_provider_info()["connection-types"][0]["conn-fields"]) <= EXTRAS
