"""The client-credentials exchange: how the token is fetched, kept, renewed and guarded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from salesforce_localorg.faults import Fault

from airflow_sfcc.errors import (
    ApiLimitError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    SalesforceError,
    UnavailableError,
    UntrustedHostError,
)
from airflow_sfcc.salesforce import connect
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import KEY, SECRET, RunningOrg


def test_one_login_serves_all_calls(org: RunningOrg) -> None:
    client = org.client()
    client.describe("Account")
    client.describe("Contact")
    assert org.calls("token") == 1


def test_the_instance_url_of_the_answer_is_used_for_every_call(start_org: Callable[..., RunningOrg]) -> None:
    org = start_org(instance_url="http://localhost:{port}")
    client = org.client()
    assert str(client.instance) == f"http://localhost:{org.server.port}" != org.url
    client.describe("Account")
    assert client.api.url("/limits").startswith(f"http://localhost:{org.server.port}/services/data/v")


def test_tls_with_the_orgs_own_authority(start_org: Callable[..., RunningOrg]) -> None:
    org = start_org(tls=True)
    trusting = org.client(transport=TransportOptions(max_retries=0, verify=str(org.server.ca_file)))
    assert trusting.describe("Account")["name"] == "Account"
    with pytest.raises(UnavailableError, match="certificate"):
        org.client().describe("Account")


REFUSALS = [
    ("flow_not_enabled", "enable-client-credentials-flow", "Enable Client Credentials Flow"),
    ("inactive_user", "run-as-user", "inactive or frozen"),
    ("ip_restricted", "ip-restrictions", "address"),
    ("not_approved", "permitted-users", "permit"),
    ("inactive_org", "api-enabled", "locked"),
]


@pytest.mark.parametrize(("refusal", "anchor", "says"), REFUSALS)
def test_each_refusal_names_its_setup_step(org: RunningOrg, refusal: str, anchor: str, says: str) -> None:
    org.org.login_refusal = refusal  # type: ignore[assignment]
    with pytest.raises(AuthenticationError, match=anchor) as problem:
        org.client().describe("Account")
    assert says in str(problem.value) and problem.value.permanent
    assert org.calls("token") == 1


def test_a_wrong_secret_and_a_wrong_key(org: RunningOrg) -> None:
    with pytest.raises(
        AuthenticationError, match=r"invalid_client: invalid client credentials.*secret does not belong"
    ):
        org.client(consumer_secret="wrong").describe("Account")
    with pytest.raises(AuthenticationError, match=r"invalid_client_id.*no app with this consumer key"):
        org.client(consumer_key="wrong").describe("Account")


def test_no_run_as_user(org: RunningOrg) -> None:
    org.org.run_as = None
    with pytest.raises(
        AuthenticationError, match=r"(?s)no client credentials user enabled.*choose a Run As user.*run-as-user"
    ):
        org.client().describe("Account")


def test_the_flow_switched_off(org: RunningOrg) -> None:
    org.org.client_credentials_enabled = False
    with pytest.raises(AuthenticationError, match=r"Enable Client Credentials Flow"):
        org.client().describe("Account")


def test_the_login_rate_may_pass(org: RunningOrg) -> None:
    org.org.login_refusal = "login_rate"
    with pytest.raises(UnavailableError, match="too many logins") as problem:
        org.client().describe("Account")
    assert not problem.value.permanent


def test_login_host_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match=r"login\.salesforce\.com does not answer the client-credentials flow"):
        connect("login.salesforce.com", KEY, SECRET)


def test_a_dead_host() -> None:
    client = connect("http://127.0.0.1:1", KEY, SECRET, transport=TransportOptions(max_retries=0))
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1 could not be reached .*refused the connection"):
        client.describe("Account")


def test_a_host_that_does_not_exist() -> None:
    client = connect("no-such-host.invalid", KEY, SECRET, transport=TransportOptions(max_retries=0))
    with pytest.raises(UnavailableError, match="no such host"):
        client.describe("Account")


def test_a_server_that_is_no_salesforce(org: RunningOrg) -> None:
    org.fail("token", status=404, body="<html>nginx</html>")
    with pytest.raises(AuthenticationError, match="My Domain"):
        org.client().describe("Account")
    org.fail("token", status=200, body="<html>welcome</html>")
    with pytest.raises(SalesforceError, match="is it a Salesforce My Domain"):
        org.client().describe("Account")


@pytest.mark.parametrize("token", ["", "with a \n line break", "with a \u20ac sign", 5, None])
def test_a_token_that_no_header_can_carry(org: RunningOrg, token: object) -> None:
    org.fail("token", status=200, body={"access_token": token, "instance_url": org.url})
    with pytest.raises(AuthenticationError, match=r"cannot be used.*My Domain"):
        org.client().describe("Account")
    assert org.calls("describe") == 0


@pytest.mark.parametrize("key", ["", None])
def test_missing_credentials(key: str) -> None:
    with pytest.raises(ConfigurationError, match="consumer key"):
        connect("acme.my.salesforce.com", key, SECRET)
    with pytest.raises(ConfigurationError, match="consumer secret"):
        connect("acme.my.salesforce.com", KEY, key)


@pytest.mark.parametrize(
    "body", [[{"errorCode": "INVALID_SESSION_ID"}], [{"errorCode": "INVALID_AUTH_HEADER"}], "<html>"]
)
def test_any_401_renews_the_token_once_and_repeats_the_request(org: RunningOrg, body: object) -> None:
    client = org.client()
    client.describe("Account")
    org.fail("describe", status=401, body=body)
    assert client.describe("Contact")["name"] == "Contact"
    assert org.calls("token") == 2


def test_a_token_that_died_meanwhile(org: RunningOrg) -> None:
    client = org.client()
    client.describe("Account")
    org.org.expire_sessions()
    assert client.describe("Contact")["name"] == "Contact"
    assert (org.calls("token"), org.calls("describe")) == (2, 3)


def test_a_token_that_dies_between_two_attempts_is_renewed_once_more(org: RunningOrg) -> None:
    client = org.client(transport=TransportOptions(max_retries=2))
    client.describe("Account")
    org.org.expire_sessions()
    org.fail("describe", status=503, skip=1, kill_session="after")
    assert client.describe("Contact")["name"] == "Contact"
    assert org.calls("token") == 3


def test_the_identity_service_says_otherwise_that_a_token_is_no_longer_good(org: RunningOrg) -> None:
    client = org.client()
    assert client.user_info()["organization_id"]
    org.org.expire_sessions()
    assert client.user_info()["organization_id"]
    assert (org.calls("token"), org.calls("userinfo")) == (2, 3)


def test_a_new_token_that_is_refused_too_is_an_error(org: RunningOrg) -> None:
    org.fail("describe", status=401, body=[{"errorCode": "INVALID_SESSION_ID", "message": "x"}], times=None)
    with pytest.raises(AuthenticationError, match="renewed once and refused again"):
        org.client().describe("Account")
    assert (org.calls("token"), org.calls("describe")) == (2, 2)


def test_threads_that_meet_a_401_share_one_renewal(org: RunningOrg) -> None:
    client = org.client()
    client.describe("Account")
    org.org.expire_sessions()
    together = threading.Barrier(8)

    def count() -> int:
        together.wait()
        return len(client.limits())

    with ThreadPoolExecutor(8) as pool:
        assert all(future.result() for future in [pool.submit(count) for _ in range(8)])
    assert org.calls("token") == 2


def test_the_token_is_never_revoked(org: RunningOrg) -> None:
    org.client().describe("Account")
    assert org.calls("revoke") == 0


@pytest.mark.parametrize(
    "instance_url",
    ["https://evil.example", "http://10.0.0.1", "https://acme.my.salesforce.com", "http://127.0.0.1@evil.example/"],
)
def test_an_instance_url_elsewhere_is_refused(org: RunningOrg, instance_url: str) -> None:
    org.fail("token", set_json={"/instance_url": instance_url})
    with pytest.raises(UntrustedHostError, match="nothing was sent"):
        org.client().describe("Account")
    assert org.calls("describe") == 0


def test_secrets_stay_out_of_logs_and_reprs(org: RunningOrg, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    org.fail("describe", status=503, body="<html>", times=1)
    client = org.client()
    client.describe("Account")
    token = client.auth.token
    shown = caplog.text + repr(token) + repr(client.auth) + str(client.auth.tokens.credentials)
    assert "describe" in caplog.text
    assert token.access_token not in shown and SECRET not in shown


def test_a_misspelt_object_is_told_its_neighbours(org: RunningOrg) -> None:
    with pytest.raises(NotFoundError, match=r"(?s)/sobjects/Acount/describe .* Did you mean Account ") as failure:
        org.client().describe("Acount")
    assert failure.value.permanent
    with pytest.raises(NotFoundError, match="Check the spelling"):
        org.client().describe("Xyzzyplugh__c")


def test_an_org_without_api_calls_left_still_lets_in(org: RunningOrg) -> None:
    org.org.faults.add(Fault.named("requests_exhausted"))
    with pytest.raises(ApiLimitError, match="used up"):
        org.client().describe("Account")
