"""What the triggers of one triggerer share: a client, and so a token, per connection, and a few threads to call it in.

Hundreds of triggers wait in one event loop. Each for itself would read the connection, log in, and open connections of
its own; together they need one login and a handful of threads.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow_sfcc.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_sfcc.salesforce import SalesforceClient
    from airflow_sfcc.salesforce.usage import Tally

T = TypeVar("T")

THREADS = 8
"""Threads per connection and kind of call. They are the connection's own, so one that does not respond holds up no other. A poll
of a job takes some 100 ms, so these make 80 polls a second."""

CONNECTION_SECONDS = 300.0
"""How long a connection is taken for unchanged after it was read."""

FAILURE_SECONDS = 60.0
"""How long a failed login is not repeated, so that hundreds of triggers do not all log in."""

_POLL_SECONDS = 30.0
"""The limit of a poll, login included, since it holds a thread; then it is repeated later."""

_KILL_SECONDS = 10.0
"""The limit of each call that aborts jobs; Airflow gives `on_kill` 30 s."""

Kind = Literal["poll", "query", "kill"]
"""Polls take no time; a query may take Salesforce two minutes, and must not make polls wait; neither may hold up the
end of a task."""

KINDS: tuple[Kind, ...] = ("poll", "query", "kill")


@dataclass
class _Connected:
    """One connection as it was read: its fields, to notice a change, and its client for each kind of call."""

    fields: tuple[object, ...] = field(repr=False)
    clients: dict[Kind, SalesforceClient]
    read_at: float
    failure: ConfigurationError | None = None

    def is_current(self, since: float) -> bool:
        limit = CONNECTION_SECONDS if self.failure is None else FAILURE_SECONDS
        return self.read_at >= since and time.monotonic() - self.read_at < limit


class SharedClients:
    """The clients of one event loop, by connection id."""

    _by_loop: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SharedClients]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self) -> None:
        self._connected: dict[str, _Connected] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._threads: dict[tuple[str, Kind], ThreadPoolExecutor] = {}

    @classmethod
    def here(cls) -> SharedClients:
        """Those of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in cls._by_loop:
            cls._by_loop[loop] = cls()
        return cls._by_loop[loop]

    async def call(
        self,
        conn_id: str,
        function: Callable[[SalesforceClient], T],
        tally: Tally,
        *,
        kind: Kind = "poll",
        since: float = 0.0,
    ) -> T:
        """What `function` returns for the connection's client; it runs in a thread, and its API calls go to `tally`.

        :param since: when the caller began, by `time.monotonic`. What was read of the connection before, and a login that
            failed before, is not for it: a person may have corrected either, and cleared the task.

        Nothing is retried while a thread is held: a transient error is raised at once (UnavailableError).
        """
        async with self._reading.setdefault(conn_id, asyncio.Lock()):
            connected = await self._connect(conn_id, since)

        def called() -> T:
            if connected.failure is not None:
                raise connected.failure
            try:
                return function(connected.clients[kind].with_options(tally=tally))
            except ConfigurationError as problem:
                connected.failure, connected.read_at = problem, time.monotonic()
                raise

        # The context binds log lines to the trigger's task; without it they would be lost.
        return await asyncio.get_running_loop().run_in_executor(
            self._threads_of(conn_id, kind), copy_context().run, called
        )

    def _threads_of(self, conn_id: str, kind: Kind) -> ThreadPoolExecutor:
        if (conn_id, kind) not in self._threads:
            self._threads[conn_id, kind] = ThreadPoolExecutor(THREADS, thread_name_prefix=f"airflow-sfcc-{kind}")
        return self._threads[conn_id, kind]

    async def _connect(self, conn_id: str, since: float) -> _Connected:
        known = self._connected.get(conn_id)
        if known is not None and known.is_current(since):
            return known
        fields, extra = await _read_known(conn_id)
        if known is not None and known.failure is None and known.fields == (*fields.values(), extra):
            known.read_at = time.monotonic()
            return known
        self._connected[conn_id] = _Connected((*fields.values(), extra), _clients(fields, extra), time.monotonic())
        return self._connected[conn_id]


async def _read_known(conn_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `_read` reads. Raises ConfigurationError where there is no such connection (any more)."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_sfcc._airflow.connection import no_object, unknown_connection

    try:
        return await _read(conn_id)
    except ValueError:
        raise no_object() from None
    except AirflowNotFoundException:
        raise unknown_connection(conn_id) from None


async def _read(conn_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The connection's fields and its extra.

    Reading masks secrets, which is a call to the supervisor that must not block the event loop. From Airflow 3.3.2 on there
    are asynchronous ways; a secrets backend may all the same return another class of connection that has none.
    """
    from airflow.providers.common.compat.sdk import BaseHook
    from airflow.sdk import Connection
    from asgiref.sync import sync_to_async  # hands the supervisor's response to the loop that waits for it

    if hasattr(Connection, "aextra_dejson"):
        connection: Any = await BaseHook.aget_connection(conn_id)
    else:
        connection = await sync_to_async(BaseHook.get_connection)(conn_id)
    if hasattr(connection, "aextra_dejson"):
        return _fields(connection), await connection.aextra_dejson()
    return _fields(connection), await sync_to_async(lambda: connection.extra_dejson)()


def _fields(connection: Any) -> dict[str, Any]:
    names = ("conn_id", "conn_type", "host", "port", "schema", "login", "password", "extra")
    return {name: getattr(connection, name, None) for name in names}


def _clients(fields: dict[str, Any], extra: dict[str, Any]) -> dict[Kind, SalesforceClient]:
    from airflow.sdk.log import mask_secret

    from airflow_sfcc._airflow.connection import client_for

    client = client_for(SimpleNamespace(**fields), {**extra, "max_retries": 0}, on_token=mask_secret)
    return {
        "query": client,
        "poll": client.with_options(timeout=_POLL_SECONDS),
        "kill": client.with_options(timeout=_KILL_SECONDS),
    }
