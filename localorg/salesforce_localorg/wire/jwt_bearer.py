"""The OAuth 2.0 JWT bearer flow: an assertion that the app's certificate verifies stands for a pre-authorised user.

Facts: help "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration" (claims, audience, responses) and "OAuth
Authorization Flow Errors" (texts). Times are the org's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from salesforce_localorg.host_names import LOGIN_HOSTS
from salesforce_localorg.ids import INTEGRATION_USER
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records.tables import first_row, identifier
from salesforce_localorg.wire.errors import OAuthError

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLAIMS = ("iss", "sub", "aud", "exp")
PRODUCTION, SANDBOX = (f"https://{host}" for host in LOGIN_HOSTS)


def admitted_user(org: LocalOrg, form: Mapping[str, str], base_url: str) -> tuple[str, str]:
    """The name and the id of the user that the assertion stands for. Raises OAuthError in Salesforce's words."""
    claims = _claims(org, form.get("assertion", ""))
    if claims["iss"] != org.config.consumer_key:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    _verify(org, form["assertion"])
    if not _is_audience(org, claims["aud"], base_url):
        raise OAuthError("invalid_grant", "audience is invalid")
    if _number(claims["exp"]) <= org.clock.now().timestamp():
        raise OAuthError("invalid_grant", "expired authorization code")
    return _user(org, str(claims["sub"]))


def _claims(org: LocalOrg, assertion: str) -> Mapping[str, Any]:
    """The claims as they were sent, not yet verified."""
    import jwt

    if org.config.certificate is None:
        raise OAuthError("unsupported_grant_type", "grant type not supported")
    try:
        claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise _invalid_assertion() from None
    if not all(claims.get(name) for name in CLAIMS):
        raise _invalid_assertion()
    return claims


def _verify(org: LocalOrg, assertion: str) -> None:
    import jwt
    from cryptography.x509 import load_pem_x509_certificate

    key: Any = load_pem_x509_certificate((org.config.certificate or "").encode()).public_key()
    unchecked = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
    try:
        jwt.decode(assertion, key, algorithms=["RS256"], options=unchecked)  # type: ignore[arg-type]
    except jwt.InvalidTokenError:
        raise _invalid_assertion() from None


def _is_audience(org: LocalOrg, audience: Any, base_url: str) -> bool:
    """Whether the assertion is meant for this org: its login host, its My Domain, or the URL that was called."""
    host = (urlsplit(base_url).hostname or "").lower()
    login = SANDBOX if host == LOGIN_HOSTS[1] or ".sandbox." in host else PRODUCTION
    allowed = {base_url, f"https://{org.config.my_domain_host}", login}
    return any(str(each).rstrip("/") in allowed for each in (audience if isinstance(audience, list) else [audience]))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise _invalid_assertion() from None


def _user(org: LocalOrg, username: str) -> tuple[str, str]:
    """The user of that name, when the app's policies admit them (Permitted Users: admin approved)."""
    if username.lower() not in {each.lower() for each in org.pre_authorised}:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    found = _row_of(org, username)
    if found is None:
        return username, INTEGRATION_USER  # an org without generated users
    user_id, active = found
    if not active:
        raise OAuthError("invalid_grant", "inactive user")
    return username, user_id


def _row_of(org: LocalOrg, username: str) -> tuple[str, bool] | None:
    user = org.schema.sobject("User")
    if user is None or not (user.field("Username") and user.field("IsActive")):
        return None
    sql = f'SELECT "Id", "IsActive" FROM {identifier(user.name)} WHERE lower("Username") = lower(?)'
    row = first_row(org.records.raw(), sql, [username])
    return None if row is None else (str(row[0]), bool(row[1]))


def _invalid_assertion() -> OAuthError:
    return OAuthError("invalid_grant", "invalid assertion")
