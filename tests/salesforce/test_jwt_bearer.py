"""The JWT bearer flow: what is signed, which keys are taken, what each error means, and what is never shown."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc._airflow.connection import client_for
from airflow_sfcc.errors import (
    CERTIFICATE,
    CONSUMER_KEY_AND_SECRET,
    IP_RESTRICTIONS,
    MY_DOMAIN,
    PERMITTED_USERS,
    RUN_AS_USER,
    AuthenticationError,
    ConfigurationError,
    SetupStep,
)
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.instance import Origin
from airflow_sfcc.salesforce.jwt_bearer import audience_for, load_private_key
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.salesforce.jwt_endpoint import KEY, USERNAME, JwtEndpoint, jwt_endpoint, pem, private_key
from tests.secret_search import SecretForms


@pytest.fixture
def endpoint() -> Iterator[JwtEndpoint]:
    with jwt_endpoint() as endpoint:
        yield endpoint


def client_of(endpoint: JwtEndpoint, key: str = "", **options: Any) -> SalesforceClient:
    options = {"username": USERNAME, "api_version": "67.0", **options}
    return connect(endpoint.url, KEY, key or pem(), transport=TransportOptions(max_retries=0), **options)


def test_it_logs_in_with_a_signed_assertion(endpoint: JwtEndpoint) -> None:
    client = client_of(endpoint)
    assert client.auth.token.user_id == "005RO0000000001AAA"
    header = jwt.get_unverified_header(endpoint.forms[-1]["assertion"])
    assert header["alg"] == "RS256"
    life = endpoint.claims.pop("exp") - time.time()
    assert 0 < life <= 180
    assert {name: endpoint.claims[name] for name in ("iss", "sub", "aud")} == {
        "iss": KEY,
        "sub": USERNAME,
        "aud": endpoint.url,
    }
    assert set(endpoint.claims) == {"iss", "sub", "aud", "exp"}


def test_the_token_is_kept_and_renewed_like_the_other_flow_s(endpoint: JwtEndpoint) -> None:
    client = client_of(endpoint)
    client.limits()
    client.limits()
    assert endpoint.tokens == 1
    endpoint.live.clear()
    assert client.limits()["DailyApiRequests"]["Remaining"] == 99
    assert endpoint.tokens == 2


@pytest.mark.parametrize("ahead", [-3000, -400, -100, 100, 400, 3000, 86_400 * 30])
def test_the_org_s_clock_decides(endpoint: JwtEndpoint, ahead: float) -> None:
    """By the worker's clock alone, these logins would be out of date, or of too long a life."""
    endpoint.ahead, endpoint.longest_life = ahead, 190
    client = client_of(endpoint)
    assert client.auth.token
    assert len(endpoint.forms) <= 3
    endpoint.live.clear()
    endpoint.forms.clear()
    client.limits()
    assert len(endpoint.forms) == 1, "the clock is known now"


def test_a_login_that_stays_out_of_date_ends(endpoint: JwtEndpoint) -> None:
    endpoint.longest_life = -1
    with pytest.raises(AuthenticationError, match=r"set the clock of this machine \(NTP\)") as caught:
        client_of(endpoint).auth.token  # noqa: B018
    assert caught.value.step == CERTIFICATE
    assert len(endpoint.forms) == 3


