"""query, queryAll and queryMore.

Facts: REST API Developer Guide, "Query" and "QueryAll"; help article 000384958 for the locators.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from airflow_sfcc.localorg.records import Cursor
from airflow_sfcc.localorg.schema import SObject
from airflow_sfcc.localorg.wire.answers import Answer, JsonAnswer
from airflow_sfcc.localorg.wire.api_call import ApiCall
from airflow_sfcc.localorg.wire.errors import ApiError
from airflow_sfcc.localorg.wire.permissions import asks_for_permissions, permission_record

SMALLEST_BATCH = 200
LARGEST_BATCH = 2000
LONG_TEXT = 255


def query(call: ApiCall) -> Answer:
    """GET /query?q=, or ?explain="""
    if "explain" in call.query and "q" not in call.query:
        return _explain(call, call.query["explain"])
    return _first_page(call, include_deleted=False)


def query_all(call: ApiCall) -> Answer:
    """GET /queryAll?q=: deleted rows that are still in the recycle bin come too"""
    return _first_page(call, include_deleted=True)


def _explain(call: ApiCall, soql: str) -> Answer:
    """The plan of a query; the local org has one way only, reading the whole table (reference 2.3)."""
    cursor = call.org.records.open_cursor(soql, include_deleted=False, viewer=call.org.viewer)
    rows, sobject = cursor.total_size, cursor.sobject.name
    cursor.close()
    plan = {
        "cardinality": rows,
        "fields": [],
        "leadingOperationType": "TableScan",
        "notes": [],
        "relativeCost": 1.0,
        "sobjectCardinality": call.org.records.count(sobject),
        "sobjectType": sobject,
    }
    return JsonAnswer(payload={"plans": [plan], "sourceQuery": soql})


def query_more(call: ApiCall) -> Answer:
    """GET /query/0r8…-2000; the same locator may be read again"""
    found = call.org.locators.find(call.params["locator"])
    if found is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    open_query, offset = found
    return _page(call, open_query.cursor, open_query.batch, offset, open_query.key)


def _first_page(call: ApiCall, include_deleted: bool) -> Answer:
    soql = call.query.get("q")
    if soql is None or not soql.strip():
        raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
    if asks_for_permissions(soql):
        return JsonAnswer(payload=permission_record(call.org, soql))
    cursor = call.org.records.open_cursor(soql, include_deleted=include_deleted, viewer=call.org.viewer)
    if cursor.kind == "count":
        cursor.close()
        return JsonAnswer(payload={"totalSize": cursor.total_size, "done": True, "records": []})
    batch = _batch(call)
    if cursor.kind == "aggregate" and cursor.total_size > batch:
        cursor.close()
        raise ApiError(
            400,
            "EXCEEDED_ID_LIMIT",
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch",
        )
    return _page(call, cursor, batch, 0, None)


def _batch(call: ApiCall) -> int:
    """The page size asked for, within what Salesforce grants."""
    asked = re.search(r"batchSize\s*=\s*(\d{1,9})", call.headers.get("sforce-query-options", ""), re.IGNORECASE)
    size = int(asked[1]) if asked else call.org.config.query_batch
    return min(max(size, SMALLEST_BATCH), LARGEST_BATCH)


def _page(call: ApiCall, cursor: Cursor, batch: int, offset: int, key: str | None) -> Answer:
    """The rows from `offset`; `key` is the locator's, None for a first page, whose cursor gets one if rows are left."""
    total = cursor.total_size
    wanted = _wanted(call, batch, total, offset)
    records = cursor.records(offset, min(offset + wanted, total), call.api_version)
    records = _granted(records, cursor.sobject, wanted)
    end = offset + len(records)
    payload: dict[str, Any] = {"totalSize": total, "done": end >= total}
    if end < total:
        key = key or call.org.locators.keep(cursor, batch).key
        payload["nextRecordsUrl"] = f"{call.data_path}/query/{key}-{end}"
    elif key is None:
        cursor.close()
    payload["records"] = records
    return JsonAnswer(payload=payload)


def _wanted(call: ApiCall, batch: int, total: int, offset: int) -> int:
    if not call.org.config.uneven_pages:
        return batch
    # "There is no guarantee that the requested batch size is the actual batch size."
    draw = hashlib.sha256(f"{call.org.config.seed}:{total}:{offset}".encode()).digest()[0]
    return max(1, batch * (64 + draw) // 320)


def _granted(records: list[dict[str, Any]], sobject: SObject, wanted: int) -> list[dict[str, Any]]:
    """As many of the records as one batch holds: children count too, and two long texts make batches small."""
    limit = min(wanted, SMALLEST_BATCH) if _long_texts(records, sobject) >= 2 else wanted
    used = 0
    for index, record in enumerate(records):
        used += 1 + _children(record)
        if used > limit and index > 0:
            return records[:index]
    return records


def _long_texts(records: list[dict[str, Any]], sobject: SObject) -> int:
    names = records[0] if records else {}
    fields = [sobject.field(name) for name in names if name.lower().endswith("__c")]
    return sum(1 for field in fields if field is not None and field.type == "textarea" and field.length > LONG_TEXT)


def _children(record: dict[str, Any]) -> int:
    return sum(len(value["records"]) for value in record.values() if isinstance(value, dict) and "records" in value)
