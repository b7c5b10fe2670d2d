"""Ending requests that are under way, from another thread or from a signal handler."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from airflow_sfcc.errors import StoppedError


class _Open(Protocol):
    """A connection, or a response that may have outlived its connection object."""

    def shutdown(self) -> None: ...


class Stop:
    """Once set, the sessions that share it send nothing more, wait for nothing more, and what they have open breaks off."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._open: weakref.WeakSet[_Open] = weakref.WeakSet()
        # Reentrant: a signal handler of the same thread may come in between (a killed task stops its downloads).
        self._lock = threading.RLock()

    @property
    def is_set(self) -> bool:
        return self.event.is_set()

    def set(self) -> None:
        self.event.set()
        with self._lock:
            for each in list(self._open):
                _break_off(each)

    def watch(self, opened: _Open) -> None:
        """Break this off too when it is set."""
        with self._lock:
            self._open.add(opened)
        if self.is_set:
            _break_off(opened)

    @contextmanager
    def set_by_failure(self) -> Iterator[None]:
        """Set it when the `with` block fails, or is given up."""
        try:
            yield
        except BaseException:
            self.set()
            raise

    def check(self) -> None:
        """Raise StoppedError when it is set."""
        if self.is_set:
            raise StoppedError("The download was stopped: another part of it failed, or the task was ended.")


def _break_off(opened: _Open) -> None:
    # Shutting the socket down is what ends a read that blocks in another thread; closing it would not.
    with suppress(Exception):
        opened.shutdown()
