"""Waiting in the triggerer: for a Bulk job, and for a query to find records.

A trigger's arguments are kept in the metadata database in plain text and its event is logged, so both carry no secret.
Polling changes nothing in the org, so every trigger may run twice.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow_sfcc._airflow.shared_clients import Kind
    from airflow_sfcc.errors import SfccError
    from airflow_sfcc.salesforce import SalesforceClient
    from airflow_sfcc.salesforce.usage import Tally

T = TypeVar("T")

PATIENCE = 900.0
"""Seconds without any response after which waiting fails; the task's own retry then picks the job up again."""


async def load_client() -> None:
    """Import the client in a thread: on the event loop it would stop all the triggerer's triggers for that fraction of a
    second, which Airflow warns of."""
    for name in ("airflow_sfcc._airflow.shared_clients", "airflow_sfcc._airflow.connection"):
        await asyncio.to_thread(import_module, name)


class WaitingTrigger(BaseTrigger):
    """What our triggers have in common: polling the org, with patience for transient errors."""

    salesforce_conn_id: str
    poll_interval: float
    end_time: float

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @cached_property
    def tally(self) -> Tally:
        """The API calls made while waiting."""
        from airflow_sfcc.salesforce.usage import Tally

        return Tally()

    @cached_property
    def began(self) -> float:
        """When it began to wait, by `time.monotonic`."""
        return time.monotonic()

    async def call(self, function: Callable[[SalesforceClient], T], *, kind: Kind = "poll") -> T:
        from airflow_sfcc._airflow.shared_clients import SharedClients

        clients = SharedClients.here()
        return await clients.call(self.salesforce_conn_id, function, self.tally, kind=kind, since=self.began)

    async def until(
        self, function: Callable[[SalesforceClient], T | None], *, longest: float = 60.0, kind: Kind = "poll"
    ) -> T | None:
        """The first result that is not None, or None when `end_time` is over.

        Transient errors and spent API limits are waited for; all else that goes wrong is raised.
        """
        from airflow_sfcc.errors import ApiBudgetError, ApiLimitError, UnavailableError
        from airflow_sfcc.salesforce.bulk import poll_delays

        silent_since: float | None = None
        for delay in poll_delays(self.poll_interval, longest):
            # Also before the first call: Airflow takes a task that is resumed before its worker has noticed the
            # deferral (up to one heartbeat, 5 s) for one that was killed. The jitter keeps hundreds of triggers, all
            # started by one restart of the triggerer, from calling at the same time.
            await asyncio.sleep(max(0.0, min(delay * random.uniform(1.0, 1.2), self.end_time - time.time())))  # noqa: S311
            try:
                result = await self.call(function, kind=kind)
                silent_since = None
            except ApiBudgetError:
                raise
            except (UnavailableError, ApiLimitError) as transient:
                self.log.warning("Trying again later: %s", transient)
                result = None
                # Since the first call without a response: before that, a sensor may have waited for hours on purpose.
                silent_since = (silent_since or time.monotonic()) if isinstance(transient, UnavailableError) else None
                if silent_since is not None and time.monotonic() - silent_since > PATIENCE:
                    raise
            if result is not None:
                return result
            if time.time() >= self.end_time:
                return None
        raise AssertionError("poll_delays never ends")

    async def first_event(self, wait: Callable[[], Any]) -> TriggerEvent:
        """The event that `wait` makes, or one that says what went wrong: never an exception, whose traceback Airflow
        would store with the task instance."""
        await load_client()
        from airflow_sfcc.errors import SfccError
        from airflow_sfcc.redaction import redact

        try:
            event: TriggerEvent = await wait()
            return event
        except SfccError as problem:
            return self.failure(problem)
        except Exception as problem:
            self.log.error("Waiting in the triggerer failed:\n%s", redact("".join(traceback.format_exception(problem))))
            why = f"Waiting in the triggerer failed ({type(problem).__name__}). Clear the task to run it again."
            return self.event("error", message=why)

    def failure(self, problem: SfccError) -> TriggerEvent:
        return self.event("error", error=type(problem).__name__, message=str(problem), permanent=problem.permanent)

    def event(self, status: str, **details: Any) -> TriggerEvent:
        return TriggerEvent({"status": status, **details})  # type: ignore[no-untyped-call]


