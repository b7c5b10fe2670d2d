"""Whether the rules of `columns` mean fields that the objects of a sync have.

A rule with `*` for its object may be for some objects only, so an extract cannot tell it from one that is spelt wrongly, of which
all values land as they are. The plan can: it describes objects until each rule has matched a field, the objects first that had
one in the run before.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow_sfcc.errors import OptionError, SalesforceError
from airflow_sfcc.extract.protect.rules import FieldName, Rule
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.together import ask_together
from airflow_sfcc.sync.catalog import DESCRIBES_AT_ONCE
from airflow_sfcc.sync.model import RuleSeen
from airflow_sfcc.wording import did_you_mean, plural

log = logging.getLogger(__name__)

_LOOK_AGAIN = timedelta(days=7)
"""A rule for whatever fields there may be, and there are none, is looked for again after so long."""


@dataclass(frozen=True)
class Seen:
    """Where each rule with `*` for its object matches, and a sentence for each that does not or of which that is not known."""

    rules: tuple[RuleSeen, ...] = ()
    remarks: tuple[str, ...] = ()


def require_objects(rules: Sequence[Rule], names: Collection[str]) -> None:
    """Raise OptionError for a rule that hides fields of a single object, which is not among the org's `names`."""
    known = {name.lower() for name in names}
    for rule in rules:
        if rule.action != "keep" and not rule.is_for_objects and rule.sobject not in known:
            hint = did_you_mean(rule.sobject, names) or "Check the spelling."
            raise OptionError(
                f"columns has a rule for {rule.text}, and the org has no object of that name that the Run As user may see. "
                f"{hint} Where the object may be missing, write {_for_any(rule)}."
            )


def see_rules(
    client: SalesforceClient, rules: Sequence[Rule], names: Sequence[str], before: Sequence[RuleSeen], now: datetime
) -> Seen:
    """Look for fields that the rules match among the objects `names`; `before` is what the last run saw.

    Raises OptionError for a rule that hides a field by its name where no object has such a field.
    """
    looked_for = [rule for rule in rules if rule.is_for_objects]
    if not (looked_for and names):
        return Seen(tuple(before))
    known = {each.text: each for each in before}
    search = _Search(now, {rule.text: rule for rule in looked_for if not _is_recent(rule, known.get(rule.text), now)})
    first = [each.sobject for each in before if each.text in search.pending and each.sobject in names]
    search.run(client, list(dict.fromkeys([*first, *names])))
    search.require_found()
    seen = [found for rule in looked_for if (found := search.found.get(rule.text) or known.get(rule.text))]
    absent = [f"{_told(each.text)} was so on {each.at:%Y-%m-%d}." for each in seen if not each.sobject]
    return Seen(tuple(seen), (*absent, *search.unknown))


def _is_recent(rule: Rule, seen: RuleSeen | None, now: datetime) -> bool:
    return seen is not None and not seen.sobject and not _must_match(rule) and seen.at > now - _LOOK_AGAIN


def _must_match(rule: Rule) -> bool:
    """Whether the rule names a field that must be hidden; others are for whatever fields there may be."""
    return rule.action != "keep" and not rule.is_of_type and "*" not in rule.field


def _for_any(rule: Rule) -> str:
    """The rule for whatever objects and fields of such names there may be."""
    sobject, _, name = rule.text.partition(".")
    of_any = sobject if rule.is_for_objects else f"{sobject}*"
    return repr(f"{of_any}.{name}" if rule.is_of_type else f"{of_any}.{name}*")


def _told(text: str) -> str:
    return f"columns has a rule for {text}, and no field of this sync's objects"


@dataclass
class _Search:
    now: datetime
    pending: dict[str, Rule]
    found: dict[str, RuleSeen] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    _fields: set[str] = field(default_factory=set)
    _objects: int = 0

    def run(self, client: SalesforceClient, names: Sequence[str]) -> None:
        """Describe objects until each rule has matched. What could not be described is told."""
        if not self.pending:
            return
        problem = None
        try:
            for name, described in _describes(client, names):
                if isinstance(described, SalesforceError):
                    problem = problem or described
                else:
                    self._look(name, described)
                if not self.pending:
                    return
        except SalesforceError as refused:
            if refused.permanent:
                raise
            problem = refused
        if problem is not None:
            self.unknown = [
                f"columns has a rule for {text}, and whether a field of this sync's objects is so is not known: {problem.message}"
                for text in self.pending
            ]
            return
        log.info("Described %s to see which fields the rules of columns are for", plural(self._objects, "object"))
        for rule in self.pending.values():
            self.found[rule.text] = RuleSeen(rule.text, "", self.now)

    def _look(self, name: str, described: Mapping[str, Any]) -> None:
        fields = [FieldName.of(described, each) for each in described["fields"]]
        self._objects += 1
        self._fields |= {each.name for each in fields}
        for rule in [each for each in self.pending.values() if any(map(each.matches, fields))]:
            self.found[rule.text] = RuleSeen(rule.text, name, self.now)
            del self.pending[rule.text]

    def require_found(self) -> None:
        """Raise OptionError for a rule that had to match, and did not."""
        for rule in self.pending.values():
            if _must_match(rule) and not self.unknown:
                hint = did_you_mean(rule.field, self._fields) or "Check the spelling."
                raise OptionError(
                    f"{_told(rule.text)} ({self._objects:,}) has that name, as far as the Run As user may see. {hint} Where "
                    f"the field may be missing, write {_for_any(rule)}."
                )


def _describes(
    client: SalesforceClient, names: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any] | SalesforceError]]:
    """The describes by object, or why there is none for now; without objects that the Run As user may not see."""
    paths = [f"/sobjects/{name}/describe" for name in names]
    for name, part in zip(names, ask_together(client.api, paths, DESCRIBES_AT_ONCE)):
        if part.problem is not None:
            if not part.problem.permanent:
                yield name, part.problem
        elif isinstance(part.body, Mapping) and isinstance(part.body.get("fields"), list):
            yield name, part.body
