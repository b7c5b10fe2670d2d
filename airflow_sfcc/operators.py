"""The operators.

Importing this module is cheap: what needs pyarrow or HTTP is imported when a task runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperator

from airflow_sfcc._airflow.destinations import storage_failures
from airflow_sfcc._airflow.presentation import ExtractSurface, set_defaults
from airflow_sfcc._airflow.versions import without_policy_before_3_3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context, ObjectStoragePath

    from airflow_sfcc._airflow.task_state import TaskState
    from airflow_sfcc.errors import SfccError
    from airflow_sfcc.extract.checkpoint import Checkpoint
    from airflow_sfcc.extract.extraction import Extraction
    from airflow_sfcc.extract.pages import LandedPage
    from airflow_sfcc.extract.plan.planner import ExtractRequest, RunIdentity
    from airflow_sfcc.hooks import SalesforceClientCredentialsHook
    from airflow_sfcc.salesforce import SalesforceClient

DEFAULT_CONN_ID = "sfcc_default"
DEFAULT_TIMEOUT = timedelta(hours=12)
DEFAULT_LAG = timedelta(minutes=5)
DEFAULT_LOOKBACK = timedelta(minutes=10)
_KILL_SECONDS = 3.0
"""Airflow kills a task's process 5 s after asking it to end."""


@contextmanager
def airflow_failures() -> Iterator[None]:
    """Errors that trying again cannot mend fail the task at once, without using up its retries."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_sfcc.errors import SfccError

    try:
        yield
    except SfccError as problem:
        if problem.permanent:
            raise AirflowFailException(str(problem)) from None
        raise


class SalesforceQueryOperator(BaseOperator):
    """Run a SOQL query by REST and return its records: plain dicts, parents nested, children as lists.

    :param soql: the query (templated; a `.soql` file name is read).
    :param bind: values for `:names` in the query; they are quoted as SOQL literals (templated).
    :param include_deleted: also return records in the recycle bin, and archived ones.
    :param max_records: more records than this are an error: results of that size belong into files.
    :param salesforce_conn_id: a connection of type `sfcc`.
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
        max_records: int = 10_000,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        self.soql = soql
        self.bind = bind
        self.include_deleted = include_deleted
        self.max_records = max_records
        self.salesforce_conn_id = salesforce_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        from airflow_sfcc.errors import QueryError
        from airflow_sfcc.hooks import SalesforceClientCredentialsHook
        from airflow_sfcc.salesforce import soql
        from airflow_sfcc.salesforce.query import is_counting, plain
        from airflow_sfcc.wording import plural

        hook = SalesforceClientCredentialsHook(self.salesforce_conn_id)
        records: list[dict[str, Any]] = []
        with airflow_failures():
            query = soql.bind(self.soql, self.bind)
            if is_counting(query):
                raise QueryError("SELECT COUNT() answers a number and no records: use COUNT(Id), whose record has it.")
            for page in hook.client.query_pages(query, include_deleted=self.include_deleted):
                found = max(page.total_size or 0, len(records) + len(page.records))
                if found > self.max_records:
                    raise QueryError(
                        f"The query has {plural(found, 'record')}, and max_records is {self.max_records:,}: use "
                        "SalesforceExtractOperator, which writes files instead of returning records, or add a LIMIT."
                    )
                records.extend(plain(record) for record in page.records)
        self.log.info("%s with %s", plural(len(records), "record"), plural(hook.client.usage.calls, "API call"))
        return records


