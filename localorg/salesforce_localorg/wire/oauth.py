"""OAuth 2.0: token, revoke, introspect, userinfo.

Facts: help pages "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration", "OAuth 2.0 Refresh Token Flow for
Renewed Sessions" and "OAuth Authorization Flow Errors".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

from salesforce_localorg.host_names import LOGIN_HOSTS, host_name, is_loopback, matches
from salesforce_localorg.org import LocalOrg, LoginRefusal
from salesforce_localorg.sessions import Session
from salesforce_localorg.wire import jwt_bearer
from salesforce_localorg.wire.access import bearer_token
from salesforce_localorg.wire.answers import Answer, JsonAnswer, TextAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import OAuthError, invalid_session, not_found

SCOPE = "api"
JWT_KEYS = {"token_format": "jwt", "api_instance_url": "https://api.salesforce.com"}
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
LOGIN_REFUSALS: dict[LoginRefusal, OAuthError] = {
    "flow_not_enabled": OAuthError("invalid_grant", "client credentials flow not enabled"),
    "inactive_user": OAuthError("invalid_grant", "inactive user"),
    "ip_restricted": OAuthError("invalid_grant", "ip restricted"),
    "not_approved": OAuthError("invalid_app_access", "user is not admin approved to access this app"),
    "login_rate": OAuthError("invalid_grant", "login rate exceeded"),
    "inactive_org": OAuthError("inactive_org", "this organization is currently locked"),
    "server_error": OAuthError("server_error", "unexpected error", status=500),
}


def token(call: ApiCall) -> Answer:
    """POST /services/oauth2/token"""
    org = call.org
    form = _form(call)
    grant = form.get("grant_type")
    _check_domain(org, call.base_url, login_hosts=grant in ("refresh_token", "password", jwt_bearer.GRANT))
    if grant == jwt_bearer.GRANT:
        return _token_for_assertion(call, form)
    if grant == "refresh_token":
        _check_client(call, form)
        _check_refresh_token(org, form.get("refresh_token", ""))
    elif grant == "password":
        _check_client(call, form)
        # Orgs of Summer '23 and later block the username-password flow, whatever name and password are.
        raise OAuthError("invalid_grant", "authentication failure")
    elif grant == "client_credentials" and org.client_credentials_enabled:
        _check_client(call, form)
    else:
        raise OAuthError("unsupported_grant_type", "grant type not supported")
    username = _admit(org)
    session = _session(org, username)
    scope = f"refresh_token {SCOPE}" if grant == "refresh_token" else SCOPE
    return JsonAnswer(payload=_token_payload(org, session, call.base_url, scope), headers=dict(NO_STORE))


def _token_for_assertion(call: ApiCall, form: dict[str, str]) -> Answer:
    """The response to a JWT bearer assertion, which has neither `issued_at` nor `signature` (its help page's sample)."""
    org = call.org
    username, user_id = jwt_bearer.admitted_user(org, form, call.base_url)
    _check_policies(org)
    session = org.sessions.open(username=username, user_id=user_id, client_id=org.config.consumer_key)
    payload = _token_payload(org, session, call.base_url, SCOPE)
    told = {name: value for name, value in payload.items() if name not in ("issued_at", "signature")}
    return JsonAnswer(payload=told, headers=dict(NO_STORE))


def _check_domain(org: LocalOrg, base_url: str, login_hosts: bool) -> None:
    """Tokens are given at the My Domain; the refresh token flow also works at the login hosts."""
    host = host_name(base_url)
    if is_loopback(host) or matches(host, org.config.my_domain) or (login_hosts and host in LOGIN_HOSTS):
        return
    if host == "force.com" or host.endswith(".force.com"):
        raise OAuthError("unsupported_grant_type", "grant type not supported")
    raise OAuthError("invalid_grant", "request not supported on this domain")


def _check_refresh_token(org: LocalOrg, given: str) -> None:
    known = org.config.refresh_token
    if known is None or not hmac.compare_digest(given.encode("utf-8", "replace"), known.encode()):
        raise OAuthError("invalid_grant", "expired access/refresh token")


def _form(call: ApiCall) -> dict[str, str]:
    """The form's fields, also those of the query; the first value of a repeated one."""
    values = parse_qs(call.body.decode("utf-8", "replace"), keep_blank_values=True)
    return {**dict(call.query), **{name: each[0] for name, each in values.items()}}


def _check_client(call: ApiCall, form: dict[str, str]) -> None:
    client_id, secret = _basic_credentials(call.headers.get("authorization", ""))
    client_id = form.get("client_id", client_id)
    secret = form.get("client_secret", secret)
    config = call.org.config
    if client_id != config.consumer_key:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if not hmac.compare_digest(secret.encode("utf-8", "replace"), config.consumer_secret.encode()):
        raise OAuthError("invalid_client", "invalid client credentials")


def _basic_credentials(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return client_id, secret


def _admit(org: LocalOrg) -> str:
    """The Run As user, when the app's and the user's policies admit them."""
    if org.run_as is None or "ApiEnabled" not in org.permissions:
        raise OAuthError("invalid_grant", "no client credentials user enabled")
    _check_policies(org)
    return org.run_as


def _check_policies(org: LocalOrg) -> None:
    """What the app's and the user's policies say, whatever the flow. Raises OAuthError."""
    refusal = org.login_refusal
    if refusal is None and not org.usage.logins.add_within(org.config.logins_per_hour):
        refusal = "login_rate"
    if refusal is not None:
        known = LOGIN_REFUSALS[refusal]
        raise OAuthError(known.payload["error"], known.payload["error_description"], status=known.status)


def _session(org: LocalOrg, username: str) -> Session:
    client_id, user_id = org.config.consumer_key, org.run_as_user_id
    if org.config.same_token_on_repeat:
        known = org.sessions.newest_of(client_id, user_id)
        if known is not None:
            return known
    return org.sessions.open(username=username, user_id=user_id, client_id=client_id)


def _token_payload(org: LocalOrg, session: Session, base_url: str, scope: str) -> dict[str, str]:
    identity = identity_url(org, session)
    issued_at = str(int(session.issued.timestamp() * 1000))
    digest = hmac.new(org.config.consumer_secret.encode(), (identity + issued_at).encode(), hashlib.sha256).digest()
    return {
        "access_token": session.token,
        "signature": base64.b64encode(digest).decode(),
        "scope": scope,
        "instance_url": instance_url(org, base_url),
        "id": identity,
        "token_type": "Bearer",
        "issued_at": issued_at,
        **(JWT_KEYS if org.config.jwt_tokens else {}),
    }


def identity_url(org: LocalOrg, session: Session) -> str:
    return f"{org.config.identity_url}/id/{org.config.org_id}/{session.user_id}"


def instance_url(org: LocalOrg, base_url: str) -> str:
    """The URL for all further calls: as configured, or the one under which the caller came."""
    if org.config.instance_url is None:
        return f"https://{org.config.my_domain_host}" if host_name(base_url) in LOGIN_HOSTS else base_url
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return org.config.instance_url.replace("{scheme}", parts.scheme).replace("{port}", str(port))


def revoke(call: ApiCall) -> Answer:
    """POST or GET /services/oauth2/revoke"""
    form = _form(call) if call.method == "POST" else dict(call.query)
    if form.get("token_type_hint", "access_token") not in ("access_token", "refresh_token"):
        raise OAuthError("unsupported_token_type", "this token type is not supported")
    if not call.org.sessions.revoke(form.get("token", "")):
        raise OAuthError("invalid_token", "invalid token")
    return Answer(200)


def introspect(call: ApiCall) -> Answer:
    """POST /services/oauth2/introspect"""
    form = _form(call)
    _check_client(call, form)
    org = call.org
    session = org.sessions.look_up(form.get("token", ""))
    if session is None or session.client_id != org.config.consumer_key:
        return JsonAnswer(payload={"active": False}, headers=dict(NO_STORE))
    issued = int(session.issued.timestamp())
    payload = {
        "active": True,
        "scope": SCOPE,
        "client_id": session.client_id,
        "username": session.username,
        "sub": identity_url(org, session),
        "token_type": "access_token",
        "exp": int(org.sessions.ends(session).timestamp()),
        "iat": issued,
        "nbf": issued,
    }
    return JsonAnswer(payload=payload, headers=dict(NO_STORE))


def userinfo(call: ApiCall) -> Answer:
    """GET /services/oauth2/userinfo"""
    session = call.org.sessions.use(_given_token(call))
    if session is None:
        return _bad_token(call.org)
    org = call.org
    base = instance_url(org, call.base_url)
    return JsonAnswer(
        payload={
            "sub": identity_url(org, session),
            "user_id": session.user_id,
            "organization_id": org.config.org_id,
            "preferred_username": session.username,
            "nickname": session.username.partition("@")[0],
            "name": "Integration User",
            "email": session.username,
            "email_verified": True,
            "given_name": "Integration",
            "family_name": "User",
            "zoneinfo": "UTC",
            "photos": _photos(base),
            "profile": f"{base}/{session.user_id}",
            "picture": _photos(base)["picture"],
            "address": {"country": "US"},
            "is_salesforce_integration_user": True,
            "urls": _urls(base, org.config.org_id, session.user_id),
            "active": True,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_US",
            "utcOffset": 0,
            "updated_at": org.schema_changed.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "is_app_installed": True,
        }
    )


def identity(call: ApiCall) -> Answer:
    """GET of the identity URL, the `id` of token answers (help: "Identity URLs")"""
    org = call.org
    session = org.sessions.use(_given_token(call))
    if session is None:
        return _bad_token(org)
    if (call.params["org_id"][:15], call.params["user_id"][:15]) != (org.config.org_id[:15], session.user_id[:15]):
        raise not_found()
    base = instance_url(org, call.base_url)
    return JsonAnswer(
        payload={
            "id": identity_url(org, session),
            "asserted_user": True,
            "user_id": session.user_id,
            "organization_id": org.config.org_id,
            "username": session.username,
            "nick_name": session.username.partition("@")[0],
            "display_name": "Integration User",
            "email": session.username,
            "email_verified": True,
            "first_name": "Integration",
            "last_name": "User",
            "timezone": "UTC",
            "photos": _photos(base),
            "addr_street": None,
            "addr_city": None,
            "addr_state": None,
            "addr_country": None,
            "addr_zip": None,
            "mobile_phone": None,
            "mobile_phone_verified": False,
            "is_lightning_login_user": False,
            "status": {"created_date": None, "body": None},
            "urls": _urls(base, org.config.org_id, session.user_id),
            "active": True,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_US",
            "utcOffset": 0,
            "last_modified_date": org.schema_changed.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
            "is_app_installed": True,
        }
    )


def _given_token(call: ApiCall) -> str:
    """The caller's token from where the identity services take it: a parameter or the header."""
    return call.query.get("oauth_token") or bearer_token(call.headers) or ""


def _bad_token(org: LocalOrg) -> Answer:
    # Unlike the REST API, the identity service has been seen to answer 403 with a bare word.
    if org.config.userinfo_refusal_status == 403:
        return TextAnswer(403, {}, "Bad_OAuth_Token")
    raise invalid_session()


def _photos(base: str) -> dict[str, str]:
    return {"picture": f"{base}/profilephoto/005/F", "thumbnail": f"{base}/profilephoto/005/T"}


def _urls(base: str, org_id: str, user_id: str) -> dict[str, str]:
    data = f"{base}/services/data/v{{version}}/"
    soap = f"{base}/services/Soap"
    return {
        "enterprise": f"{soap}/c/{{version}}/{org_id[:15]}",
        "metadata": f"{soap}/m/{{version}}/{org_id[:15]}",
        "partner": f"{soap}/u/{{version}}/{org_id[:15]}",
        "rest": data,
        "sobjects": f"{data}sobjects/",
        "search": f"{data}search/",
        "query": f"{data}query/",
        "recent": f"{data}recent/",
        "tooling_soap": f"{soap}/T/{{version}}/{org_id[:15]}",
        "tooling_rest": f"{data}tooling/",
        "profile": f"{base}/{user_id}",
        "feeds": f"{data}chatter/feeds",
        "groups": f"{data}chatter/groups",
        "users": f"{data}chatter/users",
        "feed_items": f"{data}chatter/feed-items",
        "feed_elements": f"{data}chatter/feed-elements",
        "custom_domain": base,
    }
