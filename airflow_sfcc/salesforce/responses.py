"""From an HTTP response to its JSON, or to the exception that says what it means.

Salesforce's error body is an array `[{"message", "errorCode", "fields"?}]` (salesforce-protocol.md#rest-conventions); what its
codes mean is in `error_tables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import requests

from airflow_sfcc.errors import (
    CONSUMER_KEY_AND_SECRET,
    MY_DOMAIN,
    AuthenticationError,
    SalesforceError,
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.redaction import printable, redact
from airflow_sfcc.salesforce.error_tables import NOT_SALESFORCE, TOKEN_ERRORS, TokenError, meaning_of
from airflow_sfcc.salesforce.instance import Origin
from airflow_sfcc.salesforce.retry import is_transient_status
from airflow_sfcc.salesforce.wire_errors import describe

JsonObject = dict[str, Any]

_LONGEST_CODE = 100
_LONGEST_TEXT = 600

LARGE_BODY = 32 * 1024 * 1024
"""Bytes of a body, unpacked, from which on its values are counted before it is parsed."""

MOST_VALUES = 10_000_000
"""Values in the JSON of a large body. Each takes some 60 bytes of memory, however few it has on the wire; 2,000 records of 800
fields are 2 million."""

_TEXT = re.compile(rb'"[^"]*"')

LARGEST_COUNT = 10**15
"""Rows that a response may speak of; more is no number of Salesforce's."""


@dataclass(frozen=True)
class ErrorBody:
    """The first entry of Salesforce's error array; both parts are "" when the body is none."""

    code: str
    message: str


def error_body(body: Any) -> ErrorBody:
    """What a parsed error body says, whatever its shape."""
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, Mapping):
        return ErrorBody("", "")
    code = first.get("errorCode") or first.get("error") or ""
    message = first.get("message") or first.get("error_description") or ""
    return ErrorBody(one_line(str(code), _LONGEST_CODE), one_line(str(message)))


def parsed(response: requests.Response, **options: Any) -> Any:
    """The body's JSON, which is UTF-8 whatever the headers say (RFC 8259, 8.1). Raises ValueError when it is none,
    and UnexpectedResponseError for what would take too much memory.

    requests goes by the headers, and puts U+FFFD in the place of bytes that are no text. NaN and Infinity are no JSON, though
    Python reads them; nesting is limited by Python's recursion limit (about 1,000 levels).
    """
    require_few_values(response)
    try:
        return json.loads(response.content, parse_constant=_refuse_constant, **options)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None


def require_few_values(response: requests.Response) -> None:
    """Raise UnexpectedResponseError for JSON that is within its size, and would take a hundred times that when it is parsed."""
    body = response.content
    if len(body) <= LARGE_BODY or _separators(body) <= MOST_VALUES:
        return
    if (values := _values(body)) > MOST_VALUES:
        raise UnexpectedResponseError(
            f"{describe(response.request)} was answered with {values:,} values, more than Salesforce sends at once; they were "
            f"not read. {NOT_SALESFORCE}"
        )


def _values(body: bytes) -> int:
    """How many values JSON has, or a few more. Quotes within texts go first, so that a text ends at the next quote there is."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    quotes = plain.count(b'"')
    if quotes > 2 * MOST_VALUES:
        return quotes // 2
    return _separators(_TEXT.sub(b"", plain))


def _separators(text: bytes) -> int:
    """At least as many as there are values; those within texts count too, which makes counting them fast."""
    return sum(text.count(each) for each in (b",", b"[", b"{"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON.")


def json_of(response: requests.Response, **options: Any) -> Any:
    """The parsed body of a 2xx response; `options` are those of `json.loads`. Raises the exception that fits any other."""
    raise_for_error(response)
    try:
        return parsed(response, **options)
    except ValueError:
        raise UnexpectedResponseError(
            f"{describe(response.request)} was answered with HTTP {response.status_code} and a body that is not JSON. "
            f"{NOT_SALESFORCE}"
        ) from None


def json_object_of(response: requests.Response, **options: Any) -> JsonObject:
    """Like json_of, for responses that must be an object."""
    body = json_of(response, **options)
    if not isinstance(body, dict):
        raise UnexpectedResponseError(
            f"{describe(response.request)} was answered with JSON that is not an object. {NOT_SALESFORCE}"
        )
    return body


def count_of(value: Any) -> int:
    """A number of rows in JSON, which may be written as text or as `5.0`. Raises ValueError for anything else."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else float("nan")
    except OverflowError:
        number = float("inf")
    if not (abs(number) <= LARGEST_COUNT and number.is_integer()):
        raise ValueError("This is no number of rows.")
    return int(number)


