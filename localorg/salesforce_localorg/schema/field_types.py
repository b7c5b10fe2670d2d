"""What all fields of one type have in common, so that an object's file says only what is particular to each field.

Source: the flags that real describe answers show for fields of each type; the commonest value is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOAP_TYPES: Mapping[str, str] = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "long": "xsd:long",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "time": "xsd:time",
    "base64": "xsd:base64Binary",
    "anyType": "xsd:anyType",
    "address": "urn:address",
    "location": "urn:location",
    "json": "tns:json",
}
TEXT_SOAP_TYPE = "xsd:string"

# Lengths count characters; the wire also tells bytes: three per character of text, one per character of an id.
_LENGTHS: Mapping[str, int] = {
    "id": 18,
    "reference": 18,
    "phone": 40,
    "email": 80,
    "picklist": 40,
    "combobox": 255,
    "url": 255,
    "textarea": 32000,
    "string": 255,
    "multipicklist": 4099,
    "encryptedstring": 175,
}

_COMPOUND: Mapping[str, Any] = {
    "aggregatable": False,
    "createable": False,
    "groupable": False,
    "permissionable": True,
    "queryByDistance": True,
    "sortable": False,
    "updateable": False,
}
_DECIMAL: Mapping[str, Any] = {"groupable": False, "permissionable": True, "precision": 18}

_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "id": {"createable": False, "defaultedOnCreate": True, "idLookup": True, "nillable": False, "updateable": False},
    "boolean": {"aggregatable": False, "defaultValue": False, "defaultedOnCreate": True, "nillable": False},
    "string": {"permissionable": True},
    "picklist": {"permissionable": True},
    "multipicklist": {"aggregatable": False, "groupable": False, "permissionable": True, "sortable": False},
    "textarea": {
        "aggregatable": False,
        "extraTypeInfo": "plaintextarea",
        "filterable": False,
        "groupable": False,
        "permissionable": True,
        "sortable": False,
    },
    "double": {**_DECIMAL, "scale": 0},
    "currency": {**_DECIMAL, "scale": 2},
    "percent": {**_DECIMAL, "scale": 2},
    "int": {"digits": 8},
    "phone": {"permissionable": True},
    "url": {"permissionable": True},
    "email": {"permissionable": True},
    "datetime": {"groupable": False},
    "time": {"groupable": False, "permissionable": True},
    "combobox": {"groupable": False},
    "address": _COMPOUND,
    "location": _COMPOUND,
    "base64": {"aggregatable": False, "filterable": False, "groupable": False, "sortable": False},
}


def soap_type(field_type: str) -> str:
    """The soapType that describe shows for a field of `field_type`; text types share one."""
    return SOAP_TYPES.get(field_type, TEXT_SOAP_TYPE)


def default_length(field_type: str) -> int:
    """The commonest length of fields of this type, in characters; 0 for types without one."""
    return _LENGTHS.get(field_type, 0)


def default_byte_length(field_type: str, length: int) -> int:
    """The byteLength that goes with a length."""
    if field_type in ("id", "reference"):
        return length
    return 3 * length if soap_type(field_type) == TEXT_SOAP_TYPE else 0


def type_defaults(field_type: str) -> Mapping[str, Any]:
    """The flags, under their describe names, in which fields of this type differ from fields in general."""
    return _FLAGS.get(field_type, {})
