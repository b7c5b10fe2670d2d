"""OAuth 2.0 as its help pages and samples show it."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from caller import Caller

from documented.exchange import JSON, RECORD_ID, Exchange
from salesforce_localorg.org import LocalOrg

TOKEN = "POST /services/oauth2/token"
FLOW = 'help "OAuth 2.0 Client Credentials Flow", salesforce-protocol.md#token-request'
SAMPLE = "Salesforce Platform APIs collection, salesforce-protocol.md#token-response"
ERRORS = 'help "OAuth Authorization Flow Errors", salesforce-protocol.md#token-errors'
DOMAINS = "pub-sub-api-node-client issue 58, salesforce-protocol.md#my-domain"
NO_STORE = {"Content-Type": JSON, "Cache-Control": "no-store"}
TOKEN_BODY = {
    "access_token": re.compile(r"00D[A-Za-z0-9]{12}![A-Za-z0-9._]{96}"),
    "signature": re.compile(r"[A-Za-z0-9+/]{43}="),
    "scope": "api",
    "instance_url": re.compile(r"https?://[^/]+"),
    "id": re.compile(r"https://login\.salesforce\.com/id/00D[A-Za-z0-9]{15}/005[A-Za-z0-9]{15}"),
    "token_type": "Bearer",
    "issued_at": re.compile(r"\d{13}"),
}
RIGHT = {"grant_type": "client_credentials", "client_id": "{key}", "client_secret": "{secret}"}


def credentials(caller: Caller) -> dict[str, str]:
    known = caller.server.credentials
    pair = f"{known.consumer_key}:{known.consumer_secret}"
    token = str(caller.session.headers["Authorization"]).removeprefix("Bearer ")
    return {
        "key": known.consumer_key,
        "secret": known.consumer_secret,
        "basic": base64.b64encode(pair.encode()).decode(),
        "token": token,
        "org_id": caller.org.config.org_id,
        "user_id": caller.org.run_as_user_id,
    }


def token(source: str, *, status: int = 200, body: Any = None, host: str = "", **more: Any) -> Exchange:
    given = {"Host": host} if host else {}
    options = {"form": RIGHT, "given": given, "headers": NO_STORE, **more}
    return Exchange(source, TOKEN, status, body or TOKEN_BODY, anonymous=True, prepare=credentials, **options)


def refused(source: str, error: str, description: str, **more: Any) -> Exchange:
    return token(source, status=400, body={"error": error, "error_description": description}, **more)


def at_host(host: str) -> Exchange:
    return token(
        "salesforce-protocol.md#my-domain",
        host=host,
        body={**TOKEN_BODY, "instance_url": f"http://{host}"},
        headers={"Content-Type": JSON},
    )


def set_refusal(refusal: Any) -> Any:
    def change(org: LocalOrg) -> None:
        org.login_refusal = refusal

    return change


def no_run_as(org: LocalOrg) -> None:
    org.run_as = None


def no_flow(org: LocalOrg) -> None:
    org.client_credentials_enabled = False


WRONG_DOMAIN = ("invalid_grant", "request not supported on this domain")
NO_GRANT = ("unsupported_grant_type", "grant type not supported")
EXCHANGES = [
    token(FLOW),
    token(f"{FLOW}, header form", form={"grant_type": "client_credentials"}, given={"Authorization": "Basic {basic}"}),
    token("simple-salesforce issue 662, salesforce-protocol.md#token-request", form={**RIGHT, "scope": "api"}),
    token(SAMPLE, headers={"Content-Type": JSON, "Sforce-Limit-Info": None}),
    at_host("acme.my.salesforce.com"),
    at_host("acme--uat.sandbox.my.salesforce.com"),
    at_host("acme-dev-ed.develop.my.salesforce.com"),
    at_host("acme-1.scratch.my.salesforce.com"),
    refused(DOMAINS, *WRONG_DOMAIN, host="login.salesforce.com"),
    refused(DOMAINS, *WRONG_DOMAIN, host="test.salesforce.com"),
    refused("amazon-q docs, salesforce-protocol.md#my-domain", *WRONG_DOMAIN, host="acme.my.salesforce-setup.com"),
    refused("dust issue 11456, salesforce-protocol.md#my-domain", *NO_GRANT, host="acme.lightning.force.com"),
    refused(ERRORS, "invalid_client_id", "client identifier invalid", form={**RIGHT, "client_id": "3MVG9nobody"}),
    refused(ERRORS, "invalid_client", "invalid client credentials", form={**RIGHT, "client_secret": "wrong"}),
    refused(ERRORS, "invalid_grant", "no client credentials user enabled", condition=no_run_as),
    refused("b2c-crm-sync issue 16, salesforce-protocol.md#token-errors", *NO_GRANT, condition=no_flow),
    refused(
        "b2c-crm-sync issue 16, salesforce-protocol.md#token-errors",
        *NO_GRANT,
        form={**RIGHT, "grant_type": "client_credential"},
    ),
    refused(
        "b2c-crm-sync issue 16, salesforce-protocol.md#token-errors",
        *NO_GRANT,
        form={"client_id": "{key}", "client_secret": "{secret}"},
    ),
    refused(
        "salesforce-protocol.md#token-errors",
        "invalid_grant",
        "client credentials flow not enabled",
        condition=set_refusal("flow_not_enabled"),
    ),
    refused(
        "salesforce-protocol.md#token-errors", "invalid_grant", "inactive user", condition=set_refusal("inactive_user")
    ),
    refused(
        "salesforce-protocol.md#token-errors", "invalid_grant", "ip restricted", condition=set_refusal("ip_restricted")
    ),
    refused(
        "salesforce-protocol.md#token-errors",
        "invalid_app_access",
        "user is not admin approved to access this app",
        condition=set_refusal("not_approved"),
    ),
    refused(
        "salesforce-protocol.md#token-errors",
        "invalid_grant",
        "login rate exceeded",
        condition=set_refusal("login_rate"),
    ),
    refused(
        "recorded refresh_error_response",
        "invalid_grant",
        "expired access/refresh token",
        form={**RIGHT, "grant_type": "refresh_token", "refresh_token": "old"},
    ),
    Exchange(
        "mobile SDK guide, salesforce-protocol.md#oauth-endpoints",
        "POST /services/oauth2/revoke",
        200,
        "",
        form={"token": "{token}"},
        anonymous=True,
        prepare=credentials,
    ),
    Exchange(
        "mobile SDK guide, salesforce-protocol.md#oauth-endpoints",
        "GET /services/oauth2/revoke",
        200,
        "",
        params={"token": "{token}"},
        anonymous=True,
        prepare=credentials,
    ),
    Exchange(
        "mobile SDK guide, salesforce-protocol.md#oauth-endpoints",
        "POST /services/oauth2/revoke",
        400,
        {"error": "invalid_token", "error_description": str},
        form={"token": "unknown"},
        anonymous=True,
    ),
    Exchange(
        "mobile SDK guide, salesforce-protocol.md#oauth-endpoints",
        "POST /services/oauth2/revoke",
        400,
        {"error": "unsupported_token_type", "error_description": str},
        form={"token": "{token}", "token_type_hint": "saml"},
        anonymous=True,
        prepare=credentials,
    ),
    Exchange(
        "Token Introspection sample, salesforce-protocol.md#oauth-endpoints",
        "POST /services/oauth2/introspect",
        200,
        {
            "active": True,
            "scope": "api",
            "client_id": "{key}",
            "username": str,
            "sub": "https://login.salesforce.com/id/{org_id}/{user_id}",
            "token_type": "access_token",
            "exp": int,
            "iat": int,
            "nbf": int,
        },
        form={"token": "{token}", "token_type_hint": "access_token", "client_id": "{key}", "client_secret": "{secret}"},
        anonymous=True,
        prepare=credentials,
    ),
    Exchange(
        "stackexchange 305477, salesforce-protocol.md#oauth-endpoints",
        "POST /services/oauth2/introspect",
        200,
        {"active": False},
        form={"token": "unknown", "client_id": "{key}", "client_secret": "{secret}"},
        anonymous=True,
        prepare=credentials,
    ),
    Exchange(
        'help "Identity URLs", salesforce-protocol.md#oauth-endpoints',
        "GET /id/{org_id}/{user_id}",
        200,
        re.compile(r'(?s).*"user_id":"005.*"organization_id":"00D.*"username":".*"urls":\{.*'),
        headers={"Content-Type": JSON},
        prepare=credentials,
    ),
]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_documented_exchange(documented_org: Caller, exchange: Exchange) -> None:
    exchange.perform(documented_org)


def test_userinfo_has_the_documented_claims(documented_org: Caller) -> None:
    """The official "Salesforce Platform APIs" Postman collection, User Info."""
    claims = documented_org.get("/services/oauth2/userinfo").json()

    documented = (
        "sub user_id organization_id preferred_username nickname name email email_verified given_name family_name "
        "zoneinfo photos profile picture address is_salesforce_integration_user urls active user_type language locale "
        "utcOffset updated_at is_app_installed"
    )
    links = (
        "enterprise metadata partner rest sobjects search query recent tooling_soap tooling_rest profile feeds groups "
        "users feed_items feed_elements custom_domain"
    )
    assert list(claims) == documented.split()
    assert RECORD_ID.fullmatch(claims["user_id"])
    assert list(claims["urls"]) == links.split()