@pytest.mark.parametrize(
    ("host", "audience"),
    [
        ("acme.my.salesforce.com", "https://login.salesforce.com"),
        ("acme-dev-ed.develop.my.salesforce.com", "https://login.salesforce.com"),
        ("acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("acme--uat.my.salesforce.com", "https://test.salesforce.com"),
        ("acme--uat.cs42.my.salesforce.com", "https://test.salesforce.com"),
        ("acme.scratch.my.salesforce.com", "https://test.salesforce.com"),
        ("acme.my.salesforce.mil", "https://acme.my.salesforce.mil"),
        ("acme.my.sfcrmproducts.cn", "https://acme.my.sfcrmproducts.cn"),
        ("gateway.acme.example.com", "https://gateway.acme.example.com"),
        ("my.salesforce.com.evil.example.com", "https://my.salesforce.com.evil.example.com"),
    ],
)
def test_the_audience_goes_by_the_kind_of_host(host: str, audience: str) -> None:
    assert audience_for(Origin("https", host, 443)) == audience


def test_the_audience_can_be_set(endpoint: JwtEndpoint) -> None:
    endpoint.audience = "https://login.salesforce.com"
    assert client_of(endpoint, audience="https://login.salesforce.com").auth.token


ERRORS = [
    ("invalid_grant", "user hasn't approved this consumer", PERMITTED_USERS, "pre-authorized"),
    ("invalid_grant", "user hasn\u2019t approved this consumer", PERMITTED_USERS, "pre-authorized"),
    ("invalid_grant", "audience is invalid", MY_DOMAIN, "set audience in the connection's extra"),
    ("invalid_grant", "Audience validation failed", MY_DOMAIN, "set audience in the connection's extra"),
    ("invalid_grant", "invalid assertion", CERTIFICATE, "upload the certificate"),
    ("invalid_grant", "expired authorization code", CERTIFICATE, "NTP"),
    ("invalid_grant", "authentication failure", RUN_AS_USER, "Login History"),
    ("invalid_grant", "inactive user", RUN_AS_USER, "username in the connection's extra"),
    ("inactive_user", "inactive user", RUN_AS_USER, "username in the connection's extra"),
    ("invalid_grant", "ip restricted", IP_RESTRICTIONS, "whatever the app's policy says"),
    ("invalid_app_access", "user is not admin approved to access this app", PERMITTED_USERS, "permission set"),
    ("invalid_client_id", "client identifier invalid", CONSUMER_KEY_AND_SECRET, "copy the consumer key again"),
    ("invalid_client", "invalid client credentials", CERTIFICATE, "Enable JWT Bearer Flow"),
    ("unsupported_grant_type", "grant type not supported", CERTIFICATE, "Enable JWT Bearer Flow"),
    ("app_not_found", "External client app is not installed in this org", CONSUMER_KEY_AND_SECRET, "same org"),
    ("app_not_found", "External client app is not installed in this org", CONSUMER_KEY_AND_SECRET, "set audience"),
    ("invalid_grant", "something new", RUN_AS_USER, "Login History"),
]


@pytest.mark.parametrize(("error", "description", "step", "advice"), ERRORS, ids=lambda value: str(value)[:40])
def test_each_documented_error_names_its_setup_step(
    endpoint: JwtEndpoint, error: str, description: str, step: SetupStep, advice: str
) -> None:
    endpoint.error = {"error": error, "error_description": description}
    with pytest.raises(AuthenticationError) as caught:
        client_of(endpoint).auth.token  # noqa: B018
    assert caught.value.step == step
    assert advice in caught.value.message and description in caught.value.message
    assert caught.value.permanent


def test_real_mistakes_are_told_apart(endpoint: JwtEndpoint) -> None:
    def message_of(**options: Any) -> str:
        with pytest.raises(AuthenticationError) as caught:
            client_of(endpoint, **options).auth.token  # noqa: B018
        return caught.value.message

    assert "the signature does not fit the certificate" in message_of(key=pem(private_key("another")))
    assert "signed for another kind of org" in message_of(audience="https://test.salesforce.com")
    assert "not pre-authorized" in message_of(username="nobody@acme.example.com")
    endpoint.approved = False
    assert "not pre-authorized" in message_of()


SAME_KEY: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "in one line": lambda text: text.replace("\n", " "),
    "without line breaks": lambda text: text.replace("\n", ""),
    "with \\n": lambda text: text.replace("\n", "\\n"),
    "with \\r\\n": lambda text: text.replace("\n", "\\r\\n"),
    "with CRLF": lambda text: text.replace("\n", "\r\n"),
    "in base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in base64 of many lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "with blanks around": lambda text: f"\n\n  {text}  \n",
    "with its attributes": lambda text: f"Bag Attributes\n    friendlyName: airflow\n{text}",
}


@pytest.mark.parametrize("way", SAME_KEY)
def test_a_key_survives_how_it_is_pasted(endpoint: JwtEndpoint, way: str) -> None:
    assert client_of(endpoint, SAME_KEY[way](pem())).auth.token


def test_keys_of_the_older_format_are_taken(endpoint: JwtEndpoint) -> None:
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    text = private_key().private_bytes(*formats).decode()
    assert "BEGIN RSA PRIVATE KEY" in text
    assert client_of(endpoint, text).auth.token


def _elliptic() -> str:
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*formats).decode()


