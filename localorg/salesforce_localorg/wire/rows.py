"""Single records: create, read, update, delete."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.schema import Field, SObject
from salesforce_localorg.wire.answers import Answer, JsonAnswer, encode_json
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, not_found
from salesforce_localorg.wire.written_values import check_flag, checked_values, visible_field

UPSERT_ANSWERS_SINCE = 46.0


def create(call: ApiCall) -> Answer:
    """POST /sobjects/X"""
    sobject = call.sobject()
    values = checked_values(call, sobject, call.json_object())
    try:
        with call.changing() as change:
            record_id = change.insert(sobject.name, values)
    except (ValueError, OverflowError) as error:
        raise _unreadable(error) from None
    headers = {"Location": f"{call.data_path}/sobjects/{sobject.name}/{record_id}"}
    return JsonAnswer(201, headers, {"id": record_id, "success": True, "errors": []})


def read(call: ApiCall) -> Answer:
    """GET /sobjects/X/{id}[?fields=A,B]"""
    sobject = call.sobject()
    record = _find(call, sobject)
    record["attributes"] = {"type": sobject.name, "url": f"{call.data_path}/sobjects/{sobject.name}/{record['Id']}"}
    asked = call.query.get("fields")
    if asked is None:
        return JsonAnswer(payload={"attributes": record.pop("attributes"), **record})
    names = [visible_field(call, sobject, name.strip()).name for name in asked.split(",")]
    return JsonAnswer(payload={name: record.get(name) for name in ("attributes", *names, "Id")})


def update(call: ApiCall) -> Answer:
    """PATCH /sobjects/X/{id}"""
    sobject = call.sobject()
    check_flag(sobject, "updateable", "update")
    record = _find(call, sobject)
    values = checked_values(call, sobject, call.json_object(), record_id=record["Id"])
    try:
        with call.changing() as change:
            change.update(sobject.name, record["Id"], values)
    except (ValueError, OverflowError) as error:
        raise _unreadable(error) from None
    return Answer(204)


def delete(call: ApiCall) -> Answer:
    """DELETE /sobjects/X/{id}"""
    sobject = call.sobject()
    check_flag(sobject, "deletable", "delete")
    record_id = call.params["record_id"]
    if is_id(record_id) and call.org.records.holds(sobject.name, full_id(record_id)) is None:
        raise ApiError(404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[])
    record = _find(call, sobject)
    with call.changing() as change:
        change.delete(sobject.name, record["Id"])
    return Answer(204)


def read_by_external_id(call: ApiCall) -> Answer:
    """GET /sobjects/X/{field}/{value}: the record whose external id field holds the value"""
    return read(replace(call, params={**call.params, "record_id": _only_match(call)}))


def upsert(call: ApiCall) -> Answer:
    """PATCH /sobjects/X/{field}/{value}: 201 with a new record, 200 with a changed one (204 before v46.0)"""
    sobject = call.sobject()
    key = visible_field(call, sobject, call.params["field"])
    ids = _matches(call, sobject, key)
    if not ids:
        body = {**call.json_object(), key.name: call.params["value"]}
        created = create(replace(call, body=encode_json(body, pretty=False)))
        if isinstance(created, JsonAnswer):
            created.payload = {**created.payload, "created": True}
        return created
    record_id = _only(call, sobject, ids)
    changed = update(replace(call, params={**call.params, "record_id": record_id}))
    if float(call.api_version) < UPSERT_ANSWERS_SINCE:
        return changed
    return JsonAnswer(payload={"id": record_id, "success": True, "errors": [], "created": False})


def delete_by_external_id(call: ApiCall) -> Answer:
    """DELETE /sobjects/X/{field}/{value}"""
    return delete(replace(call, params={**call.params, "record_id": _only_match(call)}))


def _only_match(call: ApiCall) -> str:
    sobject = call.sobject()
    key = visible_field(call, sobject, call.params["field"])
    return _only(call, sobject, _matches(call, sobject, key))


def _matches(call: ApiCall, sobject: SObject, key: Field) -> list[str]:
    try:
        return call.org.records.find_by(sobject.name, key.name, call.params["value"])
    except ValueError:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {key.name}") from None


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
