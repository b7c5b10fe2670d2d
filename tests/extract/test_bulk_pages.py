"""Bulk result pages: every shape the org may list them in, every way they may break."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.errors import (
    BulkUnsupportedError,
    IncompleteResultError,
    JobAbortedError,
    JobFailedError,
    ResultsExpiredError,
    SalesforceError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract.convert.row_blocks import row_blocks
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows
from tests.storages import files_below

FIELDS = ["Id", "LastName", "Description"]


def contacts(records: Records) -> int:
    return records.count("Contact")


def no_data_left(destination: UPath) -> bool:
    return files_below(destination) == {}


@pytest.mark.parametrize("shape", ["documented", "observed", "absent"])
@pytest.mark.parametrize("parallel_pages", [1, 4])
def test_pages_in_every_known_shape(
    start_org: Callable[..., RunningOrg], records: Records, root: UPath, shape: str, parallel_pages: int
) -> None:
    org = start_org(result_pages_shape=shape, result_page_rows=100)
    manifest = extract(
        org, root, sobject="Contact", fields=FIELDS, api="bulk", page_size=100, parallel_pages=parallel_pages
    )
    assert manifest["rows"] == contacts(records)
    assert len(manifest["files"]) == 1, "small pages are joined"
    assert len(read_rows(root / f"extract={manifest['extract_id']}", manifest)) == contacts(records)


BREAKS: list[dict[str, Any]] = [
    {"status": 503, "body": "<html>"},
    {"reset": True},
    {"cut_after": 700, "cut": "reset"},
    {"cut_after": 700, "cut": "close"},
    {"cut_after": 700, "cut": "end"},
    {"number_of_records": 99999},
    {"kill_session": "before"},
    {"stall_seconds": 30, "stall_after": 100},
]


@pytest.mark.parametrize("effects", BREAKS, ids=str)
@pytest.mark.parametrize("shape", ["documented", "absent"])
def test_a_page_that_breaks_is_asked_for_again(
    start_org: Callable[..., RunningOrg], records: Records, root: UPath, shape: str, effects: dict[str, Any]
) -> None:
    org = start_org(result_pages_shape=shape, result_page_rows=300)
    org.fail("job_results", skip=1, **effects)
    client = org.client(transport=TransportOptions(request_timeout=1, max_retries=2))
    manifest = extract(org, root, client=client, sobject="Contact", fields=FIELDS, api="bulk", page_size=300)
    assert manifest["rows"] == contacts(records)
    assert org.calls("job_create") == 1, "the job is never repeated"
    # Every page in flight meets the session's end.
    assert org.calls("job_results") == 4 or ("kill_session" in effects and org.calls("job_results") <= 6)


@pytest.mark.parametrize("effects", [{"number_of_records": 1}, {"cut_after": 700, "cut": "end"}], ids=str)
def test_a_page_that_stays_broken_lands_nothing(
    start_org: Callable[..., RunningOrg], root: UPath, effects: dict[str, Any]
) -> None:
    org = start_org(result_page_rows=300)
    org.fail("job_results", times=None, **effects)
    with pytest.raises(IncompleteResultError):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert no_data_left(root)


def test_a_job_whose_pages_do_not_add_up_lands_nothing(org: RunningOrg, root: UPath) -> None:
    org.fail("job_poll", set_json={"/numberRecordsProcessed": 100_000}, times=None)
    with pytest.raises(IncompleteResultError, match=r"reported 100,000 rows and its pages hold"):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert no_data_left(root)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("InternalServerError : Retried", "Retried"),
        ("", "gave no reason"),
        ("InvalidBatch : OPERATION_TOO_LARGE: trop", r"(?s)trop\. Reading parents .*Bulk Data Load Jobs"),
        ("InvalidBatch : QUERY_TOO_COMPLICATED: x", "leave formula fields out"),
    ],
)
def test_a_failed_job_says_why(org: RunningOrg, root: UPath, message: str, says: str) -> None:
    org.fail("job_create", job_error=message)
    with pytest.raises(JobFailedError, match=says):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert no_data_left(root)


def test_an_aborted_job(org: RunningOrg, root: UPath) -> None:
    org.fail("job_poll", set_json={"/state": "Aborted"}, times=None)
    with pytest.raises(JobAbortedError, match="aborted in Salesforce"):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")


def test_an_unknown_job_state_is_an_error(org: RunningOrg, root: UPath) -> None:
    org.fail("job_poll", set_json={"/state": "Dreaming"}, times=None)
    with pytest.raises(UnexpectedResponseError, match="Dreaming"):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")


def test_results_that_expired(org: RunningOrg, root: UPath) -> None:
    org.fail("job_results", status=404, body=[{"errorCode": "NOT_FOUND", "message": "gone"}], times=None)
    with pytest.raises(ResultsExpiredError, match="7 days"):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert no_data_left(root)


def other_columns(org: RunningOrg, times: int | None) -> None:
    body, headers = '"Id","Surname"\n"003000000000001AAA","x"\n', {"Content-Type": "text/csv"}
    org.fail("job_results", status=200, body=body, headers=headers, times=times)


def test_columns_that_changed_under_the_job(org: RunningOrg, root: UPath) -> None:
    other_columns(org, times=None)
    with pytest.raises(UnexpectedResponseError, match=r"missing: description, lastname; unexpected: surname"):
        extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert no_data_left(root)


def test_a_page_with_other_columns_is_requested_again(org: RunningOrg, root: UPath, records: Records) -> None:
    other_columns(org, times=1)
    manifest = extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert manifest["rows"] == contacts(records)


@pytest.mark.parametrize("empty_header", [True, False])
@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_an_empty_result_is_a_file_with_its_schema(
    start_org: Callable[..., RunningOrg], root: UPath, file_format: str, empty_header: bool
) -> None:
    org = start_org(empty_results_header=empty_header)
    manifest = extract(
        org, root, sobject="Contact", fields=FIELDS, where="Id = null", api="bulk", file_format=file_format
    )
    assert (manifest["rows"], len(manifest["files"])) == (0, 1)
    assert read_rows(root / f"extract={manifest['extract_id']}", manifest) == []


def test_a_row_longer_than_a_block(org: RunningOrg, root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_sfcc.extract.convert.csv_reader.row_blocks", partial(row_blocks, block_bytes=64))
    manifest = extract(org, root, sobject="Contact", fields=FIELDS, api="bulk")
    assert manifest["rows"] == len(read_rows(root / f"extract={manifest['extract_id']}", manifest)) > 0


REFUSALS = [
    (400, "INVALIDENTITY", "Entity 'Contact' is not supported by the Bulk API."),
    (400, "LIMIT_EXCEEDED", "Max bulk v2 query jobs (10000) per 24 hrs has been reached (10021)"),
    (400, "LIMIT_EXCEEDED", "Max bulk v2 query result size stored (1000000000) kb per 24 hrs has been exceeded"),
    (
        400,
        "EXCEEDEDQUOTA",
        "The job or batch you tried to create exceeds the allowed number for the past 24-hour period.",
    ),
    (400, "FeatureNotEnabled", "Bulk API isn't enabled for this organization"),
    (403, "API_DISABLED_FOR_ORG", "API is not enabled for this Organization or Partner"),
    (403, "INSUFFICIENT_ACCESS", "insufficient access rights on object id"),
    (400, "API_ERROR", "Selecting compound data not supported in Bulk Query"),
    (400, "API_ERROR", "In other words than any that are known"),
]


@pytest.fixture
def many_rows(org: RunningOrg) -> RunningOrg:
    """An org that counts so many rows that api="auto" means Bulk."""
    org.fail("query", path="COUNT", set_json={"/totalSize": 100_000}, times=None)
    return org


@pytest.mark.parametrize(("status", "code", "message"), REFUSALS)
def test_what_bulk_refuses_is_read_by_rest_when_the_api_is_auto(
    many_rows: RunningOrg, root: UPath, caplog: pytest.LogCaptureFixture, status: int, code: str, message: str
) -> None:
    refusal = [{"errorCode": code, "message": message}]
    many_rows.fail("job_create", status=status, body=refusal, times=2)
    manifest = extract(many_rows, root, sobject="Contact", fields=FIELDS)
    assert manifest["api"] == "rest" and manifest["job_id"] is None and message in caplog.text
    with pytest.raises(SalesforceError, match=r"api=.rest.|API Enabled|this access"):
        extract(many_rows, root, sobject="Contact", fields=FIELDS, api="bulk")


def test_an_api_version_without_bulk_queries(many_rows: RunningOrg, root: UPath) -> None:
    client = many_rows.client(api_version="46.0")
    assert extract(many_rows, root, client=client, sobject="Contact", fields=FIELDS)["api"] == "rest"
    with pytest.raises(BulkUnsupportedError, match="set a newer api_version"):
        extract(many_rows, root, client=client, sobject="Contact", fields=FIELDS, api="bulk")


FAILURES = ["InternalServerError : Retried more than fifteen times", "Unexpected exception encountered in query", ""]


@pytest.mark.parametrize("message", FAILURES)
def test_a_job_that_failed_is_read_by_rest_when_the_api_is_auto(
    many_rows: RunningOrg, records: Records, root: UPath, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    many_rows.fail("job_create", job_error=message)
    manifest = extract(many_rows, root, sobject="Contact", fields=FIELDS)
    assert (manifest["api"], manifest["job_id"], manifest["rows"]) == ("rest", None, contacts(records))
    assert (message or "gave no reason") in caplog.text and "REST reads Contact instead" in caplog.text


def test_rest_is_not_tried_when_it_would_take_more_calls_than_are_left(
    start_org: Callable[..., RunningOrg], root: UPath
) -> None:
    org = start_org(daily_api_requests=40)
    org.fail("query", path="COUNT", set_json={"/totalSize": 100_000})
    org.fail("job_create", job_error="Retried more than fifteen times")
    with pytest.raises(JobFailedError):
        extract(org, root, sobject="Contact", fields=FIELDS)
    assert org.calls("query") == 1, "the count"
