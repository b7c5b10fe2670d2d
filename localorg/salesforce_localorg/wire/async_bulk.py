"""Bulk API 1.0 over HTTP, below /services/async: queries, and records that are inserted, updated, upserted or deleted.

Facts: Bulk API Developer Guide, "Jobs", "Batches", "Bulk Query" and "Errors"; which answers are XML, from what clients parse
(tap-salesforce, salesforce-bulk, simple-salesforce, jsforce). Timestamps in JSON results are milliseconds since 1970
(salesforce-protocol.md#bulk-api-10).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from html import unescape
from typing import Any
from xml.etree import ElementTree

from salesforce_localorg.async_jobs import AsyncBatch, AsyncJob, AsyncJobState
from salesforce_localorg.ids import full_id
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire import async_ingest
from salesforce_localorg.wire.access import bearer_token, check_api_enabled
from salesforce_localorg.wire.answers import CSV_TYPE, Answer, CsvFileAnswer, JsonAnswer, TextAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError
from salesforce_localorg.wire.limits import spend_api_request
from salesforce_localorg.wire.versions import check_version

NAMESPACE = "http://www.force.com/2009/06/asyncapi/dataload"
JSON, XML = "application/json", "application/xml"  # sent without a charset; salesforce-bulk compares the whole header
OPERATIONS = ("query", "queryAll")
CONTENT_TYPES = ("CSV", "JSON")
DEFAULT_CHUNK, LARGEST_CHUNK = 100_000, 250_000  # records
ENDS: Mapping[str, AsyncJobState] = {"Closed": "Closed", "Aborted": "Aborted"}
NO_RECORDS = (
    "Records not found for this query"  # in the place of a header row; CumulusCI, salesforcer and others read it
)
ELEMENT = re.compile(r"<(\w+)>([^<]*)</\1>")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
Handler = Callable[[ApiCall], Answer]


class _AsyncError(Exception):
    """A refused call: `{"exceptionCode", "exceptionMessage"}`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.payload = {"exceptionCode": code, "exceptionMessage": message}


def _admitted(handler: Handler) -> Handler:
    """The handler for callers with a session, its refusals in the words of this API."""

    def run(call: ApiCall) -> Answer:
        try:
            _admit(call)
            return handler(call)
        except _AsyncError as error:
            return _answer(call, "error", error.payload, status=400)
        except ApiError as error:
            told = error.payload[0]
            payload = {"exceptionCode": _camel(told["errorCode"]), "exceptionMessage": told["message"]}
            return _answer(call, "error", payload, status=error.status)

    return run


def _admit(call: ApiCall) -> None:
    org = call.org
    try:
        check_version(org.config, call.api_version, 0)
    except ApiError:
        # Help, "API versions 31.0 - 40.0 retirement": "Bulk API returns 400: InvalidVersion."
        raise _AsyncError("InvalidVersion", f"Api version {call.version} is not supported") from None
    token = call.headers.get("x-sfdc-session") or bearer_token(call.headers) or ""
    if org.sessions.use(token) is None:
        raise _AsyncError("InvalidSessionId", "Invalid session id")
    check_api_enabled(org)
    if not org.bulk_enabled:
        raise _AsyncError("FeatureNotEnabled", "Async API not enabled")
    spend_api_request(org)


def _camel(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))


