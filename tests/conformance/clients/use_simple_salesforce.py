"""Runs under any Python that has simple-salesforce: a task as JSON comes in, what the client read goes out as JSON."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceError,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

Task = dict[str, Any]
csv.field_size_limit(1 << 24)


def main() -> None:
    task = json.load(sys.stdin)
    done = {"log_in": log_in, "read": read, "edit": edit, "look_around": look_around}[task["do"]](task)
    json.dump({"version": version("simple-salesforce"), **done}, sys.stdout)


def connect(task: Task) -> Salesforce:
    """Log in by client credentials; the host name is taken apart the way the client wants it."""
    return Salesforce(
        consumer_key=task["consumer_key"],
        consumer_secret=task["consumer_secret"],
        domain=task["my_domain_host"].removesuffix(".salesforce.com"),
        version=task["api_version"],
    )


def log_in(task: Task) -> dict[str, Any]:
    """What the client makes of the refusals of the token endpoint."""

    def refusal(**changed: str) -> list[str]:
        try:
            connect({**task, **changed})
        except SalesforceAuthenticationFailed as error:
            return [str(error.code), str(error.auth_message)]
        return []

    return {
        "wrong_key": refusal(consumer_key="3MVG9nobody"),
        "wrong_secret": refusal(consumer_secret="wrong"),
        "right": refusal(),
    }


def read(task: Task) -> dict[str, Any]:
    """The whole object in every way the client knows."""
    org = connect(task)
    soql = task["soql"]
    bulk = getattr(org.bulk2, task["sobject"])
    rows_per_page = task["max_records"]
    with tempfile.TemporaryDirectory() as folder:
        pages = bulk.download(soql, path=folder, max_records=rows_per_page, wait=0.1)
        download = [row for page in pages for row in csv_rows(Path(page["file"]).read_bytes().decode())]
    bulk1 = getattr(org.bulk, task["sobject"])
    return {
        "query_all": list(org.query_all(soql)["records"]),
        "query_all_iter": list(org.query_all_iter(soql)),
        "query_all_with_deleted": list(org.query_all(soql, include_deleted=True)["records"]),
        "bulk2_query": bulk_rows(bulk.query(soql, max_records=rows_per_page, wait=0.1)),
        "bulk2_query_all": bulk_rows(bulk.query_all(soql, max_records=rows_per_page, wait=0.1)),
        "bulk2_download": download,
        "bulk1_query": bulk1.query(soql, wait=0.1),
        "bulk1_query_all": [row for page in bulk1.query_all(soql, lazy_operation=True, wait=0.1) for row in page],
        "bulk2_pages": len(pages),
    }


def bulk_rows(pages: Iterable[Any]) -> list[dict[str, str]]:
    return [row for page in pages for row in csv_rows(page)]


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def edit(task: Task) -> dict[str, Any]:
    """A record's whole life."""
    org = connect(task)
    accounts: Any = org.Account
    start = datetime.now(timezone.utc) - timedelta(minutes=5)
    created = accounts.create(task["values"])
    record_id = created["id"]
    first = accounts.get(record_id)
    updated = accounts.update(record_id, task["changes"])
    second = accounts.get(record_id)
    end = datetime.now(timezone.utc) + timedelta(minutes=2)
    touched = accounts.updated(start, end)["ids"]
    deleted = accounts.delete(record_id)
    gone = refused(lambda: accounts.get(record_id), SalesforceResourceNotFound)
    return {
        "created": created,
        "first": first,
        "updated": updated,
        "second": second,
        "updated_ids": touched,
        "deleted": deleted,
        "deleted_records": accounts.deleted(start, end)["deletedRecords"],
        "gone": gone,
        "found_after": org.query(f"SELECT Id FROM Account WHERE Id = '{record_id}'")["totalSize"],
        "unknown_field": refused(lambda: accounts.create({"Nonsense__c": 1}), SalesforceMalformedRequest),
    }


def refused(call: Any, kind: type[SalesforceError]) -> Any:
    try:
        call()
    except kind as error:
        return {"status": error.status, "content": error.content}
    raise AssertionError(f"{kind.__name__} was not raised")


def look_around(task: Task) -> dict[str, Any]:
    """Describes, limits, usage, bad queries, and a session that has ended."""
    org = connect(task)
    everything = org.describe()
    accounts: Any = org.Account
    bad_query = refused(lambda: org.query("SELECT Nonsense FROM Account"), SalesforceMalformedRequest)
    metadata = accounts.metadata()
    limits = org.limits()
    usage = org.api_usage["api-usage"]
    expired = Salesforce(session_id="00D!dead", instance=task["my_domain_host"], version=task["api_version"])
    return {
        "sobjects": [each["name"] for each in everything["sobjects"]] if everything else [],
        "fields": [field["name"] for field in accounts.describe()["fields"]],
        "metadata": metadata["objectDescribe"]["name"],
        "limits": limits["DailyApiRequests"],
        "usage": [usage.used, usage.total],
        "is_sandbox": org.is_sandbox(),
        "bad_query": bad_query,
        "expired": refused(lambda: expired.query("SELECT Id FROM Account"), SalesforceExpiredSession),
    }


if __name__ == "__main__":
    main()
