"""What a query's columns are: the answer to `query?q=…&columns=true`, which the Salesforce CLI asks for with every query.

The parameter is not documented; the keys are those of the answers kept in the tests of salesforcecli/plugin-data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salesforce_localorg.schema import Field, Schema, SObject
from salesforce_localorg.soql.ast import Call, CallItem, FieldItem, Query
from salesforce_localorg.soql.plan import ChildPlan, Children, Member, Parent, Plan, Record, Value

_APEX_TYPES: Mapping[str, str] = {
    "id": "Id",
    "reference": "Id",
    "boolean": "Boolean",
    "int": "Integer",
    "long": "Long",
    "double": "Double",
    "currency": "Double",
    "percent": "Double",
    "date": "Date",
    "datetime": "Datetime",
    "time": "Time",
    "base64": "Blob",
    "address": "Address",
    "location": "Location",
    "anyType": "Object",
}
_TEXT = "String"
_NUMBERS = frozenset({"Integer", "Long", "Double"})


def column_metadata(query: Query, plan: Plan, schema: Schema) -> dict[str, Any]:
    """The JSON-ready answer for a compiled query."""
    if isinstance(plan.shape, Record):
        columns = _record_columns(plan.shape, plan, schema)
    else:
        columns = [_aggregate_column(name, place, query, plan) for place, name in enumerate(plan.shape.members)]
    return {
        "columnMetadata": columns,
        "entityName": plan.sobject.name,
        "groupBy": bool(query.group_by),
        "idSelected": any(column["columnName"] == "Id" for column in columns),
        "keyPrefix": plan.sobject.key_prefix,
    }


def _record_columns(record: Record, plan: Plan | ChildPlan, schema: Schema) -> list[dict[str, Any]]:
    sobject = schema.sobject(record.sobject)
    return [_member_column(name, member, sobject, plan, schema) for name, member in record.members.items()]


def _member_column(
    name: str, member: Member, sobject: SObject | None, plan: Plan | ChildPlan, schema: Schema
) -> dict[str, Any]:
    if isinstance(member, Children):
        child = plan.children[member.index]
        children = _record_columns(child.shape, child, schema)
        return _column(name, aggregate=True, joinColumns=children)
    if isinstance(member, Parent):
        field = sobject.parent_field(name) if sobject else None
        records = [_record_columns(record, plan, schema) for record in member.candidates]
        joined = {each["columnName"]: each for columns in records for each in columns}
        key = field.name if field else None
        return _column(name, foreignKeyName=key, joinColumns=list(joined.values()))
    field = sobject.field(name) if sobject else None
    if field is None:
        return _column(name, apexType=_TEXT, textType=True)
    return _field_column(name, field)


def _field_column(name: str, field: Field) -> dict[str, Any]:
    return _column(
        name,
        **_typed(field.type),
        custom=field.custom,
        insertable=field.createable,
        updatable=field.updateable,
    )


def _aggregate_column(name: str, place: int, query: Query, plan: Plan) -> dict[str, Any]:
    item = query.select[place]
    member = plan.shape.members[name]
    kind = plan.columns[member.column].type if isinstance(member, Value) else "string"
    if isinstance(item, FieldItem):
        field = plan.sobject.field(item.path.parts[-1]) if len(item.path.parts) == 1 else None
        return _field_column(name, field) if field else _column(name, **_typed(kind))
    shown = _call_text(item.call) if isinstance(item, CallItem) else name
    return _column(name, **{**_typed(kind), "apexType": None}, aggregate=True, displayName=shown)


def _call_text(call: Call) -> str:
    """`AVG(Amount)` as `avg(Amount)`."""
    arguments = [_call_text(each) if isinstance(each, Call) else str(each) for each in call.arguments]
    return f"{call.name.lower()}({', '.join(arguments)})"


def _typed(field_type: str) -> dict[str, Any]:
    apex = _APEX_TYPES.get(field_type, _TEXT)
    return {
        "apexType": apex,
        "booleanType": apex == "Boolean",
        "numberType": apex in _NUMBERS,
        "textType": apex == _TEXT,
    }


def _column(name: str, **known: Any) -> dict[str, Any]:
    column: dict[str, Any] = {
        "aggregate": False,
        "apexType": None,
        "booleanType": False,
        "columnName": name,
        "custom": False,
        "displayName": name,
        "foreignKeyName": None,
        "insertable": False,
        "joinColumns": [],
        "numberType": False,
        "textType": False,
        "updatable": False,
    }
    return {**column, **known}
