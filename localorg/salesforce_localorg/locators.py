"""REST query locators: open result sets that `queryMore` pages through."""

from __future__ import annotations

import re
import secrets
import string
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from salesforce_localorg.clock import Clock
from salesforce_localorg.records import Cursor

LIFETIME = timedelta(days=2)  # salesforce-app-limits-platform-apicursors: results are available for two days
KEPT = 500
LOCATOR = re.compile(r"(0r8[A-Za-z0-9]{15})-(\d{1,12})")


class RecordList:
    """Child records of one parent, with what a cursor offers."""

    kind = "rows"
    long_texts = 0
    skips_rows = False

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self._records = records
        self.total_size = len(records)

    def records(self, start: int, stop: int, api_version: str) -> list[dict[str, Any]]:
        return list(self._records[start:stop])

    def encoded(self, start: int, stop: int) -> None:
        return None

    def close(self) -> None:
        return None


@dataclass(frozen=True)
class OpenQuery:
    """A result set on the server; `batch` is the page size that its first request asked for."""

    key: str
    cursor: Cursor | RecordList
    batch: int
    opened: datetime
    parent: str | None = None


class QueryLocators:
    """Open queries by locator key. They end after two days of the org's time, or when many newer ones exist."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: OrderedDict[str, OpenQuery] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, cursor: Cursor | RecordList, batch: int, parent: str | None = None) -> OpenQuery:
        """Give the cursor a locator key; that of child records names the key of their `parent`."""
        alphabet = string.ascii_letters + string.digits
        key = "0r8" + "".join(secrets.choice(alphabet) for _ in range(15))
        query = OpenQuery(key, cursor, batch, self._clock.now(), parent)
        with self._lock:
            self._open[key] = query
            oldest = self._open.popitem(last=False)[1] if len(self._open) > KEPT else None
        if oldest is not None:
            oldest.cursor.close()
        return query

    def drop_children(self, parent: str) -> None:
        """Close what is left of child records, as reading the parents' next page does."""
        with self._lock:
            for key in [key for key, query in self._open.items() if query.parent == parent]:
                del self._open[key]

    def find(self, locator: str) -> tuple[OpenQuery, int] | None:
        """The open query and row offset that a locator `0r8…-<offset>` names.

        None when it is malformed, expired or past the end.
        """
        parts = LOCATOR.fullmatch(locator)
        if parts is None:
            return None
        with self._lock:
            query = self._open.get(parts[1])
            expired = query is not None and self._clock.now() - query.opened >= LIFETIME
            if expired:
                del self._open[parts[1]]
        if query is None:
            return None
        if expired:
            query.cursor.close()
            return None
        offset = int(parts[2])
        return (query, offset) if offset < query.cursor.total_size else None

    def close(self) -> None:
        with self._lock:
            queries = list(self._open.values())
            self._open.clear()
        for query in queries:
            query.cursor.close()
