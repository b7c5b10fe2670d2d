"""Which failures Airflow should not retry, and what is kept of them for the page "Salesforce"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

FAILURE_KEY = "salesforce_failure"
"""The XCom of a task that failed: `error`, a sentence, and what `ExtractPresentation.failure_facts` knows. A task that extracts
several objects has one for each that failed, `failure_key`."""

_MOST_CHARACTERS = 2_000


def failure_key(sobject: str) -> str:
    """The XCom of one object that failed, in a task of several."""
    return f"{FAILURE_KEY}.{sobject}"


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


@contextmanager
def noted_failures(context: Context, facts: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Note the failure of a whole task."""
    from airflow.providers.common.compat.sdk import AirflowSkipException

    try:
        yield
    except AirflowSkipException:
        raise
    except Exception as problem:
        note_failure(context, problem, facts())
        raise


def note_failure(context: Context, problem: Exception, facts: Mapping[str, Any], key: str = FAILURE_KEY) -> None:
    """Count a failure, and keep its sentence in the task's XComs: Airflow itself has it in the log only."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_sfcc._airflow.metrics import count_failure

    cause = problem.__context__ if isinstance(problem, AirflowFailException) else None
    count_failure(type(cause or problem).__name__, facts)
    with suppress(Exception):  # the failure itself must reach Airflow
        context["ti"].xcom_push(key, {"error": sentence_of(problem)[:_MOST_CHARACTERS], **facts})


def is_ours(problem: Exception) -> bool:
    """Whether an error is the package's own, whose text holds no secrets and no values that must not be seen."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_sfcc.errors import SfccError

    return isinstance(problem, (SfccError, AirflowFailException))


def sentence_of(problem: Exception) -> str:
    """What is kept of a failure outside the log. Of other errors only the type, since their text may be anything."""
    return str(problem) if is_ours(problem) else f"{type(problem).__name__}: see the task's log."
