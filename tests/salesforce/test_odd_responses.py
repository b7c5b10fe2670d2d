"""Responses that are JSON, and not what Salesforce documents, and error codes that are rare: each says what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_sfcc.errors import (
    ApiLimitError,
    AuthenticationError,
    QueryError,
    QueryTimeoutError,
    SalesforceError,
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.salesforce.error_tables import meaning_of
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import RunningOrg


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"name": "Account"},
        {"name": "Account", "fields": {}},
        {"name": "Account", "fields": [5]},
        {"name": "Account", "fields": [{"name": "Id"}]},
    ],
)
def test_a_describe_that_is_none(org: RunningOrg, body: Any) -> None:
    org.fail("describe", status=200, body=body)
    with pytest.raises(UnexpectedResponseError, match="My Domain"):
        org.client().describe("Account")


@pytest.mark.parametrize(
    "counts", [None, 5, [], ["Account"], [{"name": "Account"}], [{"name": "Account", "count": "many"}]]
)
def test_a_record_count_that_is_none(org: RunningOrg, counts: Any) -> None:
    org.fail("record_count", status=200, body={"sObjects": counts})
    with pytest.raises(UnexpectedResponseError, match="no record count for Account: count its records"):
        org.client().record_count("Account")


def test_a_record_count(org: RunningOrg) -> None:
    assert org.client().record_count("account") == org.org.records.count("Account")


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (400, "EXCEEDED_ID_LIMIT", "add LIMIT or a narrower WHERE"),
        (409, "API_VERSION_MISMATCH", "made with another API version: clear the task"),
        (409, "", "made with another API version: clear the task"),
    ],
)
def test_refusals_that_are_rare_say_what_to_do(status: int, code: str, advice: str) -> None:
    _, sentence, _ = meaning_of(status, code)
    assert advice in sentence


@pytest.mark.parametrize(
    ("code", "route", "call", "kind", "advice"),
    [
        ("EXCEEDED_ID_LIMIT", "query", "query", QueryError, "add LIMIT or a narrower WHERE, or split the query"),
        (
            "EXCEEDED_ID_LIMIT",
            "deleted",
            "deleted",
            SalesforceError,
            r"ask for a shorter time, or use deletes='soft'",
        ),
        ("OPERATION_TOO_LARGE", "query", "query", QueryError, r"(?s)Who and What .*View All Data.*shorter windows"),
        ("INVALID_FIELD", "query", "query", QueryError, r"Run As user may see the field.*bind it as such, not as text"),
        (
            "TXN_SECURITY_METERING_ERROR",
            "query",
            "query",
            UnavailableError,
            "permission Exempt from Transaction Security",
        ),
        ("REQUEST_LIMIT_EXCEEDED", "query", "query", ApiLimitError, "used up for now"),
        ("INVALID_TYPE", "query", "query", QueryError, "Run As user may read the object"),
        ("QUERY_TIMEOUT", "query", "query", QueryTimeoutError, "less at once"),
    ],
)
@pytest.mark.parametrize(
    "text", ["Il y a trop de lignes", "\u8981\u6c42\u304c\u5927\u304d\u3059\u304e\u307e\u3059", ""]
)
def test_the_code_decides_in_any_language(
    org: RunningOrg, code: str, route: str, call: str, kind: type[SalesforceError], advice: str, text: str
) -> None:
    org.fail(route, status=400, body=[{"errorCode": code, "message": text}], times=None)
    client = org.client(transport=TransportOptions(max_retries=0))
    start = datetime(2026, 11, 1, tzinfo=timezone.utc)
    calls: dict[str, Callable[[], object]] = {
        "query": lambda: list(client.query("SELECT COUNT(Id), Name FROM Account GROUP BY Name")),
        "deleted": lambda: client.get_deleted("Account", start, start + timedelta(days=1)),
    }
    with pytest.raises(kind, match=advice) as problem:
        calls[call]()
    assert type(problem.value) is kind and problem.value.code == code


def test_a_token_that_is_refused_again_names_scope_and_permission(org: RunningOrg) -> None:
    org.fail("describe", status=401, body=[{"errorCode": "INVALID_SESSION_ID", "message": "Sitzung"}], times=None)
    with pytest.raises(AuthenticationError, match=r"(?s)OAuth scope.*Run As user may use the API"):
        org.client().describe("Account")
