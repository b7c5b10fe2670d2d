"""What the rules of `columns` do to a query and its columns, before anything is read.

A value could leave the org by other ways than its own column: in a condition's literal, through a function, in a child query, as
a part of a compound field. A query with such a way is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, NoReturn

from msgspec import structs

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.model import Column
from airflow_sfcc.extract.plan.columns import ColumnResolver
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.extract.protect.rules import FieldName, Rule, Rules
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.soql import Query, Scope, SelectItem
from airflow_sfcc.wording import did_you_mean

log = logging.getLogger(__name__)

_COUNTS = frozenset({"COUNT", "COUNT_DISTINCT", "GROUPING"})
"""Functions whose results tell nothing of a value."""

_NEARLY_THE_SAME = 0.9
"""How alike names are of which one is likely a slip for the other: SSN_c for SSN__c. Rules for all objects are for few."""


def hashed_by(key: HashKey) -> str:
    """What columns and manifests say of the hash."""
    return f"hmac-sha256:{key.fingerprint}"


class Protection:
    """The rules of one extract, applied to its query."""

    def __init__(self, resolver: ColumnResolver, rules: Rules, key: HashKey | None) -> None:
        self._resolver = resolver
        self._rules = rules
        self._key = key
        self._used: set[Rule] = set()
        self._protected_parts = cache(self._find_protected_parts)

    def apply(
        self, query: Query, columns: tuple[Column, ...], plain: Collection[str], needed: Collection[str]
    ) -> tuple[Query, tuple[Column, ...], tuple[str, ...]]:
        """The query without the items to drop, the columns that are left, and the names of those dropped.

        `plain` names columns that must not be hashed, `needed` those that must not be dropped either. Raises QueryError for
        these, and for a query that lets protected values out.
        """
        if not self._rules:
            return query, columns, ()
        fields = self._fields(query.sobject)
        unused = self._rules.require_known(fields[0].sobject, fields)
        self._check_conditions(query)
        treated = [self._treated(query, item, column) for item, column in zip(query.items, columns)]
        kept = [index for index, column in enumerate(treated) if column is not None]
        dropped = tuple(column.name for column, after in zip(columns, treated) if after is None)
        left = tuple(column for column in treated if column is not None)
        self._require_allowed(query.sobject, left, dropped, plain, needed)
        if not kept:
            raise QueryError(f"No field of {query.sobject} is left to extract: columns drops them all.")
        self._log(fields, left, dropped, unused)
        return (query.with_only(kept) if dropped else query), left, dropped

    def _fields(self, sobject: str) -> list[FieldName]:
        describe = self._resolver.describe(sobject)
        return [FieldName.of(describe, each) for each in describe["fields"]]

    def _treated(self, query: Query, item: SelectItem, column: Column) -> Column | None:
        """The column as it lands; None for one that is dropped."""
        if item.kind == "subquery":
            self._check_child_query(query, item)
        elif item.kind == "typeof":
            self._check_typeof(query, item)
        elif item.kind == "function":
            self._check_function(query, item)
        else:
            return self._treated_field(self._names(query, item.text), column)
        return column

    def _treated_field(self, names: list[FieldName], column: Column) -> Column | None:
        rule = self._rules.rule_for(names)
        if rule is None:
            self._check_components(names)
            return column
        self._used.add(rule)
        if rule.action == "drop":
            return None
        return column if rule.action == "keep" else self._hashed(column)

    def _hashed(self, column: Column) -> Column:
        if self._key is None:
            raise QueryError(
                f"columns hashes {column.name}, and there is no key to hash it by: name a connection whose password is the key "
                "in hash_key_conn_id."
            )
        return structs.replace(column, type="string", hashed=hashed_by(self._key))

    def _names(self, query: Query, path: str) -> list[FieldName]:
        return self._resolver.owners(query.sobject, self._resolver.path(query, path))

    # Other ways out

    def _check_function(self, query: Query, item: SelectItem) -> None:
        if item.function in _COUNTS or not item.innermost:
            return
        self._refuse_if_protected(
            self._names(query, item.innermost),
            f"by {item.function}(), whose result tells its values: select the field itself",
        )

    def _check_child_query(self, query: Query, item: SelectItem) -> None:
        child = self._resolver.scoped(Scope(soql.scan(item.text[1:-1]), Scope(query), is_child=True))
        way = f"in a child query, whose records land as JSON: extract {child.sobject} by a task of its own"
        for inner in child.items:
            if inner.function == "FIELDS":
                for field in self._fields(child.sobject):
                    self._refuse_if_protected([field], way)
            elif inner.kind == "subquery":
                self._check_child_query(child, inner)
            elif inner.kind == "typeof":
                self._check_typeof(child, inner)
            elif inner.function not in _COUNTS:
                self._refuse_if_protected(self._names(child, inner.innermost or inner.text), way)

    def _check_typeof(self, query: Query, item: SelectItem) -> None:
        for names in self._typeof_fields(query, item):
            self._refuse_if_protected(names, "by TYPEOF, whose fields land as JSON: leave it out there")

    def _typeof_fields(self, query: Query, item: SelectItem) -> Iterator[list[FieldName]]:
        """What each field in `TYPEOF What WHEN Account THEN Phone ELSE Name END` may be called."""
        words = soql.words(item.text)
        target, reading = "", False
        for before, word in pairwise(words):
            if before.upper() == "WHEN":
                target, reading = word, False
            elif word.upper() in ("THEN", "ELSE"):
                target, reading = ("" if word.upper() == "ELSE" else target), True
            elif word.upper() in ("WHEN", "END"):
                reading = False
            elif reading:
                path = f"{words[1]}.{word}"
                yield self._resolver.owners(target, word) if target else self._names(query, path)

    def _check_conditions(self, query: Query) -> None:
        for path, scope in soql.condition_fields(query.text):
            names = self._resolver.owners_in(scope, path)
            self._refuse_if_protected(
                names, "in a condition, whose values would be in the manifest and in logs: filter by another field"
            )

    def _check_components(self, names: list[FieldName]) -> None:
        """Refuse a field that is plain and made of others that are not: Name of FirstName and LastName."""
        for field in names:
            if field.type is None:
                continue
            part = self._protected_parts(field.sobject).get(field.name)
            if part is not None and part != field:
                raise QueryError(
                    f"columns has a rule that {part} matches, and {field} holds its values too: add '{field}' with 'hash' or "
                    "'drop', or with 'keep' where that is meant."
                )

    def _find_protected_parts(self, sobject: str) -> dict[str, FieldName]:
        """The object's compound fields that have a protected part, with one such part."""
        fields = zip(self._resolver.describe(sobject)["fields"], self._fields(sobject))
        return {
            str(about["compoundFieldName"]): part
            for about, part in fields
            if about.get("compoundFieldName") and self._rules.protects([part])
        }

    def _refuse_if_protected(self, names: list[FieldName], way: str) -> None:
        rule = self._rules.rule_for(names)
        if rule is not None and rule.action != "keep":
            raise QueryError(f"columns has '{rule.text}': '{rule.action}', and the query has {names[0]} {way}.")

    # What was done

    def _require_allowed(
        self,
        sobject: str,
        left: tuple[Column, ...],
        dropped: tuple[str, ...],
        plain: Collection[str],
        needed: Collection[str],
    ) -> None:
        hashed = [column.name for column in left if column.hashed and column.name in {*plain, *needed}]
        for done, names in (("hashes", hashed), ("drops", [name for name in dropped if name in needed])):
            if names:
                _refuse(sobject, done, names[0])

    def _log(
        self, fields: list[FieldName], left: tuple[Column, ...], dropped: tuple[str, ...], unused: list[str]
    ) -> None:
        sobject = fields[0].sobject
        hashed = [column.name for column in left if column.hashed]
        log.info("%s: hashed are %s; dropped are %s", sobject, _listed(hashed), _listed(dropped))
        for rule in self._rules.rules:
            if rule.text in unused:
                plain = [each.name for each in fields if not self._rules.rule_for([each])]
                hint = did_you_mean(rule.field, plain, cutoff=_NEARLY_THE_SAME)
                level = logging.INFO if rule.is_for_objects and not hint else logging.WARNING
                what = f"{sobject} is so. {hint}" if hint else f"{sobject} is so"
                log.log(level, "columns has a rule for %s, and no field of %s", rule.text, what)
        others = [rule for rule in self._rules.rules if rule.is_of_another(sobject) and rule not in self._used]
        if others:
            log.info(
                "columns has rules for other objects than %s: %s", sobject, _listed([rule.text for rule in others])
            )
        for rule in [] if self._rules.name(sobject) else others:
            if did_you_mean(rule.sobject, [sobject]):
                log.warning("columns has a rule for %s: did you mean %s?", rule.text, sobject)


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"


def _refuse(sobject: str, done: str, name: str) -> NoReturn:
    raise QueryError(
        f"columns {done} {sobject}.{name}, and the extract needs it as it is: rows are told apart and ordered by such fields. "
        f"Add '{sobject}.{name}': 'keep' as the last rule."
    )


def log_left_out(describe: Mapping[str, Any], names: Collection[str]) -> None:
    """Name the fields that nobody left out, and that are not read."""
    if names:
        log.info("%s: not read, since an extract does not carry such fields: %s", describe["name"], ", ".join(names))
