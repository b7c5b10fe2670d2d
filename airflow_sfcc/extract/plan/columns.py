"""Which columns an extract has, and of which types: from the object's describe, for SOQL too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_sfcc.errors import ACCESS, NotFoundError, QueryError
from airflow_sfcc.extract.model import Column, Numbers
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.soql import Query, SelectItem
from airflow_sfcc.wording import did_you_mean

COMPOUND_TYPES = frozenset({"address", "location", "complexvalue"})
BINARY_TYPES = frozenset({"base64"})
ID_LISTS = "urn:JunctionIdListNames"
"""The soapType of fields that list the ids of an object of their own, such as EmailMessage.ToIds of EmailMessageRelation. Bulk
does not do them (salesforce-protocol.md#describe), so they are extracted only where `fields` or a query names them."""
NUMBER_TYPES = frozenset({"double", "currency", "percent"})
_FIXED_TYPES = {
    "boolean": "boolean",
    "int": "int64",
    "long": "int64",
    "date": "date32",
    "datetime": "timestamp[ms, UTC]",
    "time": "time32[ms]",
}
_DATE_PARTS = re.compile(r"(CALENDAR|FISCAL)_(YEAR|QUARTER|MONTH)|(DAY|WEEK)_IN_(WEEK|MONTH|YEAR)|HOUR_IN_DAY")
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
    return _FIXED_TYPES.get(kind, "string")


def selectable_fields(describe: Mapping[str, Any]) -> list[str]:
    """All fields the Run As user may read, minus compound fields (their parts stay), binary ones and lists of ids
    (salesforce-protocol.md#describe)."""
    refused = COMPOUND_TYPES | BINARY_TYPES
    return [
        str(field["name"])
        for field in describe["fields"]
        if field["type"] not in refused and field.get("soapType") != ID_LISTS
    ]


class ColumnResolver:
    """Finds the columns of an object or a query by describing it, and its parents where paths go through them."""

    def __init__(self, client: SalesforceClient, numbers: Numbers) -> None:
        self._client = client
        self._numbers: Numbers = numbers

    def of_sobject(
        self, sobject: str, fields: Sequence[str] | None, exclude: Iterable[str] | None
    ) -> tuple[Column, ...]:
        """The columns of all selectable fields or of `fields`, without `exclude`.

        Raises QueryError for names that the object does not have or that cannot be selected.
        """
        describe = self._client.describe(sobject)
        chosen = list(fields) if fields else selectable_fields(describe)
        columns = [self._selected(sobject, path) for path in chosen]
        refused = {self.field(sobject, path).name.lower() for path in exclude or ()}
        kept = {column.name: column for column in columns if column.name.lower() not in refused}
        if not kept:
            raise QueryError(f"No field of {sobject} is left to extract: check fields and exclude_fields.")
        return tuple(kept.values())

    def _selected(self, sobject: str, path: str) -> Column:
        column = self.field(sobject, path)
        if column.salesforce_type in COMPOUND_TYPES | BINARY_TYPES:
            raise QueryError(
                f"{sobject}.{column.name} is of type {column.salesforce_type}, which an extract does not carry: name its "
                "parts instead (such as BillingCity for BillingAddress), or leave it out."
            )
        return column

    def of_query(self, query: Query) -> tuple[Column, ...]:
        """The columns of a query's SELECT list, named as Salesforce names them in its answers."""
        unnamed = 0
        columns = []
        for item in query.items:
            column = self._item(query, item, f"expr{unnamed}")
            unnamed += column.name == f"expr{unnamed}"
            columns.append(column)
        return tuple(columns)

    def expand_fields_function(self, query: Query) -> str:
        """The query's text with FIELDS(ALL|STANDARD|CUSTOM) replaced by the fields it stands for."""

        def names(match: re.Match[str]) -> str:
            describe = self._client.describe(query.sobject)
            wanted = {"ALL": (True, False), "STANDARD": (False,), "CUSTOM": (True,)}[match[1].upper()]
            custom = {str(field["name"]): bool(field.get("custom")) for field in describe["fields"]}
            return ", ".join(name for name in selectable_fields(describe) if custom[name] in wanted)

        return re.sub(r"\bFIELDS\s*\(\s*(ALL|STANDARD|CUSTOM)\s*\)", names, query.text, flags=re.IGNORECASE)

    def _item(self, query: Query, item: SelectItem, unnamed: str) -> Column:
        if item.kind == "subquery":
            found = re.search(r"\bFROM\s+(\w+)", item.text, re.IGNORECASE)
            return Column(found[1] if found else unnamed, "subquery", "string", True)
        if item.kind == "typeof":
            return Column(item.text.split()[1], "typeof", "string", True)
        if item.kind == "function":
            return self._function(query, item, unnamed)
        column = self.field(query.sobject, self._without_alias(query, item.text))
        if query.is_aggregate:
            name = item.alias or column.name.split(".")[-1]
            return Column(name, column.salesforce_type, column.type, True)
        return column

    def _function(self, query: Query, item: SelectItem, unnamed: str) -> Column:
        function, argument = item.function or "", item.argument or ""
        if function in ("COUNT", "COUNT_DISTINCT", "GROUPING"):
            return Column(item.alias or unnamed, "int", "int64", False)
        if _DATE_PARTS.fullmatch(function):
            return Column(item.alias or unnamed, "int", "int64", True)
        inner = self.field(query.sobject, self._without_alias(query, _innermost(argument))) if argument else None
        if function in ("SUM", "AVG"):
            decimal = inner is not None and inner.type.startswith("decimal") and function == "SUM"
            return Column(item.alias or unnamed, "double", inner.type if inner and decimal else "float64", True)
        if function in ("MIN", "MAX") and inner:
            return Column(item.alias or unnamed, inner.salesforce_type, inner.type, True)
        if function == "DAY_ONLY":
            return Column(item.alias or unnamed, "date", "date32", True)
        if function == "DISTANCE":
            return Column(item.alias or unnamed, "double", "float64", True)
        if function == "CONVERTCURRENCY" and inner:
            return Column(item.alias or inner.name, inner.salesforce_type, inner.type, True)
        if function in ("TOLABEL", "FORMAT") and inner:
            return Column(item.alias or inner.name, "string", "string", True)
        return Column(item.alias or unnamed, "string", "string", True)

    def _without_alias(self, query: Query, path: str) -> str:
        head, _, rest = path.partition(".")
        if rest and query.alias and head.lower() == query.alias.lower():
            return rest
        if rest and head.lower() == query.sobject.lower() and not self._has_relationship(query.sobject, head):
            return rest
        return path

    def _has_relationship(self, sobject: str, name: str) -> bool:
        return _reference(self._client.describe(sobject), name) is not None

    def field(self, sobject: str, path: str) -> Column:
        """The column at a dotted path. Raises QueryError that names close matches when there is none."""
        describe = self._client.describe(sobject)
        head, _, rest = path.strip().partition(".")
        if not rest:
            found = _field(describe, head)
            if found is None:
                raise _unknown(str(describe["name"]), head, [str(field["name"]) for field in describe["fields"]])
            return column_of(found, self._numbers)
        reference = _reference(describe, head)
        if reference is None:
            relationships = [str(name) for field in describe["fields"] if (name := field.get("relationshipName"))]
            raise _unknown(str(describe["name"]), head, relationships, what="parent relationship")
        column = self._through(reference, rest)
        return Column(f"{reference['relationshipName']}.{column.name}", column.salesforce_type, column.type, True)

    def _through(self, reference: Mapping[str, Any], rest: str) -> Column:
        targets = [str(target) for target in reference["referenceTo"]]
        problem: QueryError | NotFoundError | None = None
        for target in targets[:_MOST_TARGETS]:
            try:
                return self.field(target, rest)
            except (QueryError, NotFoundError) as missing:
                problem = problem or missing
        if len(targets) == 1 and problem:
            raise problem
        # A polymorphic parent is read through Salesforce's Name object, whose few fields are all text.
        return Column(rest, "string", "string", True)


def _innermost(argument: str) -> str:
    """`CreatedDate` for `convertTimezone(CreatedDate)`."""
    return re.sub(r"^.*\(|\).*$", "", argument).strip()


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
        code="INVALID_FIELD",
    )
