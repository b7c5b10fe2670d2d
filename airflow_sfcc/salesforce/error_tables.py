"""What Salesforce's error codes mean, and what to do about each: those of the API, and those of the token endpoint.

Codes decide, and HTTP statuses where there is none: texts come in the Run As user's language. English texts only add to what
the code says (salesforce-protocol.md#query-errors, #job-errors, #token-errors).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_sfcc.errors import (
    ACCESS,
    API_ENABLED,
    CERTIFICATE,
    CONSUMER_KEY_AND_SECRET,
    ENABLE_FLOW,
    IP_RESTRICTIONS,
    MY_DOMAIN,
    OAUTH_SCOPES,
    PERMITTED_USERS,
    RUN_AS_USER,
    AccessError,
    ApiLimitError,
    AuthenticationError,
    BulkUnsupportedError,
    ConfigurationError,
    JobNotCompleteError,
    NotFoundError,
    QueryError,
    QueryTimeoutError,
    SalesforceError,
    SetupStep,
    UnavailableError,
)
from airflow_sfcc.salesforce.retry import is_transient_status

NOT_SALESFORCE = (
    "Is the connection's host the org's My Domain, and does no proxy or login page answer in its place? Else try again."
)

Meaning = tuple[type[SalesforceError], str, SetupStep | None]
"""What an error response is, what to do about it, and the setup step to look at."""

_TOKEN_REFUSED: Meaning = (
    AuthenticationError,
    "The token was renewed once and refused again: check that the app has the OAuth scope Manage user data via APIs (api), and "
    "that the Run As user may use the API.",
    OAUTH_SCOPES,
)
_API_OFF: Meaning = (ConfigurationError, "Give the Run As user the permission API Enabled.", API_ENABLED)
_FEATURE_OFF: Meaning = (
    ConfigurationError,
    "Ask the admin to enable it in the org, or leave out what needs it.",
    None,
)
_NOT_COMPLETE: Meaning = (JobNotCompleteError, "Wait until the job is complete.", None)
_NOT_BY_BULK: Meaning = (BulkUnsupportedError, "Use api='rest' for this query.", None)
_WRONG_QUERY: Meaning = (
    QueryError,
    "Correct the query. Text stands in single quotes, and a quote inside it is written \\'; dates, numbers and booleans stand "
    "without.",
    None,
)
_TOO_LONG: Meaning = (QueryError, "The query is too long for a URI: use api='bulk', or fewer fields.", None)
_NOT_BY_THE_API: Meaning = (
    AccessError,
    "That is no response of Salesforce's API: a proxy or firewall may stand between, or the workers' addresses are not "
    "allowed.",
    IP_RESTRICTIONS,
)

_BULK_OFF: Meaning = (
    ConfigurationError,
    "Use api='rest', or ask the admin to enable the Bulk API for the org.",
    API_ENABLED,
)
_TOO_MANY_DELETED: Meaning = (
    SalesforceError,
    "More records changed than Salesforce lists at once: ask for a shorter time, or use deletes='soft'.",
    None,
)
_TOO_MANY_GROUPS: Meaning = (
    QueryError,
    "The query groups or counts more rows than Salesforce allows at once: add LIMIT or a narrower WHERE, or split the query.",
    None,
)
_TOO_MANY_AT_ONCE: Meaning = (
    ApiLimitError,
    "Too many long requests run in the org at once: let fewer tasks run at the same time (an Airflow pool does that), or "
    "try again later.",
    None,
)

_NO_JOBS_LEFT: Meaning = (
    ApiLimitError,
    "The org's Bulk API limits of 24 hours are used up: wait, or use api='rest'.",
    None,
)
_TOO_SLOW: Meaning = (
    QueryTimeoutError,
    "Ask for less at once: fewer rows by a selective filter, or fewer formula fields.",
    None,
)
_NO_ACCESS: Meaning = (AccessError, "Ask the Salesforce admin to give the Run As user this access.", ACCESS)

_SAYS_NOT_BY_BULK = re.compile("not supported in Bulk|not supported by the Bulk")
_SAYS_WRONG_QUERY = re.compile("Implementation restriction|does not support query")

_CODE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")

_BY_CODE: Mapping[str, Meaning] = {
    **dict.fromkeys(("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"), _API_OFF),
    **dict.fromkeys(("FEATURENOTENABLED", "FUNCTIONALITY_NOT_ENABLED"), _FEATURE_OFF),
    **dict.fromkeys(
        (
            "MALFORMED_QUERY",
            "INVALID_QUERY_FILTER_OPERATOR",
            "INVALID_QUERY_SCOPE",
            "BIG_OBJECT_UNSUPPORTED_OPERATION",
            "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS",
            "ILLEGAL_QUERY_PARAMETER_VALUE",
            "MALFORMED_ID",
        ),
        _WRONG_QUERY,
    ),
    **dict.fromkeys(("INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY"), _NO_ACCESS),
    **dict.fromkeys(("QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG"), _TOO_SLOW),
    **dict.fromkeys(("LIMIT_EXCEEDED", "EXCEEDEDQUOTA"), _NO_JOBS_LEFT),
    "INVALID_TYPE_FOR_OPERATION": (
        QueryError,
        "Salesforce does not let this object be queried by itself: leave it out, or read it as child records (soql).",
        None,
    ),
    "QUERY_TOO_COMPLICATED": (
        QueryError,
        "There are too many formula fields for one query, or the condition is too long: leave formula fields out "
        "(exclude_fields, or in the query), or shorten the condition.",
        None,
    ),
    "NUMBER_OUTSIDE_VALID_RANGE": (
        QueryError,
        "A number in the query is larger than Salesforce allows: OFFSET goes up to 2,000.",
        None,
    ),
    "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION": (
        QueryError,
        "This object is not read whole: give the condition that Salesforce names (where, or in the query).",
        None,
    ),
    "INVALID_FIELD": (
        QueryError,
        "Check the spelling, and that the Run As user may see the field. In a condition, text stands in single quotes, and "
        "dates, numbers and booleans stand without: bind each as what it is.",
        ACCESS,
    ),
    "OPERATION_TOO_LARGE": (
        QueryError,
        "Reading parents such as Who and What of Task and Event takes Salesforce too long where it must check the sharing of "
        "each row: give the Run As user View All Data, leave these fields out (exclude_fields), or read less at once (where, "
        "or shorter windows).",
        ACCESS,
    ),
    "INVALID_TYPE": (QueryError, "Check the spelling, and that the Run As user may read the object.", ACCESS),
    "INVALIDENTITY": _NOT_BY_BULK,
    "JOB_NOT_COMPLETE": _NOT_COMPLETE,
    "INVALID_OPERATION_WITH_EXPIRED_PASSWORD": (
        ConfigurationError,
        "Set a new password for the Run As user, one that never expires.",
        RUN_AS_USER,
    ),
    "REQUEST_LIMIT_EXCEEDED": (
        ApiLimitError,
        "The org's API calls are used up for now: wait, or ask the admin for more.",
        None,
    ),
    "INVALID_QUERY_LOCATOR": (
        SalesforceError,
        "The query's cursor is gone (kept for 2 days): run the query again.",
        None,
    ),
    "INVALID_REPLICATION_DATE": (
        SalesforceError,
        "The org's log of deletions goes back 15 days at most: run once with mode='full' into the same destination.",
        None,
    ),
    "TXN_SECURITY_METERING_ERROR": (
        UnavailableError,
        "Transaction security policies took too long. Try again later; if it stays, ask the admin to give the Run As user the "
        "permission Exempt from Transaction Security.",
        ACCESS,
    ),
}

_BY_STATUS: Mapping[int, Meaning] = {
    403: _NO_ACCESS,
    404: (NotFoundError, "Check the spelling, and that the Run As user may see it.", ACCESS),
    409: (
        SalesforceError,
        "The Bulk job was made with another API version: clear the task to run the query again.",
        None,
    ),
    410: (
        ConfigurationError,
        "This API version is retired: set a newer api_version in the connection's extra.",
        None,
    ),
    412: _NOT_COMPLETE,
    414: _TOO_LONG,
    431: _TOO_LONG,
}


def meaning_within(text: str) -> Meaning | None:
    """What the first code in a text means that the table knows: a Bulk job's error has one, after a code of its own."""
    return next((_BY_CODE[code] for code in _CODE.findall(text) if code in _BY_CODE), None)