@_admitted
def create_job(call: ApiCall) -> Answer:
    """POST /services/async/XX.X/job"""
    info = _job_info(call)
    operation, content_type = info.get("operation"), str(info.get("contentType", "XML")).upper()
    if operation == async_ingest.HARD_DELETE:
        raise _AsyncError("FeatureNotEnabled", async_ingest.NO_HARD_DELETE)
    known = (*OPERATIONS, *async_ingest.OPERATIONS)
    if operation not in known:
        raise _AsyncError("InvalidJob", f"The local org runs {', '.join(known)} jobs only; got {operation!r}.")
    if content_type not in CONTENT_TYPES:
        raise _AsyncError("InvalidJob", f"The local org writes results as {' and '.join(CONTENT_TYPES)} only.")
    sobject = call.find_sobject(str(info.get("object", "")))
    if sobject is None or not sobject.bulk:
        raise _AsyncError("InvalidEntity", f"Entity '{info.get('object')}' is not supported by the Bulk API.")
    mode = "Serial" if info.get("concurrencyMode") in ("Serial", 1) else "Parallel"
    job = call.org.async_jobs.create(
        str(operation),
        sobject.name,
        content_type,
        mode,
        call.api_version,
        call.org.run_as_user_id,
        None if info.get("externalIdFieldName") is None else str(info["externalIdFieldName"]),
    )
    job.chunk_size = _chunk_size(call) if operation in OPERATIONS else None
    return _answer(call, "jobInfo", _job_payload(call.org, job), status=201)


def _chunk_size(call: ApiCall) -> int | None:
    """What the header Sforce-Enable-PKChunking asks for (Bulk API Developer Guide, "PK Chunking Header")."""
    asked = call.headers.get("sforce-enable-pkchunking", "false").strip()
    if asked.lower() == "false":
        return None
    size = re.search(r"chunkSize\s*=\s*(\d{1,9})", asked, re.IGNORECASE)
    return min(max(int(size[1]), 1), LARGEST_CHUNK) if size else DEFAULT_CHUNK


@_admitted
def read_job(call: ApiCall) -> Answer:
    """GET /services/async/XX.X/job/{id}"""
    return _answer(call, "jobInfo", _job_payload(call.org, _job(call)))


@_admitted
def end_job(call: ApiCall) -> Answer:
    """POST /services/async/XX.X/job/{id} with the state Closed or Aborted"""
    job = _job(call)
    state = ENDS.get(str(_job_info(call).get("state")))
    if state is None:
        raise _AsyncError("InvalidJobState", "The state of a job can be set to Closed or Aborted only.")
    if job.state != "Open":
        raise _AsyncError("InvalidJobState", f"{state} is not a state that a job which is {job.state} can enter.")
    call.org.async_jobs.end(job, state)
    return _answer(call, "jobInfo", _job_payload(call.org, job))


@_admitted
def add_batch(call: ApiCall) -> Answer:
    """POST /services/async/XX.X/job/{id}/batch: the body is the query, or the records to save"""
    job = _job(call)
    if job.state != "Open":
        raise _AsyncError("InvalidJobState", f"A batch can be added to an open job only; this one is {job.state}.")
    known = len(job.batches)
    try:
        return _added(call, job)
    finally:
        call.org.usage.bulk_batches.add(len(job.batches) - known)


def _added(call: ApiCall, job: AsyncJob) -> Answer:
    soql = call.body.decode("utf-8", "replace").strip()
    if soql and job.operation in async_ingest.OPERATIONS:
        batch = _saved_batch(call, job)
        return _answer(call, "batchInfo", _batch_payload(call.org, job, batch, "Queued"), job, status=201)
    if not soql and job.operation in async_ingest.OPERATIONS:
        raise _AsyncError("ClientInputError", "The batch holds no records.")  # the code: jsforce's tests
    if not soql:
        raise _AsyncError("InvalidBatch", "The batch needs a query.")
    add = call.org.async_jobs.add_batch if job.chunk_size is None else call.org.async_jobs.add_chunks
    batch = add(job, soql, call.org.viewer)
    return _answer(call, "batchInfo", _batch_payload(call.org, job, batch, "Queued"), job, status=201)


def _saved_batch(call: ApiCall, job: AsyncJob) -> AsyncBatch:
    """The batch with its records saved; one that cannot be read fails as a whole."""
    batch = call.org.async_jobs.new_batch(call.body.decode("utf-8", "replace"))
    try:
        outcomes = async_ingest.save(call, job, async_ingest.read_records(call.body, job.content_type))
    except async_ingest.UnreadableBatchError as error:
        batch.error = f"InvalidBatch : {error}"
    else:
        as_json = job.content_type == "JSON"
        batch.saved = async_ingest.results_json(outcomes) if as_json else async_ingest.results_csv(outcomes)
        batch.rows, batch.failed_rows = len(outcomes), sum(1 for each in outcomes if each.error)
    job.batches[batch.id] = batch
    return batch


