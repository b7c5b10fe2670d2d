"""Passing faults are waited out, others are not; every call is counted and the budget holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from airflow_sfcc.errors import (
    AccessError,
    ApiBudgetError,
    ApiLimitError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    QueryError,
    SalesforceError,
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.salesforce import retry as retries
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import RunningOrg


@pytest.mark.parametrize("status", [406, 420, 429, 500, 502, 503])
@pytest.mark.parametrize(
    "body", ["<html>Salesforce Edge</html>", [{"errorCode": "SERVER_UNAVAILABLE", "message": "x"}]]
)
def test_passing_statuses_are_retried(org: RunningOrg, status: int, body: Any) -> None:
    client = org.client()
    org.fail("describe", status=status, body=body)
    assert client.describe("Account")["name"] == "Account"
    assert org.calls("describe") == 2


@pytest.mark.parametrize(
    "effects", [{"reset": True}, {"cut_after": 100, "cut": "reset"}, {"cut_after": 100, "cut": "close"}]
)
def test_broken_connections_are_retried(org: RunningOrg, effects: dict[str, Any]) -> None:
    org.fail("describe", **effects)
    assert org.client().describe("Account")["name"] == "Account"
    assert org.calls("describe") == 2


def test_a_stalled_answer_is_given_up_and_retried(org: RunningOrg) -> None:
    org.fail("describe", stall_seconds=30)
    client = org.client(transport=TransportOptions(request_timeout=0.5, max_retries=1))
    assert client.describe("Account")["name"] == "Account"


def test_retry_after_is_honoured(org: RunningOrg, caplog: pytest.LogCaptureFixture) -> None:
    org.fail("describe", status=503, headers={"Retry-After": "1"})
    org.fail("describe", status=503, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, skip=1)
    org.client().describe("Account")
    waits = [record.message.rpartition("retry ")[2] for record in caplog.records if "HTTP 503" in record.message]
    assert waits == ["1 of 2 in 1.0 s", "2 of 2 in 0.0 s"]


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_date_to_wait_for_is_by_the_clock_that_made_it(ahead: timedelta) -> None:
    """A worker whose clock is slow would give up at once, one whose clock is fast would not wait at all."""
    now = datetime.now(timezone.utc) + ahead
    response = requests.Response()
    response.headers = CaseInsensitiveDict(
        {
            "Date": format_datetime(now, usegmt=True),
            "Retry-After": format_datetime(now + timedelta(seconds=30), usegmt=True),
        }
    )
    assert retries.retry_after(response) == 30


@pytest.mark.parametrize("nonsense", ["soon", "\u00b2", "-1", "Mon, 01 Jan 99999999999 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_as_none(org: RunningOrg, nonsense: str) -> None:
    org.fail("describe", status=503, headers={"Retry-After": nonsense})
    assert org.client().describe("Account")["name"] == "Account"


def test_a_long_retry_after_is_left_to_the_tasks_own_retry(org: RunningOrg) -> None:
    org.fail("describe", status=503, headers={"Retry-After": str(int(retries.LONGEST_WAIT) + 1)}, times=None)
    with pytest.raises(UnavailableError, match="asks to wait 301 s"):
        org.client().describe("Account")
    assert org.calls("describe") == 1


def test_retries_end(org: RunningOrg) -> None:
    org.fail("describe", status=503, body="<html>", times=None)
    with pytest.raises(UnavailableError, match=r"(?s)HTTP 503.*try again later"):
        org.client().describe("Account")
    assert org.calls("describe") == 3


def test_too_many_long_requests_pass_but_an_empty_quota_does_not(org: RunningOrg) -> None:
    concurrent = "ConcurrentPerOrgLongTxn Limit exceeded."
    org.fail("describe", status=403, body=[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": concurrent}])
    assert org.client().describe("Account")["name"] == "Account"
    org.fail(
        "describe",
        status=403,
        body=[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}],
    )
    with pytest.raises(ApiLimitError, match="used up"):
        org.client().describe("Account")
    assert org.calls("describe") == 3


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_FIELD", QueryError),
        (400, "SOMETHING_NEW", SalesforceError),
        (403, "API_DISABLED_FOR_ORG", ConfigurationError),
        (404, "NOT_FOUND", NotFoundError),
        (410, "GONE", ConfigurationError),
    ],
)
def test_other_refusals_are_not_retried(org: RunningOrg, status: int, code: str, kind: type[Exception]) -> None:
    org.fail("describe", status=status, body=[{"errorCode": code, "message": "said so"}], times=None)
    with pytest.raises(kind, match="said so"):
        org.client().describe("Account")
    assert org.calls("describe") == 1


def test_a_body_that_is_not_json(org: RunningOrg) -> None:
    org.fail("describe", status=200, body="<html>")
    with pytest.raises(UnexpectedResponseError, match=r"not JSON\. Is the connection's host the org's My Domain"):
        org.client().describe("Account")


EDGE = "<html>Access denied</html>"


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "words"),
    [
        (
            401,
            "INVALID_SESSION_ID",
            "This session is not valid for use with the REST API",
            AuthenticationError,
            "OAuth",
        ),
        (400, "FUNCTIONALITY_NOT_ENABLED", "[Multicurrency] is off", ConfigurationError, "enable it in the org"),
        (400, "INVALID_OPERATION_WITH_EXPIRED_PASSWORD", "expired", ConfigurationError, "#run-as-user"),
        (400, "INVALID_REPLICATION_DATE", "too old", SalesforceError, "mode='full'"),
        (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded.", ApiLimitError, "Airflow pool"),
        (400, "TXN_SECURITY_METERING_ERROR", "took too long", UnavailableError, "security policies"),
        (403, None, EDGE, AccessError, "#ip-restrictions"),
        (400, None, EDGE, SalesforceError, "#my-domain"),
        (400, None, "", SalesforceError, "#my-domain"),
    ],
)
def test_a_refusal_says_what_to_do(
    org: RunningOrg, status: int, code: str | None, message: str, kind: type[Exception], words: str
) -> None:
    body = message if code is None else [{"errorCode": code, "message": message}]
    org.fail("describe", status=status, body=body, times=None)
    with pytest.raises(kind, match=words):
        org.client(transport=TransportOptions(max_retries=0)).describe("Account")


@pytest.mark.parametrize("offered", [[], [{"version": "99.0"}], {"odd": 1}])
def test_versions_that_cannot_be_used_name_the_setting(org: RunningOrg, offered: Any) -> None:
    org.fail("versions", status=200, body=offered)
    client = org.client(api_version=None)
    with pytest.raises(SalesforceError, match="set api_version in the connection's extra"):
        _ = client.api_version


@pytest.mark.parametrize("app", [None, "extracts"])
def test_every_call_is_counted_and_the_orgs_usage_is_read(
    start_org: Callable[..., RunningOrg], app: str | None
) -> None:
    org = start_org(limit_info_app=app, daily_api_requests=500)
    client = org.client()
    org.fail("describe", status=503)
    client.describe("Account")
    client.limits()
    assert client.usage.calls == 3
    assert client.usage.limit == 500
    assert client.usage.used == org.org.usage.api_requests.total()


def test_the_call_budget_is_not_overrun(start_org: Callable[..., RunningOrg]) -> None:
    org = start_org(daily_api_requests=100)
    client = org.client(api_call_budget=10)
    with pytest.raises(ApiBudgetError, match=r"10 of its 100 API calls.*stops at 10 %"):
        for _ in range(50):
            client.limits()
    assert org.calls("limits") == 10
