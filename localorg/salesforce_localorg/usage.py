"""What the org counts over rolling 24 hours: API requests, Bulk batches and query jobs, result bytes, logins."""

from __future__ import annotations

import threading
from datetime import timedelta

from salesforce_localorg.clock import Clock

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)


class RollingCounter:
    """A sum over the last `window` of the org's time, kept per minute so that old minutes fall out by themselves."""

    def __init__(self, clock: Clock, window: timedelta = DAY) -> None:
        self._clock = clock
        self._minutes = int(window.total_seconds() // 60)
        self._amounts: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, amount: int = 1) -> int:
        """Count `amount` now; returns the new total of the window."""
        with self._lock:
            minute = self._minute()
            self._amounts[minute] = self._amounts.get(minute, 0) + amount
            return self._sum(minute)

    def add_within(self, limit: int) -> bool:
        """Count one now unless the window already holds `limit`; says whether it was counted."""
        with self._lock:
            minute = self._minute()
            if self._sum(minute) >= limit:
                return False
            self._amounts[minute] = self._amounts.get(minute, 0) + 1
            return True

    def total(self) -> int:
        with self._lock:
            return self._sum(self._minute())

    def _minute(self) -> int:
        return int(self._clock.now().timestamp() // 60)

    def _sum(self, minute: int) -> int:
        oldest = minute - self._minutes
        for old in [each for each in self._amounts if each <= oldest]:
            del self._amounts[old]
        # Minutes in the future exist after a test moved the clock back; they are not part of this window.
        return sum(amount for each, amount in self._amounts.items() if each <= minute)


class Usage:
    """The org's counters; limits come from the configuration."""

    def __init__(self, clock: Clock) -> None:
        self.api_requests = RollingCounter(clock)
        self.bulk_batches = RollingCounter(clock)
        self.bulk_query_jobs = RollingCounter(clock)
        self.bulk_result_kilobytes = RollingCounter(clock)
        self.logins = RollingCounter(clock, HOUR)
