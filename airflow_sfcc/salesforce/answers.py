"""From an HTTP answer to its JSON, or to the exception that says what it means.

Salesforce's error body is an array `[{"message", "errorCode", "fields"?}]` (reference 2.1); texts and codes are those
of reference 2.4 and 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from airflow_sfcc.salesforce.errors import (
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
    UnavailableError,
    UnexpectedAnswerError,
)
from airflow_sfcc.salesforce.transport import describe

JsonObject = dict[str, Any]

_QUERY_CODES = frozenset(
    {
        "MALFORMED_QUERY",
        "INVALID_FIELD",
        "INVALID_TYPE",
        "INVALID_TYPE_FOR_OPERATION",
        "QUERY_TOO_COMPLICATED",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION",
        "OPERATION_TOO_LARGE",
        "INVALID_QUERY_FILTER_OPERATOR",
        "INVALID_QUERY_SCOPE",
    }
)
_API_OFF = frozenset({"API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"})
_FEATURE_OFF = frozenset({"FEATURENOTENABLED", "FUNCTIONALITY_NOT_ENABLED"})


_NOT_SALESFORCE = (
    "Is the connection's host the org's My Domain, and does no proxy or login page answer in its place? Else try again."
)


@dataclass(frozen=True)
class Refusal:
    """The first entry of Salesforce's error array; both parts are "" when the body is none."""

    code: str
    message: str


def read_refusal(response: requests.Response) -> Refusal:
    """What an error answer says, whatever shape its body has."""
    try:
        return _refusal_in(response.json())
    except ValueError:
        return Refusal("", "")


def _refusal_in(body: Any) -> Refusal:
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, Mapping):
        return Refusal("", "")
    code = first.get("errorCode") or first.get("error") or ""
    message = first.get("message") or first.get("error_description") or ""
    return Refusal(str(code), str(message))


def json_of(response: requests.Response, **options: Any) -> Any:
    """The parsed body of a 2xx answer; `options` are those of `json.loads`. Raises the exception that fits any other answer."""
    raise_for_refusal(response)
    try:
        return response.json(**options)
    except ValueError:
        raise UnexpectedAnswerError(
            f"{describe(response.request)} was answered with HTTP {response.status_code} and a body that is not JSON. "
            f"{_NOT_SALESFORCE}"
        ) from None


def json_object_of(response: requests.Response, **options: Any) -> JsonObject:
    """Like json_of, for answers that must be an object."""
    body = json_of(response, **options)
    if not isinstance(body, dict):
        raise UnexpectedAnswerError(
            f"{describe(response.request)} was answered with JSON that is not an object. {_NOT_SALESFORCE}"
        )
    return body


def raise_for_refusal(response: requests.Response) -> None:
    """Raise the exception that an answer other than 2xx stands for."""
    if not 200 <= response.status_code < 300:
        raise refusal_error(response)


def refusal_error(response: requests.Response) -> SalesforceError:
    """The exception for an error answer of the API."""
    problem = _error(response.status_code, read_refusal(response), describe(response.request))
    seconds = response.headers.get("Retry-After", "").strip()
    if isinstance(problem, UnavailableError) and seconds.isdecimal():
        problem.message += f" Salesforce asks to wait {int(seconds):,} s until then."
    return problem


def refusal_of(status: int, body: Any, what: str) -> SalesforceError:
    """The exception for an error answer that came within another answer, as those of composite/batch do."""
    return _error(status, _refusal_in(body), what)


def _error(status: int, refusal: Refusal, what: str) -> SalesforceError:
    kind, advice, step = _judge(status, refusal)
    said = one_line(refusal.message) or "no explanation"
    code = f"{refusal.code}: " if refusal.code else ""
    return kind(
        f"Salesforce refused {what} (HTTP {status}, {code}{said}). {advice}",
        step=step,
        status=status,
        code=refusal.code,
    )


