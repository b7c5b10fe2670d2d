"""Which errors are transient, and how long to wait before the next attempt.

Transient (salesforce-protocol.md#rest-queries, #query-errors): connections that break, HTTP 406, 420, 429 and 5xx, too many
long requests at once, and transaction security that took too long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests
import tenacity
from requests import exceptions

from airflow_sfcc.salesforce.stopping import Stop

log = logging.getLogger(__name__)

T = TypeVar("T")

TRANSIENT_STATUSES = frozenset({406, 420, 429})
"""Besides 5xx. 406 and 420 are not in Salesforce's documents but seen in production."""

LONGEST_WAIT = 300.0
"""Seconds. A Retry-After beyond this is not waited for here: the task's own retry is the better place."""


class RetryPolicy:
    """Exponential backoff with jitter, or what Retry-After says. After `stop` there is no further attempt, and no waiting."""

    def __init__(self, max_retries: int, stop: Stop | None = None) -> None:
        self.max_retries = max_retries
        self.retried = 0
        """How many attempts beyond the first ones there were, all in all."""
        self._stop = stop or Stop()
        self._backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)

    def run(self, attempt: Callable[[], T], *, what: str, also: tuple[type[Exception], ...] = ()) -> T:
        """The first outcome that is no transient error, or the last outcome there was.

        `what` is for the log; exceptions of the types in `also` count as transient too.
        """

        def unless_stopped() -> T:
            self._stop.check()
            return attempt()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient_error)
            | tenacity.retry_if_result(is_transient_response)
            | tenacity.retry_if_exception_type(also),
            stop=self._is_over,
            wait=self._wait,
            sleep=tenacity.sleep_using_event(self._stop.event),
            before_sleep=lambda state: self._announce(state, what),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        return retrying(unless_stopped)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        was_last = state.attempt_number > self.max_retries or (retry_after(_response(state)) or 0) > LONGEST_WAIT
        return was_last or self._stop.is_set

    def _wait(self, state: tenacity.RetryCallState) -> float:
        requested = retry_after(_response(state))
        return self._backoff(state) if requested is None else requested

    def _announce(self, state: tenacity.RetryCallState, what: str) -> None:
        self.retried += 1
        seconds = state.next_action.sleep if state.next_action else 0.0
        error = _name_of_error(state)
        log.warning("%s: %s; retry %s of %s in %.1f s", what, error, state.attempt_number, self.max_retries, seconds)


def is_transient_error(problem: BaseException) -> bool:
    """Whether an exception of requests is a transient error."""
    if isinstance(problem, exceptions.SSLError):
        return "CERTIFICATE_VERIFY_FAILED" not in str(problem) and "doesn't match" not in str(problem)
    return isinstance(
        problem,
        (
            exceptions.ConnectionError,
            exceptions.Timeout,
            exceptions.ChunkedEncodingError,
            exceptions.ContentDecodingError,
        ),
    )


def is_transient_status(status: int) -> bool:
    """Whether an HTTP status by itself means a transient error."""
    return status >= 500 or status in TRANSIENT_STATUSES


def is_transient_response(response: object) -> bool:
    """Whether a response is a transient error. Anything but a Response is not."""
    if not isinstance(response, requests.Response):
        return False
    status = response.status_code
    if is_transient_status(status):
        return True
    if status == 403:
        return b"REQUEST_LIMIT_EXCEEDED" in response.content and b"Concurrent" in response.content
    return status == 400 and b"TXN_SECURITY_METERING_ERROR" in response.content


def retry_after(response: requests.Response | None) -> float | None:
    """Seconds that a response asks to wait; the header is a number of seconds or a date (RFC 9110, 10.2.3)."""
    header = "" if response is None else response.headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return float(header[:12])
    until = _http_date(header)
    if response is None or until is None:
        return None
    # By the clock that the date was made by, since that of this machine may be wrong by more than the wait.
    sent = _http_date(response.headers.get("Date", "")) or datetime.now(timezone.utc)
    return max(0.0, (until - sent).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _response(state: tenacity.RetryCallState) -> requests.Response | None:
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return None
    return outcome.result() if isinstance(outcome.result(), requests.Response) else None


def _name_of_error(state: tenacity.RetryCallState) -> str:
    outcome = state.outcome
    problem = outcome.exception() if outcome else None
    if problem is not None:
        return type(problem).__name__
    response = _response(state)
    if response is None:
        return "no response"
    response.close()
    return f"HTTP {response.status_code}"
