"""Objects without rows of their own, as views.

ActivityHistory and OpenActivity: what Account, Contact, ... show of tasks and events. Facts: Object Reference,
"ActivityHistory" and "OpenActivity": closed tasks and past events, and all others. Archived activities are in neither.

EntityDefinition: a row for each object of the org, those included that the user may not read (UserEntityAccess says which; nobody
could confirm it for users without View Setup). Facts: Object Reference, "EntityDefinition".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb

from salesforce_localorg.records.tables import column_type, identifier, literal, stored_fields
from salesforce_localorg.schema import Schema, SObject

SHOWS_CLOSED: Mapping[str, bool] = {"ActivityHistory": True, "OpenActivity": False}
DEFINITIONS = "EntityDefinition"
SOURCES = ("Task", "Event")


def is_view(sobject: SObject) -> bool:
    """Whether the object has no table of its own."""
    return sobject.name in (*SHOWS_CLOSED, DEFINITIONS) and not sobject.flag("createable")


def create_views(connection: duckdb.DuckDBPyConnection, schema: Schema, now: datetime) -> None:
    """Define the views anew, for tables that have changed and events that are past by now (naive, UTC)."""
    for sobject in schema:
        if sobject.name == DEFINITIONS and is_view(sobject):
            connection.execute(f"CREATE OR REPLACE VIEW {identifier(sobject.name)} AS {_definitions(sobject, schema)}")
        elif is_view(sobject):
            sources = [source for name in SOURCES if (source := schema.sobject(name))]
            parts = [_part(sobject, source, now) for source in sources] or [_nothing(sobject)]
            connection.execute(f"CREATE OR REPLACE VIEW {identifier(sobject.name)} AS {' UNION ALL '.join(parts)}")


def _definitions(view: SObject, schema: Schema) -> str:
    rows = []
    for each in schema:
        told = {
            "Id": "000000000000000AAA",
            "DurableId": each.name,
            "QualifiedApiName": each.name,
            "DeveloperName": each.name.removesuffix("__c"),
            "MasterLabel": each.label,
            "KeyPrefix": each.key_prefix,
        }
        values = [literal(value) if (value := told.get(field.name)) else "NULL" for field in stored_fields(view)]
        rows.append(f"({', '.join(values)})")
    columns = ", ".join(
        f"CAST({identifier(field.name)} AS {column_type(field)}) AS {identifier(field.name)}"
        for field in stored_fields(view)
    )
    names = ", ".join(identifier(field.name) for field in stored_fields(view))
    return f"SELECT {columns} FROM (VALUES {', '.join(rows)}) AS made({names})"


def _part(view: SObject, source: SObject, now: datetime) -> str:
    closed = _closed(source, now)
    own = {"IsTask": "TRUE" if source.name == "Task" else "FALSE", "IsClosed": closed}
    columns = []
    for field in stored_fields(view):
        found = source.field(field.name)
        kind = column_type(field)
        value = own.get(field.name) or ("NULL" if found is None else identifier(found.name))
        columns.append(f"CAST({value} AS {kind}) AS {identifier(field.name)}")
    wanted = closed if SHOWS_CLOSED[view.name] else f"NOT {closed}"
    kept = ' AND NOT "IsArchived"' if source.field("IsArchived") else ""
    return f"SELECT {', '.join(columns)} FROM {identifier(source.name)} WHERE {wanted}{kept}"


def _closed(source: SObject, now: datetime) -> str:
    if source.name == "Task":
        return 'coalesce("IsClosed", FALSE)' if source.field("IsClosed") else "FALSE"
    if source.field("EndDateTime") is None:
        return "FALSE"
    return f"coalesce(\"EndDateTime\" < TIMESTAMP '{now.isoformat(sep=' ', timespec='seconds')}', FALSE)"


def _nothing(view: SObject) -> str:
    columns = [f"CAST(NULL AS {column_type(each)}) AS {identifier(each.name)}" for each in stored_fields(view)]
    return f"SELECT {', '.join(columns)} WHERE FALSE"
