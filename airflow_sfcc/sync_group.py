"""A whole org in one line: a task group that finds the objects, extracts what changed, and reports on each.

    plan -> sync[0..n] -> report

What is extracted and loaded is what SalesforceExtractOperator and SalesforceLoadOperator extract and load.
Importing this module is cheap: what needs pyarrow or HTTP is imported when a task runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, TaskGroup

from airflow_sfcc._airflow.destinations import sync_root
from airflow_sfcc._airflow.failures import airflow_failures, noted_failures
from airflow_sfcc._airflow.groups import connection_of, defaults_in, group_of_tasks
from airflow_sfcc._airflow.mapping import MappableOperator
from airflow_sfcc._airflow.option_values import ColumnRules, Destination, Duration
from airflow_sfcc._airflow.options import (
    check_rendered,
    checked,
    must_have_values,
    option_names,
    options_of,
    refuse_without_effect,
    require_values,
)
from airflow_sfcc._airflow.presentation import ExtractPresentation
from airflow_sfcc._airflow.versions import without_policy_before_3_3
from airflow_sfcc.assets import announce, default_outlets, destination_uri
from airflow_sfcc.errors import OptionError
from airflow_sfcc.operators import DEFAULT_CONN_ID, DEFAULT_LAG, DEFAULT_LOOKBACK, SalesforceExtractOperator
from airflow_sfcc.wording import did_you_mean

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_sfcc._airflow.event_facts import Warned
    from airflow_sfcc._airflow.sync_task import BatchTask
    from airflow_sfcc._airflow.warning_signs import Thresholds
    from airflow_sfcc.extract.extraction import Extraction
    from airflow_sfcc.sync.model import Announcement, Wanted

DEFAULT_SHARED_TASKS = 8
OF_ONE_OBJECT = {
    "sobject",
    "soql",
    "fields",
    "exclude_fields",
    "bind",
    "cursor_field",
    "skip_if_empty",
    "durable",
    "where",
}
"""Options of the extract operator that mean something else, or nothing, for a whole org."""
OF_INCREMENTAL = ("lookback", "initial_start", "calculated")


def salesforce_sync(
    group_id: str,
    *,
    destination: Destination,
    objects: Sequence[str] = ("*",),
    where: Mapping[str, str] | None = None,
    table: str | None = None,
    table_mode: Literal["current", "soft", "history"] = "current",
    mode: Literal["full", "incremental"] | None = None,
    shared_tasks: int = DEFAULT_SHARED_TASKS,
    salesforce_conn_id: str | None = None,
    default_args: dict[str, Any] | None = None,
    **extract: Any,
) -> TaskGroup:
    """A task group that extracts all objects of an org that patterns select, and loads them into tables if told to.

    Tasks: `plan` finds the objects and asks which have changed; `sync` extracts them, large ones in tasks of their own, several
    small ones in one; `report` says what became of each. An object that fails fails alone; a retry reads only what failed.
    `report` returns `summary, counts, new, changed, late, gone, hidden, failed, rows, api_calls, report`, and runs whatever
    happened; what comes after the group runs when all objects are complete, or wait for the next budget of API calls.

    Objects join and leave as they do in the org. docs/whole-org.md tells how each is read, and what is left out.

    :param group_id: the group's id, which the tasks' ids begin with.
    :param destination: as in SalesforceExtractOperator, with `{sobject}` as a part of its path.
    :param objects: names and patterns with `*` and `?`, in any case; `!` excludes, later ones win (templated).
    :param where: conditions by object name, as in SalesforceExtractOperator, for objects that Salesforce does not let be read
        without a filter, or of which not all rows are wanted (templated).
    :param table: where to load each object's table, as in SalesforceLoadOperator; None for files only (templated). Objects whose
        rows cannot be told apart or put in order are files only.
    :param table_mode: the `mode` of SalesforceLoadOperator.
    :param mode: `incremental`: what changed since the last run, and objects that have no stamps in full; or `full`. `incremental`
        unless `default_args` here or of the DAG has one.
    :param shared_tasks: how many tasks the small objects share, at most.
    :param salesforce_conn_id: a connection of type `sfcc`; `sfcc_default` unless `default_args` here or of the DAG has one.
    :param default_args: settings of all tasks in the group, such as `retries`, which is 2 unless it is said here, by a group
        around this one, or in the `default_args` of the DAG.
    :param extract: further parameters of SalesforceExtractOperator (`deletes`, `lag`, `file_format`, `numbers`, ...), which may
        be in `default_args` here or of the DAG too. Arguments of every task (`retries`, `pool`, `execution_timeout`, ...) reach
        all tasks of the group.
    """
    given, of_all = _divided(extract)
    connection: Any = connection_of(salesforce_conn_id)
    with group_of_tasks(group_id, {**(default_args or {}), **of_all}) as group:
        inherited = _inherited(defaults_in(group))
        usual_mode = inherited.pop("mode", "incremental")
        mode = mode or usual_mode
        extract = {**inherited, **given}
        known = checked(SalesforceExtractOperator, {"destination": destination, "mode": mode, **connection, **extract})
        defaults = {
            name: each.default for name, each in signature(SalesforceExtractOperator.__init__).parameters.items()
        }
        refuse_without_effect({**defaults, **known}, {name for name in given if given[name] != defaults[name]})
        sync_root(known["destination"])
        place = {"destination": known["destination"], "table": table, **connection}
        plan = PlanSyncOperator(
            task_id="plan",
            objects=list(objects) if not isinstance(objects, str) else objects,
            where=where or {},
            mode=mode,
            shared_tasks=shared_tasks,
            **{name: known[name] for name in ("deletes", "lag", "columns", *OF_INCREMENTAL) if name in known},
            **place,
        )
        sync = SyncOperator.partial(
            task_id="sync", table_mode=table_mode, where=where or {}, extract=extract, **place
        ).expand(batch=plan.output)
        report = SyncReportOperator(task_id="report", **place)
        plan >> sync >> report
        # A teardown runs whatever happened, and leaves the run's state to what it reports on.
        report.as_teardown()
    return group


def _divided(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The extract's options, and the arguments of every task. Raises TypeError for what is neither."""
    of_extract = option_names(SalesforceExtractOperator) - OF_ONE_OBJECT
    of_tasks = set(signature(BaseOperator.__init__).parameters) - option_names(SalesforceExtractOperator) - _OF_NONE
    for name in given:
        if name not in of_extract | of_tasks:
            hint = did_you_mean(name, of_extract | of_tasks)
            raise TypeError(f"salesforce_sync takes no argument {name!r}. {hint}".strip())
    extract = {name: value for name, value in given.items() if name in of_extract}
    return extract, {name: value for name, value in given.items() if name in of_tasks}


