"""Bulk API 2.0 query jobs over HTTP.

Facts: Bulk API 2.0 Developer Guide, "Bulk API 2.0 Query"; shapes that documents and recorded clients tell differently
follow the configuration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from salesforce_localorg.bulk_jobs import BulkJob, JobRequest
from salesforce_localorg.ids import full_id
from salesforce_localorg.ingest_jobs import IngestJob
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.result_pages import JobResults, decode_locator, encode_locator
from salesforce_localorg.wire.answers import Answer, CsvFileAnswer, JsonAnswer, TextAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, not_found

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
OPERATIONS = ("query", "queryAll")
PAGES_PER_ANSWER = 5
JOBS_PER_ANSWER = 1000
STATUS_WORDS = {
    "UploadComplete": "UPLOAD_COMPLETE",
    "InProgress": "IN_PROGRESS",
    "Failed": "FAILED",
    "Aborted": "ABORTED",
}


def create(call: ApiCall) -> Answer:
    """POST /jobs/query"""
    org = call.org
    body = call.json_object()
    operation = choice(body, "operation", OPERATIONS, None)
    choice(body, "contentType", ("CSV",), "CSV")
    delimiter = choice(body, "columnDelimiter", tuple(DELIMITERS), "COMMA")
    line_ending = choice(body, "lineEnding", tuple(LINE_ENDINGS), "LF")
    soql = body.get("query")
    if not isinstance(soql, str) or not soql.strip():
        raise ApiError(400, "INVALID_INPUT", "The job needs a query.")
    viewer = org.viewer
    sobject = org.records.check_bulk(soql, viewer=viewer)
    _spend_job(org)
    request = JobRequest(
        operation,
        soql,
        sobject.name,
        call.api_version,
        delimiter,
        DELIMITERS[delimiter],
        line_ending,
        LINE_ENDINGS[line_ending],
    )
    errors = [fault.job_error for fault in call.faults if fault.job_error is not None]
    job = org.bulk_jobs.create(request, viewer, errors[-1] if errors else None)
    return JsonAnswer(payload={**heart(job), "state": "UploadComplete", **csv_format(job)})


def choice(body: dict[str, Any], name: str, choices: tuple[str, ...], default: str | None) -> str:
    """A setting of a job that is one of a few. Raises ApiError 400 for any other."""
    value = body.get(name, default)
    if value not in choices:
        raise ApiError(400, "INVALID_INPUT", f"{name} must be one of {', '.join(choices)}; got {value!r}.")
    return str(value)


def _spend_job(org: LocalOrg) -> None:
    """Count one job of the day and check the day's result storage.

    Raises ApiError 400 LIMIT_EXCEEDED.
    """
    config = org.config
    if org.usage.bulk_result_kilobytes.total() >= config.daily_bulk_result_kilobytes:
        limit = config.daily_bulk_result_kilobytes
        raise ApiError(
            400, "LIMIT_EXCEEDED", f"Max bulk v2 query result size stored ({limit}) kb per 24 hrs has been exceeded"
        )
    if not org.usage.bulk_query_jobs.add_within(config.daily_bulk_query_jobs):
        limit = config.daily_bulk_query_jobs
        raise ApiError(
            400, "LIMIT_EXCEEDED", f"Max bulk v2 query jobs ({limit}) per 24 hrs has been reached ({limit + 1})"
        )


def poll(call: ApiCall) -> Answer:
    """GET /jobs/query/{id}"""
    return JsonAnswer(payload=_status(call.org, _job(call, poll=True)))


def _job(call: ApiCall, *, poll: bool = False) -> BulkJob:
    job_id = call.params["job_id"]
    job = call.org.bulk_jobs.find(full_id(job_id), poll=poll)
    if job is None:
        raise not_found()
    return job


def heart(job: BulkJob | IngestJob, **more: str) -> dict[str, Any]:
    """The ten keys that every answer about a job starts with; `more` of them come after the state."""
    return {
        "id": job.id,
        "operation": job.request.operation,
        "object": job.request.sobject,
        "createdById": job.created_by,
        "createdDate": stamp(job.created),
        "systemModstamp": stamp(job.changed),
        "state": job.state,
        **more,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(job.request.api_version),
    }


def csv_format(job: BulkJob | IngestJob) -> dict[str, Any]:
    return {"lineEnding": job.request.line_ending_name, "columnDelimiter": job.request.column_delimiter}


def _status(org: LocalOrg, job: BulkJob) -> dict[str, Any]:
    status = {**heart(job), "jobType": "V2Query", **csv_format(job)}
    status["numberRecordsProcessed"] = org.bulk_jobs.processed(job)
    status["retries"] = 0
    status["totalProcessingTime"] = job.work_milliseconds
    status["isPkChunkingSupported"] = True
    if job.error_message is not None and job.state == "Failed":
        status["errorMessage"] = job.error_message
    return status


def list_jobs(call: ApiCall) -> Answer:
    """GET /jobs/query"""
    start = decode_locator(call.query.get("queryLocator", encode_locator(0)))
    if start is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    job_type = call.query.get("jobType", "V2Query")
    jobs = call.org.bulk_jobs.all() if job_type == "V2Query" else []
    end = start + JOBS_PER_ANSWER
    done = end >= len(jobs)
    more = None if done else f"{call.data_path}/jobs/query?queryLocator={encode_locator(end)}"
    records = [{**heart(job), "jobType": "V2Query", **csv_format(job)} for job in jobs[start:end]]
    return JsonAnswer(payload={"done": done, "records": records, "nextRecordsUrl": more})


def update(call: ApiCall) -> Answer:
    """PATCH /jobs/query/{id} with {"state": "Aborted"}"""
    job = _job(call)
    if call.json_object().get("state") != "Aborted":
        raise ApiError(400, "INVALID_INPUT", "The state of a query job can only be set to Aborted.")
    if not call.org.bulk_jobs.abort(job.id):
        raise ApiError(400, "INVALIDJOBSTATE", "Aborting already Completed Job not allowed")
    return JsonAnswer(payload=heart(job))


def delete(call: ApiCall) -> Answer:
    """DELETE /jobs/query/{id}"""
    job = _job(call)
    if not call.org.bulk_jobs.delete(job.id):
        raise ApiError(400, "API_ERROR", "Error encountered when deleting the job because the job is not terminated")
    return Answer(204)


def results(call: ApiCall) -> Answer:
    """GET /jobs/query/{id}/results[?locator=&maxRecords=]"""
    job = _job(call)
    _check_same_version(call, job)
    if job.state != "JobComplete" or job.results is None:
        return _incomplete(call.org, job)
    max_records = _max_records(call)
    offset = _offset(call)
    page = job.results.page(offset, max_records)
    if page is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    locator = "null" if page.next_offset is None else encode_locator(page.next_offset)
    headers = {"Sforce-Locator": locator, "Sforce-NumberOfRecords": str(page.rows)}
    if page.rows == 0 and not call.org.config.empty_results_header:
        return TextAnswer(200, headers, "", "text/csv; charset=UTF-8")
    return CsvFileAnswer(200, headers, page.path)


def _check_same_version(call: ApiCall, job: BulkJob) -> None:
    if job.request.api_version != call.version:
        raise ApiError(
            409,
            "API_VERSION_MISMATCH",
            f"The job was created with API version {job.request.api_version}; ask for its results with that version.",
        )


def _incomplete(org: LocalOrg, job: BulkJob) -> Answer:
    if org.config.incomplete_results_status == 204:
        return Answer(204)
    word = STATUS_WORDS.get(job.state, job.state)
    raise ApiError(
        412,
        "JOB_NOT_COMPLETE",
        "can only download query results of successfully completed bulk job with status: JOB_COMPLETE. "
        f"Current status: {word}",
    )


def _max_records(call: ApiCall) -> int | None:
    asked = call.query.get("maxRecords")
    if asked is None:
        return None
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 12 and int(asked) > 0):
        raise ApiError(400, "INVALID_INPUT", "maxRecords must be a whole number above zero.")
    return int(asked)


def _offset(call: ApiCall) -> int:
    locator = call.query.get("locator")
    offset = 0 if locator is None else decode_locator(locator)
    if offset is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return offset


def result_pages(call: ApiCall) -> Answer:
    """GET /jobs/query/{id}/resultPages[?locator=]: the links of five pages at a time"""
    shape = call.org.config.result_pages_shape
    if shape == "absent":
        raise not_found()
    job = _job(call)
    _check_same_version(call, job)
    if job.state != "JobComplete" or job.results is None:
        return _incomplete(call.org, job)
    max_records = _max_records(call) if call.org.config.result_pages_honour_max_records else None
    starts = _page_starts(job.results, max_records)
    first = _offset(call)
    if first and first >= len(starts):
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    links = [_result_link(job, start, max_records) for start in starts[first : first + PAGES_PER_ANSWER]]
    after = first + PAGES_PER_ANSWER
    size = "" if max_records is None else f"&maxRecords={max_records}"
    more = f"/jobs/query/{job.id}/resultpages?locator={encode_locator(after)}{size}" if after < len(starts) else None
    if shape == "observed":
        return JsonAnswer(
            payload={
                "resultChunks": [{"resultLink": link} for link in links],
                "nextRecordsUrl": more,
                "done": more is None,
            }
        )
    payload: dict[str, Any] = {"resultPages": [{"resultUrl": call.data_path + link} for link in links]}
    if more is not None:
        payload["nextRecordsUrl"] = call.data_path + more
    payload["done"] = more is None
    return JsonAnswer(payload=payload)


def _page_starts(results: JobResults, max_records: int | None) -> list[int]:
    if max_records is None:
        return results.offsets
    return list(range(0, max(results.rows, 1), max_records))


def _result_link(job: BulkJob, start: int, max_records: int | None) -> str:
    size = "" if max_records is None else f"&maxRecords={max_records}"
    return f"/jobs/query/{job.id}/results?locator={encode_locator(start)}{size}"


def stamp(when: datetime) -> str:
    """A datetime as REST answers write it: `2018-12-17T21:00:17.000+0000`."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
