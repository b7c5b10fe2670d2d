"""Who may call: bearer tokens for the API, the loopback interface for the org's own pages."""

from __future__ import annotations

from starlette.datastructures import Headers

from salesforce_localorg.host_names import host_name, is_address, is_loopback, matches
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.sessions import Session
from salesforce_localorg.wire.errors import CHALLENGE, ApiError, invalid_session


def bearer_token(headers: Headers) -> str | None:
    """The token of an Authorization header; None when the header uses another scheme."""
    scheme, _, token = headers.get("authorization", "Bearer ").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "oauth") else None


def admit(org: LocalOrg, headers: Headers) -> Session:
    """The live session of the call, its idle time starting anew.

    Raises ApiError 401 without one.
    """
    token = bearer_token(headers)
    if token is None:
        raise ApiError(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", headers=CHALLENGE)
    session = org.sessions.use(token)
    if session is None:
        raise invalid_session()
    return session


def check_admin(org: LocalOrg, method: str, headers: Headers, base_url: str, *, is_local: bool) -> None:
    """Refuse the org's own pages to pages of other sites, and to other machines where they are not open.

    A browser says in `Origin` or `Sec-Fetch-Site` that a page of another site calls. A name that is neither an address nor
    one that the org was given may be any site's own, which leads here by DNS rebinding. Raises ApiError 403.
    """
    origin = headers.get("origin")
    if headers.get("sec-fetch-mode") == "navigate" and method == "GET":
        pass  # a link was followed, whose page the other site does not get to read
    elif headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or origin not in (None, base_url):
        raise ApiError(
            403, "ADMIN_FROM_OTHER_SITE", "The local org's own pages take no calls from pages of other sites."
        )
    if is_local:
        return
    if org.config.admin_from_anywhere and not _is_own_name(org, host_name(base_url)):
        raise ApiError(
            403,
            "ADMIN_UNDER_UNKNOWN_NAME",
            f"The local org does not know the name {host_name(base_url)!r}; name it with --my-domain, or call an address.",
        )
    if not org.config.admin_from_anywhere:
        raise ApiError(
            403,
            "ADMIN_FROM_LOOPBACK_ONLY",
            "The local org's own pages answer callers on this machine only; start the org with --open-admin to open them.",
        )


def _is_own_name(org: LocalOrg, host: str) -> bool:
    return is_address(host) or is_loopback(host) or matches(host, org.config.my_domain)


def check_api_enabled(org: LocalOrg) -> None:
    """Refuse users without API Enabled, whose sessions were opened before they lost it.

    Raises ApiError 403 API_CURRENTLY_DISABLED (salesforce-protocol.md#rest-conventions).
    """
    if "ApiEnabled" not in org.permissions:
        raise ApiError(403, "API_CURRENTLY_DISABLED", "API is disabled for this User")


def check_bulk_enabled(org: LocalOrg) -> None:
    """Refuse Bulk jobs where the org does not have them.

    Raises ApiError 400 FEATURENOTENABLED (salesforce-protocol.md#job-errors).
    """
    if not org.bulk_enabled:
        raise ApiError(400, "FEATURENOTENABLED", "Bulk API isn't enabled for this organization")
