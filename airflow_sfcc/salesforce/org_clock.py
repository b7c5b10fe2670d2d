"""The org's time, by its responses: timestamps in records are the org's, so windows must not be cut by a worker's clock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

log = logging.getLogger(__name__)

TOLERATED = timedelta(seconds=2)
"""`Date` has whole seconds and travels a while, so smaller differences say nothing."""

LARGEST_DIFFERENCE = timedelta(hours=1)
"""A `Date` further away from this machine's clock is ignored, with a warning: a proxy or cache wrote it, or the machine's
clock is wrong. Believed, one such header would move the end of a window, and with it the watermark."""

_AGREEMENT = timedelta(minutes=1)


class OrgClock:
    """How far the org's clock is ahead of this machine's, by `Date` headers (RFC 9110, 6.6.1) on which two responses in a row
    agree. `may_be_moved`: a local org on loopback, whose clock a person may set to any time, so there is no largest difference.
    """

    def __init__(self, *, may_be_moved: bool = False) -> None:
        self._may_be_moved = may_be_moved
        self._agreed: timedelta | None = None
        self._latest: timedelta | None = None
        self._beyond: timedelta | None = None
        self.beyond_bound: timedelta | None = None
        """A difference that is not believed, and on which the last two responses agree: then this machine may be wrong."""
        self._warned = False
        self._lock = threading.Lock()

    @property
    def ahead(self) -> timedelta:
        """Zero before the first response, and for differences too small to be told from delays."""
        with self._lock:
            difference = self._agreed or timedelta(0)
        return difference if abs(difference) > TOLERATED else timedelta(0)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in the `Date` of a response, if it has a usable one."""
        try:
            difference = parsedate_to_datetime(headers["Date"]) - datetime.now(timezone.utc)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError):
            return
        is_absurd = abs(difference) > LARGEST_DIFFERENCE
        if is_absurd and not self._may_be_moved:
            self._note_beyond(difference)
            self._warn(difference)
            return
        with self._lock:
            self._beyond = self.beyond_bound = None
            before, self._latest = self._latest, difference
            is_first = before is None and not is_absurd
            if is_first or (before is not None and abs(before - difference) <= _AGREEMENT):
                self._agreed = difference

    def _note_beyond(self, difference: timedelta) -> None:
        with self._lock:
            before, self._beyond = self._beyond, difference
            is_agreed = before is not None and abs(before - difference) <= _AGREEMENT
            self.beyond_bound = difference if is_agreed else None

    def _warn(self, difference: timedelta) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            way = "ahead of" if difference > timedelta(0) else "behind"
            log.warning(
                "A response's Date header is %s %s this machine's clock, so it is ignored.\n"
                "Check the clock of this machine, and any proxy or cache between it and Salesforce.",
                abs(difference),
                way,
            )
