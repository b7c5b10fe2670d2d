"""Which faults pass by themselves, and how long to wait for that.

Passing faults (salesforce-protocol.md#rest-conventions, #query-errors): connections that break, HTTP 406, 420, 429 and 5xx, too
many long requests at once, and transaction security that took too long.
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

PASSING_STATUSES = frozenset({406, 420, 429})
"""Besides 5xx. 406 and 420 are not in Salesforce's documents but seen in production (salesforce-protocol.md#rest-conventions)."""

LONGEST_WAIT = 300.0
"""Seconds. A Retry-After beyond this is not waited for here: the task's own retry is the better place."""


class RetryPolicy:
    """Exponential backoff with jitter, or what Retry-After says. After `stop` there is no further try, and no waiting."""

    def __init__(self, max_retries: int, stop: Stop | None = None) -> None:
        self.max_retries = max_retries
        self.retried = 0
        """How often it was tried again, all in all."""
        self._stop = stop or Stop()
        self._backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)

    def run(self, attempt: Callable[[], T], *, what: str, also: tuple[type[Exception], ...] = ()) -> T:
        """The first outcome that is no passing fault, or the last outcome there was.

        `what` is for the log; exceptions of the types in `also` count as passing faults too.
        """

        def unless_stopped() -> T:
            self._stop.check()
            return attempt()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing_fault)
            | tenacity.retry_if_result(is_passing_answer)
            | tenacity.retry_if_exception_type(also),
            stop=self._is_over,
            wait=self._wait,
            sleep=tenacity.sleep_using_event(self._stop.event),
            before_sleep=lambda state: self._announce(state, what),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        return retrying(unless_stopped)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        tried_enough = state.attempt_number > self.max_retries or (_retry_after(state) or 0) > LONGEST_WAIT
        return tried_enough or self._stop.is_set

    def _wait(self, state: tenacity.RetryCallState) -> float:
        asked = _retry_after(state)
        return asked if asked is not None else self._backoff(state)

    def _announce(self, state: tenacity.RetryCallState, what: str) -> None:
        self.retried += 1
        seconds = state.next_action.sleep if state.next_action else 0.0
        fault = _fault(state)
        log.warning("%s: %s; retry %s of %s in %.1f s", what, fault, state.attempt_number, self.max_retries, seconds)


def is_passing_fault(problem: BaseException) -> bool:
    """Whether an exception of requests tells of a fault that passes."""
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


def is_passing_status(status: int) -> bool:
    """Whether an HTTP status by itself tells of a fault that passes."""
    return status >= 500 or status in PASSING_STATUSES


def is_passing_answer(answer: object) -> bool:
    """Whether an answer tells of a fault that passes. Anything but a Response does not."""
    if not isinstance(answer, requests.Response):
        return False
    status = answer.status_code
    if is_passing_status(status):
        return True
    if status == 403:
        return "REQUEST_LIMIT_EXCEEDED" in answer.text and "Concurrent" in answer.text
    return status == 400 and "TXN_SECURITY_METERING_ERROR" in answer.text


def _fault(state: tenacity.RetryCallState) -> str:
    outcome = state.outcome
    if outcome is None:
        return "no outcome"
    problem = outcome.exception()
    if problem is not None:
        return type(problem).__name__
    answer = outcome.result()
    if isinstance(answer, requests.Response):
        answer.close()
        return f"HTTP {answer.status_code}"
    return type(answer).__name__


def _retry_after(state: tenacity.RetryCallState) -> float | None:
    """Seconds that the last answer asked us to wait; the header is a number of seconds or a date (RFC 9110)."""
    outcome = state.outcome
    if outcome is None or outcome.failed or not isinstance(outcome.result(), requests.Response):
        return None
    header = outcome.result().headers.get("Retry-After", "").strip()
    if header.isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
