"""The org's time."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone


class Clock:
    """The org's time: real time plus an offset that tests move."""

    def __init__(self) -> None:
        self._offset = timedelta(0)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The org's present moment, aware, in UTC."""
        with self._lock:
            return datetime.now(timezone.utc) + self._offset

    def advance(self, delta: timedelta) -> None:
        """Move the org's time by `delta` (a negative one moves it back)."""
        with self._lock:
            self._offset += delta

    def set(self, moment: datetime) -> None:
        """Make `moment` (aware) the org's present; time keeps ticking from there.

        Raises ValueError for a moment without a timezone.
        """
        if moment.tzinfo is None:
            raise ValueError("The clock takes an aware datetime; give the moment a timezone, such as UTC.")
        with self._lock:
            self._offset = moment - datetime.now(timezone.utc)
