"""The tasks of a sync: plan, one batch of objects, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import tenacity
from msgspec import structs

from airflow_sfcc._airflow.destinations import destination_path, filled_in, storage_failures, sync_root
from airflow_sfcc._airflow.event_facts import Extracted, facts_of_load, facts_of_sync
from airflow_sfcc._airflow.extract_task import ExtractTask, run_identity
from airflow_sfcc._airflow.failures import (
    airflow_failures,
    failure_key,
    is_ours,
    note_failure,
    noted_failures,
    sentence_of,
)
from airflow_sfcc._airflow.load_task import LoadTask
from airflow_sfcc._airflow.options import ExtractOptions
from airflow_sfcc.assets import destination_uri
from airflow_sfcc.errors import ApiBudgetError, SyncError, TableBusyError
from airflow_sfcc.extract.extraction import Extraction, result_of
from airflow_sfcc.extract.manifests import read_manifest
from airflow_sfcc.extract.model import Deletes, Mode, RunIdentity, from_plain, plain
from airflow_sfcc.hooks import SalesforceClientCredentialsHook
from airflow_sfcc.load.loading import OnSchemaChange
from airflow_sfcc.load.model import Mode as TableMode
from airflow_sfcc.salesforce import SalesforceClient
from airflow_sfcc.sync.model import Announced, Announcement, Batch, Done, Outcome, Report, SyncPlan, Usage, Wanted
from airflow_sfcc.sync.planning import SyncRequest, plan_sync, usage_of
from airflow_sfcc.sync.report import Reports, counts_of, outcomes_of, summary, table
from airflow_sfcc.timestamps import timestamp
from airflow_sfcc.wording import plural

if TYPE_CHECKING:
    from airflow.sdk import Context, ObjectStoragePath

    from airflow_sfcc.salesforce.usage import ApiUsage

Told = TypeVar("Told", Done, Announced)

PLAN = "sync_plan"
OUTCOMES = "outcomes"
ANNOUNCEMENTS = "announcements"
"""XComs: what is going to be done; what one task has done so far, which a task leaves that fails, too; and what a task that
failed would have announced, which the report announces in its place."""

_BUSY_SECONDS = 120.0
"""How long a load waits for one of its neighbours to leave a table, which in a DuckDB file is the whole file."""

_TOLD_SECONDS = 10.0
"""Between two times that a task tells what it has done so far."""


class SyncSettings(Protocol):
    """What the tasks read of their operators."""

    destination: str
    salesforce_conn_id: str
    table: str | None

    @property
    def log(self) -> Any: ...


class PlanSettings(SyncSettings, Protocol):
    objects: Any
    where: Mapping[str, str]
    shared_tasks: int
    mode: Mode
    deletes: Deletes
    lookback: timedelta
    lag: timedelta
    initial_start: Any
    calculated: Literal["as_read", "refresh"]
    columns: Mapping[str, str] | None


class BatchSettings(SyncSettings, Protocol):
    """What the task of a batch reads of its operator, and how it tells Airflow what it did (`ExtractPresentation`)."""

    batch: Any
    table_mode: TableMode
    announced: list[Announcement]

    def announce(self, context: Context, result: dict[str, Any]) -> dict[str, Any]: ...

    def announce_extract(
        self, context: Context, extracted: Extracted, result: Mapping[str, Any], usage: ApiUsage
    ) -> object: ...

    def send(self, context: Context, uri: str, facts: Mapping[str, Any]) -> None: ...

    def failure_facts(self) -> dict[str, Any]: ...


def _sync_run(context: Context, group_id: str) -> RunIdentity:
    """The run as the objects' extracts know it: the same for all of them, whichever task reads an object."""
    return structs.replace(run_identity(context, 0), task_id=f"{group_id}.sync" if group_id else "sync", map_index=-1)


def _reports(settings: SyncSettings, context: Context, group_id: str) -> Reports:
    return Reports(destination_path(sync_root(settings.destination)), context["ti"].dag_id, group_id or "sync")


