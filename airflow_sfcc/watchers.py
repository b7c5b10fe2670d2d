"""Watching an org: DAGs that start when an object, or a part of it, has new records.

asset = Asset(
    "salesforce://acme.my.salesforce.com/Case",
    watchers=[AssetWatcher(name="new cases", trigger=SalesforceRecordsTrigger(sobject="Case"))],
)

@dag(schedule=[asset])
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_sfcc._airflow.option_values import checked_value
from airflow_sfcc._airflow.versions import say_missing
from airflow_sfcc.errors import OptionError
from airflow_sfcc.triggers import load_client

if TYPE_CHECKING:
    from airflow_sfcc.salesforce import SalesforceClient


@dataclass(frozen=True)
class Newest:
    """How far a watcher has seen: the newest cursor value, and how many records carry just that value, since stamps
    have whole seconds and more records may follow within the same one."""

    when: str
    records: int


_STAMP = re.compile(r"[0-9T:.Z+-]{10,40}")
"""A date or datetime as SOQL writes it."""

_NOTHING = Newest("1970-01-01T00:00:00Z", 0)
"""Where there is no record yet, the first one is new."""


class SalesforceRecordsTrigger(BaseEventTrigger):
    """Fires whenever an object has records that are newer than all seen before, changed ones included.

    What was there when watching began does not count. From Airflow 3.3 on, how far it has seen survives a restart of the
    triggerer; before that, watching begins anew with each start. The event's payload is `sobject`, `records` (how many
    are new, at least) and `newest` (their newest cursor value); the DAG reads the records itself, best with a lookback.

    Airflow keeps the arguments in its metadata database in plain text: keep secrets out of `where`.

    :param sobject: the object to watch.
    :param where: a SOQL condition, without the word WHERE, for a part of the object.
    :param cursor_field: the datetime field to go by.
    :param poll_interval: seconds between questions; each costs one API call.
    """

    def __init__(
        self,
        sobject: str,
        where: str | None = None,
        cursor_field: str = "SystemModstamp",
        poll_interval: float = 60.0,
        salesforce_conn_id: str = "sfcc_default",
    ) -> None:
        poll_interval = checked_value("poll_interval", poll_interval, float)
        checked_value("sobject", sobject, str)
        checked_value("where", where, str | None)
        if where and where.split()[:1] and where.split()[0].upper() == "WHERE":
            raise OptionError(f"where={where!r}: write the condition alone, without the word WHERE.")
        super().__init__()  # type: ignore[no-untyped-call]
        self.sobject = sobject
        self.where = where
        self.cursor_field = cursor_field
        self.poll_interval = poll_interval
        self.salesforce_conn_id = salesforce_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("sobject", "where", "cursor_field", "poll_interval", "salesforce_conn_id")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await load_client()
        from airflow_sfcc._airflow.shared_clients import SharedClients
        from airflow_sfcc.errors import SfccError
        from airflow_sfcc.salesforce.usage import Tally

        seen: Newest | None = None
        kept: Newest | None = None
        has_begun = False
        while True:
            new = 0
            try:
                if not has_begun:
                    seen = kept = await self._remembered()
                    has_begun = True
                seen, new = await SharedClients.here().call(
                    self.salesforce_conn_id, partial(self._look, seen=seen), Tally(), kind="query"
                )
            except Exception as problem:
                # A watcher that ends is not started again before the DAG changes, so it goes on whatever happens; the
                # text of an unforeseen exception may hold anything, so only its type is shown.
                why = str(problem) if isinstance(problem, SfccError) else type(problem).__name__
                self.log.warning("Watching %s goes on after a failure: %s", self.sobject, why)
            if new and seen:
                yield self._event(seen, new)
            if seen and seen != kept and await self._remember(seen):
                kept = seen
            await asyncio.sleep(self.poll_interval)

    def _event(self, seen: Newest, new: int) -> TriggerEvent:
        return TriggerEvent({"sobject": self.sobject, "records": new, "newest": seen.when})  # type: ignore[no-untyped-call]

    def _look(self, client: SalesforceClient, seen: Newest | None) -> tuple[Newest, int]:
        """How far the object goes now, and how many of its records are new since `seen` (None: watching begins)."""
        if seen is None:
            return self._beginning(client), 0
        found = self._since(client, seen.when)
        if found is None:
            return seen, 0
        when, records = found
        if when == seen.when:
            return Newest(when, records), max(0, records - seen.records)
        newest = self._newest(client, when)
        # A record that was seen and has changed again is no longer at the old time, so all at the new one count.
        return newest, max(records - seen.records, newest.records, 1)

    def _beginning(self, client: SalesforceClient) -> Newest:
        """By the cursor's index: to count a large object would take longer than Salesforce gives a query."""
        ordered = f"{self._query([self.cursor_field])} ORDER BY {self.cursor_field} DESC NULLS LAST LIMIT 1"
        when = next((record[self.cursor_field] for record in client.query(ordered)), None)
        return self._newest(client, _literal(when)) if when else _NOTHING

    def _newest(self, client: SalesforceClient, when: str) -> Newest:
        return Newest(when, client.count(self._query(["COUNT()"], f"{self.cursor_field} = {when}")))

    def _since(self, client: SalesforceClient, when: str) -> tuple[str, int] | None:
        """The newest cursor value and the number of records from `when` on; None where there are none any more."""
        columns = ["COUNT(Id)", f"MAX({self.cursor_field})"]
        (row,) = client.query(self._query(columns, f"{self.cursor_field} >= {when}"))
        return (_literal(row["expr1"]), int(row["expr0"])) if row["expr1"] else None

    def _query(self, columns: list[str], condition: str | None = None) -> str:
        from airflow_sfcc.salesforce import soql

        conditions = " AND ".join(f"({part})" for part in (self.where, condition) if part)
        return soql.select(self.sobject, columns, conditions)

    @property
    def _key(self) -> str:
        """Several watchers of one asset share its state store."""
        watched = "\0".join((self.salesforce_conn_id, self.sobject, self.where or "", self.cursor_field))
        return f"newest-{hashlib.sha256(watched.encode()).hexdigest()[:16]}"

    async def _remembered(self) -> Newest | None:
        store = self._store()
        known = None if store is None else await store.aget(self._key)
        if known is None:
            return None
        try:
            return _kept(known)
        except (KeyError, TypeError, ValueError):
            self.log.warning("What was kept of watching %s cannot be read, so watching begins anew.", self.sobject)
            return None

    async def _remember(self, seen: Newest) -> bool:
        """Whether it is kept now. What is not kept fires once more after a restart, and is tried again with the next look."""
        store = self._store()
        if store is None:
            return True
        try:
            await store.aset(self._key, {"time": seen.when, "records": seen.records})
        except Exception as problem:
            self.log.warning("Airflow could not keep what was seen of %s: %s", self.sobject, type(problem).__name__)
            return False
        return True

    def _store(self) -> Any:
        """The state store of the watched asset; None before Airflow 3.3."""
        store: Any = getattr(self, "asset_state_store", None)
        if store is None:
            say_missing("Remembering what a watcher has seen", "watching begins anew when the triggerer starts.")
        return store


def _kept(known: Any) -> Newest:
    """Raises KeyError, TypeError or ValueError for what no watcher has written: it would get into a query."""
    if not _STAMP.fullmatch(known["time"]):
        raise ValueError
    return Newest(known["time"], int(known["records"]))


def _literal(when: object) -> str:
    """A datetime of a REST answer as SOQL writes it."""
    return str(when).replace("+0000", "Z")