def _judge(status: int, refusal: Refusal) -> tuple[type[SalesforceError], str, Any]:
    code, message = refusal.code, refusal.message
    if status == 401 and "not valid for use" in message:
        return (
            AuthenticationError,
            "The app's token is not good for this API: give the app the OAuth scope Manage user data via APIs (api).",
            OAUTH_SCOPES,
        )
    if status == 401:
        return (
            AuthenticationError,
            ("The token was renewed once and refused again: check that the Run As user may use the API."),
            API_ENABLED,
        )
    if code.upper() == "FEATURENOTENABLED" and "bulk" in message.lower():
        return ConfigurationError, "Use api='rest', or ask the admin to enable the Bulk API for the org.", API_ENABLED
    if code.upper() in _API_OFF:
        return ConfigurationError, "Give the Run As user the permission API Enabled.", API_ENABLED
    if code.upper() in _FEATURE_OFF:
        return ConfigurationError, "Ask the admin to enable it in the org, or leave out what needs it.", None
    if code == "INVALID_OPERATION_WITH_EXPIRED_PASSWORD":
        return ConfigurationError, "Set a new password for the Run As user, one that never expires.", RUN_AS_USER
    if code == "REQUEST_LIMIT_EXCEEDED" and "Concurrent" in message:
        return (
            ApiLimitError,
            "Too many long requests run in the org at once: let fewer tasks ask at the same time (an Airflow pool does "
            "that), or try again later.",
            None,
        )
    if code == "REQUEST_LIMIT_EXCEEDED":
        return ApiLimitError, "The org's API calls are used up for now: wait, or ask the admin for more.", None
    if code == "LIMIT_EXCEEDED":
        return ApiLimitError, "The org's Bulk API limits of 24 hours are used up: wait, or use api='rest'.", None
    if code == "QUERY_TIMEOUT":
        return (
            QueryTimeoutError,
            "Ask for less at once: fewer rows by a selective filter, or fewer formula fields.",
            None,
        )
    if code == "JOB_NOT_COMPLETE" or status == 412:
        return JobNotCompleteError, "Wait until the job is complete.", None
    if code == "INVALIDENTITY" or "not supported in Bulk" in message or "not supported by the Bulk" in message:
        return BulkUnsupportedError, "Use api='rest' for this query.", None
    if code == "INVALID_QUERY_LOCATOR":
        return SalesforceError, "The query's cursor is gone (kept for 2 days): run the query again.", None
    if code == "INVALID_FIELD":
        return QueryError, "Check the spelling, and that the Run As user may see the field.", ACCESS
    if code == "INVALID_TYPE":
        return QueryError, "Check the spelling, and that the Run As user may read the object.", ACCESS
    if code in _QUERY_CODES or "Implementation restriction" in message or "does not support query" in message:
        return QueryError, "Correct the query.", None
    if status == 404:
        return NotFoundError, "Check the spelling, and that the Run As user may see it.", ACCESS
    if code == "INVALID_REPLICATION_DATE":
        return (
            SalesforceError,
            "The org's log of deletions goes back 15 days at most: run once with mode='full' into the same destination.",
            None,
        )
    if code == "TXN_SECURITY_METERING_ERROR":
        return (
            UnavailableError,
            "Try again later; if it stays, ask the admin about transaction security policies.",
            None,
        )
    if status == 403 and not code:
        return (
            AccessError,
            "That is no answer of Salesforce's API: a proxy or firewall may stand between, or the workers' addresses are "
            "not allowed.",
            IP_RESTRICTIONS,
        )
    if status == 403:
        return AccessError, "Ask the Salesforce admin to give the Run As user this access.", ACCESS
    if status == 410:
        return (
            ConfigurationError,
            "This API version is retired: set a newer api_version in the connection's extra.",
            None,
        )
    if status in (414, 431):
        return QueryError, "The query is too long for a URI: use api='bulk', or fewer fields.", None
    if status >= 500 or status in (406, 420, 429):
        return UnavailableError, "That passes by itself: try again later.", None
    if code == "API_ERROR":
        return SalesforceError, "Correct the query; if Bulk does not do it, use api='rest' or api='auto'.", None
    if not code:
        return SalesforceError, _NOT_SALESFORCE, MY_DOMAIN
    return SalesforceError, "See Salesforce's documentation for this code.", None


def one_line(text: str, limit: int = 600) -> str:
    """Salesforce's text on one line: caret messages span several (reference 2.4)."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip(" ^"))
    return line if len(line) <= limit else line[:limit] + "…"
