"""Which columns an extract has, and of which types: from the object's describe, for SOQL too."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_sfcc.errors import (
    ACCESS,
    ApiBudgetError,
    ConfigurationError,
    QueryError,
    SalesforceError,
    StoppedError,
    UntrustedHostError,
)
from airflow_sfcc.extract.model import FIXED_TYPES, NUMBER_TYPES, Column, LeftOut, Numbers
from airflow_sfcc.extract.protect.rules import FieldName
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.soql import Query, Scope, SelectItem, function_call, scan
from airflow_sfcc.wording import did_you_mean

log = logging.getLogger(__name__)

COMPOUND_TYPES = frozenset({"address", "location", "complexvalue"})
BINARY_TYPES = frozenset({"base64"})
ID_LISTS = "urn:JunctionIdListNames"
"""The soapType of fields that list the ids of an object of their own, such as EmailMessage.ToIds of EmailMessageRelation. Bulk
does not do them (salesforce-protocol.md#describe), so they are extracted only where `fields` or a query names them."""
_DATE_PARTS = re.compile(r"(CALENDAR|FISCAL)_(YEAR|QUARTER|MONTH)|(DAY|WEEK)_IN_(WEEK|MONTH|YEAR)|HOUR_IN_DAY")
_COUNTS = frozenset({"COUNT", "COUNT_DISTINCT", "GROUPING"})
_OF_FIXED_TYPE = {
    "AVG": ("double", "float64"),
    "DISTANCE": ("double", "float64"),
    "DAY_ONLY": ("date", "date32"),
}
_FIELD_KINDS = {"ALL": (True, False), "STANDARD": (False,), "CUSTOM": (True,)}
"""Whether the fields that FIELDS(...) stands for are custom fields."""

ENDING_ERRORS = (ApiBudgetError, ConfigurationError, StoppedError, UntrustedHostError)
"""After these, no other request would fare better. After others, planning goes on without what a helper request was for."""

UNKNOWN_FIELD = "INVALID_FIELD"
_LARGEST_PRECISION = 38
_MOST_TARGETS = 5
"""Objects that are described to find a field of a polymorphic parent: Event.What has more than eighty, and what the query can
reach is in the first or in none of them."""


def column_of(field: Mapping[str, Any], numbers: Numbers, *, name: str | None = None) -> Column:
    """The column for one field of a describe answer; `name` where it is reached through a parent."""
    kind = str(field["type"])
    nullable = name is not None or bool(field.get("nillable", True))
    return Column(name or str(field["name"]), kind, _type_of(kind, field, numbers), nullable)


def _type_of(kind: str, field: Mapping[str, Any], numbers: Numbers) -> str:
    if kind in NUMBER_TYPES:
        if numbers == "float":
            return "float64"
        scale = int(field.get("scale") or 0)
        precision = int(field.get("precision") or 0) or _LARGEST_PRECISION
        return f"decimal128({min(precision, _LARGEST_PRECISION)}, {scale})"
    return FIXED_TYPES.get(kind, "string")


def selectable_fields(describe: Mapping[str, Any]) -> list[str]:
    """All fields the Run As user may read, minus compound fields (their parts stay), binary ones and lists of ids
    (salesforce-protocol.md#describe)."""
    missing = {each.name for each in left_out_fields(describe)}
    return [str(field["name"]) for field in describe["fields"] if field["name"] not in missing]


def left_out_fields(describe: Mapping[str, Any]) -> tuple[LeftOut, ...]:
    """The fields that are extracted only where somebody names them, or not at all."""
    found = []
    for field in describe["fields"]:
        kind = str(field["type"])
        if kind in COMPOUND_TYPES:
            found.append(LeftOut(str(field["name"]), kind, "compound"))
        elif kind in BINARY_TYPES:
            found.append(LeftOut(str(field["name"]), kind, "binary"))
        elif field.get("soapType") == ID_LISTS:
            found.append(LeftOut(str(field["name"]), kind, "list of ids"))
    return tuple(found)


class ColumnResolver:
    """Finds the columns of an object or a query by describing it, and its parents where paths go through them."""

    def __init__(self, client: SalesforceClient, numbers: Numbers) -> None:
        self._client = client
        self._numbers: Numbers = numbers

    @property
    def org_id(self) -> str | None:
        return self._client.auth.token.org_id

    def describe(self, sobject: str) -> Mapping[str, Any]:
        """The object's describe. Raises NotFoundError for an unknown object, QueryError for one that cannot be queried."""
        describe = self._client.describe(sobject)
        if not describe.get("queryable", True):
            raise QueryError(
                f"{sobject} cannot be queried (its describe says queryable: false): leave it out. Events are streamed and not "
                "stored; some other objects are only reached through a parent's subquery, in soql."
            )
        return describe

    def of_sobject(
        self, describe: Mapping[str, Any], fields: Sequence[str] | None, exclude: Iterable[str] | None
    ) -> tuple[Column, ...]:
        """The columns of all selectable fields or of `fields`, without `exclude`.

        Names in `exclude` that the object does not have are logged, so that mapped objects can share one list. Raises
        QueryError for names in `fields` that the object does not have or that cannot be selected.
        """
        sobject = str(describe["name"])
        chosen = list(fields) if fields else selectable_fields(describe)
        columns = [self._selected(sobject, path) for path in chosen]
        excluded = self._excluded(sobject, exclude or ())
        kept = {column.name: column for column in columns if column.name.lower() not in excluded}
        if not kept:
            raise QueryError(f"No field of {sobject} is left to extract: check fields and exclude_fields.")
        return tuple(kept.values())

    def _excluded(self, sobject: str, paths: Iterable[str]) -> set[str]:
        """The lower-case names of the columns at these paths."""
        found: set[str] = set()
        unknown: list[str] = []
        for path in paths:
            try:
                found.add(self.field(sobject, path).name.lower())
            except ENDING_ERRORS:
                raise
            except SalesforceError:  # of a parent, too, that the user may not describe, and so cannot have selected
                unknown.append(path)
        if unknown:
            known = [str(field["name"]) for field in self._client.describe(sobject)["fields"]]
            hints = " ".join(filter(None, (did_you_mean(path, known) for path in unknown)))
            log.warning(
                "exclude_fields names %s, which %s does not have, or hides. %s", ", ".join(unknown), sobject, hints
            )
        return found

    def _selected(self, sobject: str, path: str) -> Column:
        column = self.field(sobject, path)
        if column.salesforce_type in COMPOUND_TYPES | BINARY_TYPES:
            raise QueryError(
                f"{sobject}.{column.name} is of type {column.salesforce_type}, which an extract does not carry: name its "
                "parts instead (such as BillingCity for BillingAddress), or leave it out."
            )
        return column

    def of_query(self, query: Query) -> tuple[Column, ...]:
        """The columns of a query's SELECT list, named as Salesforce names them in its responses.

        Raises QueryError for names that the object does not have, and for a column that is selected twice.
        """
        unnamed = 0
        columns = []
        for item in query.items:
            column = self._item(query, item, f"expr{unnamed}")
            unnamed += column.name == f"expr{unnamed}"
            columns.append(column)
        _refuse_twice_named(columns)
        return tuple(columns)

    def with_fields_listed(self, query: Query) -> Query:
        """The query with FIELDS(ALL|STANDARD|CUSTOM) in its SELECT list replaced by the fields it stands for.

        Child queries keep theirs, since Salesforce expands those itself.
        """
        names: dict[int, Sequence[str]] = {}
        for index, item in enumerate(query.items):
            if item.function == "FIELDS" and (kinds := _FIELD_KINDS.get((item.argument or "").upper())):
                describe = self._client.describe(query.sobject)
                custom = {str(field["name"]): bool(field.get("custom")) for field in describe["fields"]}
                names[index] = [name for name in selectable_fields(describe) if custom[name] in kinds]
        return query.with_items(names)

    def _item(self, query: Query, item: SelectItem, unnamed: str) -> Column:
        if item.kind == "subquery":
            return Column(self._child_relationship(query, item), "subquery", "string", True)
        if item.kind == "typeof":
            path = self.path(query, item.text.split()[1])
            return Column(self._parents(query.sobject, path), "typeof", "string", True)
        if item.kind == "function":
            return self._function(query, item, unnamed)
        if item.text == "*":
            raise QueryError("SOQL has no SELECT *: name the fields, or give sobject instead of soql for all of them.")
        column = self.field(query.sobject, self.path(query, item.text))
        if query.is_aggregate:
            name = item.alias or column.name.split(".")[-1]
            return Column(name, column.salesforce_type, column.type, True)
        return column

    def _function(self, query: Query, item: SelectItem, unnamed: str) -> Column:
        """The column of a function's values; without an alias those of TOLABEL, FORMAT and CONVERTCURRENCY are called like
        their field, and those of other functions expr0, expr1 and so on."""
        function, name = item.function or "", item.alias or unnamed
        if function in _COUNTS or _DATE_PARTS.fullmatch(function):
            return Column(name, "int", "int64", function not in _COUNTS)
        if function in _OF_FIXED_TYPE:
            return Column(name, *_OF_FIXED_TYPE[function], True)
        inner = self.field(query.sobject, self.path(query, item.innermost)) if item.innermost else None
        if inner is None:
            return Column(name, "string", "string", True)
        if function == "SUM":
            return Column(name, "double", inner.type if inner.type.startswith("decimal") else "float64", True)
        if function in ("MIN", "MAX"):
            return Column(name, inner.salesforce_type, inner.type, True)
        if function in ("TOLABEL", "FORMAT", "CONVERTCURRENCY"):
            name = name if item.alias or item.is_aggregate else inner.name
            kinds = (inner.salesforce_type, inner.type) if function == "CONVERTCURRENCY" else ("string", "string")
            return Column(name, *kinds, True)
        return Column(name, "string", "string", True)

    def type_of(self, scope: Scope, operand: str) -> str:
        """The Salesforce type of a field path or function call in a query's conditions. Raises what `field` raises."""
        query, item = self.scoped(scope), function_call(operand)
        if item.kind == "function":
            return self._function(query, item, "expr0").salesforce_type
        return self.field(query.sobject, self.path(query, item.text)).salesforce_type

    def owners_in(self, scope: Scope, path: str) -> list[FieldName]:
        """The same of a path in a query's conditions."""
        try:
            query = self.scoped(scope)
            return self.owners(query.sobject, self.path(query, path))
        except ENDING_ERRORS:
            raise
        except SalesforceError:  # of an object that only the org can say something about
            return []

    def scoped(self, scope: Scope) -> Query:
        """The query of a scope, with its object's name where it says that of a child relationship."""
        if not (scope.outer and scope.is_child):
            return scope.query
        outer = self.scoped(scope.outer)
        wanted = scope.query.sobject.split(".")[-1].lower()
        for each in self._client.describe(outer.sobject).get("childRelationships") or ():
            if str(each.get("relationshipName") or "").lower() == wanted:
                return replace(scope.query, sobject=str(each["childSObject"]))
        return scope.query

    def _child_relationship(self, query: Query, item: SelectItem) -> str:
        """What the records of a child query are called in the response: the relationship, in the schema's spelling."""
        asked = scan(item.text[1:-1]).sobject.split(".")[-1]
        known = self._client.describe(query.sobject).get("childRelationships") or ()
        names = [str(each["relationshipName"]) for each in known if each.get("relationshipName")]
        return next((name for name in names if name.lower() == asked.lower()), asked)

    def _parents(self, sobject: str, path: str) -> str:
        """A path of parents in the schema's spelling: `Parent.What`."""
        describe = self._client.describe(sobject)
        head, _, rest = path.partition(".")
        reference = self._reference_of(describe, head)
        if not rest:
            return str(reference["relationshipName"])
        try:
            rest = self._parents(str(reference["referenceTo"][0]), rest)
        except ENDING_ERRORS:
            raise
        except SalesforceError:
            log.info("%s cannot be described, so %s stays as the query spells it", reference["referenceTo"][0], rest)
        return f"{reference['relationshipName']}.{rest}"

    def path(self, query: Query, path: str) -> str:
        """A field's path as seen from the query's object: without aliases, and without the object's own name before it."""
        found = query.without_alias(path)
        head, _, rest = found.partition(".")
        if found == path and rest and head.lower() == query.sobject.lower():
            is_parent = _reference(self._client.describe(query.sobject), head) is not None
            return found if is_parent else rest
        return found

    def field(self, sobject: str, path: str) -> Column:
        """The column at a dotted path. Raises QueryError that names close matches when there is none."""
        describe = self._client.describe(sobject)
        head, _, rest = path.strip().partition(".")
        if not rest:
            found = _field(describe, head)
            if found is None:
                raise _unknown(str(describe["name"]), head, [str(field["name"]) for field in describe["fields"]])
            return column_of(found, self._numbers)
        reference = self._reference_of(describe, head)
        column = self._through(reference, rest)
        return Column(f"{reference['relationshipName']}.{column.name}", column.salesforce_type, column.type, True)

    def owners(self, sobject: str, path: str) -> list[FieldName]:
        """What the field at a dotted path may be called: as a field of each object that it can be one of, and by the path.

        Empty for a path that leads nowhere. Of polymorphic parents beyond the first few, the type is not looked up.
        """
        describe = self._client.describe(sobject)
        head, _, rest = path.strip().partition(".")
        if not rest:
            found = _field(describe, head)
            return [FieldName.of(describe, found)] if found else []
        reference = _reference(describe, head)
        if reference is None:
            return []
        names = [FieldName(str(describe["name"]), path.strip())]
        for number, target in enumerate(map(str, reference["referenceTo"])):
            if number < _MOST_TARGETS:
                names += self._owners_in(target, rest)
            elif "." not in rest:
                names.append(FieldName(target, rest))
        return names

    def _owners_in(self, target: str, path: str) -> list[FieldName]:
        try:
            return self.owners(target, path)
        except ENDING_ERRORS:
            raise
        except SalesforceError:  # of an object that the Run As user may not see
            return [FieldName(target, path)]

    def _reference_of(self, describe: Mapping[str, Any], relationship: str) -> Mapping[str, Any]:
        reference = _reference(describe, relationship)
        if reference is None:
            relationships = [str(name) for field in describe["fields"] if (name := field.get("relationshipName"))]
            raise _unknown(str(describe["name"]), relationship, relationships, what="parent relationship")
        return reference

    def _through(self, reference: Mapping[str, Any], rest: str) -> Column:
        targets = [str(target) for target in reference["referenceTo"]]
        problem: SalesforceError | None = None
        for target in targets[:_MOST_TARGETS]:
            try:
                return self.field(target, rest)
            except ENDING_ERRORS:
                raise
            except SalesforceError as refused:
                problem = problem or refused
        if len(targets) == 1 and problem:
            raise problem
        # A polymorphic parent is read through Salesforce's Name object, whose few fields are all text.
        return Column(rest, "string", "string", True)


def _refuse_twice_named(columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QueryError(f"The query selects {', '.join(twice)} more than once: each column may be named once.")


def _field(describe: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((field for field in describe["fields"] if str(field["name"]).lower() == name.lower()), None)


def _reference(describe: Mapping[str, Any], relationship: str) -> Mapping[str, Any] | None:
    wanted = relationship.lower()
    for field in describe["fields"]:
        if str(field.get("relationshipName") or "").lower() == wanted and field.get("referenceTo"):
            found: Mapping[str, Any] = field
            return found
    return None


def _unknown(sobject: str, name: str, known: Sequence[str], *, what: str = "field") -> QueryError:
    hint = did_you_mean(name, known) or "Check the spelling."
    return QueryError(
        f"{sobject} has no {what} '{name}' that the Run As user may see. {hint} If it exists, grant that user access to it.",
        step=ACCESS,
        code=UNKNOWN_FIELD,
    )
