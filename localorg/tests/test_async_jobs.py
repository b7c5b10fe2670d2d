"""Bulk API 1.0 queries: Bulk API Developer Guide, "Bulk Query"."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests
from caller import PAGE_ROWS, ROWS, Caller, Serve, csv_rows

from salesforce_localorg.async_jobs import KEPT
from salesforce_localorg.jobs import BulkTimings

JOBS = "/services/async/67.0/job"
JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml; charset=UTF-8"}
CSV = {"Content-Type": "text/csv"}
SOQL = "SELECT Id, Name, CreatedDate, AnnualRevenue FROM Account"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
JOB_ID = re.compile(r"<id>(750\w{15})</id>")


@pytest.fixture
def by_session(caller: Caller) -> Caller:
    """A caller as these clients are: the token in a header of this API's own."""
    token = str(caller.session.headers.pop("Authorization")).removeprefix("Bearer ")
    caller.session.headers["X-SFDC-Session"] = token
    return caller


def create(caller: Caller, content_type: str, operation: str = "query", sobject: str = "Account") -> requests.Response:
    info = {"operation": operation, "object": sobject, "contentType": content_type, "concurrencyMode": 0}
    return caller.post(JOBS, json=info)


def batch_of(
    caller: Caller, soql: str, content_type: str, operation: str = "query", sobject: str = "Account"
) -> tuple[str, str]:
    """The path of a batch with the query, and of its job."""
    job = f"{JOBS}/{create(caller, content_type, operation, sobject).json()['id']}"
    batch = caller.post(f"{job}/batch", data=soql.encode(), headers=JSON).json()
    return f"{job}/batch/{batch['id']}", job


def told_of(caller: Caller, batch: str) -> dict[str, Any]:
    """What the org tells of a batch, in JSON or XML."""
    answer = caller.get(batch, headers=JSON)
    if answer.headers["Content-Type"] == "application/json":
        found: dict[str, Any] = answer.json()
        return found
    return dict(re.findall(r"<(\w+)>([^<]*)</\1>", answer.text))


def results(caller: Caller, batch: str) -> list[requests.Response]:
    listed = caller.get(f"{batch}/result")
    ids = re.findall(r"752\w{15}", listed.text)
    return [caller.get(f"{batch}/result/{each}") for each in ids]


def test_life_of_a_json_job(by_session: Caller) -> None:
    created = create(by_session, "JSON")
    assert (created.status_code, created.headers["Content-Type"]) == (201, "application/json")
    info = created.json()
    assert info["id"].startswith("750")
    expected = {"operation": "query", "object": "Account", "contentType": "JSON", "state": "Open", "apiVersion": 67.0}
    assert {name: info[name] for name in expected} == expected

    added = by_session.post(f"{JOBS}/{info['id']}/batch", data=SOQL, headers=JSON)
    assert (added.status_code, added.json()["state"], added.json()["jobId"]) == (201, "Queued", info["id"])
    closed = by_session.post(f"{JOBS}/{info['id']}", json={"state": "Closed"}).json()
    assert (closed["state"], closed["numberBatchesTotal"]) == ("Closed", 1)
    batch = f"{JOBS}/{info['id']}/batch/{added.json()['id']}"
    assert by_session.get(batch).json()["state"] == "Completed"
    assert by_session.get(batch).json()["numberRecordsProcessed"] == by_session.org.records.count("Account")
    assert by_session.get(f"{batch}/request").text == SOQL
    assert [each["state"] for each in by_session.get(f"{JOBS}/{info['id']}/batch").json()["batchInfo"]] == ["Completed"]


def test_json_results_are_records_with_milliseconds(by_session: Caller) -> None:
    batch, _ = batch_of(by_session, SOQL + " ORDER BY Id", "JSON")

    files = [each.json() for each in results(by_session, batch)]
    assert len(files[0]) == PAGE_ROWS
    rows = [row for each in files for row in each]
    assert len(rows) == by_session.org.records.count("Account")
    by_rest = by_session.org.records.get("Account", rows[0]["Id"], viewer=by_session.org.viewer)
    assert by_rest is not None
    assert rows[0]["AnnualRevenue"] == by_rest["AnnualRevenue"]
    moment = timedelta(milliseconds=rows[0]["CreatedDate"])
    assert by_rest["CreatedDate"] == f"{(EPOCH + moment):%Y-%m-%dT%H:%M:%S.000+0000}"


