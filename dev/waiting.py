"""Waiting for something to become true, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dev.errors import HarnessError

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None],
    *,
    timeout: float,
    message: Callable[[], str],
    error: type[HarnessError] = HarnessError,
    poll_seconds: float = 0.5,
) -> T:
    """Poll `condition` until it is true and return its value; raise `error` with `message` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise error(message())
        time.sleep(poll_seconds)
