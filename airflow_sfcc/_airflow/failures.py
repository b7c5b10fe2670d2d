"""Which failures Airflow should not retry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def airflow_failures() -> Iterator[None]:
    """Errors that a retry cannot fix fail the task at once, without using up its retries."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_sfcc.errors import SfccError

    try:
        yield
    except SfccError as problem:
        if problem.permanent:
            raise AirflowFailException(str(problem)) from None
        raise
