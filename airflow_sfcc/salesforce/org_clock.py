"""The org's time, as its answers tell it: stamps are the org's, so windows must not be cut by a worker's clock."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_TOLERATED = timedelta(seconds=2)
"""`Date` has whole seconds and travels a while, so smaller differences say nothing."""


class OrgClock:
    """How far the org's clock is ahead of this machine's, by the `Date` header of its latest answer (RFC 9110, 6.6.1)."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._lock = threading.Lock()

    @property
    def ahead(self) -> timedelta:
        """Zero before the first answer, and for differences too small to be told from delays."""
        with self._lock:
            return self._ahead

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in an answer's headers."""
        try:
            told = parsedate_to_datetime(headers["Date"])
        except (KeyError, TypeError, ValueError):
            return
        if told.tzinfo is None:
            return
        difference = told - datetime.now(timezone.utc)
        with self._lock:
            self._ahead = difference if abs(difference) > _TOLERATED else timedelta(0)
