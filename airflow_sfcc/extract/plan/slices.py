"""A query cut into several at values of CreatedDate, for objects whose rows are too many for one Bulk job.

CreatedDate is set once, and every record has one: so each record is in exactly one slice, however long the jobs take.
SystemModstamp would not do: a record that changes while the jobs run moves to another slice, and is read twice or never.
The first slice has no beginning and the last one no end, so the values need not fit the records.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.incremental.increment import Source
from airflow_sfcc.salesforce.soql import Query, datetime_literal

FIELD = "CreatedDate"


def cut(query: Query, source: Source, times: Sequence[datetime]) -> tuple[str, ...]:
    """The SOQL of each slice, the oldest records first: one more than there are timestamps.

    Raises QueryError for a query that cannot be cut, and for timestamps that are equal or have no time zone.
    """
    if not source.is_whole:
        raise QueryError(
            "A query that aggregates, or has LIMIT or OFFSET, cannot be cut into slices: leave slice_at out."
        )
    found = next((field for field in source.describe["fields"] if field["name"] == FIELD), {"filterable": False})
    if not found.get("filterable", True):
        raise QueryError(f"{source.sobject} has no {FIELD} to filter by, so it cannot be cut into slices.")
    if found.get("nillable"):
        raise QueryError(
            f"{source.sobject}.{FIELD} can be empty, and records without a value in it would be in no slice: leave slice_at out."
        )
    texts = [datetime_literal(when) for when in sorted(times)]
    if len(set(texts)) < len(texts):
        raise QueryError("slice_at names the same time twice: leave one out.")
    field = f"{query.alias}.{FIELD}" if query.alias else FIELD
    conditions = [f"{field} < {texts[0]}"]
    conditions += [f"{field} >= {start} AND {field} < {end}" for start, end in itertools.pairwise(texts)]
    conditions.append(f"{field} >= {texts[-1]}")
    return tuple(query.narrowed(condition).text for condition in conditions)
