"""composite/batch: up to 25 calls in one."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_sfcc.localorg.wire.answers import Answer, JsonAnswer, encode_json
from airflow_sfcc.localorg.wire.api_call import ApiCall
from airflow_sfcc.localorg.wire.errors import ApiError

MOST_CALLS = 25


def batch(call: ApiCall) -> Answer:
    """POST /composite/batch: each call is performed like one of its own, and counted like one"""
    body = call.json_object()
    requests = body.get("batchRequests")
    if not isinstance(requests, list) or not 0 < len(requests) <= MOST_CALLS:
        raise ApiError(400, "INVALID_INPUT", f"batchRequests must hold 1 to {MOST_CALLS} requests.")
    halt = body.get("haltOnError") is True
    results: list[dict[str, Any]] = []
    failed = False
    for request in requests:
        result = _halted() if failed and halt else _perform(call, request)
        failed = failed or result["statusCode"] >= 400
        results.append(result)
    return JsonAnswer(payload={"hasErrors": failed, "results": results})


def _perform(call: ApiCall, request: Any) -> dict[str, Any]:
    if not isinstance(request, dict) or not isinstance(request.get("url"), str):
        return _refused("Each batch request needs a method and a url.")
    parts = _split(request["url"])
    if parts is None or "/composite/" in parts[0].lower():
        return _refused("The url of a batch request must be a path such as v67.0/limits, and no batch itself.")
    rich_input = request.get("richInput")
    body = b"" if rich_input is None else encode_json(rich_input, pretty=False)
    answer = call.perform_within(str(request.get("method", "")).upper(), *parts, body)
    if type(answer) is Answer:
        return {"statusCode": answer.status, "result": None}
    if not isinstance(answer, JsonAnswer):
        return _refused("This resource cannot be part of a batch.")
    return {"statusCode": answer.status, "result": answer.content()}


def _split(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    full = path if path.startswith("/services/data/") else "/services/data/" + path.lstrip("/")
    return full, parts.query


def _refused(message: str) -> dict[str, Any]:
    return {"statusCode": 400, "result": [{"errorCode": "INVALID_INPUT", "message": message}]}


def _halted() -> dict[str, Any]:
    message = "The request was not processed because an earlier one of the batch failed."
    return {"statusCode": 412, "result": [{"errorCode": "PROCESSING_HALTED", "message": message}]}
