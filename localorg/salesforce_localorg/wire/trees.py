"""composite/tree: up to 200 records with their children in one call, all of them or none.

Facts: REST API Developer Guide, "sObject Tree" and "sObject Tree Response Body".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from salesforce_localorg.schema import SObject
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, NotAllError
from salesforce_localorg.wire.written_values import checked_values

MOST_RECORDS = 200
MOST_LEVELS = 5
MOST_OBJECTS = 5


@dataclass(frozen=True)
class _Node:
    """A record of the tree: its object, values of its own, and its children with the field that leads back to it."""

    reference_id: str
    sobject: SObject
    values: dict[str, Any]
    children: tuple[tuple[str, _Node], ...]


def create(call: ApiCall) -> Answer:
    """POST /composite/tree/X"""
    nodes = _nodes(call, call.sobject(), call.json_object().get("records"), 1)
    every = [each for node in nodes for each in _flat(node)]
    ids = [each.reference_id for each in every]
    if not 0 < len(every) <= MOST_RECORDS:
        raise ApiError(400, "INVALID_INPUT", f"A tree holds 1 to {MOST_RECORDS} records.")
    if len({each.sobject.name for each in every}) > MOST_OBJECTS:
        raise ApiError(400, "INVALID_INPUT", f"A tree holds records of at most {MOST_OBJECTS} objects.")
    if len(set(ids)) < len(ids):
        raise ApiError(400, "INVALID_INPUT", "Duplicate ReferenceId provided in the request.")
    saved: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    try:
        with call.org.records.all_or_nothing():
            for node in nodes:
                _save(call, node, {}, saved, errors)
            if errors:
                raise NotAllError
    except NotAllError:
        return JsonAnswer(400, payload={"hasErrors": True, "results": errors})
    return JsonAnswer(201, payload={"hasErrors": False, "results": saved})


def _flat(node: _Node) -> Iterator[_Node]:
    yield node
    for _, child in node.children:
        yield from _flat(child)


def _nodes(call: ApiCall, sobject: SObject, records: Any, level: int) -> list[_Node]:
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ApiError(400, "JSON_PARSER_ERROR", "records must be a list of objects.")
    if level > MOST_LEVELS:
        raise ApiError(400, "INVALID_INPUT", f"A tree is at most {MOST_LEVELS} levels deep.")
    return [_node(call, sobject, each, level) for each in records]


def _node(call: ApiCall, sobject: SObject, record: dict[str, Any], level: int) -> _Node:
    attributes = record.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    reference_id = attributes.get("referenceId")
    if not isinstance(reference_id, str) or not reference_id:
        raise ApiError(400, "INVALID_INPUT", "Include a reference ID for each record in the request.")
    if str(attributes.get("type", "")).lower() != sobject.name.lower():
        raise ApiError(400, "INVALID_INPUT", f"The type of {reference_id} must be {sobject.name}.")
    values: dict[str, Any] = {}
    children: list[tuple[str, _Node]] = []
    for name, value in record.items():
        relationship = sobject.child_relationship(name) if isinstance(value, dict) and "records" in value else None
        child = call.find_sobject(relationship.child_sobject) if relationship else None
        if relationship is not None and child is not None:
            below = _nodes(call, child, value["records"], level + 1)
            children.extend((relationship.field, each) for each in below)
        elif name != "attributes":
            values[name] = value
    return _Node(reference_id, sobject, values, tuple(children))


def _save(
    call: ApiCall,
    node: _Node,
    link: dict[str, str],
    saved: list[dict[str, Any]],
    errors: list[dict[str, Any]],
) -> None:
    """Save the record with `link`, the reference to its parent, and then its children; failures go to `errors`."""
    try:
        with call.changing() as change:
            record_id = change.insert(node.sobject.name, checked_values(call, node.sobject, {**node.values, **link}))
    except ApiError as error:
        told = error.payload[0]
        errors.append(_failure(node, told["errorCode"], told["message"], told.get("fields", [])))
        return
    except (ValueError, OverflowError) as error:
        errors.append(_failure(node, "INVALID_TYPE_ON_FIELD_IN_RECORD", f"A value does not fit its field: {error}", []))
        return
    saved.append({"referenceId": node.reference_id, "id": record_id})
    for field, child in node.children:
        _save(call, child, {field: record_id}, saved, errors)


def _failure(node: _Node, code: str, message: str, fields: list[str]) -> dict[str, Any]:
    error = {"statusCode": code, "message": message, "fields": fields}
    return {"referenceId": node.reference_id, "errors": [error]}
