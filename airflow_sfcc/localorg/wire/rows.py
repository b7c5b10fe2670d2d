"""Single records: create, read, update, delete."""

from __future__ import annotations

from typing import Any

from airflow_sfcc.localorg.schema import SObject
from airflow_sfcc.localorg.wire.answers import Answer, JsonAnswer
from airflow_sfcc.localorg.wire.api_call import ApiCall
from airflow_sfcc.localorg.wire.errors import ApiError, not_found


def create(call: ApiCall) -> Answer:
    """POST /sobjects/X"""
    sobject = call.sobject()
    record_id = call.org.records.insert(sobject.name, _values(call), user_id=call.org.run_as_user_id)
    headers = {"Location": f"{call.data_path}/sobjects/{sobject.name}/{record_id}"}
    return JsonAnswer(201, headers, {"id": record_id, "success": True, "errors": []})


def read(call: ApiCall) -> Answer:
    """GET /sobjects/X/{id}[?fields=A,B]"""
    sobject = call.sobject()
    record = _find(call, sobject)
    attributes = {"type": sobject.name, "url": f"{call.data_path}/sobjects/{sobject.name}/{record['Id']}"}
    asked = call.query.get("fields")
    if asked is None:
        return JsonAnswer(
            payload={**record, "attributes": attributes}
            if "attributes" in record
            else {"attributes": attributes, **record}
        )
    names = [_visible_name(call, sobject, name.strip()) for name in asked.split(",")]
    if "Id" not in names:
        names.append("Id")
    return JsonAnswer(payload={"attributes": attributes, **{name: record.get(name) for name in names}})


def update(call: ApiCall) -> Answer:
    """PATCH /sobjects/X/{id}"""
    sobject = call.sobject()
    record = _find(call, sobject)
    call.org.records.update(sobject.name, record["Id"], _values(call), user_id=call.org.run_as_user_id)
    return Answer(204)


def delete(call: ApiCall) -> Answer:
    """DELETE /sobjects/X/{id}"""
    sobject = call.sobject()
    record = _find(call, sobject)
    call.org.records.delete(sobject.name, record["Id"], user_id=call.org.run_as_user_id)
    return Answer(204)


def _find(call: ApiCall, sobject: SObject) -> dict[str, Any]:
    record_id = call.params["record_id"]
    record = call.org.records.get(sobject.name, record_id, viewer=call.org.viewer)
    if record is None:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {record_id}")
    if record.get("IsDeleted"):
        raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted", fields=[])
    return record


def _visible_name(call: ApiCall, sobject: SObject, name: str) -> str:
    field = sobject.field(name)
    if field is None or not call.org.viewer.sees_field(sobject.name, field.name):
        raise _no_such_column(sobject, name)
    return field.name


def _values(call: ApiCall) -> dict[str, Any]:
    values = call.json_object()
    values.pop("attributes", None)
    sobject = call.sobject()
    return {_visible_name(call, sobject, name): value for name, value in values.items()}


def _no_such_column(sobject: SObject, name: str) -> ApiError:
    return ApiError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
