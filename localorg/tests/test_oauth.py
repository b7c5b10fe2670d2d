"""The token endpoint and its neighbours: answers, and every refusal with Salesforce's words."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta

import pytest
import requests
from caller import Caller, Serve

from salesforce_localorg.org import LoginRefusal


def test_token_answer_has_the_documented_keys_and_forms(anonymous: Caller) -> None:
    answer = anonymous.log_in()

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    body = answer.json()
    assert list(body) == ["access_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at"]
    assert len(body["access_token"]) == 112
    assert body["access_token"].startswith(anonymous.org.config.org_id[:15] + "!")
    assert body["token_type"] == "Bearer"
    assert body["issued_at"].isdigit()
    assert len(body["issued_at"]) == 13
    assert body["instance_url"] == anonymous.server.url
    assert body["id"] == f"https://login.salesforce.com/id/{anonymous.org.config.org_id}/{anonymous.org.run_as_user_id}"


def test_signature_is_the_hmac_of_identity_and_time(anonymous: Caller) -> None:
    body = anonymous.log_in().json()

    secret = anonymous.server.credentials.consumer_secret.encode()
    digest = hmac.new(secret, (body["id"] + body["issued_at"]).encode(), hashlib.sha256).digest()
    assert body["signature"] == base64.b64encode(digest).decode()


def test_basic_header_is_the_other_form_of_the_credentials(anonymous: Caller) -> None:
    credentials = anonymous.server.credentials
    answer = anonymous.post(
        "/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(credentials.consumer_key, credentials.consumer_secret),
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("changed", "error", "description"),
    [
        ({"client_id": "3MVG9wrong"}, "invalid_client_id", "client identifier invalid"),
        ({"client_id": None}, "invalid_client_id", "client identifier invalid"),
        ({"client_secret": "wrong"}, "invalid_client", "invalid client credentials"),
        ({"client_secret": None}, "invalid_client", "invalid client credentials"),
        ({"grant_type": "password"}, "invalid_grant", "authentication failure"),
        ({"grant_type": "authorization"}, "unsupported_grant_type", "grant type not supported"),
        ({"grant_type": None}, "unsupported_grant_type", "grant type not supported"),
    ],
)
def test_wrong_input_is_refused(
    anonymous: Caller, changed: dict[str, str | None], error: str, description: str
) -> None:
    answer = anonymous.log_in(**changed)

    assert answer.status_code == 400
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {"error": error, "error_description": description}


def test_credentials_may_be_in_the_query(anonymous: Caller) -> None:
    """As many guides have it; nothing of it is kept in the log of calls."""
    credentials = anonymous.server.credentials
    params = {"client_id": credentials.consumer_key, "client_secret": credentials.consumer_secret}
    answer = anonymous.post("/services/oauth2/token", params={"grant_type": "client_credentials", **params})

    assert answer.json()["token_type"] == "Bearer"
    assert [each.path for each in anonymous.org.calls] == ["/services/oauth2/token"]


@pytest.mark.parametrize(
    ("refusal", "error", "description"),
    [
        ("flow_not_enabled", "invalid_grant", "client credentials flow not enabled"),
        ("inactive_user", "invalid_grant", "inactive user"),
        ("ip_restricted", "invalid_grant", "ip restricted"),
        ("not_approved", "invalid_app_access", "user is not admin approved to access this app"),
        ("login_rate", "invalid_grant", "login rate exceeded"),
    ],
)
def test_policies_refuse_the_user(anonymous: Caller, refusal: LoginRefusal, error: str, description: str) -> None:
    anonymous.org.login_refusal = refusal

    answer = anonymous.log_in()
    assert answer.status_code == 400
    assert answer.json() == {"error": error, "error_description": description}


def test_without_run_as_user_no_token(anonymous: Caller) -> None:
    anonymous.org.run_as = None

    assert anonymous.log_in().json() == {
        "error": "invalid_grant",
        "error_description": "no client credentials user enabled",
    }


def test_flow_switched_off(anonymous: Caller) -> None:
    anonymous.org.client_credentials_enabled = False

    assert anonymous.log_in().json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize(
    ("host", "error", "description"),
    [
        ("login.salesforce.com", "invalid_grant", "request not supported on this domain"),
        ("test.salesforce.com", "invalid_grant", "request not supported on this domain"),
        ("acme.salesforce-setup.com", "invalid_grant", "request not supported on this domain"),
        ("acme.lightning.force.com", "unsupported_grant_type", "grant type not supported"),
    ],
)
def test_token_only_on_my_domain(anonymous: Caller, host: str, error: str, description: str) -> None:
    anonymous.session.headers["Host"] = host

    answer = anonymous.log_in()
    assert answer.status_code == 400
    assert answer.json() == {"error": error, "error_description": description}


def test_my_domain_host_names_itself_as_instance(anonymous: Caller) -> None:
    anonymous.session.headers["Host"] = "acme.my.salesforce.com"

    assert anonymous.log_in().json()["instance_url"] == "http://acme.my.salesforce.com"


def test_instance_url_may_differ_from_the_login_host(serve: Serve) -> None:
    caller = serve(instance_url="{scheme}://127.0.0.1:{port}")
    port = caller.server.port

    answer = requests.post(
        f"http://localhost:{port}/services/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": caller.server.credentials.consumer_key,
            "client_secret": caller.server.credentials.consumer_secret,
        },
        timeout=10,
    )
    assert answer.json()["instance_url"] == f"http://127.0.0.1:{port}"


def test_each_login_gives_a_token_of_its_own(anonymous: Caller) -> None:
    first, second = anonymous.log_in().json(), anonymous.log_in().json()

    assert first["access_token"] != second["access_token"]


def test_org_may_repeat_the_token(serve: Serve) -> None:
    caller = serve(same_token_on_repeat=True)

    assert caller.log_in().json()["access_token"] == caller.log_in().json()["access_token"]


def test_logins_per_hour_are_limited(serve: Serve) -> None:
    caller = serve(logins_per_hour=2)

    assert caller.log_in().status_code == 200
    assert caller.log_in().json()["error_description"] == "login rate exceeded"
    caller.org.clock.advance(timedelta(minutes=61))
    assert caller.log_in().status_code == 200


def test_session_ends_after_two_idle_hours_and_every_use_extends_it(serve: Serve) -> None:
    caller = serve()
    for _ in range(3):
        caller.org.clock.advance(timedelta(minutes=119))
        assert caller.get("/limits").status_code == 200
    caller.org.clock.advance(timedelta(minutes=121))

    answer = caller.get("/limits")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.json() == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_administrator_ends_all_sessions(caller: Caller) -> None:
    assert caller.org.expire_sessions() >= 1
    assert caller.get("/limits").status_code == 401


@pytest.mark.parametrize(
    "path", ["/query?q=x", "/sobjects", "/jobs/query", "/limits", "", "/nowhere", "/composite/batch"]
)
def test_api_wants_a_token(anonymous: Caller, path: str) -> None:
    method = "POST" if path == "/composite/batch" else "GET"

    answer = anonymous.call(method, path)
    assert answer.status_code == 401
    assert answer.json()[0]["errorCode"] == "INVALID_SESSION_ID"


@pytest.mark.parametrize("scheme", ["Bearer", "OAuth", "bearer"])
def test_schemes_of_the_authorization_header(caller: Caller, scheme: str) -> None:
    token = str(caller.session.headers["Authorization"]).partition(" ")[2]

    assert caller.get("/limits", headers={"Authorization": f"{scheme} {token}"}).status_code == 200


def test_other_scheme_is_refused(caller: Caller) -> None:
    answer = caller.get("/limits", headers={"Authorization": "Basic abc"})

    assert answer.status_code == 401
    assert answer.json() == [{"message": "INVALID_HEADER_TYPE", "errorCode": "INVALID_AUTH_HEADER"}]


def test_revoked_token_is_dead(caller: Caller) -> None:
    token = str(caller.session.headers["Authorization"]).partition(" ")[2]

    answer = caller.post("/services/oauth2/revoke", data={"token": token})
    assert (answer.status_code, answer.content) == (200, b"")
    assert caller.get("/limits").status_code == 401
    again = caller.get("/services/oauth2/revoke", params={"token": token})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_token")
    assert not any(token in call.path for call in caller.org.calls)


def test_unknown_token_type_cannot_be_revoked(caller: Caller) -> None:
    answer = caller.post("/services/oauth2/revoke", data={"token": "x", "token_type_hint": "id_token"})

    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_token_type")


def test_introspection_tells_about_a_token_without_extending_it(serve: Serve) -> None:
    caller = serve()
    token = str(caller.session.headers["Authorization"]).partition(" ")[2]
    credentials = caller.server.credentials
    form = {"client_id": credentials.consumer_key, "client_secret": credentials.consumer_secret}

    first = caller.post("/services/oauth2/introspect", data={"token": token, **form}).json()
    caller.org.clock.advance(timedelta(minutes=5))
    second = caller.post("/services/oauth2/introspect", data={"token": token, **form}).json()

    assert first == second
    assert first["active"] is True
    assert first["username"] == caller.org.run_as
    assert first["exp"] - first["iat"] == 7200
    assert caller.post("/services/oauth2/introspect", data={"token": "x", **form}).json() == {"active": False}
    stranger = {"client_id": credentials.consumer_key, "client_secret": "wrong"}
    assert caller.post("/services/oauth2/introspect", data={"token": token, **stranger}).status_code == 400


def test_userinfo_names_user_and_org(caller: Caller) -> None:
    body = caller.get("/services/oauth2/userinfo").json()

    assert body["organization_id"] == caller.org.config.org_id
    assert body["preferred_username"] == caller.org.run_as
    assert body["urls"]["query"] == f"{caller.server.url}/services/data/v{{version}}/query/"


def test_run_as_user_is_a_record_of_the_org(caller: Caller) -> None:
    user_id = caller.get("/services/oauth2/userinfo").json()["user_id"]

    records = caller.query(f"SELECT Username FROM User WHERE Id = '{user_id}'").json()["records"]
    assert [record["Username"] for record in records] == [caller.org.run_as]


def test_the_org_is_a_record_of_its_own(caller: Caller) -> None:
    records = caller.query("SELECT Id FROM Organization").json()["records"]

    assert [record["Id"] for record in records] == [caller.org.config.org_id]


def test_identity_by_the_link_among_the_resources(caller: Caller) -> None:
    """jsforce asks the resources where the identity URL is, and gives its token as a parameter; no log keeps that."""
    url = caller.get("").json()["identity"]
    path = url.removeprefix("https://login.salesforce.com")
    token = str(caller.session.headers.pop("Authorization")).removeprefix("Bearer ")

    answer = caller.get(path, params={"format": "json", "oauth_token": token})
    assert answer.json()["username"] == caller.org.run_as
    assert caller.get(path).status_code == 403
    claims = caller.get("/services/oauth2/userinfo", params={"oauth_token": token}).json()
    assert claims["user_id"] == answer.json()["user_id"]
    assert [call.path for call in caller.org.calls if token in call.path] == []


def test_userinfo_without_token(anonymous: Caller) -> None:
    answer = anonymous.get("/services/oauth2/userinfo")

    assert (answer.status_code, answer.text) == (403, "Bad_OAuth_Token")


def test_userinfo_refusal_may_look_like_the_api(serve: Serve) -> None:
    caller = serve(userinfo_refusal_status=401)
    caller.org.expire_sessions()

    assert caller.get("/services/oauth2/userinfo").json()[0]["errorCode"] == "INVALID_SESSION_ID"


@pytest.mark.parametrize(
    "body", [b"", b"%%%=%zz&&&", b"\xff\xfe", b"grant_type", b'{"grant_type":"client_credentials"}']
)
def test_malformed_token_requests_are_refused(anonymous: Caller, body: bytes) -> None:
    answer = anonymous.post("/services/oauth2/token", data=body)

    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize("value", ["Basic", "Basic !!!", "Basic /w==", "Basic YWJj", "Digest x"])
def test_malformed_basic_headers_are_refused(anonymous: Caller, value: str) -> None:
    answer = anonymous.post(
        "/services/oauth2/token", data={"grant_type": "client_credentials"}, headers={"Authorization": value}
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_id")