def meaning_of(status: int, code: str, message: str = "", path: str = "") -> Meaning:
    """What an error response means: by its code, else by its HTTP status. `path` tells apart codes with two meanings."""
    code = code.upper()
    if status == 401:
        return _TOKEN_REFUSED
    if code == "FEATURENOTENABLED" and "/jobs/" in path:
        return _BULK_OFF
    if code == "REQUEST_LIMIT_EXCEEDED" and "Concurrent" in message:
        return _TOO_MANY_AT_ONCE
    if code == "EXCEEDED_ID_LIMIT":
        return _TOO_MANY_DELETED if "/deleted" in path else _TOO_MANY_GROUPS
    known = _BY_CODE.get(code)
    if _SAYS_NOT_BY_BULK.search(message) and (known is None or known[0] is QueryError):
        return _NOT_BY_BULK
    if _SAYS_WRONG_QUERY.search(message) and known is None:
        return _WRONG_QUERY
    return known or _meaning_of_status(status, code)


def _meaning_of_status(status: int, code: str) -> Meaning:
    """What a status means with a code that says no more, or without one."""
    if status == 403 and not code:
        return _NOT_BY_THE_API
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if is_transient_status(status):
        return UnavailableError, "That passes by itself: try again later.", None
    if code == "API_ERROR":
        return SalesforceError, "Correct the query; if Bulk does not do it, use api='rest' or api='auto'.", None
    if not code:
        return SalesforceError, NOT_SALESFORCE, MY_DOMAIN
    return SalesforceError, "See Salesforce's documentation for this code.", None


