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
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_sfcc.triggers import load_client
from airflow_sfcc.versions import say_missing

if TYPE_CHECKING:
    from airflow_sfcc.salesforce import SalesforceClient


@dataclass(frozen=True)
class Newest:
    """How far a watcher has seen: the newest cursor value, and how many records carry just that value, since stamps
    have whole seconds and more records may follow within the same one."""

    moment: str
    records: int


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
        from airflow_sfcc.salesforce.errors import SalesforceError
        from airflow_sfcc.salesforce.usage import Tally
        from airflow_sfcc.shared_clients import SharedClients

        seen = await self._remembered()
        while True:
            try:
                seen_now, new = await SharedClients.here().ask(
                    self.salesforce_conn_id, partial(self._look, seen=seen), Tally(), kind="query"
                )
            except Exception as problem:
                # A watcher that ends is not started again before the DAG changes, so it goes on whatever happens; the
                # text of an unforeseen exception may hold anything, so only its type is shown.
                why = str(problem) if isinstance(problem, SalesforceError) else type(problem).__name__
                self.log.warning("Watching %s goes on after a failure: %s", self.sobject, why)
                seen_now, new = seen, 0
            if new:
                yield self._event(seen_now, new)
            if seen_now is not None and seen_now != seen:
                await self._remember(seen_now)
                seen = seen_now
            await asyncio.sleep(self.poll_interval)

    def _event(self, seen: Newest | None, new: int) -> TriggerEvent:
        newest = seen.moment if seen else None
        return TriggerEvent({"sobject": self.sobject, "records": new, "newest": newest})  # type: ignore[no-untyped-call]

    def _look(self, client: SalesforceClient, seen: Newest | None) -> tuple[Newest | None, int]:
        """How far the object goes now, and how many of its records are new since `seen` (None: watching begins)."""
        found = self._count(client, f"{self.cursor_field} >= {seen.moment}" if seen else None)
        if found is None:
            return seen, 0
        moment, records = found
        if seen is not None and moment == seen.moment:
            return Newest(moment, records), max(0, records - seen.records)
        at_newest = self._count(client, f"{self.cursor_field} = {moment}")
        newest = Newest(moment, at_newest[1] if at_newest else 0)
        # A record that was seen and has changed again is no longer at the old moment, so all at the new one count.
        return newest, max(records - seen.records, newest.records, 1) if seen else 0

    def _count(self, client: SalesforceClient, condition: str | None) -> tuple[str, int] | None:
        """(newest cursor value as a SOQL literal, number of records) of those that fulfil the condition; None for none."""
        from airflow_sfcc.salesforce import soql

        conditions = " AND ".join(f"({part})" for part in (self.where, condition) if part)
        columns = ["COUNT(Id)", f"MAX({self.cursor_field})"]
        (row,) = client.query(soql.select(self.sobject, columns, conditions))
        if not row["expr1"]:
            return None
        return str(row["expr1"]).replace("+0000", "Z"), int(row["expr0"])

    @property
    def _key(self) -> str:
        """Several watchers of one asset share its state store."""
        watched = "\0".join((self.salesforce_conn_id, self.sobject, self.where or "", self.cursor_field))
        return f"newest-{hashlib.sha256(watched.encode()).hexdigest()[:16]}"

    async def _remembered(self) -> Newest | None:
        store = self._store()
        known = None if store is None else await store.aget(self._key)
        return Newest(**known) if known else None

    async def _remember(self, seen: Newest) -> None:
        store = self._store()
        if store is not None:
            await store.aset(self._key, {"moment": seen.moment, "records": seen.records})

    def _store(self) -> Any:
        """The state store of the watched asset; None before Airflow 3.3."""
        store: Any = getattr(self, "asset_state_store", None)
        if store is None:
            say_missing("Remembering what a watcher has seen", "watching begins anew when the triggerer starts.")
        return store