def plan_task(settings: PlanSettings, context: Context, group_id: str) -> list[dict[str, Any]]:
    """The batches; the whole plan is an XCom of its own, and a report that has all of them late."""
    run = _sync_run(context, group_id)
    request = SyncRequest(
        objects=settings.objects,
        where=settings.where,
        mode=settings.mode,
        deletes=settings.deletes,
        lookback=settings.lookback,
        lag=settings.lag,
        initial_start=None if settings.initial_start is None else timestamp(settings.initial_start, "initial_start"),
        calculated=settings.calculated,
        columns=settings.columns or {},
        table=settings.table,
        shared_tasks=settings.shared_tasks,
    )
    with airflow_failures(), storage_failures(settings.destination):
        client = SalesforceClientCredentialsHook(settings.salesforce_conn_id).client
        reports = _reports(settings, context, group_id)
        plan = plan_sync(client, request, run, _folders(settings.destination), reports.last(run.extract_id))
        pending = [
            Outcome(each.name, "late", sentence="the run ended before its turn")
            for batch in plan.batches
            for each in batch.objects
        ]
        report = Report(
            run.run_id,
            run.due,
            (*plan.settled, *pending),
            settings.table,
            plan.api_calls,
            planned_at=plan.planned_at,
            remarks=plan.remarks,
            rules=plan.rules,
        )
        reports.write(run.extract_id, report)
    for outcome in plan.settled:
        if outcome.sentence:
            settings.log.info("%s %s: %s", outcome.name, outcome.result.replace("_", " "), outcome.sentence)
    batches = [plain(batch) for batch in plan.batches]
    context["ti"].xcom_push(key=PLAN, value=plain(plan))
    return batches


def _folders(destination: str) -> Callable[[str], ObjectStoragePath]:
    return lambda sobject: destination_path(filled_in(destination, sobject))


@dataclass
class _LoadSettings:
    """How the load of one object's table reads its operator."""

    extracts: Any
    table: str
    sobject: str | None
    mode: TableMode
    on_schema_change: OnSchemaChange
    log: Any
    memory_limit: str = "256MB"


class _ObjectExtract(ExtractTask):
    """The extract of one object of a batch, by the client that the batch shares."""

    def __init__(self, options: ExtractOptions, context: Context, client: SalesforceClient, group_id: str) -> None:
        super().__init__(options, context)
        self._shared_client = client
        self._calls_before = client.usage.calls
        self._group_id = group_id

    def _client(self) -> SalesforceClient:
        return self._shared_client

    def run_identity(self) -> RunIdentity:
        return structs.replace(
            super().run_identity(), task_id=_sync_run(self._context, self._group_id).task_id, map_index=-1
        )

    def _plan(self) -> Extraction:
        return self._counting(super()._plan())

    def _resume(self) -> Extraction:
        return self._counting(super()._resume())

    def _counting(self, extraction: Extraction) -> Extraction:
        """The client has made calls for other objects, which are not this one's."""
        extraction.calls_before = self._calls_before
        return extraction

    def before(self, planned_at: datetime | None) -> tuple[Extracted, dict[str, Any]] | None:
        """What an earlier attempt at the plan of `planned_at` committed of the object, and what it would have returned; None
        after the run was cleared, or deleted and made again, and where calculated fields are to be read again after that."""
        if self._options.calculated == "refresh":
            return None
        run = self.run_identity()
        folder = self._destination(str(self._options.sobject)) / f"extract={run.extract_id}"
        own = read_manifest(folder)
        if own is None or own.get("run_key") != run.run_key:
            return None
        if planned_at is None or timestamp(own["started_at"]) < planned_at:
            return None
        return Extracted.of_manifest(own), result_of(own, folder)


