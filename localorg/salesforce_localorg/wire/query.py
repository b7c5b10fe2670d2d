"""query, queryAll and queryMore.

Facts: REST API Developer Guide, "Query" and "QueryAll"; help article 000384958 for the locators.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from salesforce_localorg.locators import RecordList
from salesforce_localorg.records import Cursor
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError
from salesforce_localorg.wire.permissions import asks_for_permissions, permission_record

SMALLEST_BATCH = 200
LARGEST_BATCH = 2000


def query(call: ApiCall) -> Answer:
    """GET /query?q=, with &columns=true for what its columns are, or ?explain="""
    if "explain" in call.query and "q" not in call.query:
        return _explain(call, call.query["explain"])
    return _first_page(call, include_deleted=False)


def query_all(call: ApiCall) -> Answer:
    """GET /queryAll?q=: deleted rows that are still in the recycle bin come too"""
    return _first_page(call, include_deleted=True)


def _explain(call: ApiCall, soql: str) -> Answer:
    """The plan of a query; the local org has one way only, reading the whole table (salesforce-protocol.md#rest-queries)."""
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


def recent(call: ApiCall) -> Answer:
    """GET /recent: what the user looked at last, which for one who never opens a page is nothing"""
    return JsonAnswer(payload=[])


def query_more(call: ApiCall) -> Answer:
    """GET /query/0r8…-2000; the same locator may be read again"""
    found = call.org.locators.find(call.params["locator"])
    if found is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    open_query, offset = found
    call.org.locators.drop_children(open_query.key)
    return _page(call, open_query.cursor, open_query.batch, offset, open_query.key)


def _first_page(call: ApiCall, include_deleted: bool) -> Answer:
    soql = call.query.get("q")
    if soql is None or not soql.strip():
        raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
    if asks_for_permissions(soql):
        return JsonAnswer(payload=permission_record(call.org, soql))
    if call.query.get("columns", "").lower() == "true":
        return JsonAnswer(payload=call.org.records.column_metadata(soql, viewer=call.org.viewer))
    cursor = call.org.records.open_cursor(
        soql, include_deleted=include_deleted, viewer=call.org.viewer, encode_as=call.api_version
    )
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


def _page(call: ApiCall, cursor: Cursor | RecordList, batch: int, offset: int, key: str | None) -> Answer:
    """The rows from `offset`; `key` is the locator's, None for a first page, whose cursor gets one if rows are left."""
    total = cursor.total_size
    wanted = _wanted(call, batch, total, offset)
    if cursor.long_texts >= 2:
        wanted = min(wanted, SMALLEST_BATCH)
    stop = min(offset + wanted, total)
    encoded = cursor.encoded(offset, stop)
    records = [] if encoded is not None else _granted(cursor.records(offset, stop, call.api_version), wanted)
    end = stop if encoded is not None else offset + len(records)
    # "When using OFFSET, only the first batch of records is returned"; there is no locator for the rest.
    total = end if cursor.skips_rows else total
    payload: dict[str, Any] = {"totalSize": total, "done": end >= total}
    if end < total:
        key = key or call.org.locators.keep(cursor, batch).key
        payload["nextRecordsUrl"] = f"{call.data_path}/query/{key}-{end}"
    elif key is None:
        cursor.close()
    if len(records) == 1 and _children(records[0]) >= wanted:
        records = [_with_child_pages(call, records[0], wanted, key)]
    if encoded is None:
        return JsonAnswer(payload={**payload, "records": records})
    head = json.dumps(payload, separators=(",", ":"))[:-1]
    return JsonAnswer(encoded=b"".join((head.encode(), b',"records":[', encoded, b"]}")))


def _wanted(call: ApiCall, batch: int, total: int, offset: int) -> int:
    if not call.org.config.uneven_pages:
        return batch
    # "There is no guarantee that the requested batch size is the actual batch size."
    draw = hashlib.sha256(f"{call.org.config.seed}:{total}:{offset}".encode()).digest()[0]
    return max(1, batch * (64 + draw) // 320)


def _granted(records: list[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
    """As many of the records as one batch holds, in which children count too."""
    used = 0
    for index, record in enumerate(records):
        used += 1 + _children(record)
        if used > wanted and index > 0:
            return records[:index]
    return records


def _with_child_pages(call: ApiCall, record: dict[str, Any], batch: int, key: str | None) -> dict[str, Any]:
    """A record whose children fill the batch: what does not fit is read through a locator of the children's own."""
    room = batch - 1
    paged = {}
    for name, value in record.items():
        if isinstance(value, dict) and "records" in value:
            children = value["records"]
            if len(children) > room:
                rest = call.org.locators.keep(RecordList(children), batch, parent=key)
                more = f"{call.data_path}/query/{rest.key}-{room}"
                value = {**value, "done": False, "nextRecordsUrl": more, "records": children[:room]}
            room -= min(room, len(children))
        paged[name] = value
    return paged


def _children(record: dict[str, Any]) -> int:
    return sum(len(value["records"]) for value in record.values() if isinstance(value, dict) and "records" in value)
