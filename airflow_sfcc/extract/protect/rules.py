"""Rules for columns, as the option `columns` has them: `{"Contact.Email": "hash", "*.SSN__c": "drop", "type:phone": "hash"}`.

A rule names fields as `Object.Field`, or by describe's type as `type:email` or `Object.type:email`. `*` stands for any text,
case does not matter. Of several rules for a field, the last one holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import Any, Literal, cast, get_args

from airflow_sfcc.errors import QueryError
from airflow_sfcc.wording import did_you_mean

Action = Literal["hash", "drop", "keep"]
ACTIONS: tuple[str, ...] = get_args(Action)

FIELD_TYPES = frozenset(
    """
    address anytype base64 boolean combobox complexvalue currency date datetime datacategorygroupreference double
    email encryptedstring id int json location long multipicklist percent phone picklist reference string textarea time url
    """.split()
)
"""Types of fields in describes, in lower case."""

_TYPE = "type:"
_PATTERN = re.compile(r"[\w*]+(\.[\w*]+)+")


@dataclass(frozen=True)
class FieldName:
    """A field as rules see it: the object that it is a field of, its name there, and its type where that is known.

    `whole` is the compound field that it is a part of: MailingAddress of MailingCity.
    """

    sobject: str
    name: str
    type: str | None = None
    whole: FieldName | None = field(default=None, compare=False)

    @classmethod
    def of(cls, describe: Mapping[str, Any], about: Mapping[str, Any]) -> FieldName:
        """The name of a field of a describe."""
        sobject, name = str(describe["name"]), str(about["name"])
        compound = about.get("compoundFieldName")
        if not compound or compound == name:
            return cls(sobject, name, str(about["type"]))
        kinds = [str(each["type"]) for each in describe["fields"] if each["name"] == compound]
        return cls(sobject, name, str(about["type"]), cls(sobject, str(compound), kinds[0] if kinds else None))

    def __str__(self) -> str:
        return f"{self.sobject}.{self.name}"


@dataclass(frozen=True)
class Rule:
    """`text` is the rule as it was written; `sobject` and `field` are its two halves in lower case."""

    text: str
    sobject: str
    field: str
    action: Action

    @property
    def is_of_type(self) -> bool:
        return self.field.startswith(_TYPE)

    @property
    def is_for_objects(self) -> bool:
        """Whether the rule may be for several objects, and need not match a field in each of them."""
        return "*" in self.sobject

    @property
    def names_one_field(self) -> bool:
        return not (self.is_of_type or "*" in self.text or "." in self.field)

    def is_of_another(self, sobject: str) -> bool:
        """Whether the rule names a single object, which is not this one."""
        return not self.is_for_objects and self.sobject != sobject.lower()

    def matches(self, name: FieldName) -> bool:
        if not _fits(self.sobject, name.sobject):
            return False
        if self.is_of_type:
            return name.type is not None and name.type.lower() == self.field[len(_TYPE) :]
        return _fits(self.field, name.name)


class Rules:
    """The rules of one extract, in their order."""

    def __init__(self, columns: Mapping[str, str] | None) -> None:
        """Raises QueryError for what is no rule."""
        self.rules = tuple(_rule(pattern, action) for pattern, action in (columns or {}).items())

    def __bool__(self) -> bool:
        return bool(self.rules)

    def name(self, sobject: str) -> bool:
        """Whether a rule names just this object."""
        return any(rule.sobject == sobject.lower() for rule in self.rules)

    def rule_for(self, names: Iterable[FieldName]) -> Rule | None:
        """The last rule that matches one of the names that a field goes by, or the compound field that it is a part of: whoever
        hides an address hides its street. A rule that keeps a compound field says nothing of its parts. None where none does.
        """
        names = list(names)
        own = self._last_for(names)
        whole = self._last_for([each.whole for each in names if each.whole])
        place = max(own, whole) if whole >= 0 and self.rules[whole].action != "keep" else own
        return self.rules[place] if place >= 0 else None

    def _last_for(self, names: Sequence[FieldName]) -> int:
        """The place of the last rule that matches; -1 for none."""
        matching = [place for place, rule in enumerate(self.rules) if any(map(rule.matches, names))]
        return matching[-1] if matching else -1

    def protects(self, names: Iterable[FieldName]) -> bool:
        """Whether values of the field must not be seen."""
        rule = self.rule_for(names)
        return rule is not None and rule.action != "keep"

    def require_known(self, sobject: str, fields: Sequence[FieldName]) -> list[str]:
        """The rules that could be meant for this object and match none of its fields.

        Raises QueryError for one that names a single field of it, which is not there: its values may land under another name.
        """
        unused = []
        for rule in self.rules:
            if not _fits(rule.sobject, sobject) or any(map(rule.matches, fields)):
                continue
            if rule.names_one_field and rule.action != "keep":
                hint = did_you_mean(rule.field, [each.name for each in fields]) or "Check the spelling."
                raise QueryError(
                    f"columns names {rule.text}, and {sobject} has no such field that the Run As user may see. {hint} If the "
                    "user shall not see it, take the rule out."
                )
            unused.append(rule.text)
        return unused


def _rule(pattern: str, action: str) -> Rule:
    if action not in ACTIONS:
        hint = did_you_mean(str(action), ACTIONS) or f"Give one of {', '.join(ACTIONS)}."
        raise QueryError(f"columns gives {pattern} the treatment {action!r}. {hint}")
    text = pattern.strip()
    sobject, _, kind = text.lower().rpartition(_TYPE)
    if _TYPE in text.lower():
        _require_type(pattern, sobject, kind)
        return Rule(text, sobject.rstrip(".") or "*", _TYPE + kind, cast("Action", action))
    if not _PATTERN.fullmatch(text):
        raise QueryError(
            f"columns names {pattern!r}, which is no rule for a field: write Object.Field, such as 'Contact.Email', "
            "'*.Email' for every object, or 'type:email' for a type."
        )
    sobject, _, name = text.lower().partition(".")
    return Rule(text, sobject, name, cast("Action", action))


def _require_type(pattern: str, sobject: str, kind: str) -> None:
    if kind not in FIELD_TYPES or (sobject and not re.fullmatch(r"[\w*]+\.", sobject)):
        hint = did_you_mean(kind, FIELD_TYPES) or f"Types are {', '.join(sorted(FIELD_TYPES))}."
        raise QueryError(f"columns names {pattern!r}, which is no rule for a type such as 'type:email'. {hint}")


def _fits(pattern: str, name: str) -> bool:
    return _compiled(pattern).match(name.lower()) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
