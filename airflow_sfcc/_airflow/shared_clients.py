"""What the triggers of one triggerer share: a client, and so a token, per connection, and a few threads to ask with.

Hundreds of triggers wait in one event loop. Each for itself would read the connection, log in, and open connections of
its own; together they need one login and a handful of threads.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow_sfcc.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_sfcc.salesforce import SalesforceClient
    from airflow_sfcc.salesforce.usage import Tally

T = TypeVar("T")

THREADS = 8
"""Threads per kind of question and event loop. A poll of a job takes some 100 ms, so these make 80 polls a second."""

CONNECTION_SECONDS = 300.0
"""How long a connection is taken for unchanged after it was read."""

REFUSAL_SECONDS = 60.0
"""How long a refused login is taken for refused, so that hundreds of triggers do not all try it."""

_POLL_SECONDS = 30.0
"""A question about a job that is not answered by then is asked again later, since a thread waits for it."""

Kind = Literal["poll", "query"]
"""Polls are answered at once; a query may take Salesforce two minutes, and must not make polls wait."""

KINDS: tuple[Kind, ...] = ("poll", "query")


@dataclass
class _Connected:
    """One connection as it was read: its fields, to see a change, and its client for each kind of question."""

    fields: tuple[object, ...]
    clients: dict[Kind, SalesforceClient]
    read_at: float
    refusal: ConfigurationError | None = None

    @property
    def is_current(self) -> bool:
        return time.monotonic() - self.read_at < (CONNECTION_SECONDS if self.refusal is None else REFUSAL_SECONDS)


class SharedClients:
    """The clients of one event loop, by connection id."""

    _by_loop: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SharedClients]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self) -> None:
        self._connected: dict[str, _Connected] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._threads = {kind: ThreadPoolExecutor(THREADS, thread_name_prefix=f"airflow-sfcc-{kind}") for kind in KINDS}

    @classmethod
    def here(cls) -> SharedClients:
        """Those of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in cls._by_loop:
            cls._by_loop[loop] = cls()
        return cls._by_loop[loop]

    async def ask(
        self, conn_id: str, question: Callable[[SalesforceClient], T], tally: Tally, *, kind: Kind = "poll"
    ) -> T:
        """The answer to a question that is put to the connection's client in a thread; its API calls go to `tally`.

        Nothing is retried while a thread is held: a passing fault is raised at once (UnavailableError).
        """
        async with self._reading.setdefault(conn_id, asyncio.Lock()):
            connected = await self._connect(conn_id)

        def asked() -> T:
            if connected.refusal is not None:
                raise connected.refusal
            client = connected.clients[kind].with_options(tally=tally)
            try:
                return question(client)
            except ConfigurationError as refusal:
                connected.refusal, connected.read_at = refusal, time.monotonic()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._threads[kind], asked)

    async def _connect(self, conn_id: str) -> _Connected:
        known = self._connected.get(conn_id)
        if known is not None and known.is_current:
            return known
        fields, extra = await _read_known(conn_id)
        if known is not None and known.refusal is None and known.fields == (*fields.values(), extra):
            known.read_at = time.monotonic()
            return known
        self._connected[conn_id] = _Connected((*fields.values(), extra), _clients(fields, extra), time.monotonic())
        return self._connected[conn_id]


_IN_DAGS_TEST = " Where `airflow dags test` runs a deferred task, Airflow looks in the environment only."


async def _read_known(conn_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `_read` reads. Raises ConfigurationError where somebody has removed the connection meanwhile."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_sfcc._airflow.connection import unknown_connection

    try:
        return await _read(conn_id)
    except AirflowNotFoundException:
        raise unknown_connection(conn_id, _IN_DAGS_TEST) from None


async def _read(conn_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The connection's fields and its extra.

    Both mask secrets. From Airflow 3.3.2 on they can do so asynchronously; before, that is a call to the supervisor which
    must not block the event loop. The helpers for this in common-compat came with 1.23, which Python 3.10 does not get.
    """
    from airflow.providers.common.compat.sdk import BaseHook
    from airflow.sdk import Connection

    if hasattr(Connection, "aextra_dejson"):
        connection = await BaseHook.aget_connection(conn_id)
        return _fields(connection), await connection.aextra_dejson()
    from asgiref.sync import sync_to_async  # hands the supervisor's answer to the loop that waits for it

    def read() -> tuple[dict[str, Any], dict[str, Any]]:
        connection = BaseHook.get_connection(conn_id)
        return _fields(connection), connection.extra_dejson

    return await sync_to_async(read)()


def _fields(connection: Any) -> dict[str, Any]:
    return {name: getattr(connection, name) for name in ("host", "port", "schema", "login", "password")}


def _clients(fields: dict[str, Any], extra: dict[str, Any]) -> dict[Kind, SalesforceClient]:
    from airflow.sdk.log import mask_secret

    from airflow_sfcc._airflow.connection import client_for

    client = client_for(SimpleNamespace(**fields), {**extra, "max_retries": 0}, on_token=mask_secret)
    return {"query": client, "poll": client.with_options(timeout=_POLL_SECONDS)}
