"""All objects of the org."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from salesforce_localorg.schema.generated import entity_definition, generated_objects
from salesforce_localorg.schema.sobject import SObject, object_defaults
from salesforce_localorg.schema.standard import read_standard_objects


class Schema:
    """All objects of the org, found by name without case."""

    def __init__(self, sobjects: Iterable[SObject]) -> None:
        self._by_name = {sobject.name.lower(): sobject for sobject in sobjects}

    @classmethod
    def standard(cls) -> Schema:
        """The org as it comes: the common standard objects and the custom object Invoice__c."""
        return cls(read_standard_objects())

    @classmethod
    def sized(cls, objects: int) -> Schema:
        """An org with that many objects: the standard ones, EntityDefinition, and generated ones of every kind.

        Raises ValueError for fewer than the standard ones.
        """
        standard = [*read_standard_objects(), entity_definition()]
        if objects < len(standard):
            raise ValueError(f"An org has {len(standard)} objects at least; {objects} are too few.")
        return cls([*standard, *generated_objects(objects - len(standard))])

    @classmethod
    def from_describes(cls, describes: Iterable[Mapping[str, Any]], base: Schema | None = None) -> Schema:
        """An org with the shape of describe answers saved from another org.

        Objects of `base` that the answers do not describe stay; described ones replace those of the same name. An answer to
        `GET .../sobjects` may be among them: objects that nothing else describes get the fields that records always have.
        Raises ValueError for an answer that is neither.
        """
        described: list[SObject] = []
        briefs: list[Mapping[str, Any]] = []
        for answer in describes:
            if isinstance(answer, Mapping) and isinstance(answer.get("sobjects"), list):
                briefs += answer["sobjects"]
            elif isinstance(answer, Mapping) and "name" in answer and isinstance(answer.get("fields"), list):
                described.append(SObject.from_describe(answer))
            else:
                raise ValueError(
                    "A describe answer is the JSON object of GET .../sobjects/<Object>/describe, with `name` and `fields`, or "
                    "of GET .../sobjects, with `sobjects`."
                )
        schema = cls([*(base or ()), *described])
        known = {each.name: each for each in described}
        return cls(
            [
                *schema,
                *(_from_brief(brief, schema.sobject(brief["name"])) for brief in briefs if brief["name"] not in known),
            ]
        )

    def sobject(self, name: str) -> SObject | None:
        """The object with this name in any case, or None."""
        return self._by_name.get(name.lower())

    def copy(self) -> Schema:
        """A schema of the same objects that changes by itself."""
        return Schema(self)

    def put(self, sobject: SObject) -> None:
        """Add an object, or put it in the place of the one with its name."""
        self._by_name = {**self._by_name, sobject.name.lower(): sobject}

    def remove(self, name: str) -> None:
        """Take an object away, with the relationships of its parents to it."""
        gone = name.lower()
        self._by_name = {key: _without_children(each, gone) for key, each in self._by_name.items() if key != gone}

    def __iter__(self) -> Iterator[SObject]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


def _without_children(sobject: SObject, child: str) -> SObject:
    kept = tuple(each for each in sobject.child_relationships if each.child_sobject.lower() != child)
    return sobject if kept == sobject.child_relationships else replace(sobject, child_relationships=kept)


def _from_brief(brief: Mapping[str, Any], known: SObject | None) -> SObject:
    """An object that describeGlobal lists, with the fields it is known to have or those of every record."""
    if known is not None:
        return replace(known, attributes={**known.attributes, **brief})
    return SObject.from_describe({**object_defaults(brief), **brief, "fields": _FIELDS_OF_EVERY_RECORD})


_STAMPED: Mapping[str, Any] = {"createable": False, "nillable": False, "updateable": False}
_FIELDS_OF_EVERY_RECORD: Sequence[Mapping[str, Any]] = (
    {"name": "Id", "type": "id"},
    {"name": "IsDeleted", "type": "boolean", "createable": False, "updateable": False},
    {"name": "Name", "type": "string", "length": 80, "nameField": True},
    {"name": "CreatedDate", "type": "datetime", **_STAMPED},
    {"name": "LastModifiedDate", "type": "datetime", **_STAMPED},
    {"name": "SystemModstamp", "type": "datetime", **_STAMPED},
)
