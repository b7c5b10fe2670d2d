"""The operator that proves what landed against the org; importing it loads nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_sfcc._airflow.failures import airflow_failures
from airflow_sfcc._airflow.mapping import MappableOperator
from airflow_sfcc._airflow.option_values import Duration
from airflow_sfcc._airflow.options import check_rendered, checked, options_of
from airflow_sfcc._airflow.versions import without_policy_before_3_3

if TYPE_CHECKING:
    from airflow.sdk import Context

_DEFAULT_LAG = timedelta(minutes=5)


class SalesforceReconcileOperator(MappableOperator):
    """Prove that what landed is what the org has, by counts and stamps, without reading it again (docs/reconcile.md).

    Where intervals differ, they are cut down to the records that are wrong: lost, stale, doubled, not deleted, wrongly deleted.
    Returns `sobject, compared, table, until, rows, is_right, wrong, ids, in_flight, outside, unresolved, healed, not_seen,
    api_calls, seconds`.

    :param extracts: the destination URL that the extracts landed in, with `{sobject}` for the object's name, or what a
        SalesforceExtractOperator returned (its XCom) (templated, as are `sobject`, `table` and the connections).
    :param table: a table that SalesforceLoadOperator made of them, as there; then the table is compared.
    :param sobject: the object, where `extracts` or `table` has `{sobject}` and `extracts` is a URL.
    :param heal: read exactly the wrong records into an extract of its own, with the deletions that were missing. A table has
        them after its next load.
    :param on_difference: `fail` the task where something is wrong that was not healed, or only `report` it.
    :param lag: how far before the org's present the comparison ends at the latest; as in SalesforceExtractOperator.
    :param max_calls: API calls that one comparison may make; what still differs then is named in `unresolved`.
    :param memory_limit: memory that DuckDB may use; the rest is spilled to the worker's disk.
    :param hash_key_conn_id: as in SalesforceExtractOperator, to heal extracts with hashed columns.
    :param salesforce_conn_id: a connection of type `sfcc`.
    """

    template_fields: Sequence[str] = ("extracts", "sobject", "table", "hash_key_conn_id", "salesforce_conn_id")
    ui_color = "#c9e7ff"

    def __init__(
        self,
        *,
        extracts: Any,
        table: str | None = None,
        sobject: str | None = None,
        heal: bool = False,
        on_difference: Literal["fail", "report"] = "fail",
        lag: Duration = _DEFAULT_LAG,
        max_calls: int = 100,
        memory_limit: str = "256MB",
        hash_key_conn_id: str | None = None,
        salesforce_conn_id: str = "sfcc_default",
        **kwargs: Any,
    ) -> None:
        options = checked(SalesforceReconcileOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        self.extracts = extracts
        self.table = table
        self.sobject = sobject
        self.heal = heal
        self.on_difference = on_difference
        self.lag: timedelta = options["lag"]
        self.max_calls = max_calls
        self.memory_limit = memory_limit
        self.hash_key_conn_id = hash_key_conn_id
        self.salesforce_conn_id = salesforce_conn_id

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As in every operator; each mapped task shows its object's name, unless told otherwise."""
        kwargs.setdefault("map_index_template", "{{ task.sobject or 'reconcile' }}")
        return super().partial(**kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_sfcc._airflow.reconcile_task import ReconcileTask

        with airflow_failures():
            check_rendered(self)
            return ReconcileTask(self, context).run()
