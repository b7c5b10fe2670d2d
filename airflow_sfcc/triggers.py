"""Waiting for a Bulk job in the triggerer.

A trigger's arguments are kept in the metadata database in plain text and its event is logged, so both carry ids and
counts only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow_sfcc.salesforce import SalesforceClient


class BulkJobTrigger(BaseTrigger):
    """Fires when a Bulk job is no longer waiting, or when `end_time` is over.

    Polling changes nothing in the org, so the trigger may run twice.

    :param poll_interval: seconds between the first polls; later ones are further apart.
    :param end_time: seconds since the epoch at which to give up waiting.
    :param cancel_on_kill: abort the job when a person ends the task while it is deferred.
    """

    def __init__(
        self,
        salesforce_conn_id: str,
        job_id: str,
        poll_interval: float,
        end_time: float,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.salesforce_conn_id = salesforce_conn_id
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "salesforce_conn_id": self.salesforce_conn_id,
                "job_id": self.job_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_sfcc.salesforce.errors import SalesforceError

        try:
            client = await self._client()
            status = await self._wait(client)
            yield self._event(status, api_calls=client.usage.calls)
        except SalesforceError as problem:
            yield self._event("error", message=str(problem), permanent=problem.permanent)
        except Exception as problem:
            # An uncaught exception's traceback would be stored with the task instance.
            yield self._event(
                "error", message=f"Waiting for the job failed ({type(problem).__name__}).", permanent=False
            )

    async def _wait(self, client: SalesforceClient) -> str:
        from airflow_sfcc.salesforce.bulk import poll_delays

        for delay in poll_delays(self.poll_interval):
            # Also before the first poll: Airflow takes a task that is resumed before its worker has noticed the deferral
            # (up to one heartbeat, 5 s) for one that was killed.
            await asyncio.sleep(max(0.0, min(delay, self.end_time - time.time())))
            job = await asyncio.to_thread(client.bulk.get, self.job_id)
            self.log.info("Bulk job %s on %s: %s", job.id, job.sobject, job.progress)
            if not job.is_waiting:
                return "finished"
            if time.time() >= self.end_time:
                return "timeout"
        raise AssertionError("poll_delays never ends")

    def _event(self, status: str, **details: Any) -> TriggerEvent:
        return TriggerEvent({"status": status, "job_id": self.job_id, **details})  # type: ignore[no-untyped-call]

    async def _client(self) -> SalesforceClient:
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
        from airflow.providers.common.compat.sdk import mask_secret

        from airflow_sfcc.connection import client_for

        connection = await get_async_connection(self.salesforce_conn_id)
        extra = await get_async_extra_dejson(connection)
        return client_for(connection, extra, on_token=mask_secret)

    async def on_kill(self) -> None:
        """Abort the job: a person ended the task while it was deferred (Airflow 3.3 and newer call this)."""
        if not self.cancel_on_kill:
            return
        client = await self._client()
        await asyncio.to_thread(client.bulk.abort, self.job_id)
        self.log.info("Aborted Bulk job %s", self.job_id)