def header_number(response: requests.Response, name: str) -> int | None:
    """A whole number in a header, None when it is absent or none that can be meant."""
    text = response.headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_COUNT)) else None


def raise_for_error(response: requests.Response) -> None:
    """Raise the exception that a response other than 2xx stands for."""
    if not 200 <= response.status_code < 300:
        raise api_error(response)


def api_error(response: requests.Response) -> SalesforceError:
    """The exception for an error response of the API."""
    try:
        body = parsed(response)
    except ValueError:
        body = None
    problem = error_within(response.status_code, body, describe(response.request))
    seconds = header_number(response, "Retry-After")
    if isinstance(problem, UnavailableError) and seconds is not None:
        problem.message += f" Salesforce asks to wait {seconds:,} s until then."
    return problem


def error_within(status: int, body: Any, what: str) -> SalesforceError:
    """The exception for an error body; also for one within another response, as those of composite/batch are."""
    error = error_body(body)
    kind, advice, step = meaning_of(status, error.code, error.message, what)
    said = error.message or "no explanation"
    code = f"{error.code}: " if error.code else ""
    return kind(
        f"Salesforce refused {what} (HTTP {status}, {code}{said}).\n{advice}", step=step, status=status, code=error.code
    )


def says_expired(response: requests.Response) -> bool:
    """Whether the token endpoint says that what it was given is out of date, as it does of a JWT."""
    return response.status_code == 400 and "expired" in _oauth_error(response)[1]


def token_error(
    response: requests.Response, login: Origin, table: Sequence[TokenError] = TOKEN_ERRORS
) -> SalesforceError:
    """The exception for a response of the token endpoint that is not a token; `table` explains its errors."""
    error, description = _oauth_error(response)
    status = response.status_code
    if is_transient_status(status):
        return UnavailableError(
            f"{login} could not give out a token (HTTP {status}). That passes by itself: try again later.",
            status=status,
            code=error or None,
        )
    said = f'"{error}: {description}"' if description else f'"{error}"'
    for known in table:
        if known.matches(error, description):
            message = f"{login} refused the login ({said}): {known.meaning}.\nTo fix it, {known.remedy}."
            kind = UnavailableError if known.step is None else AuthenticationError
            return kind(message, step=known.step, status=status, code=error)
    if not error:
        return AuthenticationError(
            f"{login} answered the token request with HTTP {status} and no OAuth error: is it a Salesforce My Domain "
            "host?",
            step=MY_DOMAIN,
            status=status,
        )
    return AuthenticationError(
        f"{login} refused the login ({said}).\nCheck the consumer key, the consumer secret and the app's policies.",
        step=CONSUMER_KEY_AND_SECRET,
        status=status,
        code=error,
    )


def _oauth_error(response: requests.Response) -> tuple[str, str]:
    try:
        body = parsed(response)
    except ValueError:
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    return one_line(str(body.get("error") or ""), 200), one_line(str(body.get("error_description") or ""), 200)


def one_line(text: str, limit: int = _LONGEST_TEXT) -> str:
    """Salesforce's text on one line: caret messages span several (salesforce-protocol.md#query-errors); without secrets and
    control characters, cut to `limit` characters after that."""
    line = printable(" ".join(part for part in redact(text[: 100 * limit]).splitlines() if part.strip(" ^")))
    return line if len(line) <= limit else line[:limit] + "…"
