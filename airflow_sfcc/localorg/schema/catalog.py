"""All objects of the org."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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

    def __iter__(self) -> Iterator[SObject]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)