class BatchTask:
    """Extracts the objects of one batch, and loads their tables. What fails fails alone, and is tried again alone."""

    def __init__(
        self,
        settings: BatchSettings,
        context: Context,
        group_id: str,
        extract_of: Callable[[Wanted, bool], ExtractOptions],
    ) -> None:
        self._settings = settings
        self._context = context
        self._group_id = group_id
        self._extract_of = extract_of
        self._stop = threading.Event()
        self._problems: dict[str, Exception] = {}
        self._outcomes: list[Outcome] = []
        self._calls = 0
        self._usage = Usage()
        self._told_at = time.monotonic()
        self.current: _ObjectExtract | None = None
        with airflow_failures():
            self._batch = from_plain(settings.batch, Batch, "The batch that the plan dealt to this task")

    def run(self, event: dict[str, Any] | None = None) -> dict[str, int]:
        """How many objects have each result. Raises TaskDeferred where the only object waits for its Bulk job, and at the
        end SyncError, or the only object's own error."""
        if not self._batch.objects:
            self._settings.log.info("Nothing changed, so there is nothing to extract.")
            return {}
        with noted_failures(self._context, self._settings.failure_facts), airflow_failures():
            client = SalesforceClientCredentialsHook(self._settings.salesforce_conn_id).client
            _ = client.instance  # a login that fails would fail for each object alike
        try:
            for wanted in self._batch.objects:
                if self._stop.is_set():
                    raise SyncError(
                        "The task was killed; what it had committed stays, and a retry goes on with the others."
                    )
                self._keep(self._outcome(wanted, client, event))
                self._usage = usage_of(client)
            self._raise_failures()
        except Exception:
            announced = Announced(tuple(self._settings.announced), self._batch.planned_at)
            self._context["ti"].xcom_push(key=ANNOUNCEMENTS, value=plain(announced))
            raise
        finally:
            self._tell()
        return {name: number for name, number in counts_of(self._outcomes).items() if number}

    def kill(self) -> None:
        """Stop after what is under way has been ended."""
        self._stop.set()
        if self.current is not None:
            self.current.kill()

    def _keep(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if outcome.sentence:
            self._settings.log.warning("%s %s: %s", outcome.name, outcome.result, outcome.sentence)
        if time.monotonic() - self._told_at >= _TOLD_SECONDS:
            self._tell()

    def _tell(self) -> None:
        """What was done so far, which stays if the task is killed."""
        self._told_at = time.monotonic()
        done = Done(tuple(self._outcomes), self._calls, self._usage, self._batch.planned_at)
        self._context["ti"].xcom_push(key=OUTCOMES, value=plain(done))

    def _outcome(self, wanted: Wanted, client: SalesforceClient, event: dict[str, Any] | None) -> Outcome:
        from airflow.providers.common.compat.sdk import TaskDeferred

        self.current = None
        try:
            result = self._extracted(wanted, client, event)
            if wanted.is_table:
                self._load(wanted)
        except TaskDeferred:
            raise
        except ApiBudgetError as problem:
            return Outcome(wanted.name, "late", sentence=problem.message)
        except Exception as problem:
            self._problems[wanted.name] = problem
            self._note(wanted.name, problem)
            if not is_ours(problem):
                self._settings.log.error("%s failed", wanted.name, exc_info=problem)
            return Outcome(wanted.name, "failed", sentence=sentence_of(problem))
        deleted = result["deleted_rows"] or 0
        rows = result["rows"] + int((result.get("refreshed") or {}).get("rows", 0))
        has_changed = wanted.mode == "full" or rows or deleted
        return Outcome(
            wanted.name,
            "new" if wanted.is_new else "changed" if has_changed else "unchanged",
            rows=rows,
            deleted_rows=deleted,
            bytes=result["bytes"],
        )

    def _note(self, sobject: str, problem: Exception) -> None:
        facts = {**self._settings.failure_facts(), "sobject": sobject}
        note_failure(self._context, problem, facts, failure_key(sobject))

    def _extracted(self, wanted: Wanted, client: SalesforceClient, event: dict[str, Any] | None) -> Mapping[str, Any]:
        options = self._extract_of(wanted, len(self._batch.objects) == 1)
        extract = self.current = _ObjectExtract(options, self._context, client, self._group_id)
        calls = client.usage.calls
        try:
            before = None if event else extract.before(self._batch.planned_at)
            if before is not None:
                extracted, result = before
                self._settings.log.info("%s was committed by an earlier attempt", wanted.name)
                self._settings.announce_extract(self._context, extracted, result, client.usage)
                self._calls += result["api_calls"]
                return result
            result = extract.go_on(event) if event else extract.start()
        except BaseException:
            self._calls += client.usage.calls - calls
            raise
        calls_of_refresh = int((result.get("refreshed") or {}).get("api_calls", 0))
        self._calls += result["api_calls"] + calls_of_refresh if event else client.usage.calls - calls
        return self._settings.announce(self._context, result)

    def _load(self, wanted: Wanted) -> None:
        settings = _LoadSettings(
            self._settings.destination,
            str(self._settings.table),
            wanted.name,
            self._settings.table_mode,
            "evolve",
            self._settings.log,
        )
        load = LoadTask(settings, self._stop)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TableBusyError),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
            stop=tenacity.stop_after_delay(_BUSY_SECONDS),
            sleep=tenacity.sleep_using_event(self._stop),
            reraise=True,
        )
        with airflow_failures():
            result = retrying(load.run)
        facts = facts_of_load(result, destination_uri(load.destination_url), wanted.name)
        self._settings.send(self._context, load.asset_uri, facts)

    def _raise_failures(self) -> None:
        from airflow.providers.common.compat.sdk import AirflowFailException

        if not self._problems:
            return
        if len(self._batch.objects) == 1:
            raise next(iter(self._problems.values()))
        told = "\n".join(f"{name}: {sentence_of(problem)}" for name, problem in self._problems.items())
        failed = plural(len(self._problems), "object")
        message = f"{failed} of {len(self._batch.objects)} failed; the others are complete.\n{told}"
        if all(isinstance(problem, AirflowFailException) for problem in self._problems.values()):
            raise AirflowFailException(message)
        raise SyncError(f"{message}\nA retry reads only what failed.")


