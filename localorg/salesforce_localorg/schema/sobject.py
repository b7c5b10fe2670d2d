"""An object: its flags, fields and child relationships."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import cached_property
from typing import Any

from salesforce_localorg.schema.api_support import needs_filter, supports_bulk
from salesforce_localorg.schema.field import Field

_BRIEF_KEYS = (
    "activateable",
    "associateEntityType",
    "associateParentEntity",
    "createable",
    "custom",
    "customSetting",
    "deepCloneable",
    "deletable",
    "deprecatedAndHidden",
    "feedEnabled",
    "hasSubtypes",
    "isInterface",
    "isSubtype",
    "keyPrefix",
    "label",
    "labelPlural",
    "layoutable",
    "mergeable",
    "mruEnabled",
    "name",
    "queryable",
    "replicateable",
    "retrieveable",
    "searchable",
    "triggerable",
    "undeletable",
    "updateable",
    "urls",
)
_VERSION_IN_PATH = re.compile(r"/services/data/v[0-9x]+\.0/")


@dataclass(frozen=True)
class ChildRelationship:
    """One entry of `childRelationships`: records of `child_sobject` point here through `field`.

    Without a `relationship_name` the children cannot be selected in a subquery.
    """

    child_sobject: str
    field: str
    relationship_name: str | None
    cascade_delete: bool = False
    restricted_delete: bool = False
    deprecated_and_hidden: bool = False
    junction_id_list_names: tuple[str, ...] = ()
    junction_reference_to: tuple[str, ...] = ()

    def to_describe(self) -> dict[str, Any]:
        """The entry as describe shows it."""
        return {
            "cascadeDelete": self.cascade_delete,
            "childSObject": self.child_sobject,
            "deprecatedAndHidden": self.deprecated_and_hidden,
            "field": self.field,
            "junctionIdListNames": list(self.junction_id_list_names),
            "junctionReferenceTo": list(self.junction_reference_to),
            "relationshipName": self.relationship_name,
            "restrictedDelete": self.restricted_delete,
        }


@dataclass(frozen=True, eq=False)
class SObject:
    """One object. `attributes` holds every key of its describe answer but fields and childRelationships.

    `bulk_allowed` and `filter_required` go before what is known of the object's name.
    """

    name: str
    fields: tuple[Field, ...]
    child_relationships: tuple[ChildRelationship, ...] = ()
    attributes: Mapping[str, Any] = attribute(default_factory=dict)
    bulk_allowed: bool | None = None
    filter_required: bool | None = None

    @classmethod
    def from_describe(cls, answer: Mapping[str, Any]) -> SObject:
        """The object that an answer of `GET .../sobjects/<name>/describe` tells of.

        Raises KeyError when the answer lacks `name` or `fields`.
        """
        children = tuple(
            ChildRelationship(
                child_sobject=child["childSObject"],
                field=child["field"],
                relationship_name=child.get("relationshipName"),
                cascade_delete=child.get("cascadeDelete", False),
                restricted_delete=child.get("restrictedDelete", False),
                deprecated_and_hidden=child.get("deprecatedAndHidden", False),
                junction_id_list_names=tuple(child.get("junctionIdListNames") or ()),
                junction_reference_to=tuple(child.get("junctionReferenceTo") or ()),
            )
            for child in answer.get("childRelationships") or ()
        )
        attributes = {key: value for key, value in answer.items() if key not in ("fields", "childRelationships")}
        # A whole answer is repeated as it was: what its API version did not know yet is not added.
        defaults = {} if "urls" in answer and "label" in answer else object_defaults(answer)
        return cls(
            name=answer["name"],
            fields=tuple(Field.from_describe(entry) for entry in answer["fields"]),
            child_relationships=children,
            attributes={**defaults, **attributes},
        )

    @property
    def label(self) -> str:
        """The singular name that people read."""
        return str(self.attributes["label"])

    @property
    def label_plural(self) -> str:
        """The plural name that people read."""
        return str(self.attributes.get("labelPlural", self.label))

    @property
    def key_prefix(self) -> str | None:
        """The first three characters of the object's record ids; None where the object has no records of its own."""
        prefix = self.attributes.get("keyPrefix")
        return None if prefix is None else str(prefix)

    @property
    def custom(self) -> bool:
        """Whether the object was made by the org's own administrators."""
        return self.flag("custom")

    @property
    def queryable(self) -> bool:
        """Whether SOQL may select from it."""
        return self.flag("queryable")

    @property
    def replicateable(self) -> bool:
        """Whether getUpdated and getDeleted answer for it."""
        return self.flag("replicateable")

    @property
    def bulk(self) -> bool:
        """Whether the Bulk API may query it. No describe key tells this; the names are known.

        Source: salesforce-protocol.md#restricted-objects.
        """
        return supports_bulk(self.name) if self.bulk_allowed is None else self.bulk_allowed

    @property
    def needs_filter(self) -> bool:
        """Whether a query without WHERE is refused (salesforce-protocol.md#restricted-objects)."""
        return needs_filter(self.name) if self.filter_required is None else self.filter_required

    def flag(self, key: str) -> bool:
        """A true-or-false key of the describe answer, such as `createable`."""
        return bool(self.attributes.get(key))

    def field(self, name: str) -> Field | None:
        """The field with this name in any case, or None."""
        return self._by_name.get(name.lower())

    @cached_property
    def _by_name(self) -> Mapping[str, Field]:
        return {field.name.lower(): field for field in self.fields}

    @cached_property
    def name_field(self) -> Field | None:
        """The field that names a record: Name, CaseNumber, Subject, ...; None where records have no name."""
        return next((field for field in self.fields if field.name_field), None)

    def components(self, compound: Field) -> tuple[Field, ...]:
        """The fields whose values a compound field groups."""
        return tuple(field for field in self.fields if field.compound_field_name == compound.name)

    def parent_field(self, relationship_name: str) -> Field | None:
        """The reference field behind a child-to-parent relationship name in any case, or None."""
        wanted = relationship_name.lower()
        return next((f for f in self.fields if f.relationship_name and f.relationship_name.lower() == wanted), None)

    def child_relationship(self, relationship_name: str) -> ChildRelationship | None:
        """The parent-to-child relationship with this name in any case, or None."""
        wanted = relationship_name.lower()
        named = (c for c in self.child_relationships if c.relationship_name)
        return next((c for c in named if str(c.relationship_name).lower() == wanted), None)

    def to_describe(self, api_version: str) -> dict[str, Any]:
        """The answer to describe in this API version (such as `67.0`), keys in Salesforce's order."""
        answer = {
            **self.attributes,
            "childRelationships": [child.to_describe() for child in self.child_relationships],
            "fields": [field.to_describe() for field in self.fields],
        }
        return _in_version(dict(sorted(answer.items())), api_version)

    def to_brief(self, api_version: str) -> dict[str, Any]:
        """The object's entry in the answer to `GET .../sobjects`."""
        brief = {key: self.attributes.get(key) for key in _BRIEF_KEYS}
        urls = self.attributes.get("urls") or {}
        brief["urls"] = {kind: url for kind, url in urls.items() if not kind.startswith("ui")}
        return _in_version(brief, api_version)


