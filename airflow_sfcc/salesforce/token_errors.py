"""What the token endpoint's refusals mean, and which setup step mends each (salesforce-protocol.md#token-errors)."""

from __future__ import annotations

from dataclasses import dataclass

import requests

from airflow_sfcc.errors import (
    API_ENABLED,
    CONSUMER_KEY_AND_SECRET,
    ENABLE_FLOW,
    IP_RESTRICTIONS,
    MY_DOMAIN,
    PERMITTED_USERS,
    RUN_AS_USER,
    AuthenticationError,
    SalesforceError,
    SetupStep,
    UnavailableError,
)
from airflow_sfcc.salesforce.instance import Origin
from airflow_sfcc.salesforce.responses import parsed
from airflow_sfcc.salesforce.retry import is_passing_status


@dataclass(frozen=True)
class TokenRefusal:
    """One row of the table: matched by `error`, by a part of `error_description`, or by both.

    Where no setup step mends it (`step` None), it passes by itself.
    """

    error: str | None
    description: str | None
    meaning: str
    remedy: str
    step: SetupStep | None

    def matches(self, error: str, description: str) -> bool:
        if self.error is not None and self.error != error:
            return False
        return self.description is None or self.description in description


_NO_RUN_AS_USER = (
    "the app has no user to run as, or that user may not use the API",
    "choose a Run As user in the app's policies, under Client Credentials Flow, and give that user API Enabled",
)
_FLOW_OFF = (
    "the app does not allow the client-credentials flow",
    "tick Enable Client Credentials Flow in the app's OAuth settings, then choose a Run As user in its policies",
)
_TOO_MANY_LOGINS = ("too many logins within the last hour", "wait an hour and let fewer tasks log in at once")
_INACTIVE_USER = (
    "the app's Run As user is inactive or frozen",
    "activate that user, or choose another Run As user in the app's policies",
)

REFUSALS = (
    TokenRefusal(None, "login rate exceeded", *_TOO_MANY_LOGINS, None),
    TokenRefusal("login_rate_exceeded", None, *_TOO_MANY_LOGINS, None),
    TokenRefusal("invalid_grant", "no client credentials user enabled", *_NO_RUN_AS_USER, RUN_AS_USER),
    TokenRefusal(
        "invalid_grant",
        "request not supported on this domain",
        "this host does not answer the client-credentials flow",
        "use the org's My Domain, such as acme.my.salesforce.com, as the connection's host",
        MY_DOMAIN,
    ),
    TokenRefusal("invalid_grant", "client credentials flow not enabled", *_FLOW_OFF, ENABLE_FLOW),
    TokenRefusal(None, "inactive user", *_INACTIVE_USER, RUN_AS_USER),
    TokenRefusal("inactive_user", None, *_INACTIVE_USER, RUN_AS_USER),
    TokenRefusal(
        None,
        "ip restricted",
        "this machine's address is not in the range that the app or the user's profile allows",
        "add the workers' addresses to the allowed ranges, or relax IP restrictions in the app's policies",
        IP_RESTRICTIONS,
    ),
    TokenRefusal(
        "invalid_client_id",
        None,
        "there is no app with this consumer key in the org",
        "copy the consumer key again into the connection's Consumer Key field (a new app can take ten minutes to be "
        "known)",
        CONSUMER_KEY_AND_SECRET,
    ),
    TokenRefusal(
        "invalid_client",
        None,
        "the consumer secret does not belong to this consumer key",
        "copy both again into the connection's Consumer Key and Consumer Secret fields",
        CONSUMER_KEY_AND_SECRET,
    ),
    TokenRefusal("unsupported_grant_type", None, *_FLOW_OFF, ENABLE_FLOW),
    TokenRefusal(
        "invalid_app_access",
        None,
        "the Run As user is not among the users that the app permits",
        "add the user's profile or permission set to the app, or set Permitted Users to all users",
        PERMITTED_USERS,
    ),
    TokenRefusal(
        "inactive_org",
        None,
        "the org is locked, closed or not reachable through the API",
        "log in with a browser to see why, or ask the Salesforce admin",
        API_ENABLED,
    ),
    TokenRefusal(
        "invalid_grant",
        None,
        "the app may not log in its Run As user",
        "check the Run As user, its API Enabled permission and the app's policies",
        RUN_AS_USER,
    ),
)


def token_error(response: requests.Response, login: Origin) -> SalesforceError:
    """The exception for an answer of the token endpoint that is not a token."""
    error, description = _read(response)
    status = response.status_code
    if is_passing_status(status):
        return UnavailableError(
            f"{login} could not give out a token (HTTP {status}). That passes by itself: try again later.",
            status=status,
            code=error or None,
        )
    said = f'"{error}: {description}"' if description else f'"{error}"'
    for refusal in REFUSALS:
        if refusal.matches(error, description):
            message = f"{login} refused the login ({said}): {refusal.meaning}. To mend it, {refusal.remedy}."
            kind = UnavailableError if refusal.step is None else AuthenticationError
            return kind(message, step=refusal.step, status=status, code=error)
    if not error:
        return AuthenticationError(
            f"{login} answered the token request with HTTP {status} and no OAuth error: is it a Salesforce My Domain "
            "host?",
            step=MY_DOMAIN,
            status=status,
        )
    return AuthenticationError(
        f"{login} refused the login ({said}). Check the consumer key, the consumer secret and the app's policies.",
        step=CONSUMER_KEY_AND_SECRET,
        status=status,
        code=error,
    )


def _read(response: requests.Response) -> tuple[str, str]:
    try:
        answer = parsed(response)
    except ValueError:
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    return _clip(answer.get("error")), _clip(answer.get("error_description"))


def _clip(value: object) -> str:
    return "".join(ch for ch in str(value or "") if ch.isprintable())[:200]