class SalesforceExtractOperator(ExtractSurface, BaseOperator):
    """Extract an object, or the result of a query, into typed and counted files with a manifest.

    Returns `manifest, path, files, rows, bytes, deleted_rows, api, job_id, window, watermark, api_calls, seconds`.
    Running the same task instance again replaces what it wrote.

    :param sobject: the object to extract; all fields that the Run As user may read, unless `fields` says otherwise
        (templated, and so are `fields`, `exclude_fields`, `where`, `soql`, `bind` and `destination`).
    :param soql: a whole query instead of `sobject`.
    :param fields: API names; parents with dots (`Account.Owner.Name`).
    :param exclude_fields: API names to leave out.
    :param where: a SOQL condition, without the word WHERE.
    :param bind: values for `:names` in `where` or `soql`; they are quoted as SOQL literals.
    :param destination: any ObjectStoragePath URL; `{sobject}` in it becomes the object's name.
    :param file_format: `parquet` (Zstandard), `csv` or `jsonl` (both gzip).
    :param api: `rest`, `bulk` (Bulk API 2.0), or `auto`: Bulk from 10,000 rows on where Bulk can do the query.
    :param mode: `full`, or `incremental`: what changed since the destination's newest extract (docs/incremental.md).
    :param cursor_field: the datetime field that windows are cut on; the best of SystemModstamp, LastModifiedDate,
        CreatedDate and LoginTime if not given.
    :param initial_start: where the first incremental extract begins (datetime or ISO 8601 text with time zone,
        templated); at the beginning if not given.
    :param lookback: how far before the last watermark a window begins (seconds or timedelta).
    :param lag: how far before the org's present a window ends at the latest (seconds or timedelta).
    :param deletes: `ignore`, `soft`: also rows in the recycle bin and archived ones, with `IsDeleted`, or `hard`: also
        the ids that were deleted for good, as `deleted-00000` with `Id` and `DeletedDate`.
    :param on_schema_change: `evolve`: go on with types that hold both, or `fail` before a row is asked for.
    :param numbers: `float` (what the wire carries), or `decimal` (declared precision and scale; a value that does not
        fit is an error).
    :param skip_if_empty: end as skipped when there is no row. A full extract then lands nothing; an incremental one
        lands its manifest with a file of no rows, so that its watermark moves.
    :param page_size: rows asked for per Bulk result page where the org does not list result pages itself.
    :param parallel_pages: Bulk result pages in flight at once.
    :param deferrable: wait for the Bulk job in the triggerer instead of holding a worker slot.
    :param durable: go on where the last try ended: with its Bulk job, and the pages it landed. Needs Airflow 3.3 or newer;
        a task that is cleared starts over.
    :param cancel_on_kill: abort the Bulk job when the task is killed.
    :param poll_interval: seconds between the first polls of a Bulk job; later ones are further apart.
    :param timeout: how long a Bulk job may take (seconds or timedelta); then it is aborted and the task fails.
    :param salesforce_conn_id: a connection of type `sfcc`.
    """

    template_fields: Sequence[str] = (
        "sobject",
        "fields",
        "exclude_fields",
        "where",
        "soql",
        "bind",
        "destination",
        "initial_start",
        "salesforce_conn_id",
    )
    template_ext: Sequence[str] = (".soql",)
    template_fields_renderers = {"soql": "sql", "where": "sql", "bind": "json"}  # noqa: RUF012
    ui_color = "#c9e7ff"

    def __init__(
        self,
        *,
        destination: str,
        sobject: str | None = None,
        fields: Sequence[str] | None = None,
        exclude_fields: Sequence[str] | None = None,
        where: str | None = None,
        soql: str | None = None,
        bind: Mapping[str, Any] | None = None,
        file_format: Literal["parquet", "csv", "jsonl"] = "parquet",
        api: Literal["auto", "rest", "bulk"] = "auto",
        mode: Literal["full", "incremental"] = "full",
        cursor_field: str | None = None,
        initial_start: datetime | str | None = None,
        lookback: float | timedelta = DEFAULT_LOOKBACK,
        lag: float | timedelta = DEFAULT_LAG,
        deletes: Literal["ignore", "soft", "hard"] = "ignore",
        on_schema_change: Literal["evolve", "fail"] = "evolve",
        numbers: Literal["float", "decimal"] = "float",
        skip_if_empty: bool = False,
        page_size: int = 100_000,
        parallel_pages: int = 3,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        durable: bool = True,
        cancel_on_kill: bool = True,
        poll_interval: float = 5.0,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        set_defaults(kwargs, destination, sobject, soql)
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        _require_one_of("file_format", file_format, ("parquet", "csv", "jsonl"))
        _require_one_of("api", api, ("auto", "rest", "bulk"))
        _require_one_of("mode", mode, ("full", "incremental"))
        _require_one_of("deletes", deletes, ("ignore", "soft", "hard"))
        _require_one_of("on_schema_change", on_schema_change, ("evolve", "fail"))
        _require_one_of("numbers", numbers, ("float", "decimal"))
        if (sobject is None) == (soql is None):
            raise ValueError("SalesforceExtractOperator takes exactly one of sobject and soql.")
        if min(page_size, parallel_pages) < 1 or poll_interval <= 0:
            raise ValueError("page_size, parallel_pages and poll_interval must be greater than 0.")
        self.destination = destination
        self.sobject = sobject
        self.fields = fields
        self.exclude_fields = exclude_fields
        self.where = where
        self.soql = soql
        self.bind = bind
        self.file_format = file_format
        self.api = api
        self.mode = mode
        self.cursor_field = cursor_field
        self.initial_start = initial_start
        self.lookback = _span("lookback", lookback)
        self.lag = _span("lag", lag)
        self.deletes = deletes
        self.on_schema_change = on_schema_change
        self.numbers = numbers
        self.skip_if_empty = skip_if_empty
        self.page_size = page_size
        self.parallel_pages = parallel_pages
        self.deferrable = deferrable
        self.durable = durable
        self.cancel_on_kill = cancel_on_kill
        self.poll_interval = poll_interval
        self.timeout = _span("timeout", timeout).total_seconds()
        self.salesforce_conn_id = salesforce_conn_id
        self._killed = threading.Event()
        self._extraction: Extraction | None = None
        self._state: TaskState | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As in every operator; each mapped task shows its object's name, unless told otherwise."""
        kwargs.setdefault("map_index_template", "{{ task.sobject or 'query' }}")
        set_defaults(kwargs, kwargs.get("destination"), kwargs.get("sobject"), kwargs.get("soql"))
        return super().partial(**kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        with airflow_failures(), storage_failures(self.destination), self._cleanup_on_failure(context):
            state = self._remembered(context)
            extraction = self._plan(context, state.checkpoint)
            extraction.start(state.checkpoint, abandoned=state.abandoned_job)
            self._log_start(extraction)
            return self.announce(context, self._resubmitting(extraction, lambda: self._proceed(extraction)))

    def _remembered(self, context: Context) -> TaskState:
        from airflow_sfcc._airflow.task_state import TaskState

        self._state = TaskState.of(context, self.retries or 0, durable=self.durable)
        return self._state

    def _log_start(self, extraction: Extraction) -> None:
        plan = extraction.plan
        api = "Bulk API 2.0" if plan.api == "bulk" else "REST"
        self.log.info("Extracting %s by %s, since %s", plan.sobject, api, plan.api_reason)
        if plan.increment.mode == "incremental":
            self.log.info("%s", plan.increment.sentence)
        if plan.job_id is not None:
            jobs = "Bulk job" if len(plan.job_ids) == 1 else f"{len(plan.job_ids)} Bulk jobs, one for each slice:"
            verb = "Going on with" if extraction.continues else "Submitted"
            self.log.info("%s %s %s", verb, jobs, ", ".join(plan.job_ids))

    def _resubmitting(self, extraction: Extraction, go_on: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `go_on` returns; when the Bulk job or its results are gone, the query is submitted again."""
        from airflow_sfcc.errors import ResultsExpiredError

        try:
            return go_on()
        except ResultsExpiredError:
            if not extraction.may_start_over:
                raise
            job_id = extraction.plan.job_id
            self.log.warning("Bulk job %s or its results are gone: submitting the query again", job_id)
        extraction.start_over()
        return self._resubmitting(extraction, lambda: self._proceed(extraction))

    def _proceed(self, extraction: Extraction) -> dict[str, Any]:
        """From a started extract to its end, or into the triggerer."""
        plan = extraction.plan
        if self._killed.is_set():  # while the job was submitted, so that on_kill could not know it
            raise self._kill_of("The task was killed while it was started.")
        if plan.job_id is None:
            return self._land(extraction)
        self._remember(extraction)
        before = extraction.committed()
        if before is not None:
            self.log.info("An earlier try had committed %s", before["manifest"])
            return self._done(before)
        if self.deferrable and extraction.is_waiting:
            self._defer(extraction)
        self._wait(extraction)
        return self._land(extraction)

    def _remember(self, extraction: Extraction) -> None:
        """Leave word of the submitted job: for the next try, and for whoever goes on after a deferral."""
        checkpoint = extraction.checkpoint()
        if checkpoint is not None and self._state is not None:
            self._state.save(checkpoint)
        extraction.stage_plan()

    def _done(self, result: dict[str, Any]) -> dict[str, Any]:
        if self._state is not None:
            self._state.forget()
        return result

    def _plan(self, context: Context, earlier: Checkpoint | None) -> Extraction:
        from airflow_sfcc.extract.extraction import Extraction
        from airflow_sfcc.extract.plan.planner import make_plan

        client = self._hook().client
        plan = make_plan(client, self._request(), _identity(context), self._destination, earlier=earlier)
        self._extraction = Extraction(client, self._destination(plan.sobject), plan)
        return self._extraction

    def _request(self) -> ExtractRequest:
        from airflow_sfcc.extract.plan.planner import ExtractRequest
        from airflow_sfcc.timestamps import timestamp

        return ExtractRequest(
            sobject=self.sobject,
            fields=self.fields,
            exclude_fields=self.exclude_fields,
            where=self.where,
            soql=self.soql,
            bind=self.bind,
            file_format=self.file_format,
            api=self.api,
            mode=self.mode,
            deletes=self.deletes,
            cursor_field=self.cursor_field,
            initial_start=timestamp(self.initial_start, "initial_start") if self.initial_start else None,
            lookback=self.lookback,
            lag=self.lag,
            on_schema_change=self.on_schema_change,
            numbers=self.numbers,
            page_size=self.page_size,
            parallel_pages=self.parallel_pages,
        )

    def _hook(self) -> SalesforceClientCredentialsHook:
        from airflow_sfcc.hooks import SalesforceClientCredentialsHook

        return SalesforceClientCredentialsHook(self.salesforce_conn_id)

    def _destination(self, sobject: str) -> ObjectStoragePath:
        from airflow_sfcc._airflow.destinations import destination_path

        return destination_path(self._destination_of(sobject))

    def _defer(self, extraction: Extraction) -> NoReturn:
        """Wait in the triggerer for the first job that is still waiting."""
        from airflow_sfcc.triggers import BulkJobTrigger

        job_id, *others = extraction.waiting_jobs
        # The trigger ends by itself at end_time, so that the job can be aborted; Airflow's own timeout could not do that.
        self.defer(
            trigger=BulkJobTrigger(
                salesforce_conn_id=self.salesforce_conn_id,
                job_id=job_id,
                others=others,
                poll_interval=self.poll_interval,
                end_time=time.time() + self.timeout,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name=self.resume.__name__,
        )

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the trigger fired: land the finished job."""
        from airflow_sfcc import errors
        from airflow_sfcc.extract.extraction import Extraction

        with airflow_failures(), storage_failures(self.destination), self._cleanup_on_failure(context):
            self._remembered(context)
            client = self._hook().client
            destination = self._destination(self._sobject_name(client))
            extraction = self._extraction = Extraction.resume(client, destination, _identity(context).extract_id)
            extraction.plan = extraction.plan.with_calls(extraction.plan.api_calls + int(event.get("api_calls", 0)))

            def go_on() -> dict[str, Any]:
                if event["status"] == "error":
                    raise errors.named(event.get("error"), str(event.get("message")))
                if event["status"] == "timeout":
                    self._give_up(extraction)
                return self._land(extraction)

            return self.announce(context, self._resubmitting(extraction, go_on))

    def _sobject_name(self, client: SalesforceClient) -> str:
        """The object's name in the schema's spelling, which planning put into the destination."""
        from airflow_sfcc.salesforce import soql

        asked = self.sobject or soql.scan(self.soql or "").sobject
        return str(client.describe(asked)["name"]) if "{sobject}" in self.destination else asked

    def _wait(self, extraction: Extraction) -> None:
        from airflow_sfcc.extract.progress import WaitingProgress
        from airflow_sfcc.salesforce.bulk import poll_delays

        end_time = time.monotonic() + self.timeout
        progress = WaitingProgress(self.log.info)
        for delay in poll_delays(self.poll_interval):
            job = extraction.job()
            progress.seen(job, extraction.client.usage.calls)
            if not job.is_waiting:
                return
            left = end_time - time.monotonic()
            if left <= 0:
                self._give_up(extraction)
            if self._killed.wait(min(delay, left)):
                raise self._kill_of(f"The task was killed while it waited for Bulk job {job.id}.")

    def _kill_of(self, message: str) -> SfccError:
        from airflow_sfcc.errors import JobAbortedError, StoppedError

        return JobAbortedError(message) if self.cancel_on_kill else StoppedError(message)

    def _give_up(self, extraction: Extraction) -> None:
        from airflow_sfcc.errors import JobTimeoutError

        extraction.abandon_jobs()
        raise JobTimeoutError(
            f"Bulk job {extraction.plan.job_id} on {extraction.plan.sobject} was not complete after {self.timeout:,.0f} s and "
            "was aborted. Raise timeout, or ask for less at once."
        )

    def _land(self, extraction: Extraction) -> dict[str, Any]:
        from airflow_sfcc.wording import plural

        result = commit_or_skip(extraction, extraction.land(), skip_if_empty=self.skip_if_empty)
        self.log.info(
            "Landed %s of %s in %s, %s, with %s: %s",
            plural(result["rows"], "row"),
            extraction.plan.sobject,
            plural(len(result["files"]), "file"),
            plural(result["bytes"], "byte"),
            plural(result["api_calls"], "API call"),
            result["manifest"],
        )
        return self._done(result)

    @contextmanager
    def _cleanup_on_failure(self, context: Context) -> Iterator[None]:
        """A failure leaves nothing staged and no job running, unless the next try can go on from there."""
        from airflow.providers.common.compat.sdk import TaskDeferred

        try:
            yield
        except TaskDeferred:
            raise
        except BaseException as problem:
            if self._extraction is not None:
                with suppress(Exception):
                    self._leave(self._extraction, problem)
            raise

    def _leave(self, extraction: Extraction, problem: BaseException) -> None:
        from airflow.providers.common.compat.sdk import AirflowSkipException

        state = self._state
        has_ended = isinstance(problem, AirflowSkipException) or not extraction.can_go_on_after(problem)
        if state is not None and state.is_durable and state.more_tries and not has_ended:
            self.log.warning(
                "The next try goes on with Bulk job %s and the pages landed so far", extraction.plan.job_id
            )
            return
        if self.cancel_on_kill or not self._killed.is_set():
            extraction.abandon_jobs()
        if state is not None:
            state.forget()
        extraction.discard()

    def on_kill(self) -> None:
        """Stop downloading, and abort the Bulk jobs that are still running, in one short call each."""
        self._killed.set()
        extraction = self._extraction
        if extraction is None:
            return
        extraction.stop()
        if self.cancel_on_kill:
            extraction.abandon_jobs(_KILL_SECONDS)


def commit_or_skip(
    extraction: Extraction, pages: Sequence[LandedPage], *, skip_if_empty: bool, other_calls: int = 0
) -> dict[str, Any]:
    """Commit what has landed. With `skip_if_empty`, raises AirflowSkipException where there is nothing: a full extract
    then lands nothing, an incremental one has committed its manifest, so that its watermark moves."""
    from airflow.providers.common.compat.sdk import AirflowSkipException

    plan = extraction.plan
    is_empty = skip_if_empty and not any(page.rows for page in pages)
    if is_empty and plan.increment.mode == "full":
        raise AirflowSkipException(f"{plan.sobject}: no rows, so nothing was landed.")
    result = extraction.commit(pages, other_calls=other_calls)
    if is_empty and not result["deleted_rows"]:
        raise AirflowSkipException(f"{plan.sobject}: nothing changed; the watermark is {result['watermark']}.")
    return result


def _require_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


def _span(name: str, value: float | timedelta) -> timedelta:
    span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if span < timedelta(0):
        raise ValueError(f"{name} must not be negative.")
    return span


def _identity(context: Context) -> RunIdentity:
    """Which task instance this is.

    The data interval is empty for cron schedules since Airflow 3, and absent where a run has no logical date, as with asset
    and partitioned schedules; then the run's own moment counts.
    """
    from airflow_sfcc.extract.plan.planner import RunIdentity

    ti, dag_run = context["ti"], context["dag_run"]
    start, end = getattr(dag_run, "data_interval_start", None), getattr(dag_run, "data_interval_end", None)
    return RunIdentity(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index if ti.map_index is not None else -1,
        moment=dag_run.logical_date or dag_run.run_after,
        interval=(start, end) if start and end and start < end else None,
        is_backfill=str(getattr(dag_run, "run_type", "")).rsplit(".", 1)[-1].lower().startswith("backfill"),
    )