@dataclass(frozen=True)
class TokenError:
    """One row of the table: matched by `error`, by a part of `error_description`, or by both.

    Where no setup step fixes it (`step` None), it passes by itself.
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

TOKEN_ERRORS = (
    TokenError(None, "login rate exceeded", *_TOO_MANY_LOGINS, None),
    TokenError("login_rate_exceeded", None, *_TOO_MANY_LOGINS, None),
    TokenError("invalid_grant", "no client credentials user enabled", *_NO_RUN_AS_USER, RUN_AS_USER),
    TokenError(
        "invalid_grant",
        "request not supported on this domain",
        "this host does not answer the client-credentials flow",
        "use the org's My Domain, such as acme.my.salesforce.com, as the connection's host",
        MY_DOMAIN,
    ),
    TokenError("invalid_grant", "client credentials flow not enabled", *_FLOW_OFF, ENABLE_FLOW),
    TokenError(None, "inactive user", *_INACTIVE_USER, RUN_AS_USER),
    TokenError("inactive_user", None, *_INACTIVE_USER, RUN_AS_USER),
    TokenError(
        None,
        "ip restricted",
        "this machine's address is not in the range that the app or the user's profile allows",
        "add the workers' addresses to the Login IP Ranges of the user's profile, or relax IP restrictions in the app's policies",
        IP_RESTRICTIONS,
    ),
    TokenError(
        "invalid_client_id",
        None,
        "there is no app with this consumer key in the org",
        "copy the consumer key again into the connection's Consumer Key field (a new app can take ten minutes to be "
        "known)",
        CONSUMER_KEY_AND_SECRET,
    ),
    TokenError(
        "invalid_client",
        None,
        "the consumer secret does not belong to this consumer key",
        "copy both again into the connection's Consumer Key and Consumer Secret fields",
        CONSUMER_KEY_AND_SECRET,
    ),
    TokenError("unsupported_grant_type", None, *_FLOW_OFF, ENABLE_FLOW),
    TokenError(
        "invalid_app_access",
        None,
        "the Run As user is not among the users that the app permits",
        "add the user's profile or permission set to the app, or set Permitted Users to all users",
        PERMITTED_USERS,
    ),
    TokenError(
        "inactive_org",
        None,
        "the org is locked, closed or not reachable through the API",
        "log in with a browser to see why, or ask the Salesforce admin",
        API_ENABLED,
    ),
    TokenError(
        "invalid_grant",
        None,
        "the app may not log in its Run As user",
        "check the Run As user, its API Enabled permission and the app's policies",
        RUN_AS_USER,
    ),
)

_WRONG_AUDIENCE = (
    "the login was signed for another kind of org",
    "set audience in the connection's extra: https://login.salesforce.com for production and Developer Edition, "
    "https://test.salesforce.com for a sandbox, or https:// and the My Domain where the org takes neither",
)
_INACTIVE_JWT_USER = (
    "the user is inactive or frozen",
    "activate or unfreeze the user that username in the connection's extra names, or name another one there",
)

JWT_ERRORS = (
    TokenError(
        "invalid_grant",
        "approved this consumer",  # after "user hasn't", with a straight apostrophe or a typographic one
        "the user is not pre-authorized for the app, or there is no user of this name",
        "set the app's Permitted Users to Admin approved users are pre-authorized, add the user's permission set to the app's "
        "policies, and check username in the connection's extra",
        PERMITTED_USERS,
    ),
    TokenError("invalid_grant", "audience is invalid", *_WRONG_AUDIENCE, MY_DOMAIN),
    TokenError("invalid_grant", "Audience validation failed", *_WRONG_AUDIENCE, MY_DOMAIN),
    TokenError(
        "invalid_grant",
        "invalid assertion",
        "the signature does not fit the certificate that the app has",
        "upload the certificate that belongs to this private key to the app (Enable JWT Bearer Flow), or enter the key that "
        "belongs to its certificate",
        CERTIFICATE,
    ),
    TokenError(
        "invalid_grant",
        "expired authorization code",
        "the signed login was out of date when it arrived, although its time was taken from the org's responses",
        "set the clock of this machine (NTP), and check that no proxy or cache changes the Date header",
        CERTIFICATE,
    ),
    TokenError(
        None,
        "client app is not installed in this org",
        "the org does not know the app with this consumer key, or the user may not use it",
        "check that key and host belong to the same org (a refreshed sandbox has new apps), and that the user is pre-authorized "
        "in the app's policies; if both are right, set audience in the connection's extra to https:// and the My Domain, "
        "since external client apps were seen to reject other audiences so",
        CONSUMER_KEY_AND_SECRET,
    ),
    TokenError(
        "invalid_app_access",
        None,
        "the user is not among those whom an admin has pre-authorized for the app",
        "assign the permission set in the app's policies to this user, and check username in the connection's extra",
        PERMITTED_USERS,
    ),
    TokenError(
        "unsupported_grant_type",
        None,
        "the app does not allow the JWT bearer flow",
        "tick Enable JWT Bearer Flow in the app's OAuth settings, and upload the certificate of the private key there",
        CERTIFICATE,
    ),
    TokenError(
        "invalid_client",
        None,
        "the app does not accept this login without a secret",
        "tick Enable JWT Bearer Flow in the app's OAuth settings, and upload the certificate of the private key there",
        CERTIFICATE,
    ),
    TokenError(
        "invalid_grant",
        "authentication failure",
        "the user may not log in now",
        "look up the reason in Setup, Login History: a locked or frozen user, login hours, or an address that is not allowed",
        RUN_AS_USER,
    ),
    TokenError(None, "inactive user", *_INACTIVE_JWT_USER, RUN_AS_USER),
    TokenError("inactive_user", None, *_INACTIVE_JWT_USER, RUN_AS_USER),
    TokenError(
        None,
        "ip restricted",
        "this machine's address is not in the login IP ranges of the user's profile",
        "add the workers' addresses to these ranges: the JWT bearer flow enforces them whatever the app's policy says",
        IP_RESTRICTIONS,
    ),
    *TOKEN_ERRORS[:-1],
    TokenError(
        "invalid_grant",
        None,
        "the app may not log in this user",
        "look up the reason in Setup, Login History, and check the user, its API Enabled permission and the app's policies",
        RUN_AS_USER,
    ),
)
"""For the JWT bearer flow: its own rows first, then what both flows have, then any other `invalid_grant`
(salesforce-protocol.md#jwt-bearer)."""