def _public() -> str:
    formats = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private_key().public_key().public_bytes(*formats).decode()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: pem(passphrase=b"secret"), "encrypted with a passphrase"),
        (
            lambda: "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----",
            "passphrase",
        ),
        (_elliptic, "not an RSA key"),
        (_public, "public key: enter the private key"),
        (lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "certificate: enter the private key"),
        (lambda: pem(private_key("short", 1024)), "1,024 bits"),
        (lambda: pem()[: len(pem()) // 2], "no whole -----BEGIN PRIVATE KEY----- block"),
        (lambda: pem().replace("M", "", 1), "damaged"),
        (lambda: pem().replace("\n", "é\n", 2), "damaged"),
        (lambda: base64.b64encode(b"-----BEGIN PRIVATE KEY-----")[:-3].decode(), ""),
    ],
)
def test_a_key_that_cannot_work_is_a_sentence_without_the_key(make: Callable[[], str], why: str) -> None:
    text = make()
    with pytest.raises(ConfigurationError) as caught:
        connect("acme.my.salesforce.com", KEY, text, username=USERNAME)
    assert caught.value.step == CERTIFICATE and why in caught.value.message
    body = "".join(text.splitlines()[1:-1])
    assert not body or body[:20] not in repr(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(max_size=200))
def test_nonsense_is_never_a_key(text: str) -> None:
    with pytest.raises(ConfigurationError):
        load_private_key(f"-----BEGIN PRIVATE KEY-----{text}-----END PRIVATE KEY-----")


def connection(endpoint: JwtEndpoint, password: str, **extra: Any) -> Any:
    from airflow.models.connection import Connection

    stored = {"host": endpoint.url, "login": KEY, "password": password, "extra": {"username": USERNAME, **extra}}
    return Connection.from_json(json.dumps({"conn_type": "sfcc", **stored}))


def test_the_connection_holds_the_key_or_names_its_file(endpoint: JwtEndpoint, tmp_path: Path) -> None:
    path = tmp_path / "airflow.key"
    path.write_text(pem())
    for stored in (connection(endpoint, pem()), connection(endpoint, "", private_key_file=str(path))):
        assert client_for(stored, stored.extra_dejson).auth.token
    assert {form["grant_type"] for form in endpoint.forms} == {"urn:ietf:params:oauth:grant-type:jwt-bearer"}


@pytest.mark.parametrize(
    ("password", "extra", "why"),
    [
        ("", {"private_key_file": "/nowhere/airflow.key"}, "could not be read (No such file or directory)"),
        ("", {"private_key_file": "/"}, "could not be read (Is a directory)"),
        ("", {"private_key_file": "\0"}, "could not be read"),
        ("secret-0123456789", {"private_key_file": "/some/file"}, "empty one of the two"),
        ("secret-0123456789", {}, "has username, which belongs to the JWT bearer flow"),
        ("secret-0123456789", {"username": "", "audience": "x"}, "has audience, which belongs to the JWT bearer flow"),
        ("PEM", {"username": ""}, "does not say as whom"),
        ("", {}, "no consumer secret"),
    ],
)
def test_settings_that_contradict_each_other_are_told(
    endpoint: JwtEndpoint, password: str, extra: dict[str, str], why: str
) -> None:
    stored = connection(endpoint, pem() if password == "PEM" else password, **extra)
    with pytest.raises(ConfigurationError) as caught:
        client_for(stored, stored.extra_dejson)
    assert why in caught.value.message
    assert endpoint.forms == []


def test_neither_key_nor_assertion_nor_token_shows_anywhere(
    endpoint: JwtEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when the endpoint, or a proxy before it, sends the request back."""
    shown: list[str] = []
    masked: list[str] = []
    with caplog.at_level(logging.DEBUG):
        client = client_of(endpoint, on_token=masked.append)
        token = client.auth.token
        shown += [repr(client.auth.tokens.credentials), repr(token), repr(vars(client.auth.tokens))]
        assertion = endpoint.forms[-1]["assertion"]
        echo = f"{assertion} {pem()} {''.join(pem().split())} {base64.b64encode(pem().encode()).decode()}"
        endpoint.error = {"error": "invalid_grant", "error_description": echo[:180]}
        for text in (echo, pem(), assertion, "".join(pem().splitlines()[1:-1]), pem()[100:300], quote(echo, safe="")):
            endpoint.error["error_description"] = text
            with pytest.raises(AuthenticationError) as caught:
                client_of(endpoint).auth.token  # noqa: B018
            again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
            shown += [str(caught.value), repr(caught.value), repr(again)]
    shown.append(caplog.text)
    forms = SecretForms(
        KEY, "", [token.access_token], private_key=pem(), assertions=[f["assertion"] for f in endpoint.forms]
    )
    assert forms.found_in([(text[:60], text.encode()) for text in shown]) == []
    assert masked == [pem(), assertion, token.access_token]
