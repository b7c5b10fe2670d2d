"""The JWT bearer flow wherever Airflow meets it: hook, operators, triggers, sensor, CLI, connection form and Test button."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from click.testing import CliRunner
from salesforce_localorg.key_pairs import KeyPair

from airflow_sfcc.cli import commands
from airflow_sfcc.hooks import SalesforceClientCredentialsHook
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceQueryOperator
from airflow_sfcc.provider import get_provider_info
from airflow_sfcc.sensors import SalesforceQuerySensor
from airflow_sfcc.triggers import BulkJobTrigger, QueryTrigger
from tests.conftest import KEY, RunningOrg
from tests.secret_search import SecretForms, files
from tests.surface.conftest import Connect

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return KeyPair.generate()


@pytest.fixture(scope="module")
def another() -> KeyPair:
    return KeyPair.generate("another")


@pytest.fixture
def jwt_org(start_org: Callable[..., RunningOrg], connect: Connect, pair: KeyPair) -> RunningOrg:
    """An org whose app has a certificate and no client credentials, and `sfcc_default` with the private key."""
    org = start_org(certificate=pair.certificate, client_credentials_enabled=False)
    connect_by_key(connect, org, pair)
    return org


def connect_by_key(connect: Connect, org: RunningOrg, pair: KeyPair, **extra: Any) -> None:
    settings = {"max_retries": 1, "request_timeout": 10, "username": org.org.run_as, **extra}
    connect(org.url, settings, password=pair.private_key)


def forms_of(org: RunningOrg, pair: KeyPair) -> SecretForms:
    return SecretForms(KEY, "", org.org.sessions.issued, private_key=pair.private_key)


def event_of(deferred: TaskDeferred) -> dict[str, Any]:
    """What the trigger says, run from what is stored of it."""
    path, arguments = deferred.trigger.serialize()
    kinds: dict[str, Any] = {kind.__name__: kind for kind in (BulkJobTrigger, QueryTrigger)}
    trigger = kinds[path.rpartition(".")[2]](**json.loads(json.dumps(arguments)))

    async def first() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(first())


def test_the_hook_and_the_test_button(jwt_org: RunningOrg) -> None:
    hook = SalesforceClientCredentialsHook()
    ok, sentence = hook.test_connection()
    assert ok, sentence
    assert str(jwt_org.org.run_as) in sentence
    assert hook.query_all("SELECT Id FROM Account LIMIT 1")
    assert hook.run(f"/services/data/v{hook.client.api_version}/limits").status_code == 200


def test_a_connection_tested_in_the_form(jwt_org: RunningOrg, pair: KeyPair) -> None:
    """As Airflow's API server does it: from the form's fields, without a stored connection. The form has one line only."""
    from airflow.models.connection import Connection

    stored = Connection(
        conn_id="tested",
        conn_type="sfcc",
        host=jwt_org.url,
        login=KEY,
        password=pair.private_key.replace("\n", ""),
        extra=json.dumps({"username": jwt_org.org.run_as, "audience": None, "api_version": None}),
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_TESTED", stored.get_uri())
        ok, sentence = stored.test_connection()  # type: ignore[no-untyped-call]
    assert ok, sentence


def test_the_form_has_the_flow_s_fields() -> None:
    kind = get_provider_info()["connection-types"][0]
    assert {"username", "audience"} <= set(kind["conn-fields"])
    assert "private key" in kind["ui-field-behaviour"]["placeholders"]["password"]


def test_the_operators(jwt_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    assert SalesforceQueryOperator(task_id="q", soql="SELECT Id FROM Account LIMIT 3").execute(context)
    for api in ("rest", "bulk"):
        operator = SalesforceExtractOperator(
            task_id=api, sobject="Account", fields=["Id", "Name"], destination=f"file://{tmp_path}/{api}", api=api,
            poll_interval=0.05,
        )  # fmt: skip
        assert operator.execute(context)["rows"] == jwt_org.org.records.count("Account")


def test_deferred_waiting(
    jwt_org: RunningOrg, pair: KeyPair, context: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In triggers too; and neither key nor token is in what they hand on, in the log, or in what lands."""
    operator = SalesforceExtractOperator(
        task_id="extract", sobject="Account", fields=["Id"], destination=f"file://{tmp_path}/out", api="bulk",
        deferrable=True, poll_interval=0.05,
    )  # fmt: skip
    sensor = SalesforceQuerySensor(
        task_id="wait", soql="SELECT Id FROM Account", deferrable=True, poke_interval=0.05, timeout=5
    )
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        event = event_of(deferred.value)
        result = getattr(operator, deferred.value.method_name)(context, event=event)
        found = sensor.execute(context)
    assert result["rows"] == jwt_org.org.records.count("Account") and found
    kept = json.dumps([deferred.value.trigger.serialize(), deferred.value.kwargs, event, result], default=str)
    places = [("kept", kept.encode()), ("log", caplog.text.encode()), *files(tmp_path)]
    assert forms_of(jwt_org, pair).found_in(places) == []


