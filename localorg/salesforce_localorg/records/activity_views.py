"""ActivityHistory and OpenActivity: what Account, Contact, ... show of tasks and events, as views of those two.

Facts: Object Reference, "ActivityHistory" and "OpenActivity": closed tasks and past events, and all others. Archived
activities are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb

from salesforce_localorg.records.tables import column_type, identifier, stored_fields
from salesforce_localorg.schema import Schema, SObject

SHOWS_CLOSED: Mapping[str, bool] = {"ActivityHistory": True, "OpenActivity": False}
SOURCES = ("Task", "Event")


def is_view(sobject: SObject) -> bool:
    """Whether the object has no table of its own."""
    return sobject.name in SHOWS_CLOSED and not sobject.flag("createable")


def create_views(connection: duckdb.DuckDBPyConnection, schema: Schema, now: datetime) -> None:
    """Define the views anew, for tables that have changed and events that are past by now (naive, UTC)."""
    for sobject in schema:
        if is_view(sobject):
            sources = [source for name in SOURCES if (source := schema.sobject(name))]
            parts = [_part(sobject, source, now) for source in sources] or [_nothing(sobject)]
            connection.execute(f"CREATE OR REPLACE VIEW {identifier(sobject.name)} AS {' UNION ALL '.join(parts)}")


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
