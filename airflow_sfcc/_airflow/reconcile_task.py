"""One attempt at a reconciliation: URLs and Airflow connections become a destination, a table and a client."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_sfcc._airflow.destinations import destination_path, storage_failures
from airflow_sfcc._airflow.extract_task import hash_key_of, run_identity
from airflow_sfcc._airflow.load_task import LoadTask
from airflow_sfcc.errors import DifferenceError
from airflow_sfcc.hooks import SalesforceClientCredentialsHook
from airflow_sfcc.load.loading import OnSchemaChange
from airflow_sfcc.load.model import Mode
from airflow_sfcc.reconcile.reconciling import ReconcileOptions, lines, reconcile
from airflow_sfcc.wording import plural

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReconcileSettings(Protocol):
    """What a reconciliation reads of its operator."""

    extracts: Any
    table: str | None
    sobject: str | None
    heal: bool
    on_difference: Literal["fail", "report"]
    lag: timedelta
    max_calls: int
    memory_limit: str
    hash_key_conn_id: str | None
    salesforce_conn_id: str

    @property
    def log(self) -> Any: ...


@dataclass
class _Places:
    """What the load's own reading of URLs looks at."""

    extracts: Any
    table: str
    sobject: str | None
    memory_limit: str
    log: Any
    mode: Mode = "current"
    on_schema_change: OnSchemaChange = "evolve"


class ReconcileTask:
    """`run` compares, heals if that is asked for, and says what it found."""

    def __init__(self, operator: ReconcileSettings, context: Context) -> None:
        self._operator = operator
        self._run = run_identity(context, 0)
        places = _Places(operator.extracts, operator.table or "", operator.sobject, operator.memory_limit, operator.log)
        self._places = LoadTask(places, threading.Event())

    def run(self) -> dict[str, Any]:
        """What the task returns. Raises DifferenceError where something is wrong that was not healed."""
        operator = self._operator
        with storage_failures(self._places.destination_url):
            source = destination_path(self._places.destination_url)
            result = reconcile(
                SalesforceClientCredentialsHook(operator.salesforce_conn_id).client,
                source,
                self._run,
                ReconcileOptions(operator.heal, operator.lag, operator.max_calls, operator.memory_limit),
                target=self._places.target(source) if operator.table else None,
                hash_key=hash_key_of(operator.hash_key_conn_id),
            )
        for line in lines(result):
            operator.log.info("%s", line)
        if operator.on_difference == "fail":
            _require_right(result)
        return result


def _require_right(result: dict[str, Any]) -> None:
    wrong = sum(result["wrong"].values())
    if wrong and not result["healed"]:
        raise DifferenceError(
            f"{plural(wrong, 'record')} of {result['sobject']} "
            f"{'is' if wrong == 1 else 'are'} not as the org has {'it' if wrong == 1 else 'them'}: "
            + ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in result["wrong"].items() if number)
            + ". The log names them. Run it with heal=True, or an extract with mode='full'."
        )
    if result["unresolved"]:
        raise DifferenceError(
            f"{result['sobject']} differs from the org in {plural(len(result['unresolved']), 'interval')} "
            f"({result['unresolved'][0]}), and the records were not found. Raise max_calls, or extract once with mode='full'."
        )
