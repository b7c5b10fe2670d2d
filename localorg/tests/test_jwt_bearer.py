"""The JWT bearer flow (help: "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration", "OAuth Authorization Flow Errors")."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
import requests
from caller import SECONDS, Caller, Serve

from salesforce_localorg.key_pairs import KeyPair, check_certificate
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.wire.jwt_bearer import GRANT

USER = "user1@localorg.example"


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return KeyPair.generate()


@pytest.fixture
def caller(serve: Serve, pair: KeyPair) -> Caller:
    found = serve(certificate=pair.certificate)
    found.session.headers.pop("Authorization", None)
    return found


def assertion(caller: Caller, key: str, *, seconds: float = 180, algorithm: str = "RS256", **claims: Any) -> str:
    now: datetime = caller.org.clock.now()
    all_claims = {
        "iss": caller.org.config.consumer_key,
        "sub": USER,
        "aud": "https://login.salesforce.com",
        "exp": int((now + timedelta(seconds=seconds)).timestamp()),
        **claims,
    }
    return jwt.encode(
        {name: value for name, value in all_claims.items() if value is not None}, key, algorithm=algorithm
    )


def log_in(caller: Caller, text: str, host: str | None = None) -> requests.Response:
    form = {"grant_type": GRANT, "assertion": text}
    headers = {"Host": host} if host else {}
    return caller.session.post(caller.url("/services/oauth2/token"), data=form, headers=headers, timeout=SECONDS)


def refusal(answer: requests.Response) -> tuple[int, str, str]:
    told = answer.json()
    return answer.status_code, told["error"], told["error_description"]


def test_signed_assertion_opens_a_session_without_a_secret(caller: Caller, pair: KeyPair) -> None:
    answer = log_in(caller, assertion(caller, pair.private_key))

    told = answer.json()
    assert answer.status_code == 200, told
    assert set(told) == {"access_token", "scope", "instance_url", "id", "token_type"}
    assert answer.headers["Cache-Control"] == "no-store"
    caller.use(told["access_token"])
    assert caller.query("SELECT COUNT() FROM Account").status_code == 200
    assert caller.get("/services/oauth2/userinfo").json()["preferred_username"] == USER


@pytest.mark.parametrize(
    ("claims", "error", "description"),
    [
        ({"iss": "3MVG9nobody"}, "invalid_client_id", "client identifier invalid"),
        ({"aud": "https://example.com"}, "invalid_grant", "audience is invalid"),
        ({"aud": "https://test.salesforce.com"}, "invalid_grant", "audience is invalid"),
        ({"seconds": -1}, "invalid_grant", "expired authorization code"),
        ({"exp": "soon"}, "invalid_grant", "invalid assertion"),
        ({"sub": "nobody@example.com"}, "invalid_grant", "user hasn't approved this consumer"),
        *(({name: None}, "invalid_grant", "invalid assertion") for name in ("iss", "sub", "aud", "exp")),
    ],
)
def test_claims_are_checked(
    caller: Caller, pair: KeyPair, claims: dict[str, Any], error: str, description: str
) -> None:
    assert refusal(log_in(caller, assertion(caller, pair.private_key, **claims))) == (400, error, description)


def test_signature_is_verified(caller: Caller, pair: KeyPair) -> None:
    right = assertion(caller, pair.private_key)
    head, body, signature = right.split(".")
    other_key = assertion(caller, KeyPair.generate().private_key)
    certificate_as_secret = jwt.encode(
        jwt.decode(right, options={"verify_signature": False}), "x" * 64, algorithm="HS256"
    )
    unsigned = jwt.encode(jwt.decode(right, options={"verify_signature": False}), "", algorithm="none")

    for text in (
        other_key,
        certificate_as_secret,
        unsigned,
        f"{head}.{body}.AAAA",
        f"{body}.{head}.{signature}",
        "x",
        "",
    ):
        assert refusal(log_in(caller, text)) == (400, "invalid_grant", "invalid assertion")


def test_audience_goes_by_the_host_that_is_called(caller: Caller, pair: KeyPair) -> None:
    config = caller.org.config
    calls = [
        (config.my_domain_host, f"https://{config.my_domain_host}", 200),
        (config.my_domain_host, "https://login.salesforce.com/", 200),
        ("acme--dev.sandbox.my.salesforce.com", "https://test.salesforce.com", 200),
        ("acme--dev.sandbox.my.salesforce.com", "https://login.salesforce.com", 400),
        ("login.salesforce.com", "https://login.salesforce.com", 200),
        ("test.salesforce.com", "https://test.salesforce.com", 200),
        (None, caller.server.url, 200),
    ]
    for host, audience, status in calls:
        answer = log_in(caller, assertion(caller, pair.private_key, aud=audience), host)
        assert answer.status_code == status, (host, audience, answer.text)


def test_expiry_goes_by_the_clock_of_the_org(caller: Caller, pair: KeyPair) -> None:
    text = assertion(caller, pair.private_key)
    caller.org.clock.advance(timedelta(minutes=4))

    assert refusal(log_in(caller, text)) == (400, "invalid_grant", "expired authorization code")


def test_users_are_pre_authorised(caller: Caller, pair: KeyPair) -> None:
    caller.org.pre_authorised.clear()
    assert refusal(log_in(caller, assertion(caller, pair.private_key)))[2] == "user hasn't approved this consumer"

    changed = caller.call("PATCH", "/_org/settings", json={"pre_authorised": [USER.upper()]})
    assert changed.json()["pre_authorised"] == [USER.upper()]
    assert log_in(caller, assertion(caller, pair.private_key)).status_code == 200
    caller.org.login_refusal = "not_approved"
    told = (400, "invalid_app_access", "user is not admin approved to access this app")
    assert refusal(log_in(caller, assertion(caller, pair.private_key))) == told


def test_inactive_user(serve: Serve, pair: KeyPair) -> None:
    caller = serve(own_rows={"User": 3}, certificate=pair.certificate)
    row = caller.query(f"SELECT Id FROM User WHERE Username = '{USER}'").json()["records"][0]
    caller.org.records.update("User", row["Id"], {"IsActive": False})

    assert refusal(log_in(caller, assertion(caller, pair.private_key))) == (400, "invalid_grant", "inactive user")


def test_without_a_certificate_the_flow_is_not_enabled(serve: Serve, pair: KeyPair) -> None:
    caller = serve()

    told = (400, "unsupported_grant_type", "grant type not supported")
    assert refusal(log_in(caller, assertion(caller, pair.private_key))) == told


def test_certificates_are_checked_when_the_org_is_made(pair: KeyPair) -> None:
    check_certificate(pair.certificate)
    with pytest.raises(ValueError, match="no PEM certificate"), LocalOrg(OrgConfig(counts={}, certificate="nonsense")):
        pass
    assert pair.private_key not in repr(pair)
