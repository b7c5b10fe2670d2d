"""The operator that loads extracts into tables; importing it loads nothing heavy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow_sfcc._airflow.destinations import landed_in
from airflow_sfcc._airflow.event_facts import facts_of_load
from airflow_sfcc._airflow.failures import airflow_failures, noted_failures
from airflow_sfcc._airflow.mapping import MappableOperator
from airflow_sfcc._airflow.options import check_rendered, checked, options_of
from airflow_sfcc._airflow.versions import without_policy_before_3_3
from airflow_sfcc.assets import announce, default_outlets, destination_uri

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


class SalesforceLoadOperator(MappableOperator):
    """Merge committed extracts into a table, whatever order they were committed in, each exactly once (docs/loading.md).

    All of the destination's extracts that the table has not loaded yet are loaded, not only that of this run. Returns
    `table, version, inserted, updated, deleted, skipped_as_older, extracts, rows, seconds`.

    :param extracts: the destination URL that the extracts landed in, with `{sobject}` for the object's name, or what a
        SalesforceExtractOperator returned (its XCom) (templated, as are `sobject` and `table`).
    :param table: where the table is; `{sobject}` becomes the object's name:
        `delta+s3://aws_default@lake/crm/{sobject}` (and `delta+file:///…`, `delta+gs://…`, `delta+abfs://…`),
        `postgres://<connection id>/<schema>/{sobject}`, `duckdb:///data/crm.duckdb/{sobject}`, or
        `changes+s3://aws_default@lake/crm/{sobject}` for change sets that a warehouse merges.
    :param sobject: the object, where `extracts` or `table` has `{sobject}` and `extracts` is a URL.
    :param mode: `current`: deleted rows are gone; `soft`: they stay, with `_deleted_at`; `history`: every version that the
        extracts saw, with `_valid_from`, `_valid_to`, `_is_current`.
    :param on_schema_change: `evolve`: the table gets new columns and wider types, or `fail` before anything is loaded.
    :param memory_limit: memory that DuckDB may use to compute the changes; the rest is spilled to the worker's disk.
    """

    template_fields: Sequence[str] = ("extracts", "sobject", "table")
    ui_color = "#c9e7ff"

    def __init__(
        self,
        *,
        extracts: Any,
        table: str,
        sobject: str | None = None,
        mode: Literal["current", "soft", "history"] = "current",
        on_schema_change: Literal["evolve", "fail"] = "evolve",
        memory_limit: str = "256MB",
        **kwargs: Any,
    ) -> None:
        checked(SalesforceLoadOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        _set_defaults(kwargs, table)
        super().__init__(**kwargs)
        self.extracts = extracts
        self.table = table
        self.sobject = sobject
        self.mode = mode
        self.on_schema_change = on_schema_change
        self.memory_limit = memory_limit
        self._loaded: tuple[str, str, dict[str, Any]] | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As in every operator; each mapped task shows its table's name, unless told otherwise."""
        kwargs.setdefault("map_index_template", "{{ task.table_name or task.table }}")
        _set_defaults(kwargs, kwargs.get("table"))
        return super().partial(**kwargs)

    @property
    def table_name(self) -> str | None:
        """What the table is called; until it is loaded, which object its extracts are of. None before they are known."""
        if self._loaded:
            return _last_part(self._loaded[1])
        folder = landed_in(self.extracts)
        return self.sobject or (_last_part(folder) if folder else None)

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_sfcc._airflow.load_task import LoadTask

        with noted_failures(context, lambda: {"sobject": self.sobject}), airflow_failures():
            check_rendered(self)
            task = LoadTask(self, self._stop)
            result = task.run()
        self._loaded = (task.destination_url, task.asset_uri, result)
        facts = facts_of_load(result, destination_uri(task.destination_url), task.sobject or self.table_name)
        announce(context, self.outlets, task.asset_uri, facts)
        return result

    @cached_property
    def _stop(self) -> threading.Event:
        """Set when the task is killed. It is made when the task runs: Airflow copies parsed DAGs, and locks cannot be copied."""
        return threading.Event()

    def on_kill(self) -> None:
        """Stop before the next commit; what was committed stays."""
        self._stop.set()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """For the OpenLineage provider, when the task has succeeded."""
        from airflow_sfcc._airflow.lineage import load_lineage

        if self._loaded is None:
            return None
        destination, table, result = self._loaded
        return load_lineage(destination_uri(destination), table, result)


def _last_part(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]


def _set_defaults(settings: dict[str, Any], table: object) -> None:
    """Give a task the outlets and the documentation that its author did not give it."""
    settings.setdefault("outlets", default_outlets(table, settings.get("task_id")))
    if not any(name.startswith("doc") for name in settings):
        settings["doc_md"] = (
            f"Loads committed Salesforce extracts into {f'`{table}`' if isinstance(table, str) else 'a table'}.\n\n"
            "Every extract that the table has not loaded yet is merged by Id, each exactly once and in one commit with the "
            "record of it. Running the task again, or late, changes nothing that is loaded already.\n"
        )