def test_csv_results_equal_those_of_bulk_api_2(by_session: Caller) -> None:
    batch, _ = batch_of(by_session, SOQL + " ORDER BY Id", "CSV")
    files = results(by_session, batch)
    token = str(by_session.session.headers["X-SFDC-Session"])
    by_session.use(token)

    job = by_session.finished_job(SOQL + " ORDER BY Id")
    assert {each.headers["Content-Type"] for each in files} == {"text/csv; charset=UTF-8"}
    read = [csv_rows(each.content.decode()) for each in files]
    assert read == [page.rows for page in by_session.pages(job["id"])]


def test_deleted_records_come_with_query_all(by_session: Caller) -> None:
    batch, _ = batch_of(by_session, "SELECT Id FROM Account", "JSON", operation="queryAll")

    assert sum(len(each.json()) for each in results(by_session, batch)) == ROWS["Account"]


def test_no_rows(by_session: Caller) -> None:
    none = "SELECT Id FROM Account WHERE Name = 'nobody'"

    assert [each.json() for each in results(by_session, batch_of(by_session, none, "JSON")[0])] == [[]]
    found = results(by_session, batch_of(by_session, none, "CSV")[0])
    assert [each.text for each in found] == ["Records not found for this query"]


def test_answers_are_xml_for_those_who_speak_it(by_session: Caller) -> None:
    """As jsforce does; Singer's taps read batches of CSV jobs as XML although their headers say JSON."""
    info = '<jobInfo xmlns="…"><operation>query</operation><object>Account</object><contentType>CSV</contentType></jobInfo>'
    created = by_session.post(JOBS, data=info.encode(), headers=XML)

    assert (created.status_code, created.headers["Content-Type"]) == (201, "application/xml")
    assert created.text.startswith(
        '<?xml version="1.0" encoding="UTF-8"?><jobInfo xmlns="http://www.force.com/2009/06/asyncapi/dataload"><id>'
    )
    found = JOB_ID.search(created.text)
    assert found is not None
    job = f"{JOBS}/{found[1]}"
    added = by_session.post(f"{job}/batch", data=SOQL, headers=CSV)
    batch_id = re.findall(r"<id>(751\w{15})</id>", added.text)[0]
    assert "<state>Completed</state>" in by_session.get(f"{job}/batch/{batch_id}", headers=JSON).text
    assert by_session.get(f"{job}/batch").text.count("<batchInfo>") == 1
    assert "<result-list " in by_session.get(f"{job}/batch/{batch_id}/result", headers=JSON).text
    closed = by_session.post(job, data="<jobInfo><state>Closed</state></jobInfo>", headers=XML)
    assert "<state>Closed</state>" in closed.text


def test_a_query_that_cannot_be_run_fails_its_batch(by_session: Caller) -> None:
    batch, job = batch_of(by_session, "SELECT Foo FROM Account", "JSON")

    told = by_session.get(batch).json()
    assert told["state"] == "Failed"
    assert told["stateMessage"].startswith("InvalidBatch : Failed to process query: INVALID_FIELD: ")
    assert by_session.get(job, headers=JSON).json()["numberBatchesFailed"] == 1
    assert "<numberBatchesFailed>1</numberBatchesFailed>" in by_session.get(job).text
    assert by_session.get(f"{batch}/result").status_code == 400


def test_states_follow_the_clock(serve: Serve) -> None:
    caller = serve(bulk_timings=BulkTimings(upload_seconds=60, in_progress_seconds=60))
    caller.org.clock.freeze()
    batch, job = batch_of(caller, SOQL, "JSON")

    def state() -> Any:
        return caller.get(batch).json()["state"]

    assert state() == "Queued"
    caller.org.clock.advance(timedelta(seconds=61))
    assert state() == "InProgress"
    assert caller.get(f"{batch}/result", headers=JSON).json()["exceptionCode"] == "InvalidBatch"
    caller.org.clock.advance(timedelta(seconds=60))
    assert state() == "Completed"
    caller.org.clock.advance(timedelta(days=8))
    caller.log_in()
    assert caller.get(job).status_code == 400


