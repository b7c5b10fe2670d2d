"""Bulk API 2.0 query jobs: creation, states, results, pages in all shapes, abort, delete, limits."""

from __future__ import annotations

import gzip
import time
from datetime import timedelta
from typing import Any

import pytest
import requests
from caller import PAGE_ROWS, ROWS, Caller, Serve

from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.result_pages import decode_locator, encode_locator, record_ends

SOQL = "SELECT Id, Name, BillingStreet FROM Account"
CREATED = [
    "id",
    "operation",
    "object",
    "createdById",
    "createdDate",
    "systemModstamp",
    "state",
    "concurrencyMode",
    "contentType",
    "apiVersion",
]
FORMAT = ["lineEnding", "columnDelimiter"]
COUNTERS = ["numberRecordsProcessed", "retries", "totalProcessingTime", "isPkChunkingSupported"]


def rows_by_rest(caller: Caller) -> list[list[str]]:
    records = caller.query(SOQL).json()["records"]
    return [[record["Id"], record["Name"] or "", record["BillingStreet"] or ""] for record in records]


def test_created_job_answers_with_the_documented_keys(caller: Caller) -> None:
    answer = caller.create_job(SOQL)

    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == CREATED + FORMAT
    assert body["id"].startswith("750")
    assert len(body["id"]) == 18
    assert (body["state"], body["object"], body["operation"]) == ("UploadComplete", "Account", "query")
    assert body["apiVersion"] == 67.0
    assert (body["lineEnding"], body["columnDelimiter"], body["contentType"]) == ("LF", "COMMA", "CSV")


def test_finished_job_tells_its_counters(caller: Caller) -> None:
    status = caller.finished_job(SOQL)

    assert list(status) == [*CREATED, "jobType", *FORMAT, *COUNTERS]
    assert status["state"] == "JobComplete"
    assert status["numberRecordsProcessed"] == len(rows_by_rest(caller))


def test_rows_equal_those_of_rest_whatever_the_page_size(caller: Caller) -> None:
    expected = sorted(rows_by_rest(caller))
    job_id = caller.finished_job(SOQL)["id"]

    for size in ({}, {"maxRecords": PAGE_ROWS}, {"maxRecords": 17}, {"maxRecords": 100}, {"maxRecords": 10_000}):
        pages = caller.pages(job_id, **size)
        assert all(page.rows[0] == ["Id", "Name", "BillingStreet"] for page in pages)
        assert [page.claimed for page in pages] == [len(page.rows) - 1 for page in pages]
        assert all(page.claimed == size["maxRecords"] for page in pages[:-1] if size)
        assert sorted(row for page in pages for row in page.rows[1:]) == expected


