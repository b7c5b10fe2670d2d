"""The org's side: numbers of records and stamps per interval by aggregate queries, and single records.

Date functions in SOQL count in UTC (SOQL and SOSL Reference, "Date Functions"). Results of GROUP BY cannot be continued, and
none here has more groups than one response holds: months of years, and hours of the days of a month.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.incremental.deletions import LOG_DAYS, find_deletions
from airflow_sfcc.extract.model import DeletesPlan, Window
from airflow_sfcc.reconcile.model import NOTHING, Compared, Record, Stats
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.timestamps import timestamp
from airflow_sfcc.wording import plural

Month = tuple[int, int]
"""Year, month."""
Hour = tuple[int, int]
"""Day of the month, hour of the day."""

MOST_IN_FLIGHT = 200_000
IDS_AT_ONCE = 400
"""Ids of one query, which is sent in a URI."""

_STATS = "COUNT(Id) n, MIN({cursor}) oldest, MAX({cursor}) newest"


class OrgSide:
    """Queries of one comparison; `calls` counts the API calls of its client."""

    def __init__(self, client: SalesforceClient, compared: Compared, has_bin: bool, logs_deletions: bool) -> None:
        self._client = client
        self._compared = compared
        self._has_bin = has_bin
        self.logs_deletions = logs_deletions
        self._prefix = compared.prefix

    @property
    def calls(self) -> int:
        return self._client.usage.calls

    @property
    def now(self) -> datetime:
        """The org's present."""
        return self._client.now

    # Intervals

    def by_month(self, field: str, hour: Hour | None = None) -> dict[Month, Stats]:
        """Stats of each month of the field, of all records or of those in one hour of the months' days."""
        name = self._prefix + field
        within = [f"DAY_IN_MONTH({name}) = {hour[0]}", f"HOUR_IN_DAY({name}) = {hour[1]}"] if hour else []
        return self._grouped(f"CALENDAR_YEAR({name})", f"CALENDAR_MONTH({name})", within)

    def by_hour(self, field: str, month: Month | None = None) -> dict[Hour, Stats]:
        """Stats of each hour of the months' days, of all records or of those in one month."""
        name = self._prefix + field
        within = [f"CALENDAR_YEAR({name}) = {month[0]}", f"CALENDAR_MONTH({name}) = {month[1]}"] if month else []
        return self._grouped(f"DAY_IN_MONTH({name})", f"HOUR_IN_DAY({name})", within)

    def stats(self, conditions: Sequence[str]) -> Stats:
        """Stats of the records that meet the conditions."""
        (row,) = self._query(self._stats_of, conditions)
        return _stats(row)

    def records(self, conditions: Sequence[str]) -> list[Record]:
        """The records that meet the conditions."""
        return [self._record(row) for row in self._query(", ".join(map(self._named, self._fields)), conditions)]

    def _grouped(self, first: str, second: str, conditions: Sequence[str]) -> dict[tuple[int, int], Stats]:
        rows = self._query(f"{first} a, {second} b, {self._stats_of}", conditions, f" GROUP BY {first}, {second}")
        return {(int(row["a"]), int(row["b"])): _stats(row) for row in rows if row["a"] is not None}

    @property
    def _stats_of(self) -> str:
        return _STATS.format(cursor=self._prefix + self._compared.cursor).replace("(Id)", f"({self._prefix}Id)")

    @property
    def _fields(self) -> list[str]:
        return ["Id", *self._compared.dimensions]

    def _named(self, field: str) -> str:
        return self._prefix + field

    def _query(self, select: str, conditions: Sequence[str], tail: str = "") -> list[dict[str, Any]]:
        compared = self._compared
        all_conditions = [
            *([f"({compared.where})"] if compared.where else []),
            *(["IsDeleted = false"] if compared.reads_deleted else []),
            *conditions,
            *compared.since_condition,
            f"{self._prefix}{compared.cursor} < {soql.datetime_literal(compared.until)}",
        ]
        text = f"SELECT {select} FROM {compared.source} WHERE {' AND '.join(all_conditions)}{tail}"
        return list(self._client.query(text, include_deleted=compared.reads_deleted))

    def _record(self, row: Mapping[str, Any]) -> Record:
        created = self._compared.created
        return Record(
            str(row["Id"]),
            timestamp(row[self._compared.cursor]),
            timestamp(row[created]) if created and row[created] else None,
            bool(row.get("IsDeleted", False)),
        )

    # Single records

    def changed_since(self, require_calls: Callable[[int, int], None]) -> set[str]:
        """Ids of all records that the org changed or deleted at or after `until`, as far as it shows them.

        `require_calls` is told how many rows are left to read after the first page, and how many a page has, and raises what
        ends the search. Raises StateError when they are so many that the destination is better brought up to date first.
        """
        compared = self._compared
        text = f"SELECT Id FROM {compared.sobject} WHERE {compared.cursor} >= {soql.datetime_literal(compared.until)}"
        found: set[str] = set()
        for page in self._client.query_pages(text, include_deleted=self._has_bin):
            if (page.total_size or 0) > MOST_IN_FLIGHT:
                raise StateError(
                    f"{plural(page.total_size or 0, 'record')} of {compared.sobject} changed since the destination's newest "
                    "extract: extract first, then reconcile."
                )
            first = not found
            found |= {str(record["Id"]) for record in page.records}
            left = (page.total_size or 0) - len(found)
            if first and left > 0:
                require_calls(left, max(1, len(found)))
        return found

    def deleted_since(self) -> tuple[set[str], datetime | None]:
        """Ids of records deleted for good since `until`, and up to when these are all; None where that is not known."""
        until, now = self._compared.until, self.now
        if not self.logs_deletions or now <= until:
            return set(), None
        found = find_deletions(self._client, self._compared.sobject, DeletesPlan(Window(until, now), None), now=now)
        return set(found.timestamps), found.known.end if found.known and found.known.start == until else None

    def deleted_before(self) -> Mapping[str, datetime]:
        """Times of deletion by Id, of the records deleted for good before `until` that the org's log still has."""
        until = self._compared.until
        if not self.logs_deletions:
            return {}
        plan = DeletesPlan(Window(until - LOG_DAYS, until), None)
        return find_deletions(self._client, self._compared.sobject, plan, now=self.now).timestamps

    def meeting_condition(self, ids: Sequence[str]) -> set[str]:
        """Those of the Ids whose records are compared: they meet the extracts' condition, and changed before `until`."""
        found: set[str] = set()
        for some in _chunks(sorted(ids), IDS_AT_ONCE):
            listed = ", ".join(map(soql.literal, some))
            found |= {str(row["Id"]) for row in self._query(self._named("Id"), [f"{self._named('Id')} IN ({listed})"])}
        return found

    def look_up(self, ids: Iterable[str]) -> dict[str, Record]:
        """The records of these Ids as they are now, those in the recycle bin too; Ids that the org does not have are missing."""
        fields = [*self._fields, *(["IsDeleted"] if self._has_bin else [])]
        found = {}
        for some in _chunks(sorted(ids), IDS_AT_ONCE):
            listed = ", ".join(map(soql.literal, some))
            text = f"SELECT {', '.join(fields)} FROM {self._compared.sobject} WHERE Id IN ({listed})"
            for row in self._client.query(text, include_deleted=self._has_bin):
                found[str(row["Id"])] = self._record(row)
        return found


def _stats(row: Mapping[str, Any]) -> Stats:
    if not row["n"]:
        return NOTHING
    return Stats(int(row["n"]), timestamp(row["oldest"]), timestamp(row["newest"]))


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