def test_the_oldest_of_many_jobs_is_forgotten(by_session: Caller) -> None:
    batch, job = batch_of(by_session, "SELECT Id FROM Account", "JSON")
    assert by_session.get(f"{batch}/result").status_code == 200

    for _ in range(KEPT):
        create(by_session, "JSON")
    assert by_session.get(job).status_code == 400


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b'{"operation": "hardDelete", "object": "Account", "contentType": "CSV"}', JSON, "FeatureNotEnabled"),
        (b'{"operation": "query", "object": "Account", "contentType": "XML"}', JSON, "InvalidJob"),
        (b'{"operation": "query", "object": "CaseStatus", "contentType": "CSV"}', JSON, "InvalidEntity"),
        (b'{"operation": "query", "object": "Nope__c", "contentType": "CSV"}', JSON, "InvalidEntity"),
        (b"[]", JSON, "InvalidJob"),
        (b"{", JSON, "InvalidJob"),
        (b"", XML, "InvalidXML"),
        (b"<jobInfo/>", XML, "InvalidXML"),
        (b"\xff\xfe", {}, "InvalidXML"),
    ],
)
def test_jobs_that_are_refused(by_session: Caller, body: bytes, headers: Mapping[str, str], code: str) -> None:
    answer = by_session.post(JOBS, data=body, headers=dict(headers))

    assert answer.status_code == 400
    assert code in answer.text


def test_a_closed_job_takes_no_more(by_session: Caller) -> None:
    batch, job = batch_of(by_session, SOQL, "JSON")
    by_session.post(job, json={"state": "Aborted"})

    for path, body in ((f"{job}/batch", SOQL), (job, '{"state": "Closed"}'), (job, '{"state": "Nonsense"}')):
        answer = by_session.post(path, data=body, headers=JSON)
        assert (answer.status_code, answer.json()["exceptionCode"]) == (400, "InvalidJobState")
    for path in (f"{JOBS}/750000000000001AAA", f"{job}/batch/751x", f"{batch}/result/752x"):
        assert by_session.get(path, headers=JSON).status_code == 400


def test_callers_without_a_session_or_without_bulk(by_session: Caller) -> None:
    by_session.org.bulk_enabled = False
    try:
        switched_off = create(by_session, "JSON")
    finally:
        by_session.org.bulk_enabled = True
    by_session.session.headers["X-SFDC-Session"] = "nonsense"

    assert switched_off.status_code == 400
    assert switched_off.json() == {"exceptionCode": "FeatureNotEnabled", "exceptionMessage": "Async API not enabled"}
    refused = create(by_session, "JSON")
    assert (refused.status_code, refused.json()["exceptionCode"]) == (400, "InvalidSessionId")


@pytest.mark.parametrize(
    ("soql", "content_type", "message"),
    [
        (
            "SELECT Id, BillingAddress FROM Account",
            "CSV",
            "InvalidBatch : Failed to process query: FUNCTIONALITY_NOT_ENABLED: Selecting compound data not supported in "
            "Bulk Query",
        ),
        (
            "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
            "CSV",
            "FeatureNotEnabled : Aggregate Relationships not supported in Bulk Query with CSV content type",
        ),
        (
            "SELECT Id FROM Contact",
            "JSON",
            "InvalidBatch : Failed to process query: INVALID_TYPE_FOR_OPERATION: The root entity of the requested query "
            "(Contact) does not match the entity of the requested Bulk API Job (Account)",
        ),
    ],
)
def test_refused_queries_fail_their_batch(by_session: Caller, soql: str, content_type: str, message: str) -> None:
    """The query tests of salesforcer."""
    batch, _ = batch_of(by_session, soql, content_type)
    told = told_of(by_session, batch)

    assert (told["state"], told["stateMessage"]) == ("Failed", message)


def test_json_takes_what_csv_cannot_hold(by_session: Caller) -> None:
    soql = "SELECT Id, (SELECT Id FROM OpportunityContactRoles) FROM Opportunity LIMIT 1"
    batch, _ = batch_of(by_session, soql, "JSON", sobject="Opportunity")

    assert told_of(by_session, batch)["state"] == "Completed"
    (found,) = results(by_session, batch)
    assert set(found.json()[0]) == {"attributes", "Id", "OpportunityContactRoles"}