def test_pages_are_chunked_and_packed_only_when_asked(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    path = f"/jobs/query/{job_id}/results"

    plain = caller.get(path, headers={"Accept-Encoding": "identity"})
    with caller.get(path, headers={"Accept-Encoding": "gzip"}, stream=True) as packed:
        raw = packed.raw.read(decode_content=False)
    assert plain.headers["Content-Type"] == "text/csv; charset=UTF-8"
    assert plain.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert plain.content.startswith(b'"Id","Name","BillingStreet"\n')
    assert plain.content.endswith(b'"\n')


def test_page_can_be_read_again(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    second = caller.page(job_id).locator

    assert caller.page(job_id, locator=second) == caller.page(job_id, locator=second)


def test_line_ending_and_delimiter(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL, lineEnding="CRLF", columnDelimiter="SEMICOLON")["id"]

    text = caller.get(f"/jobs/query/{job_id}/results", params={"maxRecords": 7}).content
    assert text.startswith(b'"Id";"Name";"BillingStreet"\r\n')
    assert text.endswith(b'"\r\n')


def test_query_all_brings_deleted_rows(caller: Caller) -> None:
    created = caller.post("/jobs/query", json={"operation": "queryAll", "query": SOQL})

    assert caller.wait(created.json()["id"])["numberRecordsProcessed"] == ROWS["Account"]


def test_no_rows_leave_the_header(caller: Caller) -> None:
    status = caller.finished_job("SELECT Id, Name FROM Lead")

    page = caller.page(status["id"])
    assert status["numberRecordsProcessed"] == 0
    assert (page.rows, page.locator, page.claimed) == ([["Id", "Name"]], "null", 0)
    assert len(caller.get(f"/jobs/query/{status['id']}/resultPages").json()["resultPages"]) == 1


def test_no_rows_may_leave_nothing(serve: Serve) -> None:
    caller = serve(empty_results_header=False)

    page = caller.page(caller.finished_job("SELECT Id, Name FROM Lead")["id"])
    assert (page.rows, page.locator, page.claimed) == ([], "null", 0)


def test_documented_result_pages_come_in_fives(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    path: str | None = f"/jobs/query/{job_id}/resultPages"
    links: list[str] = []
    sizes: list[int] = []
    while path is not None:
        body = caller.get(path).json()
        sizes.append(len(body["resultPages"]))
        links += [each["resultUrl"] for each in body["resultPages"]]
        path = body.get("nextRecordsUrl")
        assert body["done"] is (path is None)
        assert path is None or path.startswith(f"/services/data/v67.0/jobs/query/{job_id}/resultpages?locator=")

    assert sizes == [5, len(links) - 5]
    assert all(link.startswith(f"/services/data/v67.0/jobs/query/{job_id}/results?locator=") for link in links)
    parts = [caller.get(link) for link in links]
    claimed = [int(part.headers["Sforce-NumberOfRecords"]) for part in parts]
    assert claimed[:-1] == [PAGE_ROWS] * (len(links) - 1)
    assert sum(claimed) == len(rows_by_rest(caller))


def test_observed_result_pages_link_relative_to_the_version(serve: Serve) -> None:
    caller = serve(result_pages_shape="observed")
    job_id = caller.finished_job(SOQL)["id"]

    first = caller.get(f"/jobs/query/{job_id}/resultPages").json()
    assert list(first) == ["resultChunks", "nextRecordsUrl", "done"]
    last = caller.get(first["nextRecordsUrl"]).json()
    assert last["nextRecordsUrl"] is None
    links = [each["resultLink"] for each in first["resultChunks"] + last["resultChunks"]]
    assert links[0].startswith(f"/jobs/query/{job_id}/results?locator=")
    claimed = [int(caller.get(link).headers["Sforce-NumberOfRecords"]) for link in links]
    assert sum(claimed) == len(rows_by_rest(caller))


def test_absent_result_pages(serve: Serve) -> None:
    caller = serve(result_pages_shape="absent")

    assert caller.get(f"/jobs/query/{caller.finished_job(SOQL)['id']}/resultPages").status_code == 404


def test_result_pages_may_honour_the_page_size(serve: Serve) -> None:
    caller = serve(result_pages_honour_max_records=True)
    job_id = caller.finished_job(SOQL)["id"]

    body = caller.get(f"/jobs/query/{job_id}/resultPages", params={"maxRecords": 200}).json()
    claimed = [int(caller.get(each["resultUrl"]).headers["Sforce-NumberOfRecords"]) for each in body["resultPages"]]
    assert claimed == [200, 200, len(rows_by_rest(caller)) - 400]


def test_states_follow_the_clock(serve: Serve) -> None:
    caller = serve(bulk_timings=BulkTimings(upload_seconds=60, in_progress_seconds=600))
    job_id = caller.create_job(SOQL).json()["id"]
    path = f"/jobs/query/{job_id}"

    assert caller.get(path).json()["state"] == "UploadComplete"
    caller.org.clock.advance(timedelta(seconds=61))
    assert caller.get(path).json()["state"] == "InProgress"
    time.sleep(0.5)
    caller.org.clock.advance(timedelta(seconds=300))
    half = caller.get(path).json()
    assert half["state"] == "InProgress"
    assert 0 < half["numberRecordsProcessed"] < len(rows_by_rest(caller))
    caller.org.clock.advance(timedelta(seconds=300))
    assert caller.wait(job_id)["state"] == "JobComplete"


def test_states_follow_the_polls(serve: Serve) -> None:
    caller = serve(bulk_timings=BulkTimings(upload_polls=1, in_progress_polls=2))
    job_id = caller.create_job(SOQL).json()["id"]
    time.sleep(0.5)

    states = [caller.get(f"/jobs/query/{job_id}").json()["state"] for _ in range(4)]
    assert states == ["UploadComplete", "InProgress", "InProgress", "JobComplete"]


@pytest.mark.parametrize("resource", ["results", "resultPages"])
def test_unfinished_job_has_no_results(serve: Serve, resource: str) -> None:
    caller = serve(bulk_timings=BulkTimings(in_progress_seconds=600))
    job_id = caller.create_job(SOQL).json()["id"]

    answer = caller.get(f"/jobs/query/{job_id}/{resource}")
    assert answer.status_code == 412
    assert answer.json()[0]["errorCode"] == "JOB_NOT_COMPLETE"
    assert answer.json()[0]["message"].endswith("Current status: IN_PROGRESS")


def test_unfinished_job_may_answer_no_content(serve: Serve) -> None:
    caller = serve(bulk_timings=BulkTimings(in_progress_seconds=600), incomplete_results_status=204)
    job_id = caller.create_job(SOQL).json()["id"]

    answer = caller.get(f"/jobs/query/{job_id}/results")
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("resource", ["results", "resultPages"])
def test_results_want_the_version_of_the_job(caller: Caller, resource: str) -> None:
    job_id = caller.finished_job(SOQL)["id"]

    assert caller.get(f"/services/data/v66.0/jobs/query/{job_id}/{resource}").status_code == 409
    assert caller.get(f"/services/data/v66.0/jobs/query/{job_id}").status_code == 200


def test_abort_stops_a_job_for_good(serve: Serve) -> None:
    caller = serve(bulk_timings=BulkTimings(in_progress_seconds=600))
    job_id = caller.create_job(SOQL).json()["id"]

    answer = caller.call("PATCH", f"/jobs/query/{job_id}", json={"state": "Aborted"})
    assert answer.status_code == 200
    assert list(answer.json()) == CREATED
    assert answer.json()["state"] == "Aborted"
    caller.org.clock.advance(timedelta(hours=1))
    assert caller.get(f"/jobs/query/{job_id}").json()["state"] == "Aborted"
    assert caller.get(f"/jobs/query/{job_id}/results").status_code == 412


def test_finished_job_cannot_be_aborted(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]

    answer = caller.call("PATCH", f"/jobs/query/{job_id}", json={"state": "Aborted"})
    assert answer.status_code == 400
    assert answer.json() == [{"message": "Aborting already Completed Job not allowed", "errorCode": "INVALIDJOBSTATE"}]


@pytest.mark.parametrize("state", ["JobComplete", "", None, 5])
def test_only_abort_changes_a_job(caller: Caller, state: Any) -> None:
    job_id = caller.finished_job(SOQL)["id"]

    answer = caller.call("PATCH", f"/jobs/query/{job_id}", json={"state": state})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_INPUT")


def test_deleted_job_is_gone(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]

    assert caller.call("DELETE", f"/jobs/query/{job_id}").status_code == 204
    for method, path in (("GET", ""), ("GET", "/results"), ("GET", "/resultPages"), ("DELETE", "")):
        answer = caller.call(method, f"/jobs/query/{job_id}{path}")
        assert answer.status_code == 404
        assert answer.json() == [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}]


def test_running_job_cannot_be_deleted(serve: Serve) -> None:
    caller = serve(bulk_timings=BulkTimings(in_progress_seconds=600))
    job_id = caller.create_job(SOQL).json()["id"]

    answer = caller.call("DELETE", f"/jobs/query/{job_id}")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "API_ERROR")


def test_jobs_are_listed(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]

    body = caller.get("/jobs/query", params={"jobType": "V2Query"}).json()
    assert body["done"] is True
    assert body["nextRecordsUrl"] is None
    assert job_id in {job["id"] for job in body["records"]}
    assert caller.get("/jobs/query", params={"jobType": "Classic"}).json()["records"] == []


def test_jobs_are_kept_seven_days(serve: Serve) -> None:
    caller = serve(session_idle_seconds=1e7)
    job_id = caller.finished_job(SOQL)["id"]

    caller.org.clock.advance(timedelta(days=6, hours=23))
    assert caller.get(f"/jobs/query/{job_id}/results").status_code == 200
    caller.org.clock.advance(timedelta(hours=2))
    assert caller.get(f"/jobs/query/{job_id}").status_code == 404


def test_jobs_per_day_are_limited(serve: Serve) -> None:
    caller = serve(daily_bulk_query_jobs=2)
    assert [caller.create_job(SOQL).status_code for _ in range(2)] == [200, 200]

    answer = caller.create_job(SOQL)
    assert answer.status_code == 400
    message = "Max bulk v2 query jobs (2) per 24 hrs has been reached (3)"
    assert answer.json() == [{"message": message, "errorCode": "LIMIT_EXCEEDED"}]


def test_result_storage_per_day_is_limited(serve: Serve) -> None:
    caller = serve(daily_bulk_result_kilobytes=1)
    caller.finished_job(SOQL)

    answer = caller.create_job(SOQL)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "LIMIT_EXCEEDED")
    assert answer.json()[0]["message"] == "Max bulk v2 query result size stored (1) kb per 24 hrs has been exceeded"


