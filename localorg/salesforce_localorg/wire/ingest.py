"""Bulk API 2.0 ingest jobs over HTTP.

Facts: Bulk API 2.0 Developer Guide, "Bulk API 2.0 Ingest". Records are saved when the upload is complete; the job's states
follow the org's timings from then on.
"""

from __future__ import annotations

import csv
import io
import json
from email import message_from_bytes
from typing import Any

from salesforce_localorg.ids import full_id
from salesforce_localorg.ingest_jobs import IngestJob, IngestRequest, IngestResults
from salesforce_localorg.result_pages import decode_locator, encode_locator
from salesforce_localorg.schema import SObject
from salesforce_localorg.wire import async_ingest
from salesforce_localorg.wire.answers import CSV_TYPE, Answer, JsonAnswer, TextAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.bulk import DELIMITERS, JOBS_PER_ANSWER, LINE_ENDINGS, choice, csv_format, heart
from salesforce_localorg.wire.errors import ApiError, not_found

MULTIPART = "multipart/form-data"
JOB_TYPE = "V2Ingest"
RECORDS_PER_BATCH = 10_000


class _UnreadableUploadError(Exception):
    """Why a job fails as a whole."""


def create(call: ApiCall) -> Answer:
    """POST /jobs/ingest; a multipart request brings the records along"""
    body, upload = _multipart(call) if _is_multipart(call) else (call.json_object(), None)
    request = _request(call, body)
    job = call.org.ingest_jobs.create(request, call.org.run_as_user_id)
    if upload is None:
        return JsonAnswer(payload={**_heart(job), **_content_url(job), **csv_format(job)})
    job.upload = upload
    _complete(call, job)
    return JsonAnswer(payload={**_heart(job), **csv_format(job)})


def _is_multipart(call: ApiCall) -> bool:
    return call.headers.get("content-type", "").lower().startswith(MULTIPART)


def _multipart(call: ApiCall) -> tuple[dict[str, Any], bytes]:
    """The parts `job` and `content`. Raises ApiError 400 where one is missing or unreadable."""
    head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode("latin-1", "replace")
    parts: dict[str, bytes] = {}
    for part in message_from_bytes(head + call.body).walk():
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            parts[name] = content
    try:
        job = json.loads(parts["job"])
        return (job if isinstance(job, dict) else {}), parts["content"]
    except (KeyError, ValueError, RecursionError) as error:
        message = f"A multipart request needs the parts job (JSON) and content (CSV): {error}"
        raise ApiError(400, "INVALID_INPUT", message) from None


def _request(call: ApiCall, body: dict[str, Any]) -> IngestRequest:
    if body.get("operation") == async_ingest.HARD_DELETE:
        raise ApiError(400, "FEATURENOTENABLED", async_ingest.NO_HARD_DELETE)
    operation = choice(body, "operation", async_ingest.OPERATIONS, None)
    choice(body, "contentType", ("CSV",), "CSV")
    delimiter = choice(body, "columnDelimiter", tuple(DELIMITERS), "COMMA")
    line_ending = choice(body, "lineEnding", tuple(LINE_ENDINGS), "LF")
    sobject = call.find_sobject(str(body.get("object", "")))
    if sobject is None or not sobject.bulk:
        raise ApiError(400, "INVALIDENTITY", f"Entity '{body.get('object')}' is not supported by the Bulk API.")
    key = _key(sobject, body.get("externalIdFieldName")) if operation == "upsert" else None
    return IngestRequest(
        operation,
        sobject.name,
        key,
        call.api_version,
        delimiter,
        DELIMITERS[delimiter],
        line_ending,
        LINE_ENDINGS[line_ending],
    )


def _key(sobject: SObject, name: Any) -> str:
    if not name:
        message = f"InvalidJob : External ID was blank for {sobject.name}. An External ID must be specified for upsert."
        raise ApiError(400, "INVALIDJOB", message)
    field = sobject.field(str(name))
    if field is None or not (field.external_id or field.id_lookup or field.type == "id"):
        message = (
            f"InvalidJob : Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for "
            f"{sobject.name}"
        )
        raise ApiError(400, "INVALIDJOB", message)
    return field.name


