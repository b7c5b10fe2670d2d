"""Bulk API 2.0 query jobs as their developer guide and other people's captures show them."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from caller import Caller

from documented.exchange import JSON, RECORD_ID, STAMP, Each, Exchange, Headers, Some
from salesforce_localorg.jobs import BulkTimings

GUIDE = "Bulk API 2.0 guide"
SOQL = "SELECT Id, Name FROM Account"
JOB_ID = re.compile(r"750[A-Za-z0-9]{15}")
HEART = {
    "id": JOB_ID,
    "operation": "query",
    "object": "Account",
    "createdById": re.compile(r"005[A-Za-z0-9]{15}"),
    "createdDate": STAMP,
    "systemModstamp": STAMP,
    "concurrencyMode": "Parallel",
    "contentType": "CSV",
    "apiVersion": 67.0,
}
FORMAT = {"lineEnding": "LF", "columnDelimiter": "COMMA"}
CREATED = {**HEART, **FORMAT, "state": "UploadComplete"}
POLLED = {
    **HEART,
    **FORMAT,
    "jobType": "V2Query",
    "retries": 0,
    "totalProcessingTime": int,
    "isPkChunkingSupported": bool,
    "numberRecordsProcessed": int,
}
RESULTS: Headers = {
    "Content-Type": re.compile(r"text/csv; ?charset=UTF-8", re.IGNORECASE),
    "Transfer-Encoding": "chunked",
    "Sforce-Limit-Info": re.compile(r"api-usage=\d+/100000"),
}
NOT_FOUND = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]
NOT_COMPLETE = (
    "can only download query results of successfully completed bulk job with status: JOB_COMPLETE. Current status: "
)


def error(code: str, message: Any) -> list[dict[str, Any]]:
    return [{"message": message, "errorCode": code}]


def finished(caller: Caller) -> dict[str, str]:
    return {"job": caller.finished_job(SOQL)["id"]}


def short_id(caller: Caller) -> dict[str, str]:
    return {"short": finished(caller)["job"][:15]}


def running(caller: Caller) -> dict[str, str]:
    caller.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    return {"job": caller.create_job(SOQL).json()["id"]}


def empty(caller: Caller) -> dict[str, str]:
    return {"job": caller.finished_job("SELECT Id, Name FROM Lead")["id"]}


def deleted(caller: Caller) -> dict[str, str]:
    names = finished(caller)
    assert caller.call("DELETE", f"/jobs/query/{names['job']}").status_code == 204
    return names


def second_page(caller: Caller) -> dict[str, str]:
    names = finished(caller)
    return {**names, "locator": caller.page(names["job"]).locator}


def last_page(caller: Caller) -> dict[str, str]:
    names = finished(caller)
    return {**names, "locator": caller.pages(names["job"])[-2].locator}


def more_links(caller: Caller) -> dict[str, str]:
    names = finished(caller)
    return {**names, "more": caller.get(f"/jobs/query/{names['job']}/resultPages").json()["nextRecordsUrl"]}


def create(source: str, soql: str = SOQL, *, body: Any = CREATED, status: int = 200, **more: Any) -> Exchange:
    job = {"operation": "query", "query": soql, **more.pop("also", {})}
    return Exchange(source, "POST /jobs/query", status, body, json=job, headers={"Content-Type": JSON}, **more)


def refused(source: str, soql: str, code: str, message: Any, **more: Any) -> Exchange:
    return create(source, soql, body=error(code, message), status=400, **more)


LINK = re.compile(r"/services/data/v67\.0/jobs/query/750[A-Za-z0-9]{15}/results\?locator=[A-Za-z0-9_-]+")
EXCHANGES = [
    create(f"{GUIDE}, Create a Query Job, salesforce-protocol.md#create-a-job"),
    create(
        f"{GUIDE}, Create a Query Job, queryAll",
        also={"operation": "queryAll", "contentType": "CSV", "columnDelimiter": "PIPE", "lineEnding": "CRLF"},
        body={**CREATED, "operation": "queryAll", "columnDelimiter": "PIPE", "lineEnding": "CRLF"},
    ),
    create("salesforce-protocol.md#create-a-job, ORDER BY and LIMIT are allowed", f"{SOQL} ORDER BY Name LIMIT 5"),
    Exchange(
        f"{GUIDE}, Get Information About a Query Job, running",
        "GET /jobs/query/{job}",
        body={**POLLED, "state": "InProgress"},
        prepare=running,
    ),
    Exchange(
        f"{GUIDE}, Get Information About a Query Job, complete, salesforce-protocol.md#job-states",
        "GET /jobs/query/{job}",
        body={**POLLED, "state": "JobComplete"},
        prepare=finished,
    ),
    Exchange("record ids of 15 characters", "GET /jobs/query/{short}", body=Some({"state": str}), prepare=short_id),
    Exchange("salesforce-protocol.md#job-states, unknown job", "GET /jobs/query/750R0000000zxikIAA", 404, NOT_FOUND),
    Exchange(
        "salesforce-protocol.md#job-states, deleted job", "GET /jobs/query/{job}", 404, NOT_FOUND, prepare=deleted
    ),
    Exchange(
        f"{GUIDE}, Get Results, first page, salesforce-protocol.md#result-pages",
        "GET /jobs/query/{job}/results",
        body=re.compile(r'(?s)"Id","Name"\n"001[A-Za-z0-9]{15}","(?:.*)"\n'),
        headers={**RESULTS, "Sforce-Locator": re.compile(r"[A-Za-z0-9_-]+"), "Sforce-NumberOfRecords": "60"},
        given={"Accept": "text/csv"},
        prepare=finished,
    ),
    Exchange(
        f"{GUIDE}, Get Results, maxRecords",
        "GET /jobs/query/{job}/results?maxRecords=7",
        headers={**RESULTS, "Sforce-Locator": "Nw", "Sforce-NumberOfRecords": "7"},
        prepare=finished,
    ),
    Exchange(
        f"{GUIDE}, Get Results, header row on every page",
        "GET /jobs/query/{job}/results?locator={locator}",
        body=re.compile(r'(?s)"Id","Name"\n.*'),
        headers={"Sforce-NumberOfRecords": "60"},
        prepare=second_page,
    ),
    Exchange(
        f"{GUIDE}, Get Results, last page says null",
        "GET /jobs/query/{job}/results?locator={locator}",
        headers={**RESULTS, "Sforce-Locator": "null", "Sforce-NumberOfRecords": re.compile(r"[1-9]\d?")},
        prepare=last_page,
    ),
    Exchange(
        f"{GUIDE}, Get Results, gzip",
        "GET /jobs/query/{job}/results",
        body=re.compile(r'(?s)"Id","Name"\n.*'),
        headers={"Content-Encoding": "gzip"},
        given={"Accept-Encoding": "gzip"},
        prepare=finished,
    ),
    Exchange(
        f"{GUIDE}, Get Results, not compressed",
        "GET /jobs/query/{job}/results",
        body=re.compile(r'(?s)"Id","Name"\n.*'),
        headers={"Content-Encoding": None},
        given={"Accept-Encoding": "identity"},
        prepare=finished,
    ),
    Exchange(
        "salesforcer's tests against a real org, salesforce-protocol.md#csv-dialect: no rows",
        "GET /jobs/query/{job}/results",
        body='"Id","Name"\n',
        headers={**RESULTS, "Sforce-Locator": "null", "Sforce-NumberOfRecords": "0"},
        prepare=empty,
    ),
    Exchange(
        "salesforce-protocol.md#result-pages, not complete",
        "GET /jobs/query/{job}/results",
        412,
        error("JOB_NOT_COMPLETE", NOT_COMPLETE + "IN_PROGRESS"),
        prepare=running,
    ),
    Exchange(
        "salesforce-protocol.md#result-pages, not complete in other releases",
        "GET /jobs/query/{job}/results",
        204,
        "",
        prepare=running,
        settings={"incomplete_results_status": 204},
    ),
    Exchange(
        f"{GUIDE}, another API version", "GET /services/data/v66.0/jobs/query/{job}/results", 409, prepare=finished
    ),
    Exchange(
        f"{GUIDE}, another API version",
        "GET /services/data/v66.0/jobs/query/{job}/resultPages",
        409,
        prepare=finished,
    ),
    Exchange(
        f"{GUIDE}, Get Parallel Results, salesforce-protocol.md#parallel-results",
        "GET /jobs/query/{job}/resultPages",
        body={
            "resultPages": [{"resultUrl": LINK}] * 5,
            "nextRecordsUrl": re.compile(
                r"/services/data/v67\.0/jobs/query/750[A-Za-z0-9]{15}/resultpages\?locator=[A-Za-z0-9_-]+"
            ),
            "done": False,
        },
        prepare=finished,
    ),
    Exchange(
        f"{GUIDE}, Get Parallel Results, the lower-case link",
        "GET {more}",
        body=Some({"resultPages": Each({"resultUrl": LINK}), "done": True}),
        prepare=more_links,
    ),
    Exchange(
        f"{GUIDE}, Abort a Query Job, salesforce-protocol.md#abort-and-delete",
        "PATCH /jobs/query/{job}",
        body={**HEART, "state": "Aborted"},
        json={"state": "Aborted"},
        prepare=running,
    ),
    Exchange(
        f"{GUIDE}, Abort a Query Job, complete",
        "PATCH /jobs/query/{job}",
        400,
        error("INVALIDJOBSTATE", "Aborting already Completed Job not allowed"),
        json={"state": "Aborted"},
        prepare=finished,
    ),
    Exchange(f"{GUIDE}, Delete a Query Job", "DELETE /jobs/query/{job}", 204, "", prepare=finished),
    Exchange(
        f"{GUIDE}, Delete a Query Job, running",
        "DELETE /jobs/query/{job}",
        400,
        error("API_ERROR", "Error encountered when deleting the job because the job is not terminated"),
        prepare=running,
    ),
    Exchange(
        f"{GUIDE}, Get Information About All Query Jobs",
        "GET /jobs/query?jobType=V2Query",
        body={
            "done": True,
            "records": Each(
                Some({"id": RECORD_ID, "operation": str, "object": str, "state": str, "jobType": "V2Query"})
            ),
            "nextRecordsUrl": None,
        },
        prepare=finished,
    ),
    refused(
        "salesforcer's tests against a real org, salesforce-protocol.md#job-errors",
        "SELECT Id, BillingAddress FROM Account",
        "API_ERROR",
        "Selecting compound data not supported in Bulk Query",
    ),
    refused(
        "salesforcer's tests against a real org, salesforce-protocol.md#job-errors",
        "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
        "API_ERROR",
        "Aggregate Relationships not supported in Bulk V2 Query with CSV content type",
    ),
    refused(
        "Singer's tap, salesforce-protocol.md#job-errors",
        "SELECT Id FROM CaseStatus",
        "INVALIDENTITY",
        "Entity 'CaseStatus' is not supported by the Bulk API.",
    ),
    refused(
        "salesforce-protocol.md#job-errors",
        "SELECT Id FORM Account",
        "MALFORMED_QUERY",
        re.compile(r"(?s).*unexpected token: 'FORM'.*"),
    ),
    refused(
        "salesforce-protocol.md#job-errors",
        "SELECT Foo FROM Account",
        "INVALID_FIELD",
        re.compile(r"(?s).*No such column 'Foo'.*"),
    ),
    refused(
        "salesforce-protocol.md#job-errors",
        "SELECT Id FROM Foo__c",
        "INVALID_TYPE",
        re.compile(r"(?s).*'Foo__c' is not supported.*"),
    ),
    refused(f"{GUIDE}, aggregates are refused", "SELECT COUNT(Id) FROM Account", "API_ERROR", re.compile(".+")),
    refused(f"{GUIDE}, OFFSET is refused", f"{SOQL} OFFSET 5", "API_ERROR", re.compile(".+")),
    refused(
        "Airbyte's tests, salesforce-protocol.md#job-errors",
        SOQL,
        "LIMIT_EXCEEDED",
        "Max bulk v2 query jobs (0) per 24 hrs has been reached (1)",
        settings={"daily_bulk_query_jobs": 0},
    ),
    refused(
        "estuary connector, salesforce-protocol.md#job-errors",
        SOQL,
        "LIMIT_EXCEEDED",
        "Max bulk v2 query result size stored (0) kb per 24 hrs has been exceeded",
        settings={"daily_bulk_result_kilobytes": 0},
    ),
]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_documented_exchange(documented_org: Caller, exchange: Exchange) -> None:
    exchange.perform(documented_org)


def test_values_in_the_documented_dialect(documented_org: Caller) -> None:
    """salesforce-protocol.md#csv-dialect: E-notation from 1e7 on, milliseconds and Z, true, empty for null, doubled quotes."""
    values = {"Name": 'a "b"\nc', "AnnualRevenue": 16147805824397, "NumberOfEmployees": 5, "BillingLatitude": 5}
    made = documented_org.post("/sobjects/Account", json=values).json()["id"]
    columns = "Name, AnnualRevenue, NumberOfEmployees, BillingLatitude, CreatedDate, IsDeleted, Site, Owner.Name"
    job = documented_org.finished_job(f"SELECT {columns} FROM Account WHERE Id = '{made}'")
    text = documented_org.get(f"/jobs/query/{job['id']}/results").content.decode()

    head, row = csv.reader(io.StringIO(text, newline=""))
    assert head == columns.split(", ")
    assert row[:4] == ['a "b"\nc', "1.6147805824397E13", "5", "5.0"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", row[4])
    assert row[5:7] == ["false", ""]
    assert '"a ""b""\nc","1.6147805824397E13","5","5.0"' in text
    assert text.endswith('"\n')
    assert not text.startswith("\ufeff")