@_admitted
def list_batches(call: ApiCall) -> Answer:
    """GET /services/async/XX.X/job/{id}/batch"""
    job = _job(call)
    batches = [_batch_payload(call.org, job, each) for each in job.batches.values()]
    return _answer(call, "batchInfoList", {"batchInfo": batches}, job)


@_admitted
def read_batch(call: ApiCall) -> Answer:
    """GET /services/async/XX.X/job/{id}/batch/{id}"""
    job = _job(call)
    return _answer(call, "batchInfo", _batch_payload(call.org, job, _batch(call, job)), job)


@_admitted
def read_query(call: ApiCall) -> Answer:
    """GET /services/async/XX.X/job/{id}/batch/{id}/request: the query as it came"""
    return TextAnswer(200, {}, _batch(call, _job(call)).soql, CSV_TYPE)


@_admitted
def list_results(call: ApiCall) -> Answer:
    """GET /services/async/XX.X/job/{id}/batch/{id}/result: the ids of the result files, or what became of each record"""
    job = _job(call)
    batch = _completed(call, job)
    if isinstance(batch.saved, str):
        return TextAnswer(200, {}, batch.saved, CSV_TYPE)
    if batch.saved is not None:
        return JsonAnswer(200, {"Content-Type": JSON}, batch.saved)
    if _wants_json(call, job):
        return JsonAnswer(200, {"Content-Type": JSON}, list(batch.result_ids))
    return _xml("result-list", {"result": list(batch.result_ids)}, 200)


@_admitted
def read_result(call: ApiCall) -> Answer:
    """GET /services/async/XX.X/job/{id}/batch/{id}/result/{id}"""
    job = _job(call)
    batch = _completed(call, job)
    result_id = call.params["result_id"]
    if result_id not in batch.result_ids:
        raise _AsyncError("InvalidBatch", f"No result with the id {result_id} in this batch.")
    number = batch.result_ids.index(result_id)
    if batch.export is not None and batch.rows == 0:
        return TextAnswer(200, {}, NO_RECORDS, CSV_TYPE)
    if batch.export is not None:
        return CsvFileAnswer(200, {}, batch.export.pages[number].path)
    if batch.cursor is None:
        raise RuntimeError("A completed batch holds either pages or a cursor.")
    start, stop = call.org.async_jobs.page(batch, number)
    records = [_with_milliseconds(each) for each in batch.cursor.records(start, stop, job.api_version)]
    return JsonAnswer(200, {"Content-Type": JSON}, records)


def _with_milliseconds(value: Any) -> Any:
    """A record with its timestamps as milliseconds since 1970."""
    if isinstance(value, dict):
        return {key: _with_milliseconds(each) for key, each in value.items()}
    if isinstance(value, str) and TIMESTAMP.fullmatch(value):
        return int(datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() * 1000)
    return value


