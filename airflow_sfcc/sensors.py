"""Sensors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from airflow_sfcc._airflow.compat import conf
from airflow_sfcc._airflow.failures import airflow_failures
from airflow_sfcc._airflow.mapping import MappableOperator
from airflow_sfcc._airflow.options import check_rendered, checked, options_of
from airflow_sfcc._airflow.versions import without_policy_before_3_3
from airflow_sfcc.operators import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context, PokeReturnValue

    from airflow_sfcc.salesforce.client import SalesforceClient


class SalesforceQuerySensor(MappableOperator, BaseSensorOperator):
    """Waits until a SOQL query finds records; returns how many.

    `SELECT COUNT() FROM …` counts for the number it answers. With `deferrable` the query is kept, bound values included,
    with the trigger in Airflow's metadata database: keep secrets out of it.

    :param soql: the query (templated; a `.soql` file name is read).
    :param bind: values for `:names` in the query; they are quoted as SOQL literals (templated).
    :param include_deleted: also find records in the recycle bin, and archived ones.
    :param deferrable: wait in the triggerer instead of holding a worker slot.
    :param salesforce_conn_id: a connection of type `sfcc`.

    `poke_interval`, `timeout`, `soft_fail` and the rest are those of every sensor. With `exponential_backoff` the time between
    queries in the triggerer grows by half each time, up to `max_wait`.
    """

    template_fields: Sequence[str] = ("soql", "bind", "salesforce_conn_id")
    template_ext: Sequence[str] = (".soql",)
    template_fields_renderers = {"soql": "sql", "bind": "json"}  # noqa: RUF012
    ui_color = "#c9e7ff"

    def __init__(
        self,
        *,
        soql: str,
        bind: Mapping[str, Any] | None = None,
        include_deleted: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        options = checked(SalesforceQuerySensor, options_of(locals()))
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        self.soql: str = options["soql"]
        self.bind: Mapping[str, Any] | None = options["bind"]
        self.include_deleted = include_deleted
        self.deferrable = deferrable
        self.salesforce_conn_id = salesforce_conn_id

    def _query(self, client: SalesforceClient) -> str:
        """The query with its values. Raises QueryError for one that finds a record whatever the org holds."""
        from airflow_sfcc.errors import QueryError
        from airflow_sfcc.extract.plan.binding import bound_query
        from airflow_sfcc.salesforce import soql

        query = bound_query(client, self.soql, self.bind)
        scanned = soql.scan(query)
        if scanned.is_aggregate and not scanned.is_count and "GROUP BY" not in scanned.clauses:
            raise QueryError(
                "A query that aggregates without GROUP BY always answers one record, so the sensor would not wait: use "
                "SELECT COUNT() FROM, whose number it waits for, or select the records themselves."
            )
        return query

    def poke(self, context: Context) -> PokeReturnValue:
        """Query once. Raises AirflowFailException for a query that Salesforce will never accept."""
        from airflow.sdk import PokeReturnValue

        from airflow_sfcc.hooks import SalesforceClientCredentialsHook
        from airflow_sfcc.wording import plural

        with airflow_failures():
            check_rendered(self)
            client = SalesforceClientCredentialsHook(self.salesforce_conn_id).client
            found = client.count(self._query(client), include_deleted=self.include_deleted)
        self.log.info("The query finds %s", plural(found, "record"))
        return PokeReturnValue(is_done=found > 0, xcom_value=found)

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        from airflow_sfcc.hooks import SalesforceClientCredentialsHook

        with self._skipping():
            found = self._first_poke(context)
            if found.is_done:
                return found.xcom_value
            query = self._query(SalesforceClientCredentialsHook(self.salesforce_conn_id).client)
        from airflow_sfcc.triggers import QueryTrigger

        self.log.info(
            "Waiting in the triggerer, asking every %g s for at most %s.\nA task that stays deferred without further lines "
            "here has no running triggerer.",
            self.poke_interval,
            timedelta(seconds=self.timeout),
        )
        # The trigger ends by itself at end_time; Airflow's own timeout would not end a sensor as a sensor.
        return self.defer(
            trigger=QueryTrigger(
                salesforce_conn_id=self.salesforce_conn_id,
                soql=query,
                include_deleted=self.include_deleted,
                poll_interval=self.poke_interval,
                end_time=time.time() + self.timeout,
                longest=self._longest_wait(),
            ),
            method_name="execute_complete",
        )

    def _longest_wait(self) -> float | None:
        """Up to what the seconds between queries grow by `exponential_backoff`; None without it."""
        if not self.exponential_backoff:
            return None
        longest = self.max_wait
        return longest.total_seconds() if isinstance(longest, timedelta) else float(longest or self.timeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> int:
        """Go on after the trigger fired."""
        from airflow.providers.common.compat.sdk import AirflowSensorTimeout

        from airflow_sfcc import errors

        with self._skipping(), airflow_failures():
            if event["status"] == "found":
                return int(event["records"])
            if event["status"] == "timeout":
                raise AirflowSensorTimeout(f"The query found no record within {self.timeout:,.0f} s.")
            raise errors.named(event.get("error"), str(event.get("message")))

    def _first_poke(self, context: Context) -> PokeReturnValue:
        """What the query finds; nothing where it fails and `silent_fail` says to go on."""
        from airflow.providers.common.compat.sdk import AirflowFailException
        from airflow.sdk import PokeReturnValue

        try:
            return self.poke(context)
        except AirflowFailException:
            raise
        except Exception as problem:
            if not self.silent_fail:
                raise
            self.log.error("The query failed, and silent_fail is set: %s", problem)
            return PokeReturnValue(is_done=False)

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """What `soft_fail` and `never_fail` mean in every sensor, deferred or not."""
        from airflow.providers.common.compat.sdk import (
            AirflowFailException,
            AirflowSensorTimeout,
            AirflowSkipException,
        )

        try:
            yield
        except AirflowSkipException:
            raise
        except Exception as problem:
            has_ended = isinstance(problem, (AirflowSensorTimeout, AirflowFailException))
            if not (self.never_fail or (self.soft_fail and has_ended)):
                raise
            setting = "never_fail" if self.never_fail else "soft_fail"
            raise AirflowSkipException(f"{problem}\nSkipped, since {setting} is set.") from problem
