"""Objects made up by number, so that an org is as large as real ones are: the same number makes the same objects.

Of each kind that administrators and packages bring: custom objects with and without a namespace, their histories and shares,
custom metadata types, big objects, external objects, platform events. Facts: Object Reference and Custom Metadata, Big
Objects, Platform Events guides, for the suffixes, the fields that each kind has, and what the APIs do with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from salesforce_localorg.ids import BASE62
from salesforce_localorg.schema.sobject import SObject

Describe = dict[str, Any]

# Twenty objects in a row: what each is. Histories and shares belong to the custom object before them.
_PATTERN = "c H c c S c m c c H c c b c S c m x c e".split()
_NAMESPACES = ("", "", "", "acme", "npsp", "sbqq")
_NOUNS = "Invoice Order Plan Site Asset Visit Quote Claim Batch Route Parcel Permit Grant Lease Audit Shift".split()
_NUMBERED = re.compile(r"_\d{3,}__[A-Za-z]+$")
_STAMPED: Mapping[str, Any] = {"createable": False, "updateable": False, "nillable": False, "defaultedOnCreate": True}
_READ_ONLY: Mapping[str, Any] = {"createable": False, "updateable": False}
_NOBODY_WRITES: Mapping[str, Any] = {
    **dict.fromkeys(("createable", "updateable", "deletable", "undeletable", "layoutable", "triggerable"), False),
    "mruEnabled": False,
    "searchable": False,
}


def generated_objects(number: int) -> list[SObject]:
    """That many objects. Raises ValueError for more than there are key prefixes."""
    most = len(BASE62) ** 2
    if not 0 <= number <= most:
        raise ValueError(f"An org can have from 0 to {most} generated objects, not {number}.")
    return [SObject.from_describe(describe) for describe in _with_children(list(islice(_describes(), number)))]


def entity_definition() -> SObject:
    """The object that lists the objects, which has no rows of its own to make."""
    text: Mapping[str, Any] = {"type": "string", "length": 255, **_READ_ONLY}
    names = ("DurableId", "QualifiedApiName", "DeveloperName", "MasterLabel", "KeyPrefix")
    fields: list[Describe] = [{"name": "Id", "type": "id"}, *({"name": name, **text} for name in names)]
    flags = {**_NOBODY_WRITES, "custom": False, "replicateable": False}
    return SObject.from_describe({**_object("EntityDefinition", "4ie", fields, **flags), "childRelationships": []})


def generated_counts(objects: Iterable[SObject]) -> dict[str, int]:
    """How many rows each generated one of the objects has, unless somebody says otherwise: none to sixty; platform events
    keep none."""
    generated = [each.name for each in objects if _NUMBERED.search(each.name)]
    return {name: 0 if name.endswith("__e") else _draw(name) % 61 for name in generated}


def _draw(*key: str) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(key).encode(), digest_size=4).digest(), "big")


def _describes() -> Iterator[Describe]:
    custom: list[str] = []
    place = 0
    while True:
        kind = _PATTERN[place % len(_PATTERN)]
        stem = _stem(place)
        prefix = BASE62[place // len(BASE62)] + BASE62[place % len(BASE62)]
        if kind == "c":
            yield _custom(stem, f"a{prefix}", custom[-1] if custom else None)
            custom.append(f"{stem}__c")
        elif kind in "HS":
            yield _history(custom[-1]) if kind == "H" else _share(custom[-1])
        else:
            yield {"m": _metadata, "b": _big, "x": _external, "e": _event}[kind](stem, prefix)
        place += 1


def _stem(place: int) -> str:
    namespace = _NAMESPACES[_draw("namespace", str(place)) % len(_NAMESPACES)]
    noun = f"{_NOUNS[place % len(_NOUNS)]}_{place:03d}"
    return f"{namespace}__{noun}" if namespace else noun


def _object(name: str, prefix: str, fields: Sequence[Describe], **flags: Any) -> Describe:
    label = name.removesuffix("__c").rpartition("__")[2].replace("_", " ")
    own = [{"custom": str(each["name"]).endswith("__c"), **each} for each in fields]
    return {
        "name": name,
        "label": label,
        "labelPlural": f"{label}s",
        "keyPrefix": prefix,
        "custom": True,
        "fields": own,
        **flags,
    }


def _reference(name: str, *targets: str, **more: Any) -> Describe:
    relationship = name[:-1] + "r" if name.endswith("__c") else name.removesuffix("Id")
    return {
        "name": name,
        "type": "reference",
        "referenceTo": list(targets),
        "relationshipName": relationship,
        "namePointing": len(targets) > 1,
        "polymorphicForeignKey": len(targets) > 1,
        **more,
    }


def _system_fields() -> list[Describe]:
    return [
        {"name": "Id", "type": "id"},
        _reference("OwnerId", "Group", "User", nillable=False, defaultedOnCreate=True),
        {"name": "IsDeleted", "type": "boolean", **_READ_ONLY},
        {"name": "Name", "type": "string", "length": 80, "nameField": True, "defaultedOnCreate": True},
        {"name": "CreatedDate", "type": "datetime", **_STAMPED},
        _reference("CreatedById", "User", **_STAMPED),
        {"name": "LastModifiedDate", "type": "datetime", **_STAMPED},
        _reference("LastModifiedById", "User", **_STAMPED),
        {"name": "SystemModstamp", "type": "datetime", **_STAMPED},
    ]


def _custom(stem: str, prefix: str, before: str | None) -> Describe:
    choices = [{"active": True, "defaultValue": False, "label": each, "value": each} for each in ("Open", "Done")]
    own: list[Describe] = [
        {"name": "Amount__c", "type": "currency", "precision": 18, "scale": 2},
        {"name": "Day__c", "type": "date"},
        {"name": "Status__c", "type": "picklist", "picklistValues": choices},
        {"name": "Notes__c", "type": "textarea", "length": 255, "filterable": True},
        _reference("Account__c", "Account"),
    ]
    if before is not None:
        own.append(_reference("Previous__c", before))
    return _object(f"{stem}__c", prefix, [*_system_fields(), *own])


def _history(parent: str) -> Describe:
    fields: list[Describe] = [
        {"name": "Id", "type": "id"},
        {"name": "IsDeleted", "type": "boolean", **_READ_ONLY},
        _reference("ParentId", parent, **_STAMPED),
        _reference("CreatedById", "User", **_STAMPED),
        {"name": "CreatedDate", "type": "datetime", **_STAMPED},
        {"name": "Field", "type": "picklist", "length": 255, **_STAMPED},
        {"name": "DataType", "type": "picklist", **_READ_ONLY},
        *(
            {"name": name, "type": "anyType", "filterable": False, "sortable": False, "groupable": False, **_READ_ONLY}
            for name in ("OldValue", "NewValue")
        ),
    ]
    return _object(f"{parent.removesuffix('__c')}__History", "017", fields, **_NOBODY_WRITES)


def _share(parent: str) -> Describe:
    fields: list[Describe] = [
        {"name": "Id", "type": "id"},
        _reference("ParentId", parent, nillable=False, updateable=False),
        _reference("UserOrGroupId", "Group", "User", nillable=False, updateable=False),
        {"name": "AccessLevel", "type": "picklist", "nillable": False},
        {"name": "RowCause", "type": "picklist", "nillable": False, "updateable": False},
        {"name": "LastModifiedDate", "type": "datetime", **_STAMPED},
        _reference("LastModifiedById", "User", **_STAMPED),
        {"name": "IsDeleted", "type": "boolean", **_READ_ONLY},
    ]
    flags = {**_NOBODY_WRITES, "createable": True, "updateable": True, "deletable": True}
    return _object(f"{parent.removesuffix('__c')}__Share", "02c", fields, **flags)


def _metadata(stem: str, prefix: str) -> Describe:
    fields: list[Describe] = [
        {"name": "Id", "type": "id"},
        {"name": "DeveloperName", "type": "string", "length": 40, "nillable": False},
        {"name": "MasterLabel", "type": "string", "length": 40, "nillable": False, "nameField": True},
        {"name": "Language", "type": "picklist", "nillable": False},
        {"name": "NamespacePrefix", "type": "string", "length": 15},
        {"name": "QualifiedApiName", "type": "string", "length": 70, "nillable": False},
        {"name": "SystemModstamp", "type": "datetime", **_STAMPED},
        {"name": "Value__c", "type": "string", "length": 255},
    ]
    read_only = [{**each, **_READ_ONLY} for each in fields]
    flags = {**_NOBODY_WRITES, "replicateable": False, "layoutable": True}
    return _object(f"{stem}__mdt", f"m{prefix}", read_only, **flags)


def _big(stem: str, prefix: str) -> Describe:
    fields: list[Describe] = [
        {"name": "Id", "type": "id"},
        {"name": "CreatedDate", "type": "datetime", **_STAMPED},
        _reference("CreatedById", "User", **_STAMPED),
        {"name": "Device__c", "type": "string", "length": 40, "nillable": False},
        {"name": "At__c", "type": "datetime", "nillable": False},
        {"name": "Reading__c", "type": "double", "precision": 18, "scale": 4},
    ]
    return _object(f"{stem}__b", f"z{prefix}", fields, **_NOBODY_WRITES, replicateable=False)


def _external(stem: str, prefix: str) -> Describe:
    fields: list[Describe] = [
        {"name": "Id", "type": "id"},
        {"name": "ExternalId", "type": "string", "length": 255, "nillable": False, "externalId": True},
        {"name": "DisplayUrl", "type": "url"},
        {"name": "Title__c", "type": "string", "length": 128},
    ]
    return _object(f"{stem}__x", f"x{prefix}", fields, **_NOBODY_WRITES, replicateable=False)


def _event(stem: str, prefix: str) -> Describe:
    fields: list[Describe] = [
        {"name": "ReplayId", "type": "string", "length": 1000, "filterable": False, "sortable": False, **_READ_ONLY},
        {"name": "EventUuid", "type": "string", "length": 36, **_READ_ONLY},
        {"name": "CreatedDate", "type": "datetime", **_STAMPED},
        _reference("CreatedById", "User", **_STAMPED),
        {"name": "Payload__c", "type": "textarea", "length": 255},
    ]
    flags = {**_NOBODY_WRITES, "createable": True, "queryable": False, "replicateable": False, "retrieveable": False}
    return _object(f"{stem}__e", f"e{prefix}", fields, **flags)


def _with_children(describes: list[Describe]) -> list[Describe]:
    """The objects with the relationships that others have to them."""
    children: dict[str, list[Describe]] = {}
    for describe in describes:
        for field in describe["fields"]:
            for target in field.get("referenceTo", ()):
                children.setdefault(target, []).append(_child(describe["name"], field["name"]))
    return [{**each, "childRelationships": children.get(each["name"], [])} for each in describes]


def _child(name: str, field: str) -> Describe:
    by_kind = {"__History": "Histories", "__Share": "Shares"}
    kind = next((relationship for suffix, relationship in by_kind.items() if name.endswith(suffix)), None)
    plural = f"{name.removesuffix('__c').rpartition('__')[2]}s__r"
    return {
        "childSObject": name,
        "field": field,
        "relationshipName": kind or plural,
        "cascadeDelete": kind is not None,
    }