def upload(call: ApiCall) -> Answer:
    """PUT /jobs/ingest/{id}/batches: the whole CSV, once"""
    job = _job(call)
    if job.state != "Open":
        raise _wrong_state(f"Data can be uploaded to an open job only; this one is {job.state}.")
    if job.upload is not None:
        message = (
            f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the current Job then create a "
            "new Job and make sure you only do 'PUT' once on a given Job."
        )
        raise ApiError(400, "CLIENTINPUTERROR", message)
    job.upload = call.body
    return Answer(201)


def update(call: ApiCall) -> Answer:
    """PATCH /jobs/ingest/{id} with the state UploadComplete or Aborted"""
    job = _job(call)
    state = call.json_object().get("state")
    if state == "UploadComplete":
        _complete(call, job)
    elif state != "Aborted":
        raise ApiError(400, "INVALID_INPUT", "The state of an ingest job can be set to UploadComplete or Aborted only.")
    elif not call.org.ingest_jobs.abort(job):
        raise _wrong_state("Aborting already Completed Job not allowed")
    return JsonAnswer(payload=_heart(job))


def poll(call: ApiCall) -> Answer:
    """GET /jobs/ingest/{id}"""
    return JsonAnswer(payload=_status(_job(call, poll=True)))


def list_jobs(call: ApiCall) -> Answer:
    """GET /jobs/ingest"""
    start = decode_locator(call.query.get("queryLocator", encode_locator(0)))
    if start is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    jobs = call.org.ingest_jobs.all() if call.query.get("jobType", JOB_TYPE) == JOB_TYPE else []
    end = start + JOBS_PER_ANSWER
    done = end >= len(jobs)
    more = None if done else f"{call.data_path}/jobs/ingest?queryLocator={encode_locator(end)}"
    records = [{**_heart(job), "jobType": JOB_TYPE, **_content_url(job), **csv_format(job)} for job in jobs[start:end]]
    return JsonAnswer(payload={"done": done, "records": records, "nextRecordsUrl": more})


def delete(call: ApiCall) -> Answer:
    """DELETE /jobs/ingest/{id}"""
    if not call.org.ingest_jobs.delete(_job(call)):
        raise ApiError(400, "API_ERROR", "Error encountered when deleting the job because the job is not terminated")
    return Answer(204)


def successful(call: ApiCall) -> Answer:
    """GET /jobs/ingest/{id}/successfulResults"""
    return _results(call, "successful")


def failed(call: ApiCall) -> Answer:
    """GET /jobs/ingest/{id}/failedResults"""
    return _results(call, "failed")


def unprocessed(call: ApiCall) -> Answer:
    """GET /jobs/ingest/{id}/unprocessedrecords"""
    return _results(call, "unprocessed")


def _results(call: ApiCall, which: str) -> Answer:
    job = _job(call)
    if not job.finished:
        raise _wrong_state(f"The results are there once the job is finished; it is {job.state}.")
    results = job.results
    if results is None:  # aborted before anything was processed
        results = IngestResults("", "", (job.upload or b"").decode("utf-8", "replace"))
    return TextAnswer(200, {}, getattr(results, which), CSV_TYPE)


def _job(call: ApiCall, *, poll: bool = False) -> IngestJob:
    job = call.org.ingest_jobs.find(full_id(call.params["job_id"]), poll=poll)
    if job is None:
        raise not_found()
    return job


def _wrong_state(message: str) -> ApiError:
    return ApiError(400, "INVALIDJOBSTATE", message)


