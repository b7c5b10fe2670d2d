"""A ready retry policy: rate limits wait, configuration errors fail at once, expired results are asked for anew.

Retry policies came with Airflow 3.3. Before that, SALESFORCE_RETRY_POLICY is None, operators of this package take it all
the same, and the task's own `retry_delay` holds; permanent errors fail at once in every version.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_sfcc import errors
from airflow_sfcc._airflow.versions import HAS_3_3

ERRORS = "airflow_sfcc.errors"

_PERMANENT = tuple(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and vars(kind).get("permanent") is True
)
"""The classes that say of themselves that a retry cannot help; so do those derived from them."""

_RULES: tuple[tuple[tuple[str, ...], str, timedelta | None, str], ...] = (
    (
        ("ApiLimitError",),
        "retry",
        timedelta(minutes=30),
        "The org's API calls, or this connection's share of them, are used up for now.",
    ),
    (
        _PERMANENT,
        "fail",
        None,
        "A retry cannot help: somebody has to change something.",
    ),
    (
        ("ResultsExpiredError", "JobNotCompleteError", "IncompleteResultError"),
        "retry",
        timedelta(seconds=10),
        "The results are gone or incomplete: the next try asks for what is missing, or submits the query again.",
    ),
    (
        ("UnavailableError", "QueryTimeoutError", "JobFailedError", "StorageError"),
        "retry",
        timedelta(minutes=5),
        "Salesforce, or the storage, did not work for now.",
    ),
)


def _policy() -> Any:
    """The policy, or None before Airflow 3.3."""
    if not HAS_3_3:
        return None
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=[f"{ERRORS}.{name}" for name in names],
                action=RetryAction(action),
                retry_delay=delay,
                reason=reason,
            )
            for names, action, delay, reason in _RULES
        ]
    )


SALESFORCE_RETRY_POLICY: Any = _policy()
"""For `retry_policy=` of an operator, or in `default_args`; it decides within the task's `retries`."""
