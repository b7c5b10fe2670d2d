"""Single records: create, read, update, delete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.schema import Field, SObject
from salesforce_localorg.wire.answers import Answer, JsonAnswer, encode_json
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.conditions import State, unmet
from salesforce_localorg.wire.errors import ApiError, not_found
from salesforce_localorg.wire.written_values import check_flag, check_not_restricted, checked_values, visible_field

UPSERT_ANSWERS_SINCE = 46.0
TAGGED = "Account"  # the one object whose records have entity tags


def create(call: ApiCall) -> Answer:
    """POST /sobjects/X"""
    sobject = call.sobject()
    values = checked_values(call, sobject, _without(call.json_object(), "Id"))
    try:
        with call.changing() as change:
            record_id = change.insert(sobject.name, values)
    except (ValueError, OverflowError) as error:
        raise _unreadable(error) from None
    headers = {"Location": f"{call.data_path}/sobjects/{sobject.name}/{record_id}"}
    return JsonAnswer(201, headers, {"id": record_id, "success": True, "errors": []})


def create_by_null_id(call: ApiCall) -> Answer:
    """POST /sobjects/X/Id: an upsert by an Id that is null, which creates"""
    return _told_created(call, create(call))


def read(call: ApiCall) -> Answer:
    """GET /sobjects/X/{id}[?fields=A,B]"""
    sobject = call.sobject()
    record = _find(call, sobject)
    state = _state(sobject, record)
    if (early := unmet(call, state)) is not None:
        return early
    headers = state.headers(call)
    record["attributes"] = {"type": sobject.name, "url": f"{call.data_path}/sobjects/{sobject.name}/{record['Id']}"}
    asked = call.query.get("fields")
    if asked is None:
        return JsonAnswer(payload={"attributes": record.pop("attributes"), **record}, headers=headers)
    names = [visible_field(call, sobject, name.strip()).name for name in asked.split(",")]
    return JsonAnswer(payload={name: record.get(name) for name in ("attributes", *names, "Id")}, headers=headers)


def update(call: ApiCall) -> Answer:
    """PATCH /sobjects/X/{id}"""
    sobject = call.sobject()
    check_flag(sobject, "updateable", "update")
    record = _find(call, sobject)
    if (early := unmet(call, _state(sobject, record))) is not None:
        return early
    values = checked_values(call, sobject, _without(call.json_object(), "Id"), record_id=record["Id"])
    try:
        with call.changing() as change:
            change.update(sobject.name, record["Id"], values)
    except (ValueError, OverflowError) as error:
        raise _unreadable(error) from None
    return Answer(204, _tag_of_changed(call, sobject, record["Id"]))


def _tag_of_changed(call: ApiCall, sobject: SObject, record_id: str) -> dict[str, str]:
    """The header with the new entity tag, where the record has one."""
    if sobject.name != TAGGED:
        return {}
    changed = call.org.records.get(sobject.name, record_id, viewer=call.org.viewer)
    return {} if changed is None else {"ETag": _state(sobject, changed).headers(call)["ETag"]}


def delete(call: ApiCall) -> Answer:
    """DELETE /sobjects/X/{id}"""
    sobject = call.sobject()
    check_flag(sobject, "deletable", "delete")
    record_id = call.params["record_id"]
    if is_id(record_id) and call.org.records.holds(sobject.name, full_id(record_id)) is None:
        raise ApiError(404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[])
    record = _find(call, sobject)
    check_not_restricted(call, sobject, record["Id"])
    with call.changing() as change:
        change.delete(sobject.name, record["Id"])
    return Answer(204)


def read_by_external_id(call: ApiCall) -> Answer:
    """GET /sobjects/X/{field}/{value}: the record whose external id field holds the value"""
    return read(replace(call, params={**call.params, "record_id": _only_match(call)}))


def upsert(call: ApiCall) -> Answer:
    """PATCH /sobjects/X/{field}/{value}: 201 with a new record, 200 with a changed one (204 before v46.0)"""
    sobject = call.sobject()
    key = _key_field(call, sobject)
    values = _without(call.json_object(), key.name)
    ids = _matches(call, sobject, key)
    if not ids and key.type == "id":
        raise not_found()
    if not ids:
        body = {**values, key.name: call.params["value"]}
        return _told_created(call, create(replace(call, body=encode_json(body, pretty=False))))
    record_id = _only(call, sobject, ids)
    changed = update(replace(call, params={**call.params, "record_id": record_id}))
    if changed.status != 204 or float(call.api_version) < UPSERT_ANSWERS_SINCE:
        return changed
    return JsonAnswer(payload={"id": record_id, "success": True, "errors": [], "created": False})


def delete_by_external_id(call: ApiCall) -> Answer:
    """DELETE /sobjects/X/{field}/{value}"""
    return delete(replace(call, params={**call.params, "record_id": _only_match(call)}))


def _told_created(call: ApiCall, created: Answer) -> Answer:
    if isinstance(created, JsonAnswer) and float(call.api_version) >= UPSERT_ANSWERS_SINCE:
        created.payload = {**created.payload, "created": True}
    return created


def _without(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The values, among which the key of the record is none (REST API Developer Guide, "Create a Record").

    Raises ApiError 400 INVALID_FIELD otherwise.
    """
    if any(name.lower() == key.lower() for name in values):
        raise ApiError(400, "INVALID_FIELD", f"The {key} field should not be specified in the sobject data.")
    return values


def _state(sobject: SObject, record: Mapping[str, Any]) -> State:
    """What conditions on the record are compared with. Only accounts have entity tags."""
    stamp = record.get("LastModifiedDate") or record.get("SystemModstamp")
    modified = datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc) if stamp else None
    if sobject.name != TAGGED:
        return State(modified)
    content = json.dumps(record, sort_keys=True).encode()
    return State(modified, hashlib.sha256(content).hexdigest()[:27])


def _key_field(call: ApiCall, sobject: SObject) -> Field:
    """The external id field that the path names. Raises ApiError 404 for a field that is none."""
    name = call.params["field"]
    key = sobject.field(name)
    is_key = key is not None and (key.external_id or key.id_lookup or key.type == "id")
    if key is None or not is_key or not call.org.viewer.sees_field(sobject.name, key.name):
        raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
    return key


def _only_match(call: ApiCall) -> str:
    sobject = call.sobject()
    return _only(call, sobject, _matches(call, sobject, _key_field(call, sobject)))


def _matches(call: ApiCall, sobject: SObject, key: Field) -> list[str]:
    try:
        return call.org.records.find_by(sobject.name, key.name, call.params["value"])
    except ValueError:
        return []  # a value that the field cannot hold is the key of no record


def _only(call: ApiCall, sobject: SObject, ids: list[str]) -> str:
    """The one id. Raises ApiError 404 without any; 300 with several, whose body lists their URLs."""
    if not ids:
        raise not_found()
    if len(ids) > 1:
        several = ApiError(300, "", "")
        several.payload = [f"{call.data_path}/sobjects/{sobject.name}/{each}" for each in ids]
        raise several
    return ids[0]


def _find(call: ApiCall, sobject: SObject) -> dict[str, Any]:
    record_id = call.params["record_id"]
    record = call.org.records.get(sobject.name, record_id, viewer=call.org.viewer)
    if record is None:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {record_id}")
    if record.get("IsDeleted"):
        raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted", fields=[])
    return record


def _unreadable(error: Exception) -> ApiError:
    return ApiError(400, "JSON_PARSER_ERROR", f"A value does not fit its field: {error}")