def test_stamps_end_in_z(by_session: Caller) -> None:
    """Bulk API Developer Guide, "JobInfo"."""
    batch, _ = batch_of(by_session, SOQL, "CSV")

    told = told_of(by_session, batch)["createdDate"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", told)


def test_typeof_in_json(serve: Serve) -> None:
    """Bulk API Developer Guide, "Bulk Query": TYPEOF is for JSON."""
    caller = serve(own_rows={"User": 2, "Lead": 3})
    soql = "SELECT Id, TYPEOF Owner WHEN User THEN Username END FROM Lead"
    batch, _ = batch_of(caller, soql, "JSON", sobject="Lead")

    (found,) = results(caller, batch)
    assert {each["Owner"]["attributes"]["type"] for each in found.json()} <= {"User", "Group"}


def saved(caller: Caller, operation: str, body: str, content_type: str = "CSV", **info: str) -> list[dict[str, Any]]:
    """What became of each record of a batch."""
    headers = {"X-SFDC-Session": str(caller.session.headers["Authorization"]).removeprefix("Bearer ")}
    job_info = {"operation": operation, "object": "Account", "contentType": content_type, **info}
    job = caller.post(JOBS, json=job_info, headers=headers).json()
    sent = CSV if content_type == "CSV" else JSON
    added = caller.post(f"{JOBS}/{job['id']}/batch", data=body.encode(), headers={**headers, **sent})
    batch_id = re.findall(r"751\w{15}", added.text)[0]
    answer = caller.get(f"{JOBS}/{job['id']}/batch/{batch_id}/result", headers=headers)
    if content_type == "JSON":
        found: list[dict[str, Any]] = answer.json()
        return found
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_records_are_saved_by_batches(serve: Serve) -> None:
    """jsforce: `conn.bulk.load("Account", "insert", …)`; Bulk API Developer Guide, "Get Batch Results"."""
    caller = serve(own_rows={"User": 2, "Account": 2, "Invoice__c": 2})
    made = saved(caller, "insert", 'Name,Phone\n"one",555\n"two",\n,556\n')
    ids = [each["Id"] for each in made]

    assert [(each["Success"], each["Created"]) for each in made] == [("true", "true")] * 2 + [("false", "false")]
    assert made[2]["Error"] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"
    changed = saved(caller, "update", f"Id,Name,Phone\n{ids[0]},uno,#N/A\n001000000000000AAA,x,\n")
    assert [each["Success"] for each in changed] == ["true", "false"]
    row = caller.get(f"/sobjects/Account/{ids[0]}").json()
    assert (row["Name"], row["Phone"]) == ("uno", None)
    gone = saved(caller, "delete", json.dumps([{"Id": ids[0]}, {"Id": "nonsense"}]), "JSON")
    assert [each["success"] for each in gone] == [True, False]
    assert gone[1]["errors"][0]["statusCode"] == "MALFORMED_ID"
    keyed = {"object": "Invoice__c", "externalIdFieldName": "External_Id__c"}
    first = saved(caller, "upsert", "External_Id__c,Amount__c\nk,1\n", **keyed)
    again = saved(caller, "upsert", "External_Id__c,Amount__c\nk,2\n", **keyed)
    assert (first[0]["Created"], again[0]["Created"]) == ("true", "false")
    assert first[0]["Id"] == again[0]["Id"]


def test_batches_that_are_no_records_fail(serve: Serve) -> None:
    caller = serve(own_rows={"User": 2, "Account": 2})
    job = caller.post(
        JOBS,
        json={"operation": "insert", "object": "Account", "contentType": "CSV"},
        headers={"X-SFDC-Session": str(caller.session.headers["Authorization"]).removeprefix("Bearer ")},
    ).json()
    empty = caller.post(f"{JOBS}/{job['id']}/batch", data="", headers=CSV)
    assert (empty.status_code, "ClientInputError" in empty.text) == (400, True)
    added = caller.post(f"{JOBS}/{job['id']}/batch", data='Name\n"torn', headers=CSV)
    batch = re.findall(r"751\w{15}", added.text)[0]

    told = told_of(caller, f"{JOBS}/{job['id']}/batch/{batch}")
    assert told["state"] == "Failed"
    assert told["stateMessage"].startswith("InvalidBatch : Failed to parse the batch")
