"""All objects of the org."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from airflow_sfcc.localorg.schema.sobject import SObject
from airflow_sfcc.localorg.schema.standard import read_standard_objects


class Schema:
    """All objects of the org, found by name without case."""

    def __init__(self, sobjects: Iterable[SObject]) -> None:
        self._by_name = {sobject.name.lower(): sobject for sobject in sobjects}

    @classmethod
    def standard(cls) -> Schema:
        """The org as it comes: the common standard objects and the custom object Invoice__c."""
        return cls(read_standard_objects())

    @classmethod
    def from_describes(cls, describes: Iterable[Mapping[str, Any]], base: Schema | None = None) -> Schema:
        """An org with the shape of describe answers saved from another org.

        Objects of `base` that the answers do not describe stay; described ones replace those of the same name.
        Raises ValueError for an answer that is not a describe of one object.
        """
        described = []
        for answer in describes:
            if not isinstance(answer, Mapping) or "name" not in answer or not isinstance(answer.get("fields"), list):
                raise ValueError(
                    "A describe answer is the JSON object of GET .../sobjects/<Object>/describe, with `name` and `fields`."
                )
            described.append(SObject.from_describe(answer))
        return cls([*(base or ()), *described])

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
