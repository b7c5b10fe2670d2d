"""From an HTTP answer to its JSON, or to the exception that says what it means.

Salesforce's error body is an array `[{"message", "errorCode", "fields"?}]` (salesforce-protocol.md#rest-conventions); what
its codes and texts mean stands in `api_errors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from airflow_sfcc.errors import SalesforceError, UnavailableError, UnexpectedResponseError
from airflow_sfcc.salesforce.api_errors import NOT_SALESFORCE, judge
from airflow_sfcc.salesforce.transport import describe

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """The first entry of Salesforce's error array; both parts are "" when the body is none."""

    code: str
    message: str


def read_refusal(response: requests.Response) -> Refusal:
    """What an error answer says, whatever shape its body has."""
    try:
        return _refusal_in(parsed(response))
    except ValueError:
        return Refusal("", "")


def _refusal_in(body: Any) -> Refusal:
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, Mapping):
        return Refusal("", "")
    code = first.get("errorCode") or first.get("error") or ""
    message = first.get("message") or first.get("error_description") or ""
    return Refusal(str(code), str(message))


def parsed(response: requests.Response, **options: Any) -> Any:
    """The body's JSON, which is UTF-8 whatever the headers say (RFC 8259, 8.1). Raises ValueError when it is none.

    requests goes by the headers, and puts U+FFFD in the place of bytes that are no text.
    """
    try:
        return json.loads(response.content, **options)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None


def json_of(response: requests.Response, **options: Any) -> Any:
    """The parsed body of a 2xx answer; `options` are those of `json.loads`. Raises the exception that fits any other answer."""
    raise_for_refusal(response)
    try:
        return parsed(response, **options)
    except ValueError:
        raise UnexpectedResponseError(
            f"{describe(response.request)} was answered with HTTP {response.status_code} and a body that is not JSON. "
            f"{NOT_SALESFORCE}"
        ) from None


def json_object_of(response: requests.Response, **options: Any) -> JsonObject:
    """Like json_of, for answers that must be an object."""
    body = json_of(response, **options)
    if not isinstance(body, dict):
        raise UnexpectedResponseError(
            f"{describe(response.request)} was answered with JSON that is not an object. {NOT_SALESFORCE}"
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
    kind, advice, step = judge(status, refusal.code, refusal.message)
    said = one_line(refusal.message) or "no explanation"
    code = f"{refusal.code}: " if refusal.code else ""
    return kind(
        f"Salesforce refused {what} (HTTP {status}, {code}{said}). {advice}",
        step=step,
        status=status,
        code=refusal.code,
    )


def one_line(text: str, limit: int = 600) -> str:
    """Salesforce's text on one line: caret messages span several (salesforce-protocol.md#query-errors)."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip(" ^"))
    return line if len(line) <= limit else line[:limit] + "…"