def _inherited(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The extract's options in `default_args`. Raises OptionError for those that would have other rows or columns extracted, and
    that a sync says in another way; the others of single objects are for other tasks of the DAG."""
    for name, instead in _SAID_OTHERWISE.items():
        if defaults.get(name) is not None:
            raise OptionError(
                f"default_args has {name}, which is for extracts of one object, and holds for a salesforce_sync too: {instead}, "
                f"and give {name} to the tasks that it is for."
            )
    names = option_names(SalesforceExtractOperator) - OF_ONE_OBJECT - {"destination", "salesforce_conn_id"}
    return {name: value for name, value in defaults.items() if name in names}


_SAID_OTHERWISE = {
    "fields": "leave columns out by columns={'Object.Field': 'drop'}",
    "exclude_fields": "leave columns out by columns={'Object.Field': 'drop'}",
    "where": "give conditions by where={'Object': …} in the sync itself",
    "cursor_field": "a sync chooses it for each object",
}

_OF_NONE = {"task_id", "task_group", "dag", "map_index_template", "default_args", "inlets", "outlets", "trigger_rule"}


class _SyncOperator(MappableOperator):
    """What the tasks of the group have in common."""

    ui_color = "#c9e7ff"
    destination: str
    table: str | None
    salesforce_conn_id: str

    @property
    def _group_id(self) -> str:
        return self.task_id.rpartition(".")[0]

    def _noted(self, context: Context) -> AbstractContextManager[None]:
        return noted_failures(context, lambda: {"conn_id": self.salesforce_conn_id})


class PlanSyncOperator(_SyncOperator):
    """Finds the objects, asks which have changed, and returns the batches in which they are extracted."""

    template_fields: Sequence[str] = (
        *(
            "objects",
            "where",
            "destination",
            "table",
            "mode",
            "deletes",
            "lookback",
            "lag",
            "initial_start",
            "calculated",
            "columns",
        ),
        "salesforce_conn_id",
    )

    def __init__(
        self,
        *,
        objects: Sequence[str],
        where: Mapping[str, str],
        destination: Destination,
        table: str | None,
        mode: Literal["full", "incremental"],
        shared_tasks: int,
        deletes: Literal["ignore", "soft", "hard"] = "ignore",
        lookback: Duration = DEFAULT_LOOKBACK,
        lag: Duration = DEFAULT_LAG,
        initial_start: datetime | str | None = None,
        calculated: Literal["as_read", "refresh"] = "as_read",
        columns: ColumnRules | None = None,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        options = checked(PlanSyncOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        self.objects = options["objects"]
        self.where = options["where"]
        self.destination: str = options["destination"]
        self.table: str | None = options["table"]
        self.mode = options["mode"]
        self.shared_tasks: int = options["shared_tasks"]
        self.deletes = options["deletes"]
        self.lookback: timedelta = options["lookback"]
        self.lag: timedelta = options["lag"]
        self.initial_start = options["initial_start"]
        self.calculated = options["calculated"]
        self.columns = options["columns"]
        self.salesforce_conn_id: str = options["salesforce_conn_id"]

    def execute(self, context: Context) -> list[dict[str, Any]]:
        from airflow_sfcc._airflow.sync_task import plan_task

        with self._noted(context):
            with airflow_failures():
                check_rendered(self)
            return plan_task(self, context, self._group_id)


class SyncOperator(ExtractPresentation, _SyncOperator):
    """Extracts the objects of a batch, one after the other, and loads their tables."""

    template_fields: Sequence[str] = ("batch", "extract", "where", "destination", "table", "salesforce_conn_id")
    template_fields_renderers = {"batch": "json", "extract": "json"}  # noqa: RUF012
    _task: BatchTask | None = None
    _budget_is_told = False
    announced: list[Announcement]

    def __init__(
        self,
        *,
        batch: Any,
        extract: Mapping[str, Any],
        where: Mapping[str, str],
        destination: Destination,
        table: str | None,
        table_mode: Literal["current", "soft", "history"],
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        options = checked(SyncOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        kwargs.setdefault("outlets", default_outlets(destination, kwargs.get("task_id")))
        super().__init__(**kwargs)
        self.batch = batch
        self.extract = options["extract"]
        self._must_have_values = must_have_values(self.extract)
        self.where = options["where"]
        self.destination: str = options["destination"]
        self.table: str | None = options["table"]
        self.table_mode = options["table_mode"]
        self.salesforce_conn_id: str = options["salesforce_conn_id"]

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As in every operator; each mapped task shows the name of its object, or how many it has."""
        kwargs.setdefault("map_index_template", "{{ task.batch['label'] }}")
        kwargs.setdefault("outlets", default_outlets(kwargs.get("destination"), kwargs.get("task_id")))
        return super().partial(**kwargs)

    def execute(self, context: Context) -> dict[str, int]:
        return self._new_task(context).run()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, int]:
        """Go on after the trigger fired: land the finished job of the only object."""
        return self._new_task(context).run(event)

    def on_kill(self) -> None:
        """Stop downloading, and abort the Bulk job that is still running; what was committed stays."""
        if self._task is not None:
            self._task.kill()

    def _new_task(self, context: Context) -> BatchTask:
        from airflow_sfcc._airflow.sync_task import BatchTask

        self.announced, self.salesforce_warnings, self._budget_is_told = [], (), False
        self._task = BatchTask(self, context, self._group_id, self._extract_of)
        return self._task

    def send(self, context: Context, uri: str, facts: Mapping[str, Any]) -> None:
        """Tell Airflow what the asset `uri` holds now, and keep it: Airflow drops the events of tasks that fail."""
        from airflow_sfcc.sync.model import Announcement

        super().send(context, uri, facts)
        self.announced.append(Announcement(uri, dict(facts)))

    def _add_inlet(self, uri: str) -> None:
        from airflow.sdk import Asset

        self.inlets = [*self.inlets, Asset(uri=uri)]

    def _tell(self, context: Context, found: Sequence[Warned], before: Sequence[str] = ()) -> None:
        """The org's budget is the same for all objects of the task, so it is told once."""
        new = [each for each in found if each.kind != "budget" or not self._budget_is_told]
        self._budget_is_told = self._budget_is_told or any(each.kind == "budget" for each in found)
        super()._tell(context, new, self.salesforce_warnings)

    def _thresholds(self) -> Thresholds:
        """In most objects of an org nothing changes for weeks, and the sync asks the org itself whether that is so."""
        return replace(super()._thresholds(), nothing_new_days=0)

    def _extract_of(self, wanted: Wanted, is_alone: bool) -> SalesforceExtractOperator:
        """The operator that would extract the object in a task of its own."""
        require_values(self.extract, self._must_have_values)
        given = {**self.extract}
        if wanted.mode == "full":
            given = {name: value for name, value in given.items() if name not in OF_INCREMENTAL}
        conditions = {name.lower(): condition for name, condition in self.where.items()}
        require_values({"where": conditions.get(wanted.name.lower(), "")}, ["where"])
        settings = {
            **given,
            "mode": wanted.mode,
            "deletes": wanted.deletes,
            "deferrable": is_alone and self.extract.get("deferrable", True),
            "where": conditions.get(wanted.name.lower()),
        }
        operator = SalesforceExtractOperator(
            task_id=self.task_id.rpartition(".")[2],
            sobject=wanted.name,
            destination=self.destination,
            salesforce_conn_id=self.salesforce_conn_id,
            retries=self.retries,
            outlets=[],
            inlets=[],
            **settings,
        )
        check_rendered(operator)
        return operator

    @property
    def _extraction(self) -> Extraction | None:
        current = self._task.current if self._task else None
        return current.extraction if current else None

    def _lineage(self) -> OperatorLineage[Any, Any] | None:
        """Of an object that has a task of its own; what tasks of several read is told by their assets' events."""
        return super()._lineage() if len(self.batch.get("objects", ())) == 1 else None


class SyncReportOperator(_SyncOperator):
    """Says what became of each object: in its log, in what it returns, in a file for the next run, and by an asset's event."""

    template_fields: Sequence[str] = ("destination", "table", "salesforce_conn_id")

    def __init__(
        self,
        *,
        destination: Destination,
        table: str | None,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        options = checked(SyncReportOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        # The folder above the objects, and the objects: what a task of theirs landed that failed because of others.
        places = (sync_root(options["destination"]), options["destination"])
        kwargs.setdefault("outlets", [alias for place in places for alias in default_outlets(place, None)])
        super().__init__(**kwargs)
        self.destination: str = options["destination"]
        self.table: str | None = options["table"]
        self.salesforce_conn_id: str = options["salesforce_conn_id"]

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_sfcc._airflow.sync_task import announcements_of, report_task

        with self._noted(context):
            result, facts = report_task(self, context, self._group_id)
            announcements = announcements_of(context, self._group_id)
        for each in announcements:
            announce(context, self.outlets[1:], each.uri, each.facts)
        announce(context, self.outlets[:1], destination_uri(sync_root(self.destination)), facts)
        return result
