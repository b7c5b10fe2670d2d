"""What the API's refusals mean, and what to do about each (salesforce-protocol.md#query-errors, #job-errors)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_sfcc.errors import (
    ACCESS,
    API_ENABLED,
    IP_RESTRICTIONS,
    MY_DOMAIN,
    OAUTH_SCOPES,
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
from airflow_sfcc.salesforce.retry import is_passing_status

NOT_SALESFORCE = (
    "Is the connection's host the org's My Domain, and does no proxy or login page answer in its place? Else try again."
)

Judgement = tuple[type[SalesforceError], str, SetupStep | None]
"""What a refusal is, what to do about it, and the setup step to look at."""

_WRONG_SCOPE: Judgement = (
    AuthenticationError,
    "The app's token is not good for this API: give the app the OAuth scope Manage user data via APIs (api).",
    OAUTH_SCOPES,
)
_REFUSED_AGAIN: Judgement = (
    AuthenticationError,
    "The token was renewed once and refused again: check that the Run As user may use the API.",
    API_ENABLED,
)
_API_OFF: Judgement = (ConfigurationError, "Give the Run As user the permission API Enabled.", API_ENABLED)
_FEATURE_OFF: Judgement = (
    ConfigurationError,
    "Ask the admin to enable it in the org, or leave out what needs it.",
    None,
)
_NOT_COMPLETE: Judgement = (JobNotCompleteError, "Wait until the job is complete.", None)
_NOT_BY_BULK: Judgement = (BulkUnsupportedError, "Use api='rest' for this query.", None)
_WRONG_QUERY: Judgement = (QueryError, "Correct the query.", None)
_TOO_LONG: Judgement = (QueryError, "The query is too long for a URI: use api='bulk', or fewer fields.", None)
_NOT_BY_THE_API: Judgement = (
    AccessError,
    "That is no answer of Salesforce's API: a proxy or firewall may stand between, or the workers' addresses are not "
    "allowed.",
    IP_RESTRICTIONS,
)

_BULK_OFF: Judgement = (
    ConfigurationError,
    "Use api='rest', or ask the admin to enable the Bulk API for the org.",
    API_ENABLED,
)
_TOO_MANY_AT_ONCE: Judgement = (
    ApiLimitError,
    "Too many long requests run in the org at once: let fewer tasks ask at the same time (an Airflow pool does that), or "
    "try again later.",
    None,
)

_SAYS_NOT_BY_BULK = re.compile("not supported in Bulk|not supported by the Bulk")
_SAYS_WRONG_QUERY = re.compile("Implementation restriction|does not support query")

_BY_CODE: Mapping[str, Judgement] = {
    **dict.fromkeys(("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"), _API_OFF),
    **dict.fromkeys(("FEATURENOTENABLED", "FUNCTIONALITY_NOT_ENABLED"), _FEATURE_OFF),
    **dict.fromkeys(
        (
            "MALFORMED_QUERY",
            "INVALID_TYPE_FOR_OPERATION",
            "QUERY_TOO_COMPLICATED",
            "NUMBER_OUTSIDE_VALID_RANGE",
            "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION",
            "OPERATION_TOO_LARGE",
            "INVALID_QUERY_FILTER_OPERATOR",
            "INVALID_QUERY_SCOPE",
        ),
        _WRONG_QUERY,
    ),
    "INVALID_FIELD": (QueryError, "Check the spelling, and that the Run As user may see the field.", ACCESS),
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
    "LIMIT_EXCEEDED": (
        ApiLimitError,
        "The org's Bulk API limits of 24 hours are used up: wait, or use api='rest'.",
        None,
    ),
    "QUERY_TIMEOUT": (
        QueryTimeoutError,
        "Ask for less at once: fewer rows by a selective filter, or fewer formula fields.",
        None,
    ),
    "INVALID_QUERY_LOCATOR": (
        SalesforceError,
        "The query's cursor is gone (kept for 2 days): run the query again.",
        None,
    ),
    "EXCEEDED_ID_LIMIT": (
        SalesforceError,
        "More records changed than Salesforce lists at once: ask for a shorter time, or use deletes='soft'.",
        None,
    ),
    "INVALID_REPLICATION_DATE": (
        SalesforceError,
        "The org's log of deletions goes back 15 days at most: run once with mode='full' into the same destination.",
        None,
    ),
    "TXN_SECURITY_METERING_ERROR": (
        UnavailableError,
        "Try again later; if it stays, ask the admin about transaction security policies.",
        None,
    ),
}

_BY_STATUS: Mapping[int, Judgement] = {
    403: (AccessError, "Ask the Salesforce admin to give the Run As user this access.", ACCESS),
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


def judge(status: int, code: str, message: str) -> Judgement:
    """The judgement on an error answer: by its code, unless its text says more than that, else by its HTTP status."""
    code = code.upper()
    if status == 401:
        return _WRONG_SCOPE if "not valid for use" in message else _REFUSED_AGAIN
    if code == "FEATURENOTENABLED" and "bulk" in message.lower():
        return _BULK_OFF
    if code == "REQUEST_LIMIT_EXCEEDED" and "Concurrent" in message:
        return _TOO_MANY_AT_ONCE
    known = _BY_CODE.get(code)
    if _SAYS_NOT_BY_BULK.search(message) and (known is None or known[0] is QueryError):
        return _NOT_BY_BULK
    if _SAYS_WRONG_QUERY.search(message) and known is None:
        return _WRONG_QUERY
    return known or _judge_status(status, code)


def _judge_status(status: int, code: str) -> Judgement:
    """What a status means with a code that says no more, or without one."""
    if status == 403 and not code:
        return _NOT_BY_THE_API
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if is_passing_status(status):
        return UnavailableError, "That passes by itself: try again later.", None
    if code == "API_ERROR":
        return SalesforceError, "Correct the query; if Bulk does not do it, use api='rest' or api='auto'.", None
    if not code:
        return SalesforceError, NOT_SALESFORCE, MY_DOMAIN
    return SalesforceError, "See Salesforce's documentation for this code.", None