def object_defaults(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The describe keys of an ordinary object; what an answer says itself goes before them."""
    name = answer["name"]
    return {
        "actionOverrides": [],
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "compactLayoutable": True,
        "createable": True,
        "custom": name.endswith("__c"),
        "customSetting": False,
        "deepCloneable": False,
        "defaultImplementation": None,
        "deletable": True,
        "deprecatedAndHidden": False,
        "extendedBy": None,
        "extendsInterfaces": None,
        "feedEnabled": False,
        "hasSubtypes": False,
        "implementedBy": None,
        "implementsInterfaces": None,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": None,
        "label": name,
        "labelPlural": answer.get("label", name),
        "layoutable": True,
        "listviewable": None,
        "lookupLayoutable": None,
        "mergeable": False,
        "mruEnabled": True,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "queryable": True,
        "recordTypeInfos": [],
        "replicateable": True,
        "retrieveable": True,
        "searchLayoutable": True,
        "searchable": True,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [],
        "triggerable": True,
        "undeletable": True,
        "updateable": True,
        "urls": _urls(name, layoutable=bool(answer.get("layoutable", True))),
    }


def _urls(name: str, *, layoutable: bool) -> dict[str, str]:
    """The resources of an object; one without layouts has its records and its describe only (recorded describeGlobal)."""
    base = f"/services/data/v0.0/sobjects/{name}"
    if not layoutable:
        return {"rowTemplate": f"{base}/{{ID}}", "describe": f"{base}/describe", "sobject": base}
    return {
        "compactLayouts": f"{base}/describe/compactLayouts",
        "rowTemplate": f"{base}/{{ID}}",
        "approvalLayouts": f"{base}/describe/approvalLayouts",
        "listviews": f"{base}/listviews",
        "describe": f"{base}/describe",
        "quickActions": f"{base}/quickActions",
        "layouts": f"{base}/describe/layouts",
        "sobject": base,
    }


def _in_version(answer: dict[str, Any], api_version: str) -> dict[str, Any]:
    path = f"/services/data/v{api_version.lstrip('v')}/"
    moved: dict[str, Any] = json.loads(_VERSION_IN_PATH.sub(path, json.dumps(answer)))
    return moved
