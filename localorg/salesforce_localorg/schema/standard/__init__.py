"""The objects that every local org has, one JSON file each, in a compact form of their describe answers.

A field's line tells its name, label and type and only what differs from other fields of the type. A picklist is a list of
values, or of [label, value] pairs where they differ; `picklistDefault` is the default value.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import resources
from typing import Any

from salesforce_localorg.schema.sobject import SObject

_MASTER_RECORD_TYPE = "012000000000000AAA"


def read_standard_objects() -> list[SObject]:
    """The objects of this folder, by name."""
    files = sorted(entry.name for entry in resources.files(__package__).iterdir() if entry.name.endswith(".json"))
    objects = [_read(name) for name in files]
    names = {each["name"] for each in objects}
    return [SObject.from_describe(_expand(each, names)) for each in objects]


def _read(file_name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(resources.files(__package__).joinpath(file_name).read_text(encoding="utf-8"))
    return answer


def _expand(compact: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    fields = [_expand_field(field, names) for field in compact["fields"]]
    expanded = {**compact, "fields": fields}
    if compact.get("layoutable", True) and "recordTypeInfos" not in compact:
        expanded["recordTypeInfos"] = [_master_record_type(compact["name"])]
    return expanded


def _expand_field(compact: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """References name objects of this org only, whose describe a client can ask for."""
    field = {key: value for key, value in compact.items() if key not in ("picklist", "picklistDefault")}
    if "referenceTo" in field:
        field["referenceTo"] = [name for name in field["referenceTo"] if name in names]
    pairs = [(item, item) if isinstance(item, str) else item for item in compact.get("picklist", ())]
    default = compact.get("picklistDefault")
    field["picklistValues"] = [
        {"active": True, "defaultValue": value == default, "label": label, "validFor": None, "value": value}
        for label, value in pairs
    ]
    return field


def _master_record_type(sobject: str) -> dict[str, Any]:
    return {
        "active": True,
        "available": True,
        "defaultRecordTypeMapping": True,
        "developerName": "Master",
        "master": True,
        "name": "Master",
        "recordTypeId": _MASTER_RECORD_TYPE,
        "urls": {"layout": f"/services/data/v0.0/sobjects/{sobject}/describe/layouts/{_MASTER_RECORD_TYPE}"},
    }
