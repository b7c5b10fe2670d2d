"""One attempt of an extract's task, from its plan to the manifest, or into the triggerer and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.log import mask_secret
from msgspec import structs

from airflow_sfcc._airflow.connection import unknown_connection
from airflow_sfcc._airflow.destinations import destination_path, filled_in, storage_failures
from airflow_sfcc._airflow.failures import airflow_failures
from airflow_sfcc._airflow.load_task import missing_package
from airflow_sfcc._airflow.options import ExtractOptions, request_of
from airflow_sfcc.errors import (
    ConfigurationError,
    JobAbortedError,
    JobTimeoutError,
    ResultsExpiredError,
    SfccError,
    StoppedError,
    named,
)
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request, RunIdentity, StagedFile
from airflow_sfcc.extract.progress import WaitingProgress
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.hooks import SalesforceClientCredentialsHook
from airflow_sfcc.salesforce import SalesforceClient, soql
from airflow_sfcc.salesforce.bulk import poll_delays
from airflow_sfcc.timestamps import plain_datetime, timestamp
from airflow_sfcc.wording import plural

if TYPE_CHECKING:
    from airflow.sdk import Context, ObjectStoragePath

_KILL_SECONDS = 3.0
"""Airflow kills a task's process 5 s after asking it to end."""


class ExtractTask:
    """Plan, start, wait or defer, land; a failure leaves nothing behind that the next attempt does not use."""

    def __init__(self, options: ExtractOptions, context: Context) -> None:
        self._options = options
        self._context = context
        self._log = options.log
        self._killed = threading.Event()
        self._has_left = False
        self._refreshing: Extraction | None = None
        self.extraction: Extraction | None = None

    def start(self) -> Any:
        """What the task returns; raises TaskDeferred to wait in the triggerer."""
        with airflow_failures(), storage_failures(self._place), self._cleanup_on_failure():
            extraction = self._plan()
            extraction.start()
            self._log_start(extraction)
            self._show(extraction)
            return self._refreshed(self._resubmitting(extraction, lambda: self._proceed(extraction)))

    def go_on(self, event: dict[str, Any]) -> Any:
        """What the task returns, after the trigger fired with `event`."""
        with airflow_failures(), storage_failures(self._place), self._cleanup_on_failure():
            extraction = self._resume()
            extraction.plan = extraction.plan.with_calls(extraction.plan.api_calls + int(event.get("api_calls", 0)))
            self._show(extraction)
            return self._refreshed(self._resubmitting(extraction, lambda: self._land_after(event, extraction)))

    def kill(self) -> None:
        """Stop downloading, and abort the Bulk jobs that are still running, in one short call each.

        Airflow calls this too after `execution_timeout` has ended the task. By then this attempt has left the job to the next
        one, or aborted it.
        """
        self._killed.set()
        current = self._refreshing or self.extraction
        if current is None or self._has_left:
            return
        current.stop()
        if self._options.cancel_on_kill:
            current.abandon_jobs(_KILL_SECONDS)

    def request(self) -> Request:
        """What the engine is to extract: the operator's options under the same names."""
        request = request_of(Request, self._options)
        if request.initial_start is None:
            return request
        return structs.replace(request, initial_start=timestamp(request.initial_start, "initial_start"))

    def land(self, extraction: Extraction) -> Any:
        """Land the complete job, or the rows that REST reads; returns what the task returns."""
        result = commit_or_skip(extraction, extraction.land(), skip_if_empty=self._options.skip_if_empty)
        self._log.info(
            "Landed %s of %s in %s, %s, with %s: %s",
            plural(result["rows"], "row"),
            extraction.plan.sobject,
            plural(len(result["files"]), "file"),
            plural(result["bytes"], "byte"),
            plural(result["api_calls"], "API call"),
            result["manifest"],
        )
        return result

    def defer(self, extraction: Extraction) -> NoReturn:
        """Wait in the triggerer for the first job that is still waiting."""
        from airflow_sfcc.triggers import BulkJobTrigger

        options = self._options
        job_id, *others = extraction.waiting_jobs
        self._log.info(
            "Waiting in the triggerer for Bulk job %s, for at most %s.\nA task that stays deferred without further lines here "
            "has no running triggerer.",
            job_id,
            options.timeout,
        )
        extraction.stage_plan()
        extraction.leave()
        # The trigger ends by itself at end_time, so that the job can be aborted; Airflow's own timeout could not do that.
        options.defer(
            trigger=BulkJobTrigger(
                salesforce_conn_id=options.salesforce_conn_id,
                job_id=job_id,
                others=others,
                poll_interval=options.poll_interval,
                end_time=time.time() + options.timeout.total_seconds(),
                cancel_on_kill=options.cancel_on_kill,
            ),
            method_name="execute_complete",
        )

    def _refreshed(self, result: Any) -> Any:
        """What the task returns, after the calculated fields were read again where that is asked for."""
        extraction = self.extraction
        if self._options.calculated != "refresh" or extraction is None:
            return result
        from airflow_sfcc.reconcile.refresh import refresh

        def wait(refreshing: Extraction) -> None:
            self._refreshing = refreshing
            if refreshing.plan.job_id is not None:
                self._wait(refreshing)

        try:
            landed = refresh(
                extraction.client,
                extraction.landing.destination,
                run_identity(self._context, 0),
                wait=wait,
                api=self._options.api,
                hash_key=hash_key_of(self._options.hash_key_conn_id),
            )
        except ModuleNotFoundError as problem:
            raise missing_package(problem) from problem
        refreshed = None if landed is None else {name: landed[name] for name in ("manifest", "rows", "api_calls")}
        return {**result, "refreshed": refreshed}

    def _plan(self) -> Extraction:
        self.extraction = Extraction.planned(
            self._client(),
            self.request(),
            self.run_identity(),
            self._destination,
            durable=self._options.durable,
            hash_key=hash_key_of(self._options.hash_key_conn_id),
        )
        return self.extraction

    def run_identity(self) -> RunIdentity:
        """Which run the extract belongs to."""
        return run_identity(self._context, self._options.retries or 0)

    def _resume(self) -> Extraction:
        client = self._client()
        destination = self._destination(self._sobject_name(client))
        self.extraction = Extraction.resume(
            client,
            destination,
            self.run_identity().extract_id,
            hash_key=hash_key_of(self._options.hash_key_conn_id),
        )
        return self.extraction

    def _place(self) -> str:
        """The destination as far as the object's name is known."""
        sobject = self.extraction.plan.sobject if self.extraction else self._options.sobject
        return filled_in(self._options.destination, sobject)

    def _client(self) -> SalesforceClient:
        return SalesforceClientCredentialsHook(self._options.salesforce_conn_id).client

    def _destination(self, sobject: str) -> ObjectStoragePath:
        return destination_path(filled_in(self._options.destination, sobject))

    def _sobject_name(self, client: SalesforceClient) -> str:
        """The object's name in the schema's spelling, which planning put into the destination."""
        asked = self._options.sobject or soql.scan(self._options.soql or "").sobject
        return str(client.describe(asked)["name"]) if "{sobject}" in self._options.destination else asked

    def _show(self, extraction: Extraction) -> None:
        """Have Airflow's page of rendered fields show what runs: the SOQL, and where it lands."""
        self._options.query = extraction.plan.soql
        self._options.destination = filled_in(self._options.destination, extraction.plan.sobject)

    def _log_start(self, extraction: Extraction) -> None:
        plan = extraction.plan
        api = "Bulk API 2.0" if plan.api == "bulk" else "REST"
        self._log.info("Extracting %s by %s, since %s", plan.sobject, api, plan.api_reason)
        if plan.increment.mode == "incremental":
            self._log.info("%s", plan.increment.sentence)
        if plan.job_id is not None:
            jobs = "Bulk job" if len(plan.job_ids) == 1 else f"{len(plan.job_ids)} Bulk jobs, one for each slice:"
            verb = "Going on with" if extraction.continues else "Submitted"
            self._log.info("%s %s %s", verb, jobs, ", ".join(plan.job_ids))

    def _resubmitting(self, extraction: Extraction, go_on: Callable[[], Any]) -> Any:
        """What `go_on` returns; when the Bulk job or its results are gone, the query is submitted again."""
        try:
            return go_on()
        except ResultsExpiredError:
            if not extraction.may_start_over:
                raise
            job_id = extraction.plan.job_id
            self._log.warning("Bulk job %s or its results are gone: submitting the query again", job_id)
        extraction.start_over()
        return self._resubmitting(extraction, lambda: self._proceed(extraction))

    def _proceed(self, extraction: Extraction) -> Any:
        """From a started extract to its end, or into the triggerer."""
        if self._killed.is_set():  # while the job was submitted, so that `kill` could not know it
            raise self._kill_of("The task was killed while it was started.")
        if extraction.plan.job_id is None:
            return self.land(extraction)
        before = extraction.committed()
        if before is not None:
            self._log.info("An earlier attempt had committed %s", before["manifest"])
            return before
        if self._options.deferrable and extraction.is_waiting:
            self.defer(extraction)
        self._wait(extraction)
        return self.land(extraction)

    def _land_after(self, event: dict[str, Any], extraction: Extraction) -> Any:
        if event["status"] == "error":
            raise named(event.get("error"), str(event.get("message")))
        if event["status"] == "timeout":
            self._give_up(extraction)
        return self.land(extraction)

    def _wait(self, extraction: Extraction) -> None:
        end_time = time.monotonic() + self._options.timeout.total_seconds()
        progress = WaitingProgress(self._log.info)
        for delay in poll_delays(self._options.poll_interval):
            job = extraction.job()
            progress.seen(job, extraction.api_calls)
            if not job.is_waiting:
                return
            left = end_time - time.monotonic()
            if left <= 0:
                self._give_up(extraction)
            if self._killed.wait(min(delay, left)):
                raise self._kill_of(f"The task was killed while it waited for Bulk job {job.id}.")

    def _kill_of(self, message: str) -> SfccError:
        return JobAbortedError(message) if self._options.cancel_on_kill else StoppedError(message)

    def _give_up(self, extraction: Extraction) -> NoReturn:
        extraction.abandon_jobs()
        plan, seconds = extraction.plan, self._options.timeout.total_seconds()
        raise JobTimeoutError(
            f"Bulk job {plan.job_id} on {plan.sobject} was not complete after {seconds:,.0f} s and was aborted.\n"
            "Raise timeout, or extract less at once."
        )

    @contextmanager
    def _cleanup_on_failure(self) -> Iterator[None]:
        """A failure leaves nothing staged and no job running, unless the next attempt can go on from there."""
        from airflow.providers.common.compat.sdk import TaskDeferred

        try:
            yield
        except TaskDeferred:
            raise
        except BaseException as problem:
            if self.extraction is not None:
                with suppress(Exception):
                    self._leave(self.extraction, problem)
                self._has_left = True
            raise

    def _leave(self, extraction: Extraction, problem: BaseException) -> None:
        if self._refreshing is not None:  # the extract itself is committed, and the refresh has tidied up
            return
        from airflow.providers.common.compat.sdk import AirflowSkipException

        has_ended = isinstance(problem, AirflowSkipException) or not extraction.can_go_on_after(problem)
        ti = self._context["ti"]
        if self._options.durable and not has_ended and _try_number(ti) <= (getattr(ti, "max_tries", 0) or 0):
            self._log.warning(
                "The next try goes on with Bulk job %s and the pages landed so far", extraction.plan.job_id
            )
            extraction.leave()
            return
        if self._options.cancel_on_kill or not self._killed.is_set():
            extraction.abandon_jobs()
        extraction.discard()