def _complete(call: ApiCall, job: IngestJob) -> None:
    """Take no more data, and save the records. Raises ApiError 400 for a job that is not open."""
    if not call.org.ingest_jobs.close(job):
        raise _wrong_state(f"The upload of a job which is {job.state} can not be completed.")
    text = (job.upload or b"").decode("utf-8-sig", "replace")
    try:
        job.results = _saved(call, job, text)
        call.org.usage.bulk_batches.add(-(-job.results.rows // RECORDS_PER_BATCH))
    except _UnreadableUploadError as error:
        job.error_message = str(error)
        job.results = IngestResults("", "", text)


def _saved(call: ApiCall, job: IngestJob, text: str) -> IngestResults:
    """Save the records of the CSV; one that cannot be saved holds up no other."""
    request = job.request
    sobject = call.org.schema.sobject(request.sobject)
    if sobject is None:
        raise _UnreadableUploadError(f"InvalidEntity : {request.sobject} is no longer there.")
    header, rows = _table(request, text)
    _check_header(sobject, header)
    outcomes = async_ingest.outcomes(call, request, sobject, [async_ingest.cells(header, row) for row in rows])
    good = [[each.id, _word(each.created), *row] for each, row in zip(outcomes, rows) if not each.error]
    bad = [[each.id, each.error, *row] for each, row in zip(outcomes, rows) if each.error]
    return IngestResults(
        _csv(request, ["sf__Id", "sf__Created"], header, good),
        _csv(request, ["sf__Id", "sf__Error"], header, bad),
        _csv(request, [], header, []),
        len(rows),
        len(bad),
    )


def _table(request: IngestRequest, text: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of an upload. Raises _UnreadableUploadError."""
    first_line = text.partition("\n")[0]
    if "\n" in text and first_line.endswith("\r") != (request.line_ending == "\r\n"):
        name = request.line_ending_name
        message = f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {name}"
        raise _UnreadableUploadError(message)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=request.delimiter, strict=True))
    except csv.Error as error:
        raise _UnreadableUploadError(f"ClientInputError : Failed to parse CSV: {error}") from None
    rows = [row for row in table[1:] if row]
    header = table[0] if table else []
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            message = f"InvalidBatch : Row {number} has {len(row)} cells, and the header {len(header)}."
            raise _UnreadableUploadError(message)
    return header, rows


def _check_header(sobject: SObject, header: list[str]) -> None:
    for name in header:
        relationship, _, _ = name.rpartition(":")[2].partition(".")
        if sobject.field(name) is None and not ("." in name and sobject.parent_field(relationship)):
            raise _UnreadableUploadError(f"InvalidBatch : Field name not found : {name}")


def _csv(request: IngestRequest, own: list[str], header: list[str], rows: list[list[str]]) -> str:
    """The job's own columns, quoted, before those of the upload, whose names are written as they came."""
    names = [*(f'"{name}"' for name in own), *header]
    written = io.StringIO()
    written.write(request.delimiter.join(names) + request.line_ending)
    settings: dict[str, Any] = {"delimiter": request.delimiter, "lineterminator": request.line_ending}
    csv.writer(written, quoting=csv.QUOTE_ALL, **settings).writerows(rows)
    return written.getvalue()


def _word(value: bool) -> str:
    return "true" if value else "false"


def _heart(job: IngestJob) -> dict[str, Any]:
    """The keys that every response about a job starts with."""
    key = job.request.external_id_field
    return heart(job) if key is None else heart(job, externalIdFieldName=key)


def _content_url(job: IngestJob) -> dict[str, Any]:
    """Where to upload to, relative to the instance URL; only an open job has it."""
    path = f"services/data/v{job.request.api_version}/jobs/ingest/{job.id}/batches"
    return {"contentUrl": path} if job.state == "Open" else {}


def _status(job: IngestJob) -> dict[str, Any]:
    status = {**_heart(job), "jobType": JOB_TYPE, **_content_url(job), **csv_format(job)}
    if job.state != "Open":
        done = job.results if job.finished else None
        status["numberRecordsProcessed"] = done.rows if done else 0
        status["numberRecordsFailed"] = done.failed_rows if done else 0
    status |= {"retries": 0, "totalProcessingTime": 0, "apiActiveProcessingTime": 0, "apexProcessingTime": 0}
    if job.error_message is not None and job.state == "Failed":
        status["errorMessage"] = job.error_message
    return status
