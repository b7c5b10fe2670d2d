"""Counting API calls, and stopping at a budget."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_sfcc.errors import ApiBudgetError

_API_USAGE = re.compile(r"(?:^|[;,\s])api-usage=([0-9]{1,12})/([0-9]{1,12})(?![0-9])")
_METERED = re.compile(r"/services/data/v\d")
_ABORT = ("PATCH", "DELETE")


@dataclass
class Tally:
    """Calls made for one purpose by one of many sessions that share an `ApiUsage`."""

    calls: int = 0


class ApiUsage:
    """Calls made to one org, and what the org reports of its daily limit (`Sforce-Limit-Info`;
    salesforce-protocol.md#rest-conventions).

    The header comes in two shapes: `api-usage=25/5000` and
    `api-usage=25/5000; per-app-api-usage=17/250(appName=x)`.
    """

    def __init__(self, budget_percent: float | None = None) -> None:
        self.budget_percent = budget_percent
        self.calls = 0
        self.used: int | None = None
        self.limit: int | None = None
        self._in_flight = 0
        # Reentrant: a signal handler of the same thread may come in between (a killed task aborts its job).
        self._lock = threading.RLock()

    @property
    def left(self) -> int | None:
        """Calls that the org has left today, None before the first response."""
        return None if self.used is None or self.limit is None else max(0, self.limit - self.used)

    def before_call(self, method: str, path: str, tally: Tally | None = None) -> None:
        """Count a call that is about to leave, in `tally` too. Raises ApiBudgetError when the budget is used up."""
        if not _METERED.match(path):
            return
        with self._lock:
            # Aborting and deleting jobs gives resources back to the org, so the budget never prevents it.
            if method not in _ABORT:
                self._check_budget()
            self.calls += 1
            self._in_flight += 1
            if tally is not None:
                tally.calls += 1

    def after_call(self, path: str, headers: Mapping[str, str]) -> None:
        """Read the org's usage from a response's headers, which are empty when there was no response."""
        found = _API_USAGE.search(headers.get("Sforce-Limit-Info", ""))
        with self._lock:
            if _METERED.match(path):
                self._in_flight -= 1
            if found:
                self.used, self.limit = int(found[1]), int(found[2])

    def _check_budget(self) -> None:
        if self.budget_percent is None or self.used is None or not self.limit:
            return
        if self.used + self._in_flight >= self.limit * self.budget_percent / 100:
            raise ApiBudgetError(
                f"The org has used {self.used:,} of its {self.limit:,} API calls of the last 24 hours, and this connection "
                f"stops at {self.budget_percent:g} % (api_call_budget in its extra). Wait, raise the budget, or make "
                "fewer calls elsewhere."
            )