def test_the_token_is_renewed(jwt_org: RunningOrg) -> None:
    client = SalesforceClientCredentialsHook().client
    assert client.count("SELECT COUNT() FROM Account")
    logins = jwt_org.calls("token")
    jwt_org.org.sessions.expire_all()
    assert client.count("SELECT COUNT() FROM Account")
    assert jwt_org.calls("token") == logins + 1


@pytest.mark.parametrize("hours", [-48, 0.25, 48])
def test_the_org_s_clock_decides(
    start_org: Callable[..., RunningOrg], connect: Connect, pair: KeyPair, hours: float
) -> None:
    org = start_org(certificate=pair.certificate)
    connect_by_key(connect, org, pair)
    org.org.clock.advance(timedelta(hours=hours)) if hours > 0 else org.org.clock.set(
        org.org.clock.now() + timedelta(hours=hours)
    )
    assert SalesforceClientCredentialsHook().test_connection()[0]


def check(*arguments: str) -> Any:
    return CliRunner().invoke(commands, ["check", *arguments])


def test_check_goes_through_the_flow_s_own_steps(jwt_org: RunningOrg, pair: KeyPair) -> None:
    result = check("--object", "Account")
    assert result.exit_code == 0, result.output
    assert "passed         Certificate and private key: a token was given" in result.output
    assert "Enable Client Credentials Flow" not in result.output
    assert forms_of(jwt_org, pair).found_in([("output", result.output.encode())]) == []


Mistake = Callable[[RunningOrg, Connect, KeyPair, KeyPair], None]


def not_approved(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    org.org.pre_authorised = set()


def another_key(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    connect_by_key(connect, org, another)


def another_audience(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    connect_by_key(connect, org, pair, audience="https://test.salesforce.com")


def another_consumer(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    connect(org.url, {"max_retries": 1, "username": org.org.run_as}, password=pair.private_key, login="3MVG9other")


def no_username(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    connect(org.url, {"max_retries": 1}, password=pair.private_key)


def half_a_key(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    connect(org.url, {"username": org.org.run_as}, password=pair.private_key[:400])


def inactive(org: RunningOrg, connect: Connect, pair: KeyPair, another: KeyPair) -> None:
    org.org.login_refusal = "inactive_user"


@pytest.mark.parametrize(
    ("mistake", "step", "anchor"),
    [
        (not_approved, "Permitted users", "permitted-users"),
        (another_key, "Certificate and private key", "a-certificate-instead-of-a-secret"),
        (another_audience, "My Domain", "my-domain"),
        (another_consumer, "Consumer key and secret", "consumer-key-and-secret"),
        (no_username, "Run As user", "run-as-user"),
        (half_a_key, "Certificate and private key", "a-certificate-instead-of-a-secret"),
        (inactive, "Run As user", "run-as-user"),
    ],
)
def test_each_mistake_is_named_with_its_step(
    jwt_org: RunningOrg,
    connect: Connect,
    pair: KeyPair,
    another: KeyPair,
    mistake: Mistake,
    step: str,
    anchor: str,
) -> None:
    mistake(jwt_org, connect, pair, another)
    ok, sentence = SalesforceClientCredentialsHook().test_connection()
    assert not ok and f"docs/salesforce-setup.md#{anchor}" in sentence
    result = check()
    assert result.exit_code == 1
    assert f"failed         {step}" in result.output
    for text in (sentence, result.output):
        assert forms_of(jwt_org, another).found_in([("shown", text.encode())]) == []
        assert forms_of(jwt_org, pair).found_in([("shown", text.encode())]) == []


def test_an_org_without_the_certificate_says_which_box(
    start_org: Callable[..., RunningOrg], connect: Connect, pair: KeyPair
) -> None:
    org = start_org()
    connect_by_key(connect, org, pair)
    ok, sentence = SalesforceClientCredentialsHook().test_connection()
    assert not ok and "Enable JWT Bearer Flow" in sentence
