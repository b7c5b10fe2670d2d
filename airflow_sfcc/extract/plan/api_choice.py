"""Which API reads the rows of a query, and when REST takes over from Bulk."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from airflow_sfcc.errors import AccessError, BulkUnsupportedError, SalesforceError
from airflow_sfcc.extract.model import Api
from airflow_sfcc.extract.plan.columns import ENDING_ERRORS
from airflow_sfcc.extract.plan.quirks import supports_bulk
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.query import fits_uri
from airflow_sfcc.salesforce.soql import Query
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

FEWEST_BULK_ROWS = 10_000
"""With `api="auto"`, results smaller than this are read by REST: 5 pages of 2,000 rows cost no more calls than creating,
polling and reading a Bulk job, and arrive in seconds. Peers draw the line between 2,000 and 1,000,000 rows."""

REST_PAGE_ROWS = 2_000
"""Rows of a REST page at most (salesforce-protocol.md#rest-queries)."""

_REFUSING_CODES = frozenset(
    {"LIMIT_EXCEEDED", "EXCEEDEDQUOTA", "FEATURENOTENABLED", "API_DISABLED_FOR_ORG", "API_ERROR"}
)
"""The org's Bulk jobs or result bytes of 24 hours are used up; Bulk API is switched off, since REST has described the object;
Bulk does not do it, in words that not every release shares (salesforce-protocol.md#job-errors)."""


@dataclass(frozen=True)
class ApiChoice:
    """The API, why it is chosen, and how many rows there are where they had to be counted."""

    api: Literal["rest", "bulk"]
    reason: str
    rows: int | None = None


def choose_api(client: SalesforceClient, wanted: Api, query: Query, *, include_deleted: bool) -> ApiChoice:
    """The API that was asked for; for "auto" the one that suits the query, which may take a request to count its rows."""
    if wanted != "auto":
        return ApiChoice(wanted, "it was asked for")
    rest_only = query.rest_only_reason()
    if rest_only is None and not supports_bulk(query.sobject):
        rest_only = f"Bulk API 2.0 does not do {query.sobject}"
    if rest_only:
        return ApiChoice("rest", rest_only)
    if not fits_uri(query.text):
        return ApiChoice("bulk", "the query is too long for a URI")
    try:
        rows = client.count(query.counting(), include_deleted=include_deleted)
    except ENDING_ERRORS:
        raise
    except SalesforceError as uncounted:
        log.info("The rows could not be counted (%s)", uncounted.code or type(uncounted).__name__)
        return ApiChoice("bulk", "its rows could not be counted")
    return ApiChoice("rest" if rows < FEWEST_BULK_ROWS else "bulk", f"it has {plural(rows, 'row')}", rows)


def calls_by_rest(rows: int | None) -> int:
    """How many API calls reading that many rows by REST takes; 1 when it is not known how many they are."""
    return 1 + (rows or 0) // REST_PAGE_ROWS


def is_refusal_of_bulk(problem: SalesforceError) -> bool:
    """Whether the error response to a new job means that Bulk API 2.0 does not do it (now), while REST may."""
    is_kept_out = isinstance(problem, (BulkUnsupportedError, AccessError))
    return is_kept_out or (problem.code or "").upper() in _REFUSING_CODES
