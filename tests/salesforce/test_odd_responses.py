"""Responses that are JSON, and not what Salesforce documents, and error codes that are rare: each says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_sfcc.errors import (
    AccessError,
    ApiLimitError,
    AuthenticationError,
    JobFailedError,
    QueryError,
    QueryTimeoutError,
    SalesforceError,
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract.incremental.deletions import find_deletions
from airflow_sfcc.extract.model import DeletesPlan, Window
from airflow_sfcc.extract.progress import WaitingProgress
from airflow_sfcc.salesforce.bulk import BulkJob
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
        (
            "INVALID_FIELD",
            "query",
            "query",
            QueryError,
            r"Run As user may see the field.*text stands in single quotes.*bind each as what it is",
        ),
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
        ("REQUEST_RUNNING_TOO_LONG", "query", "query", QueryTimeoutError, "less at once"),
        ("EXCEEDED_MAX_SEMIJOIN_SUBSELECTS", "query", "query", QueryError, "Correct the query"),
        ("INSUFFICIENT_ACCESS_OR_READONLY", "query", "query", AccessError, "this access"),
        ("QUERY_TOO_COMPLICATED", "query", "query", QueryError, "leave formula fields out"),
        ("NUMBER_OUTSIDE_VALID_RANGE", "query", "query", QueryError, "OFFSET goes up to 2,000"),
        ("INVALID_TYPE_FOR_OPERATION", "query", "query", QueryError, "queried by itself: leave it out"),
        (
            "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION",
            "query",
            "query",
            QueryError,
            "give the condition that Salesforce names",
        ),
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


JOB_ID = "750R0000000zxr8IAA"
NOISY = "In\n2026-11-30 ERROR forged\x1b[2J\x1b]0;title\x07\u202e\udc80Progress"


@pytest.mark.parametrize(
    "keys",
    [
        {"state": "Failed", "errorMessage": 5},
        {"state": "Failed", "errorMessage": {"why": "InvalidBatch"}},
        {"state": "JobComplete", "apiVersion": 10**400},
        {"state": "JobComplete", "apiVersion": 1e300},
        {"id": "../../x", "state": "JobComplete"},
        {"id": f"{JOB_ID}\n", "state": "JobComplete"},
    ],
)
def test_a_job_that_is_described_oddly(org: RunningOrg, keys: dict[str, Any]) -> None:
    org.fail("job_poll", status=200, body={"id": JOB_ID, "object": "Account", **keys})
    with pytest.raises((JobFailedError, UnexpectedResponseError)):
        org.client().bulk.get(JOB_ID).require_complete()


def test_what_a_job_says_is_one_line_of_the_log(org: RunningOrg) -> None:
    """A state that nobody knows is logged before it is refused."""
    org.fail("job_poll", status=200, body={"id": JOB_ID, "state": NOISY, "object": NOISY, "createdDate": NOISY})
    lines: list[str] = []
    job = org.client().bulk.get(JOB_ID)
    WaitingProgress(lambda text, *values: lines.append(text % values)).seen(job, 1)
    assert len(lines) == 1 and lines[0].isprintable() and "forged" in lines[0]
    assert job.created.isprintable()


@pytest.mark.parametrize("told", [{"latestDateCovered": "0001-01-01T00:00:00.000+1400"}, {"earliestDateAvailable": 5}])
def test_deletions_at_times_that_are_none(org: RunningOrg, told: dict[str, Any]) -> None:
    now = datetime.now(timezone.utc)
    plan = DeletesPlan(Window(now - timedelta(hours=2), now - timedelta(hours=1)), None)
    covered = {"deletedRecords": [], "latestDateCovered": now.isoformat(), **told}
    org.fail("deleted", status=200, body=covered, times=None)
    with pytest.raises(UnexpectedResponseError, match="deleted records of Account"):
        find_deletions(org.client(), "Account", plan, now=now)


@pytest.mark.parametrize("size", ["18", -1, 1.5, 10**400, True, []])
def test_a_describe_with_sizes_that_are_none(org: RunningOrg, size: Any) -> None:
    fields = [{"name": "Amount", "type": "currency", "precision": 18, "scale": size}]
    org.fail("describe", status=200, body={"name": "Account", "fields": fields})
    with pytest.raises(UnexpectedResponseError, match="does not describe Account"):
        org.client().describe("Account")


def test_the_only_list_of_result_pages_ends_where_more_were_announced(org: RunningOrg) -> None:
    """Where nothing tells how many rows there are, nothing else would show what is missing."""
    link = f"/services/data/v68.0/jobs/query/{JOB_ID}/results?locator=a"
    listing = {"resultPages": [{"resultUrl": link}], "done": False}
    org.fail("job_result_pages", status=200, body=listing, times=None)
    job = BulkJob(JOB_ID, "JobComplete", "Account", "query", "68.0", "")
    with pytest.raises(UnexpectedResponseError, match="announced more result pages than it listed"):
        list(org.client().bulk.result_pages(job) or ())
    counted = replace(job, records_processed=5)
    assert len(list(org.client().bulk.result_pages(counted) or ())) == 1, "there the number of rows tells"
