"""What callers want to write into a record, checked before it is written.

Facts: REST API Developer Guide, "Status Codes and Error Responses"; the tests of jsforce 3.10.18 and django-salesforce 6.0,
which run against real orgs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.schema import Field, SObject
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError

TEXT_TYPES = frozenset(
    {"string", "textarea", "phone", "url", "email", "picklist", "multipicklist", "combobox", "encryptedstring"}
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
# Restricted picklists of which the local org has a few values only, where an org has hundreds.
SHORTENED = frozenset(
    {
        "DefaultLocaleSidKey",
        "EmailEncodingKey",
        "LanguageLocaleKey",
        "LocaleSidKey",
        "RecurrenceTimeZoneSidKey",
        "TimeZoneSidKey",
    }
)


def check_flag(sobject: SObject, flag: str, operation: str) -> None:
    """Raises ApiError 400 for an operation that the object does not support."""
    if not sobject.flag(flag):
        message = f"entity type {sobject.name} does not support {operation}"
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", message)


def check_not_restricted(call: ApiCall, sobject: SObject, record_id: str) -> None:
    """Raises ApiError 400 DELETE_FAILED for a record that others hold on to, such as an account with cases."""
    found = call.org.records.restricting(sobject.name, record_id)
    if found is None:
        return
    child, names = found
    record = call.org.records.get(sobject.name, record_id, viewer=call.org.viewer) or {}
    name = record.get(sobject.name_field.name) if sobject.name_field else None
    message = (
        f"Your attempt to delete {name or record_id} could not be completed because it is associated with the following "
        f"{child.label_plural.lower()}.: {', '.join(names)}\n"
    )
    raise ApiError(400, "DELETE_FAILED", message, fields=[])


def visible_field(call: ApiCall, sobject: SObject, name: str) -> Field:
    """The field of that name. Raises ApiError 400 INVALID_FIELD when the user does not see one."""
    field = sobject.field(name)
    if field is None or not call.org.viewer.sees_field(sobject.name, field.name):
        raise ApiError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
    return field


def repeated_keys(records: Iterable[Mapping[str, Any]], key: str) -> set[str]:
    """The values of an upsert's external id field, in lower case, that several records of one call have.

    Salesforce saves none of those.
    """
    found = (value for record in records for name, value in record.items() if name.lower() == key.lower())
    return {value for value, count in Counter(str(each).lower() for each in found).items() if count > 1}


def checked_values(
    call: ApiCall, sobject: SObject, values: Mapping[str, Any], *, record_id: str | None = None
) -> dict[str, Any]:
    """Values under the fields' own names, for the record `record_id` or, with None, for a new one.

    Raises ApiError for what the user may not do, for unknown fields and for values that Salesforce refuses.
    """
    creating = record_id is None
    check_flag(sobject, *(("createable", "create") if creating else ("updateable", "update")))
    checked = {}
    for name, value in values.items():
        if name == "attributes":
            continue
        if isinstance(value, Mapping) and (reference := sobject.parent_field(name)):
            name, value = reference.name, _id_by_key(call, reference, value)
        field = visible_field(call, sobject, name)
        if creating and value == "" and _has_default(field):
            continue  # the default is taken instead
        _check_value(field, value, creating)
        checked[field.name] = value
    if creating:
        _check_required(sobject, checked)
    for name, value in checked.items():
        if value not in (None, ""):
            _check_among_records(call, sobject, name, value, record_id)
    return checked


def _has_default(field: Field) -> bool:
    return field.type == "picklist" and any(entry.get("defaultValue") for entry in field.picklist_values)


def _check_value(field: Field, value: Any, creating: bool) -> None:
    name = field.name
    if not (field.createable if creating else field.updateable):
        raise ApiError(
            400,
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            f"Unable to create/update fields: {name}. Please check the security settings of this field and verify "
            "that it is read/write for your profile or permission set.",
            fields=[name],
        )
    if isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ApiError(400, "JSON_PARSER_ERROR", f"The value of {name} must be a text, a number, a boolean or null.")
    if isinstance(value, bool) and field.type in (*TEXT_TYPES, "reference", "id"):
        word = str(value).lower()
        message = (
            f"Cannot deserialize instance of string from VALUE_{word.upper()} value {word} or request may be missing a "
            "required field"
        )
        raise ApiError(400, "JSON_PARSER_ERROR", message)
    if _is_nothing(field, value) and not (field.nillable or field.type == "boolean"):
        raise _missing([name])
    if value not in (None, "") and not isinstance(value, bool):
        _check_form(field, str(value))
    if field.type in TEXT_TYPES and field.length and len(str(value or "")) > field.length:
        message = f"{field.label}: data value too large: {str(value)[:80]} (max length={field.length})"
        raise ApiError(400, "STRING_TOO_LONG", message, fields=[name])


def _check_form(field: Field, text: str) -> None:
    """Restricted picklists hold their own values only, and an email address has an at sign within."""
    if field.type == "email" and EMAIL.fullmatch(text) is None:
        message = f"{field.label}: invalid email address: {text}"
        raise ApiError(400, "INVALID_EMAIL_ADDRESS", message, fields=[field.name])
    if field.type not in ("picklist", "multipicklist") or not (field.restricted_picklist and field.picklist_values):
        return
    if field.name in SHORTENED:
        return
    known = {str(entry["value"]).lower() for entry in field.picklist_values if entry.get("active", True)}
    for each in text.split(";") if field.type == "multipicklist" else [text]:
        if each.lower() not in known:
            message = f"{field.label}: bad value for restricted picklist field: {each}"
            raise ApiError(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, fields=[field.name])


def _id_by_key(call: ApiCall, reference: Field, given: Mapping[str, Any]) -> str:
    """The id of the parent that `{"External_Id__c": value}` stands for, in the place of a reference.

    Source: REST API Developer Guide, "Insert or Update (Upsert) a Record Using an External ID". A reference to several
    objects names its one in `attributes`, as records do. Raises ApiError 400 INVALID_FIELD where it is no one record.
    """
    attributes = given.get("attributes")
    kind = attributes.get("type") if isinstance(attributes, Mapping) else None
    target = call.find_sobject(str(kind) if kind else reference.reference_to[0])
    keys = {name: value for name, value in given.items() if name != "attributes"}
    if target is None or len(keys) != 1:
        raise ApiError(
            400, "INVALID_FIELD", f"{reference.relationship_name} must name one external id field", fields=[]
        )
    ((name, value),) = keys.items()
    try:
        found = call.org.records.find_by(target.name, name, value)
    except ValueError:
        message = f"{name} is not a valid foreign key external ID field on entity {target.name}"
        raise ApiError(400, "INVALID_FIELD", message, fields=[]) from None
    if len(found) != 1:
        message = f"Foreign key external ID: {value} not found for field {name} in entity {target.name}"
        raise ApiError(400, "INVALID_FIELD", message, fields=[])
    return found[0]


def _is_nothing(field: Field, value: Any) -> bool:
    """Whether the value is null; an empty text is, except as the content of an empty file."""
    return value is None or (value == "" and field.type != "base64")


def _check_required(sobject: SObject, values: Mapping[str, Any]) -> None:
    missing = [
        field.name
        for field in sobject.fields
        if field.createable and not (field.nillable or field.defaulted_on_create or field.type == "boolean")
        if field.name not in values
    ]
    if missing:
        raise _missing(missing)


def _missing(names: list[str]) -> ApiError:
    listed = ", ".join(names)
    return ApiError(400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{listed}]", fields=names)


def _check_among_records(call: ApiCall, sobject: SObject, name: str, value: Any, record_id: str | None) -> None:
    """References lead to a record, and the value of a unique field is held by no other one."""
    field = sobject.field(name)
    if field is None:
        raise KeyError(name)
    if field.type == "reference":
        _check_reference(call, field, str(value))
    if field.unique:
        _check_unique(call, sobject, field, value, record_id)


def _check_reference(call: ApiCall, field: Field, value: str) -> None:
    targets = [call.org.schema.sobject(name) for name in field.reference_to]
    prefixes = {target.key_prefix: target for target in targets if target is not None}
    target = prefixes.get(value[:3])
    knows_all = len(prefixes) == len(field.reference_to)
    if not is_id(value) or (target is None and knows_all):
        raise ApiError(400, "MALFORMED_ID", f"{field.label}: id value of incorrect type: {value}", fields=[field.name])
    given = full_id(value)
    if target is None:
        return
    state = call.org.records.holds(target.name, given)
    if state is None:
        raise ApiError(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[field.name])
    if state is False:
        raise ApiError(400, "ENTITY_IS_DELETED", "entity is deleted", fields=[field.name])


def _check_unique(call: ApiCall, sobject: SObject, field: Field, value: Any, record_id: str | None) -> None:
    try:
        holder = call.org.records.holder(sobject.name, field.name, value, record_id)
    except ValueError:
        return  # no value of this field at all, which is told when it is written
    if holder is not None:
        message = f"duplicate value found: {field.name} duplicates value on record with id: {holder[:15]}"
        raise ApiError(400, "DUPLICATE_VALUE", message, fields=[])
