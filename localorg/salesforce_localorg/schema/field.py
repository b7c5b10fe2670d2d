"""A field of an object, with everything that describe tells about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from dataclasses import field as attribute
from typing import Any

from salesforce_localorg.schema.field_types import (
    default_byte_length,
    default_length,
    soap_type,
    type_defaults,
)

COMPOUND_TYPES = frozenset({"address", "location"})
NUMBER_TYPES = frozenset({"int", "long", "double", "currency", "percent"})


@dataclass(frozen=True, eq=False)
class Field:
    """One field. Attributes carry the describe keys in snake case; lengths are characters, byte lengths bytes.

    `extras` keeps describe keys that this class does not know, so that an org newer than it passes through unchanged.
    """

    name: str
    label: str
    type: str
    soap_type: str
    length: int = 0
    byte_length: int = 0
    precision: int = 0
    scale: int = 0
    digits: int = 0
    nillable: bool = True
    custom: bool = False
    calculated: bool = False
    compound_field_name: str | None = None
    reference_to: tuple[str, ...] = ()
    relationship_name: str | None = None
    picklist_values: tuple[Mapping[str, Any], ...] = ()
    aggregatable: bool = True
    ai_prediction_field: bool = False
    auto_number: bool = False
    calculated_formula: str | None = None
    cascade_delete: bool = False
    case_sensitive: bool = False
    controller_name: str | None = None
    createable: bool = True
    default_value: Any = None
    default_value_formula: str | None = None
    defaulted_on_create: bool = False
    dependent_picklist: bool = False
    deprecated_and_hidden: bool = False
    display_location_in_decimal: bool = False
    encrypted: bool = False
    external_id: bool = False
    extra_type_info: str | None = None
    filterable: bool = True
    filtered_lookup_info: Mapping[str, Any] | None = None
    formula_treat_null_number_as_zero: bool = False
    groupable: bool = True
    high_scale_number: bool = False
    html_formatted: bool = False
    id_lookup: bool = False
    inline_help_text: str | None = None
    mask: str | None = None
    mask_type: str | None = None
    name_field: bool = False
    name_pointing: bool = False
    permissionable: bool = False
    polymorphic_foreign_key: bool = False
    query_by_distance: bool = False
    reference_target_field: str | None = None
    relationship_order: int | None = None
    restricted_delete: bool = False
    restricted_picklist: bool = False
    search_prefilterable: bool = False
    sortable: bool = True
    unique: bool = False
    updateable: bool = True
    write_requires_master_read: bool = False
    extras: Mapping[str, Any] = attribute(default_factory=dict)

    @classmethod
    def from_describe(cls, answer: Mapping[str, Any]) -> Field:
        """The field that a describe answer tells of; keys that the answer lacks take the defaults of the field's type.

        Raises KeyError when `name` or `type` is missing.
        """
        name, kind = answer["name"], answer["type"]
        length = answer.get("length", default_length(kind))
        merged: dict[str, Any] = {
            "label": name,
            "soapType": soap_type(kind),
            "length": length,
            "byteLength": default_byte_length(kind, length),
            **type_defaults(kind),
            **answer,
        }
        known = {_ATTRIBUTES[key]: value for key, value in merged.items() if key in _ATTRIBUTES}
        known["reference_to"] = tuple(merged.get("referenceTo") or ())
        known["picklist_values"] = tuple(merged.get("picklistValues") or ())
        return cls(**known, extras={key: value for key, value in merged.items() if key not in _ATTRIBUTES})

    @property
    def is_compound(self) -> bool:
        """Whether the field only groups other fields (an address or a location) and holds no value of its own."""
        return self.type in COMPOUND_TYPES

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return self.type in NUMBER_TYPES

    @property
    def is_polymorphic(self) -> bool:
        """Whether the field refers to records of more than one object."""
        return len(self.reference_to) > 1

    def to_describe(self) -> dict[str, Any]:
        """The field as an entry of `fields` in a describe answer, keys in Salesforce's (alphabetical) order."""
        entry = {key: getattr(self, name) for key, name in _ATTRIBUTES.items()}
        entry["referenceTo"] = list(self.reference_to)
        entry["picklistValues"] = [dict(value) for value in self.picklist_values]
        return dict(sorted({**entry, **self.extras}.items()))


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match.group(1).upper(), name)


_ATTRIBUTES: Mapping[str, str] = {_camel(item.name): item.name for item in fields(Field) if item.name != "extras"}
