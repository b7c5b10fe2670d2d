"""What there is to compare, from the manifests of a destination."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from airflow_sfcc.errors import QueryError, StateError
from airflow_sfcc.extract.incremental.state import State, require_one_source, window_of
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.reconcile.model import Compared
from airflow_sfcc.salesforce import soql
from airflow_sfcc.timestamps import whole_second

CREATED = "CreatedDate"
_NOT_COMPARED = ("USING SCOPE", "WITH")


def compared_of(destination: StoragePath, manifests: Sequence[Manifest], latest: datetime) -> Compared:
    """What the extracts of a destination say that it holds; `latest` is the org's present minus the lag.

    Raises StateError for a destination of which no current table can be made, QueryError for queries that cannot be compared.
    """
    require_one_source(destination, manifests)
    extracts = [each for each in manifests if each.get("kind", "extract") == "extract"]
    newest = next((each for each in reversed(extracts) if each.get("cursor_field")), None)
    since, watermark = _reach(State(tuple(manifests)))
    if newest is None or watermark is None:
        raise StateError(
            f"{destination} holds no extract that could be compared with the org: land one with mode='incremental', or a full "
            "one with Id and the cursor field."
        )
    query = soql.scan(str(newest["soql"]))
    refused = [name for name in _NOT_COMPARED if name in query.clauses]
    if refused:
        raise QueryError(
            f"The extracts' query has {refused[0]}, so what it reads cannot be counted by intervals: leave that out."
        )
    types = {str(column["name"]): str(column["type"]) for column in newest["schema"]}
    return Compared(
        sobject=str(newest["sobject"]),
        source=query.source,
        prefix=f"{query.alias}." if query.alias else "",
        where=newest.get("where"),
        cursor=str(newest["cursor_field"]),
        created=CREATED if types.get(CREATED, "").startswith("timestamp") else None,  # and not hashed
        until=whole_second(min(watermark, latest)),
        reads_deleted=bool(newest.get("include_deleted")) and "IsDeleted" in types,
        since=since,
        newest=newest,
    )


def _reach(state: State) -> tuple[datetime | None, datetime | None]:
    """From when on and up to when the extracts have what changed: from the beginning (None), or, where `initial_start` or a
    hole cuts them off from that, as far back from their newest window as they reach. None up to when: of nothing."""
    if state.watermark is not None:
        return None, state.watermark
    windows = sorted(
        (window.start, window.end)
        for window in (window_of(each["window"]) for each in state.relevant if each.get("window"))
        if window.start is not None
    )
    since = until = None
    for start, end in windows:
        if until is None or start > until:
            since, until = start, end
        until = max(until, end)
    return since, until