def stamp(when: datetime) -> str:
    """A datetime as this API writes it (Bulk API Developer Guide, "JobInfo"): `2026-11-23T02:00:17.000Z`."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _job(call: ApiCall) -> AsyncJob:
    job_id = call.params["job_id"]
    job = call.org.async_jobs.find(full_id(job_id))
    if job is None:
        raise _AsyncError("InvalidJob", f"Invalid job id: {job_id}")
    return job


def _batch(call: ApiCall, job: AsyncJob) -> AsyncBatch:
    batch_id = call.params["batch_id"]
    batch = job.batches.get(full_id(batch_id))
    if batch is None:
        raise _AsyncError("InvalidBatch", f"Invalid batch id: {batch_id}")
    return batch


def _completed(call: ApiCall, job: AsyncJob) -> AsyncBatch:
    batch = _batch(call, job)
    if call.org.async_jobs.state(job, batch) != "Completed":
        raise _AsyncError("InvalidBatch", "Batch not completed")
    return batch


def _job_info(call: ApiCall) -> Mapping[str, Any]:
    """What a jobInfo in JSON or XML says."""
    if JSON in call.headers.get("content-type", ""):
        try:
            info = json.loads(call.body)
        except (ValueError, RecursionError):
            info = None
        if not isinstance(info, dict):
            raise _AsyncError("InvalidJob", "The body is no JSON object.")
        return info
    text = call.body.decode("utf-8", "replace")
    if re.search(r"<jobInfo[\s>]", text) is None:
        raise _AsyncError("InvalidXML", "The body is no jobInfo.")
    return {name: unescape(value.strip()) for name, value in ELEMENT.findall(text)}


def _job_payload(org: LocalOrg, job: AsyncJob) -> dict[str, Any]:
    states = [org.async_jobs.state(job, each) for each in job.batches.values()]
    completed = [each for each, state in zip(job.batches.values(), states) if state == "Completed"]
    keyed = {} if job.external_id_field is None else {"externalIdFieldName": job.external_id_field}
    return {
        "id": job.id,
        "operation": job.operation,
        "object": job.sobject,
        "createdById": job.created_by,
        "createdDate": stamp(job.created),
        "systemModstamp": stamp(job.changed),
        "state": job.state,
        **keyed,
        "concurrencyMode": job.concurrency_mode,
        "contentType": job.content_type,
        "numberBatchesQueued": states.count("Queued"),
        "numberBatchesInProgress": states.count("InProgress"),
        "numberBatchesCompleted": states.count("Completed"),
        "numberBatchesFailed": states.count("Failed"),
        "numberBatchesTotal": len(states),
        "numberRecordsProcessed": sum(each.rows for each in completed),
        "numberRetries": 0,
        "apiVersion": float(job.api_version),
        "numberRecordsFailed": sum(each.failed_rows for each in completed),
        "totalProcessingTime": 0,
        "apiActiveProcessingTime": 0,
        "apexProcessingTime": 0,
    }


def _batch_payload(org: LocalOrg, job: AsyncJob, batch: AsyncBatch, state: str | None = None) -> dict[str, Any]:
    state = state or org.async_jobs.state(job, batch)
    told = {"stateMessage": batch.error} if state == "Failed" else {}
    return {
        "id": batch.id,
        "jobId": job.id,
        "state": state,
        **told,
        "createdDate": stamp(batch.created),
        "systemModstamp": stamp(batch.created),
        "numberRecordsProcessed": batch.rows if state == "Completed" else 0,
        "numberRecordsFailed": batch.failed_rows if state == "Completed" else 0,
        "totalProcessingTime": 0,
        "apiActiveProcessingTime": 0,
        "apexProcessingTime": 0,
    }


def _wants_json(call: ApiCall, job: AsyncJob | None) -> bool:
    """Batches are read in the format of their job, whatever the call's headers say; all else is answered as it came."""
    if job is None or call.method == "POST":
        return JSON in call.headers.get("content-type", "")
    return job.content_type == "JSON"


def _answer(
    call: ApiCall, name: str, payload: Mapping[str, Any], job: AsyncJob | None = None, *, status: int = 200
) -> Answer:
    if _wants_json(call, job):
        return JsonAnswer(status, {"Content-Type": JSON}, dict(payload))
    return _xml(name, payload, status)


def _xml(name: str, payload: Mapping[str, Any], status: int) -> Answer:
    root = ElementTree.Element(name, {"xmlns": NAMESPACE})
    _fill(root, payload)
    text = ElementTree.tostring(root, encoding="unicode")
    return TextAnswer(status, {}, f'<?xml version="1.0" encoding="UTF-8"?>{text}', XML)


def _fill(parent: ElementTree.Element, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            child = ElementTree.SubElement(parent, name)
            if isinstance(each, dict):
                _fill(child, each)
            else:
                child.text = str(each)