def announcements_of(context: Context, group_id: str) -> list[Announcement]:
    """What the tasks that failed would have announced of the objects that are complete nevertheless."""
    with airflow_failures():
        plan = _planned(context, group_id)
        return [
            each for part in _told(context, group_id, ANNOUNCEMENTS, Announced, plan) for each in part.announcements
        ]


def _planned(context: Context, group_id: str) -> SyncPlan:
    planned = context["ti"].xcom_pull(task_ids=_task(group_id, "plan"), key=PLAN)
    if planned is None:
        raise SyncError("The task `plan` of this sync did not end well, so there is nothing to report: see its log.")
    return from_plain(planned, SyncPlan, "The plan of this sync")


def _told(context: Context, group_id: str, key: str, kind: type[Told], plan: SyncPlan) -> list[Told]:
    """What the tasks said of this plan. Where the run was cleared and has fewer tasks than before, Airflow keeps what the
    others said then."""
    found = context["ti"].xcom_pull(task_ids=[_task(group_id, "sync")], key=key)
    parts = [from_plain(each, kind, "What a task of this sync told") for each in found or [] if each is not None]
    return [each for each in parts if each.planned_at == plan.planned_at]


def report_task(settings: SyncSettings, context: Context, group_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the task returns, the report in short, and what its event says. Raises SyncError where nothing was planned."""
    with airflow_failures(), storage_failures(settings.destination):
        plan = _planned(context, group_id)
        done = _told(context, group_id, OUTCOMES, Done, plan)
        run = _sync_run(context, group_id)
        report = Report(
            run.run_id,
            run.due,
            outcomes_of(plan, done),
            settings.table,
            plan.api_calls + sum(each.api_calls for each in done),
            datetime.now(timezone.utc),
            plan.planned_at,
            plan.remarks,
            plan.rules,
        )
        path = str(_reports(settings, context, group_id).write(run.extract_id, report))
    settings.log.info("Sync report\n%s", "\n".join(table(report)))
    for remark in report.remarks:
        settings.log.warning("%s", remark)
    result = _returned(report, path)
    place, usage = destination_uri(settings.destination), _last_usage([plan.usage, *(each.usage for each in done)])
    facts = facts_of_sync(report, path, place, plan.instance, plan.api_calls, usage)
    return result, {**facts, **{name: result[name] for name in ("counts", "rows", "api_calls")}}


def _last_usage(told: Iterable[Usage]) -> Usage:
    """Within a run the org counts upwards."""
    return max(told, key=lambda usage: usage.used or 0)


def _task(group_id: str, name: str) -> str:
    return f"{group_id}.{name}" if group_id else name


def _returned(report: Report, path: str) -> dict[str, Any]:
    names = {
        result: [each.name for each in report.of(result)] for result in ("new", "changed", "late", "gone", "hidden")
    }
    return {
        "summary": summary(report),
        "counts": counts_of(report.outcomes),
        **names,
        "failed": {each.name: each.sentence for each in report.of("failed")},
        "rows": sum(each.rows for each in report.outcomes),
        "api_calls": report.api_calls,
        "report": path,
    }