@pytest.mark.parametrize(
    ("soql", "code", "message"),
    [
        ("SELECT BillingAddress FROM Account", "API_ERROR", "Selecting compound data not supported in Bulk Query"),
        (
            "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
            "API_ERROR",
            "Aggregate Relationships not supported in Bulk V2 Query with CSV content type",
        ),
        ("SELECT Id FROM CaseStatus", "INVALIDENTITY", "Entity 'CaseStatus' is not supported by the Bulk API."),
        ("SELECT Nonsense FROM Account", "INVALID_FIELD", None),
        ("SELECT Id FROM Nonsense", "INVALID_TYPE", None),
        ("SELECT Id FORM Account", "MALFORMED_QUERY", None),
        ("SELECT COUNT() FROM Account", None, None),
        ("SELECT COUNT(Id) FROM Account", None, None),
        ("SELECT Id FROM Account OFFSET 5", None, None),
    ],
)
def test_queries_that_bulk_refuses(caller: Caller, soql: str, code: str | None, message: str | None) -> None:
    answer = caller.create_job(soql)

    assert answer.status_code == 400
    assert code is None or answer.json()[0]["errorCode"] == code
    assert message is None or answer.json()[0]["message"] == message


@pytest.mark.parametrize(
    "changed",
    [
        {"operation": "insert"},
        {"operation": None},
        {"operation": []},
        {"contentType": "JSON"},
        {"columnDelimiter": ";"},
        {"lineEnding": "CR"},
        {"query": ""},
        {"query": None},
        {"query": {"a": 1}},
    ],
)
def test_settings_that_bulk_refuses(caller: Caller, changed: dict[str, Any]) -> None:
    answer = caller.post("/jobs/query", json={"operation": "query", "query": SOQL, **changed})

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_INPUT")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_no_json_objects(caller: Caller, body: bytes) -> None:
    answer = caller.post("/jobs/query", data=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")


@pytest.mark.parametrize(
    "params",
    [
        {"locator": "!!"},
        {"locator": ""},
        {"locator": encode_locator(10**6)},
        {"locator": "LTU"},
        {"locator": "é"},
        {"maxRecords": "0"},
        {"maxRecords": "-5"},
        {"maxRecords": "many"},
        {"maxRecords": "9" * 40},
        {"maxRecords": "٣"},
    ],
)
def test_malformed_result_parameters(caller: Caller, params: dict[str, str]) -> None:
    job_id = caller.finished_job(SOQL)["id"]

    assert caller.get(f"/jobs/query/{job_id}/results", params=params).status_code == 400


def test_many_jobs_at_once(caller: Caller) -> None:
    ids = [caller.create_job(SOQL).json()["id"] for _ in range(8)]

    assert len(set(ids)) == 8
    assert {caller.wait(job_id)["state"] for job_id in ids} == {"JobComplete"}


def test_download_survives_the_deletion_of_its_job(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    with requests.get(
        caller.url(f"/jobs/query/{job_id}/results"), headers=dict(caller.session.headers), stream=True, timeout=10
    ) as answer:
        caller.call("DELETE", f"/jobs/query/{job_id}")
        assert answer.content.count(b'"\n') >= PAGE_ROWS


def test_record_ends_see_through_quoted_newlines() -> None:
    header = b'"A","B"\n'
    first = b'"x ""\n""\n","\r\n"\n'
    second = b'"""\n""","\n"\n'

    ends = list(record_ends(header + first + second))
    assert ends == [len(header), len(header + first), len(header + first + second)]


def test_locators_look_like_the_documented_examples() -> None:
    assert encode_locator(10_000) == "MTAwMDA"
    assert decode_locator("MTAwMDA") == 10_000
    assert decode_locator("MTAwMDA=") == 10_000
