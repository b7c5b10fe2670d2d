"""What describe says of an object, as far as a data dictionary needs it: labels, help texts, references, picklists, formulas.

It travels with the plan and ends up beside the extracts, once for each change (`land/describe_file.py`). What is read back is
data: checked, and bounded.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024 * 1024
"""Of what is kept of one object; 800 fields with 100 picklist values each have 5 MB."""

_LONGEST_TEXT = 20_000
_NAME = re.compile(r"\A\w{1,255}\Z")

Text = Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]
Name = Annotated[str, msgspec.Meta(pattern=_NAME.pattern)]
DescribeName = Annotated[str, msgspec.Meta(pattern=r"\A_describe-[0-9a-f]{32}\.json\Z")]
"""What the file is called: by a hash of its content."""


T = TypeVar("T")


class _Compact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Keys that a later version adds are no error."""


class PicklistValue(_Compact, frozen=True):
    """`label` is None where it is the value itself."""

    value: Text
    label: Text | None = None
    active: bool = True


class DescribedField(_Compact, frozen=True):
    """`references` are the objects that a reference may lead to, `relationship` what SOQL calls the way there."""

    name: Name
    type: Name
    label: Text = ""
    help: Text | None = None
    references: tuple[Name, ...] = ()
    relationship: Name | None = None
    values: tuple[PicklistValue, ...] = ()
    restricted: bool = False
    """Whether Salesforce refuses values that are not in the picklist."""
    controlled_by: Name | None = None
    formula: Text | None = None
    calculated: bool = False
    """A formula or a roll-up, whose value changes without the record."""
    unique: bool = False
    external_id: bool = False
    auto_number: bool = False
    is_name: bool = False
    length: int = 0
    precision: int = 0
    scale: int = 0


class Described(_Compact, frozen=True):
    """An object and its fields by name, as the Run As user sees them, in that user's language."""

    sobject: Name
    label: Text = ""
    label_plural: Text = ""
    custom: bool = False
    fields: tuple[DescribedField, ...] = ()

    def field(self, name: str) -> DescribedField | None:
        return next((each for each in self.fields if each.name == name), None)


def described_of(describe: Mapping[str, Any]) -> Described:
    """What is kept of a describe response whose names were checked (`SalesforceClient.describe`)."""
    fields = sorted(map(_field_of, describe["fields"]), key=lambda each: each.name)
    return Described(
        sobject=str(describe["name"]),
        label=_text(describe.get("label")) or "",
        label_plural=_text(describe.get("labelPlural")) or "",
        custom=describe.get("custom") is True,
        fields=tuple(fields),
    )


def kept_of(describe: Mapping[str, Any]) -> Described | None:
    """The same; None, with a warning, where it is larger than anybody would read it back."""
    described = described_of(describe)
    if (size := len(encoded(described))) > MOST_BYTES:
        log.warning(
            "%s is described in %s bytes, more than the %s that are kept: its data dictionary will have names and types only",
            described.sobject,
            f"{size:,}",
            f"{MOST_BYTES:,}",
        )
        return None
    return described


def _field_of(field: Mapping[str, Any]) -> DescribedField:
    return DescribedField(
        name=field["name"],
        type=field["type"],
        label=_text(field.get("label")) or "",
        help=_text(field.get("inlineHelpText")),
        references=_tuple(name for each in _list(field.get("referenceTo")) if (name := _name(each))),
        relationship=_name(field.get("relationshipName")),
        values=_tuple(_values_of(field)),
        restricted=field.get("restrictedPicklist") is True,
        controlled_by=_name(field.get("controllerName")),
        formula=_text(field.get("calculatedFormula")),
        calculated=field.get("calculated") is True,
        unique=field.get("unique") is True,
        external_id=field.get("externalId") is True,
        auto_number=field.get("autoNumber") is True,
        is_name=field.get("nameField") is True,
        length=_number(field.get("length")),
        precision=_number(field.get("precision")),
        scale=_number(field.get("scale")),
    )


def _tuple(items: Iterator[T]) -> tuple[T, ...]:
    """Without items the one empty tuple: Python 3.10 makes others, and msgspec leaves out a default that is the same object."""
    return tuple(items) or ()


def _values_of(field: Mapping[str, Any]) -> Iterator[PicklistValue]:
    for each in _list(field.get("picklistValues")):
        value = _text(each.get("value")) if isinstance(each, Mapping) else None
        if value is not None:
            label = _text(each.get("label"))
            yield PicklistValue(value, label if label != value else None, each.get("active") is not False)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    """Text that is some, without halves of surrogate pairs, which no file could hold."""
    if not isinstance(value, str) or not value:
        return None
    return value[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.match(value) else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0


def encoded(described: Described) -> bytes:
    """The content of its file."""
    return msgspec.json.encode(described)


def describe_name(content: bytes) -> str:
    """What the file with this content is called."""
    return f"_describe-{hashlib.sha256(content).hexdigest()[:32]}.json"
