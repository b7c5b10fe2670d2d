"""Who asks: field-level security and object access, as far as queries notice them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Viewer:
    """A user and what is hidden from them; hidden things behave as if they did not exist.

    Without `sees_all_records` ("View All Data") queries find only what the user owns, of objects that have owners.
    Names compare without case: `hidden_fields` holds (object, field) pairs, `hidden_objects` object names.
    """

    user_id: str
    hidden_fields: frozenset[tuple[str, str]] = frozenset()
    hidden_objects: frozenset[str] = frozenset()
    sees_all_records: bool = True
    _fields: frozenset[tuple[str, str]] = field(init=False, repr=False, compare=False, default=frozenset())
    _objects: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fields", frozenset((o.lower(), f.lower()) for o, f in self.hidden_fields))
        object.__setattr__(self, "_objects", _lowered(self.hidden_objects))

    def sees_object(self, sobject: str) -> bool:
        """Whether the object exists for this user."""
        return sobject.lower() not in self._objects

    def sees_field(self, sobject: str, field_name: str) -> bool:
        """Whether the field of the object exists for this user."""
        return (sobject.lower(), field_name.lower()) not in self._fields


def _lowered(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
