"""What lies below one record: the content of its files, its parents and its children.

Facts: REST API Developer Guide, "sObject Blob Get" and "sObject Relationships".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.records.tables import first_row, identifier
from salesforce_localorg.schema import ChildRelationship, Field, SObject
from salesforce_localorg.wire import rows
from salesforce_localorg.wire.answers import Answer, BinaryAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import not_found


def read_below(call: ApiCall) -> Answer:
    """GET /sobjects/X/{field}/{value}: a record by its external id; GET /sobjects/X/{id}/{name}: what it has by that name"""
    sobject, first = call.sobject(), call.params["field"]
    if sobject.field(first) is not None or not is_id(first):
        return rows.read_by_external_id(call)
    record_id = full_id(first)
    *parents, last = call.params["value"].split("/")
    for name in parents:
        sobject, record_id = _parent(call, sobject, record_id, name)
    return _named(call, sobject, record_id, last)


def _named(call: ApiCall, sobject: SObject, record_id: str, name: str) -> Answer:
    record = _record(call, sobject, record_id)
    field = sobject.field(name)
    if field is not None and field.type == "base64" and call.org.viewer.sees_field(sobject.name, field.name):
        return _content(call, sobject, record, field)
    children = sobject.child_relationship(name)
    if children is not None:
        return _children(call, children, record_id)
    parent, parent_id = _parent(call, sobject, record_id, name)
    return rows.read(replace(call, params={**call.params, "sobject": parent.name, "record_id": parent_id}))


def _record(call: ApiCall, sobject: SObject, record_id: str) -> dict[str, Any]:
    record = call.org.records.get(sobject.name, record_id, viewer=call.org.viewer)
    if record is None or record.get("IsDeleted"):
        raise not_found()
    return record


def _parent(call: ApiCall, sobject: SObject, record_id: str, relationship: str) -> tuple[SObject, str]:
    """The record that a reference leads to. Raises ApiError 404 where it leads nowhere."""
    reference = sobject.parent_field(relationship)
    parent_id = None if reference is None else _record(call, sobject, record_id).get(reference.name)
    targets = [call.find_sobject(name) for name in (reference.reference_to if reference else ())]
    parent = next((each for each in targets if each and parent_id and each.key_prefix == parent_id[:3]), None)
    if parent is None or parent_id is None:
        raise not_found()
    return parent, parent_id


def _children(call: ApiCall, relationship: ChildRelationship, record_id: str) -> Answer:
    """The children as the result of a query."""
    child = call.find_sobject(relationship.child_sobject)
    if child is None or child.field(relationship.field) is None:
        raise not_found()
    sees = call.org.viewer.sees_field
    fields = call.query.get("fields") or ",".join(each.name for each in child.fields if sees(child.name, each.name))
    soql = f"SELECT {fields} FROM {child.name} WHERE {relationship.field} = '{record_id}'"
    return call.perform_within("GET", f"{call.data_path}/query", urlencode({"q": soql}), b"", metered=False)


def _content(call: ApiCall, sobject: SObject, record: dict[str, Any], field: Field) -> Answer:
    sql = f'SELECT {identifier(field.name)} FROM {identifier(sobject.name)} WHERE "Id" = ?'
    found = first_row(call.org.records.raw(), sql, [record["Id"]])
    if found is None or found[0] is None:
        raise not_found()
    return BinaryAnswer(content=_bytes(found[0]), media_type=record.get("ContentType") or "application/octet-stream")


def _bytes(stored: str) -> bytes:
    """The bytes of a base64 field, which callers write as base64; rows that were generated hold plain text."""
    try:
        return base64.b64decode(stored, validate=True)
    except (binascii.Error, ValueError):
        return stored.encode("utf-8", "replace")
