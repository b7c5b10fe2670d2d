"""Several requests in one API call: `POST /composite` (salesforce-protocol.md#several-requests-in-one)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_sfcc.errors import SalesforceError, UnexpectedResponseError
from airflow_sfcc.salesforce.api import Api
from airflow_sfcc.salesforce.responses import error_body, error_within, json_object_of

MOST_QUERIES = 5
"""Queries in one call."""

MOST_REQUESTS = 25
"""Requests in one call."""


@dataclass(frozen=True)
class Part:
    """The response to one of the requests: its parsed body, or the error that it stands for."""

    body: Any
    problem: SalesforceError | None = None


def query_path(soql: str, *, include_deleted: bool = False) -> str:
    """The resource path of a query."""
    return f"/{'queryAll' if include_deleted else 'query'}?q={quote(soql, safe='')}"


def ask_together(api: Api, paths: Sequence[str], at_once: int) -> Iterator[Part]:
    """The responses to GET requests of resource paths (`/query?q=…`), in their order; `at_once` of them are one API call.

    An error response to one of them is its part's `problem`. Raises what a request raises, and UnexpectedResponseError.
    """
    for first in range(0, len(paths), at_once):
        yield from _one_call(api, paths[first : first + at_once])


def _one_call(api: Api, paths: Sequence[str]) -> Iterator[Part]:
    requests = [
        {"method": "GET", "url": f"/services/data/v{api.version}{path}", "referenceId": f"r{number}"}
        for number, path in enumerate(paths)
    ]
    response = api.request("POST", "/composite", json={"allOrNone": False, "compositeRequest": requests})
    answered = json_object_of(response).get("compositeResponse")
    _raise_refused(answered)
    parts = {
        each["referenceId"]: each
        for each in (answered if isinstance(answered, list) else [])
        if isinstance(each, dict) and isinstance(each.get("referenceId"), str)
    }
    for number, path in enumerate(paths):
        yield _part(parts.get(f"r{number}"), path)


def _raise_refused(answered: Any) -> None:
    """Raise what a composite request was refused with as a whole: a part that belongs to none of its requests."""
    for each in answered if isinstance(answered, list) else []:
        if isinstance(each, dict) and each.get("referenceId") is None:
            error = error_body(each.get("body"))
            raise UnexpectedResponseError(
                f"Salesforce performed none of the requests of a composite one ({error.code}: {error.message}). Run it again."
            )


def _part(answered: dict[str, Any] | None, path: str) -> Part:
    status = answered.get("httpStatusCode") if answered else None
    if answered is None or not isinstance(status, int):
        raise UnexpectedResponseError("Salesforce did not answer each request of a composite one. Run it again.")
    if 200 <= status < 300:
        return Part(answered.get("body"))
    return Part(None, error_within(status, answered.get("body"), f"GET {path.partition('?')[0]}"))
