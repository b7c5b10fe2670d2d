"""The org's time."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone


class Clock:
    """The org's time: real time plus an offset that tests move, or a time that stands still."""

    def __init__(self) -> None:
        self._offset = timedelta(0)
        self._frozen: datetime | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The org's present time, aware, in UTC."""
        with self._lock:
            return self._now()

    def advance(self, delta: timedelta) -> None:
        """Move the org's time by `delta` (a negative one moves it back)."""
        with self._lock:
            self._move(self._now() + delta)

    def set(self, when: datetime) -> None:
        """Make `when` (aware) the org's present; time goes on from there, unless it stands still.

        Raises ValueError for a timestamp without a timezone.
        """
        if when.tzinfo is None:
            raise ValueError("The clock takes an aware datetime; give the time a timezone, such as UTC.")
        with self._lock:
            self._move(when)

    def freeze(self, when: datetime | None = None) -> None:
        """Let time stand still, at `when` (aware) if given; `advance` and `set` still move it.

        Raises ValueError for a timestamp without a timezone.
        """
        if when is not None:
            self.set(when)
        with self._lock:
            self._frozen = self._now()

    def resume(self) -> None:
        """Let time go on from where it stands."""
        with self._lock:
            when, self._frozen = self._now(), None
            self._move(when)

    def _now(self) -> datetime:
        return self._frozen if self._frozen is not None else datetime.now(timezone.utc) + self._offset

    def _move(self, when: datetime) -> None:
        if self._frozen is not None:
            self._frozen = when
        else:
            self._offset = when - datetime.now(timezone.utc)
