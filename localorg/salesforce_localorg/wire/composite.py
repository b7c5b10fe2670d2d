"""Many calls in one: composite/batch, whose calls know nothing of each other, and composite and composite/graph, whose calls
may refer to the answers of earlier ones.

Facts: REST API Developer Guide, "Composite Batch", "Composite" and "Composite Graphs".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from salesforce_localorg.wire.answers import Answer, JsonAnswer, encode_json
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.collections import rolled_back
from salesforce_localorg.wire.errors import ApiError, NotAllError

API_ROOT = "/services/data/"
MOST_CALLS = 25
MOST_GRAPHS, MOST_NODES = 75, 500
MOST_QUERIES = 5  # of a composite, collections of records among them
QUERY = re.compile(r"/v\d+\.\d/(query|queryAll|composite/sobjects)\b", re.IGNORECASE)
REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
TOLD_HEADERS = ("ETag", "Last-Modified", "Location")
TAKEN_BACK = "The transaction was rolled back since another operation in the same transaction failed."


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
    full = path if path.startswith(API_ROOT) else API_ROOT + path.lstrip("/")
    return full, parts.query


def _refused(message: str) -> dict[str, Any]:
    return {"statusCode": 400, "result": [{"errorCode": "INVALID_INPUT", "message": message}]}


def _halted() -> dict[str, Any]:
    message = "The request was not processed because an earlier one of the batch failed."
    return {"statusCode": 412, "result": [{"errorCode": "PROCESSING_HALTED", "message": message}]}


class _ReferenceError(Exception):
    """A call refers to something that no earlier answer holds."""


def composite(call: ApiCall) -> Answer:
    """POST /composite: `@{id.path}` in a url or body stands for a value of the answer with that referenceId

    The whole counts as one request. With allOrNone all changes show to others at the end, or none.
    """
    body = call.json_object()
    requests = body.get("compositeRequest")
    if not isinstance(requests, list) or not requests:
        raise ApiError(400, "INVALID_INPUT", f"compositeRequest must hold 1 to {MOST_CALLS} requests.")
    if len(requests) > MOST_CALLS:
        return _too_many(f"{MOST_CALLS} operations")
    _check_reference_ids(requests)
    if sum(bool(QUERY.search(str(each.get("url")))) for each in requests) > MOST_QUERIES:
        return _too_many(f"{MOST_QUERIES} query operations")
    if body.get("allOrNone") is not True:
        return JsonAnswer(payload={"compositeResponse": _parts(call, requests)})
    return JsonAnswer(payload={"compositeResponse": _together(call, requests)[0]})


def graph(call: ApiCall) -> Answer:
    """POST /composite/graph: several composites, each made whole or not at all"""
    graphs = call.json_object().get("graphs")
    if not isinstance(graphs, list) or not 0 < len(graphs) <= MOST_GRAPHS:
        raise ApiError(400, "INVALID_INPUT", f"graphs must hold 1 to {MOST_GRAPHS} graphs.")
    ids = [each.get("graphId") if isinstance(each, dict) else None for each in graphs]
    if not all(isinstance(each, str) and re.fullmatch(r"\w{1,40}", each) for each in ids) or len(set(ids)) < len(ids):
        message = "Each graph needs a graphId of its own, of letters, digits and underscores."
        raise ApiError(400, "INVALID_INPUT", message)
    nodes = [each.get("compositeRequest") for each in graphs]
    if not all(isinstance(each, list) and each for each in nodes) or sum(map(len, nodes)) > MOST_NODES:
        raise ApiError(
            400, "INVALID_INPUT", f"The compositeRequests of all graphs must hold 1 to {MOST_NODES} requests."
        )
    for each in nodes:
        _check_reference_ids(each)
    answers = [_together(call, each) for each in nodes]
    return JsonAnswer(
        payload={
            "graphs": [
                {"graphId": graph_id, "graphResponse": {"compositeResponse": results}, "isSuccessful": done}
                for graph_id, (results, done) in zip(ids, answers)
            ]
        }
    )


def resources(call: ApiCall) -> Answer:
    """GET /composite: the resources below it"""
    names = ("batch", "graph", "sobjects", "tree")
    return JsonAnswer(payload={name: f"{call.data_path}/composite/{name}" for name in names})


def _together(call: ApiCall, requests: Sequence[Any]) -> tuple[list[dict[str, Any]], bool]:
    """The results of requests of which all are made or none, and whether they were."""
    results: list[dict[str, Any]] = []
    try:
        with call.org.records.all_or_nothing():
            results.extend(_parts(call, requests))
            if any(_failed(each) for each in results):
                raise NotAllError
    except NotAllError:
        return [_taken_back(each) for each in results], False
    return results, True


def _taken_back(part: dict[str, Any]) -> dict[str, Any]:
    """What is told of a part when the whole is taken back: why it failed, or that it did nothing."""
    if not _failed(part):
        return _part_failed(part["referenceId"], TAKEN_BACK)
    return {**part, "body": rolled_back(part["body"])} if part["httpStatusCode"] < 400 else part


def _too_many(what: str) -> Answer:
    """As seen in guardian/support-service-lambdas#766: an answer with one part, which belongs to no request."""
    body = [{"errorCode": "LIMIT_EXCEEDED", "message": f"The request can\u2019t contain more than {what}."}]
    refused = {"body": body, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": None}
    return JsonAnswer(payload={"compositeResponse": [refused]})


def _parts(call: ApiCall, requests: Sequence[Any]) -> list[dict[str, Any]]:
    answers: dict[str, dict[str, Any]] = {}
    for request in requests:
        answers[request["referenceId"]] = _part(call, request, answers)
    return list(answers.values())


def _check_reference_ids(requests: Sequence[Any]) -> None:
    ids = [each.get("referenceId") if isinstance(each, dict) else None for each in requests]
    if not all(isinstance(each, str) and re.fullmatch(r"[A-Za-z0-9]\w*", each) for each in ids):
        message = "Each composite request needs a referenceId of letters, digits and underscores."
        raise ApiError(400, "INVALID_INPUT", message)
    if len(set(ids)) < len(ids):
        raise ApiError(400, "INVALID_INPUT", "Duplicate referenceId in the composite request.")


def _part(
    call: ApiCall,
    request: Mapping[str, Any],
    earlier: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    reference_id = request["referenceId"]
    try:
        url, body = _resolved(request.get("url"), earlier), _resolved(request.get("body"), earlier)
        content = b"" if body is None else encode_json(body, pretty=False)
    except _ReferenceError as error:
        return _part_failed(reference_id, str(error))
    except RecursionError:
        return _part_failed(reference_id, "The body is nested too deeply.", "JSON_PARSER_ERROR")
    parts = _split(url) if isinstance(url, str) and url.startswith(API_ROOT) else None
    if parts is None or re.search(r"/composite(/batch|/graph)?/?$", parts[0], re.IGNORECASE):
        message = (
            f"The url of a composite request must be a path such as {API_ROOT}v67.0/limits, and no composite itself."
        )
        return _part_failed(reference_id, message, "INVALID_INPUT")
    answer = call.perform_within(
        str(request.get("method", "")).upper(),
        *parts,
        content,
        metered=False,
        headers=_own_headers(request),
    )
    told = answer.content() if isinstance(answer, JsonAnswer) else None
    if told is None and type(answer) is not Answer:
        return _part_failed(reference_id, "This resource cannot be part of a composite request.", "INVALID_INPUT")
    shown = {name: value for name, value in answer.headers.items() if name in TOLD_HEADERS}
    return {"body": told, "httpHeaders": shown, "httpStatusCode": answer.status, "referenceId": reference_id}


def _own_headers(request: Mapping[str, Any]) -> dict[str, str]:
    """The `httpHeaders` of a request within, such as If-Modified-Since."""
    given = request.get("httpHeaders")
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _failed(part: Mapping[str, Any]) -> bool:
    """Whether the call failed, or a record of a collection."""
    body = part["body"]
    results = body if isinstance(body, list) else []
    return int(part["httpStatusCode"]) >= 400 or any(
        isinstance(each, dict) and each.get("success") is False for each in results
    )


def _part_failed(reference_id: str, message: str, code: str = "PROCESSING_HALTED") -> dict[str, Any]:
    body = [{"errorCode": code, "message": message}]
    return {"body": body, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": reference_id}


def _resolved(value: Any, earlier: Mapping[str, Mapping[str, Any]]) -> Any:
    """The value with all references in its texts replaced."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda found: _referred(found, earlier), value)
    if isinstance(value, list):
        return [_resolved(each, earlier) for each in value]
    if isinstance(value, dict):
        return {name: _resolved(each, earlier) for name, each in value.items()}
    return value


def _referred(found: re.Match[str], earlier: Mapping[str, Mapping[str, Any]]) -> str:
    reference_id, path = found.groups()
    missing = f"Invalid reference specified. No value for {found[0][2:-1]} found in {reference_id}"
    value = earlier[reference_id]["body"] if reference_id in earlier else None
    for name, place in STEP.findall(path):
        if name and isinstance(value, dict) and name in value:
            value = value[name]
        elif place and isinstance(value, list) and int(place) < len(value):
            value = value[int(place)]
        else:
            raise _ReferenceError(missing)
    if value is None or isinstance(value, (dict, list)):
        raise _ReferenceError(missing)
    return str(value).lower() if isinstance(value, bool) else str(value)