class BulkJobTrigger(WaitingTrigger):
    """Fires when a Bulk job is no longer waiting, or when `end_time` is over.

    :param others: further jobs of the same extract, which are not waited for, but aborted with this one.
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
        others: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.salesforce_conn_id = salesforce_conn_id
        self.job_id = job_id
        self.others = list(others)
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
                "others": self.others,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            event = await self.first_event(self._wait)
        except asyncio.CancelledError:
            await self._cancelled()
            raise
        yield event

    async def _wait(self) -> TriggerEvent:
        from airflow_sfcc.extract.progress import WaitingProgress

        progress = WaitingProgress(self.log.info)

        def is_finished(client: SalesforceClient) -> bool | None:
            job = client.bulk.get(self.job_id)
            progress.seen(job, self.tally.calls)
            return None if job.is_waiting else True

        finished = await self.until(is_finished)
        return self.event("finished" if finished else "timeout")

    def event(self, status: str, **details: Any) -> TriggerEvent:
        return super().event(status, job_id=self.job_id, api_calls=self.tally.calls, **details)

    async def on_kill(self) -> None:
        """Abort the jobs: a person ended the task while it was deferred (Airflow 3.3 and newer call this)."""
        if not self.cancel_on_kill:
            return
        jobs = [self.job_id, *self.others]
        await self.call(lambda client: client.bulk.abort_all(jobs), kind="kill")

    async def _cancelled(self) -> None:
        """Before Airflow 3.3, a trigger only learns that it is cancelled: find out whether a person did it."""
        from airflow_sfcc._airflow import versions

        if versions.HAS_3_3 or not self.cancel_on_kill:
            return
        try:
            if not await self._is_still_deferred():
                await self.on_kill()
        except Exception as problem:
            self.log.warning("Bulk job %s could not be aborted (%s)", self.job_id, type(problem).__name__)

    async def _is_still_deferred(self) -> bool:
        """Whether the task waits on: then the triggerer is ending, and another one takes the trigger over."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        ti: Any = self.task_instance
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        is_mapped = ti.map_index is not None and ti.map_index >= 0
        key = f"{ti.task_id}_{ti.map_index}" if is_mapped else ti.task_id
        return bool(states.get(ti.run_id, {}).get(key) == "deferred")


class QueryTrigger(WaitingTrigger):
    """Fires when a query finds records, or when `end_time` is over.

    :param soql: the query, with its values bound.
    :param poll_interval: seconds between queries.
    :param end_time: seconds since the epoch at which to give up waiting.
    :param longest: seconds up to which the time between queries grows; None leaves it as it is.
    """

    def __init__(
        self,
        salesforce_conn_id: str,
        soql: str,
        poll_interval: float,
        end_time: float,
        include_deleted: bool = False,
        longest: float | None = None,
    ) -> None:
        super().__init__()
        self.salesforce_conn_id = salesforce_conn_id
        self.soql = soql
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.include_deleted = include_deleted
        self.longest = longest

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "salesforce_conn_id": self.salesforce_conn_id,
                "soql": self.soql,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "include_deleted": self.include_deleted,
                "longest": self.longest,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield await self.first_event(self._wait)

    async def _wait(self) -> TriggerEvent:
        found = await self.until(self._records, longest=self.longest or self.poll_interval, kind="query")
        return self.event("timeout") if found is None else self.event("found", records=found)

    def _records(self, client: SalesforceClient) -> int | None:
        return client.count(self.soql, include_deleted=self.include_deleted) or None
