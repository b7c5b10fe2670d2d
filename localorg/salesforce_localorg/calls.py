"""What reached the org: the recent calls and a count per route."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

KEPT = 2000


@dataclass
class Call:
    """One HTTP request. `status` is 0 when the connection was cut before an answer; `sent` counts body bytes on the
    wire.

    The path holds the query string. Tokens and bodies are never kept.
    """

    route: str
    method: str
    path: str
    when: datetime
    principal: str | None = None
    status: int = 0
    sent: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "when": self.when.isoformat()}


class Calls:
    """The last calls, oldest first, and `counts` per route name since the start or the last `clear`."""

    def __init__(self) -> None:
        self._recent: deque[Call] = deque(maxlen=KEPT)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        with self._lock:
            self._recent.append(call)
            self._counts[call.route] += 1

    def __iter__(self) -> Iterator[Call]:
        with self._lock:
            return iter(list(self._recent))

    def __len__(self) -> int:
        with self._lock:
            return len(self._recent)

    def of(self, route: str) -> list[Call]:
        """The recent calls of one route, such as `query` or `job_results`."""
        return [call for call in self if call.route == route]

    @property
    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def clear(self) -> None:
        with self._lock:
            self._recent.clear()
            self._counts.clear()