def hash_key_of(conn_id: str | None) -> HashKey | None:
    """The key for hashing, which is the password of that connection; None where there is none. Raises ConfigurationError."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    if conn_id is None:
        return None
    try:
        secret = BaseHook.get_connection(conn_id).password
    except AirflowNotFoundException:
        raise unknown_connection(conn_id) from None
    if not secret:
        raise ConfigurationError(
            f"The connection {conn_id!r} has no password, which is the key for hashing columns: set it to the output of "
            "`openssl rand -base64 32`."
        )
    mask_secret(secret)
    return HashKey(secret)


def commit_or_skip(
    extraction: Extraction, pages: Sequence[StagedFile], *, skip_if_empty: bool, other_calls: int = 0
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


def run_identity(context: Context, retries: int) -> RunIdentity:
    """Which task instance this is.

    The data interval is empty for cron schedules since Airflow 3, and absent where a run has no logical date, as with asset
    and partitioned schedules; then the run's own time counts. A task that is cleared starts over, so its run is told by how
    often the DAG run was cleared, and by the first of its tries since then: Airflow counts tries on, and raises `max_tries`.
    """
    ti, dag_run = context["ti"], context["dag_run"]
    start, end = getattr(dag_run, "data_interval_start", None), getattr(dag_run, "data_interval_end", None)
    return RunIdentity(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index if ti.map_index is not None else -1,
        due=plain_datetime(dag_run.logical_date or dag_run.run_after),
        interval=(plain_datetime(start), plain_datetime(end)) if start and end and start < end else None,
        is_backfill=str(getattr(dag_run, "run_type", "")).rsplit(".", 1)[-1].lower().startswith("backfill"),
        run_key=f"{getattr(dag_run, 'clear_number', 0) or 0}/{(getattr(ti, 'max_tries', 0) or 0) - retries + 1}",
        try_number=_try_number(ti),
    )


def _try_number(ti: Any) -> int:
    return getattr(ti, "try_number", None) or 1
