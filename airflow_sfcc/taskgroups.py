"""One extract shared out over many workers: a task group whose mapped tasks each land some of the result pages.

    plan (waits for the Bulk job) -> download[0..n] -> commit

What is planned, landed and committed is what SalesforceExtractOperator plans, lands and commits, with the same manifest.
Importing this module is cheap: what needs pyarrow or HTTP is imported when a task runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from inspect import signature
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskGroup

from airflow_sfcc._airflow.destinations import destination_url, filled_in, storage_failures
from airflow_sfcc._airflow.failures import airflow_failures, noted_failures
from airflow_sfcc._airflow.groups import connection_of, defaults_in, group_of_tasks
from airflow_sfcc._airflow.option_values import Destination, checked_value
from airflow_sfcc._airflow.options import is_known_later, option_names
from airflow_sfcc._airflow.presentation import ExtractPresentation, added_to_defaults
from airflow_sfcc.errors import OptionError
from airflow_sfcc.operators import DEFAULT_CONN_ID, SalesforceExtractOperator
from airflow_sfcc.sync_group import salesforce_sync as salesforce_sync
from airflow_sfcc.wording import did_you_mean

if TYPE_CHECKING:
    from airflow.sdk import Context, ObjectStoragePath

    from airflow_sfcc._airflow.event_facts import Extracted
    from airflow_sfcc._airflow.extract_task import ExtractTask
    from airflow_sfcc.extract.extraction import Extraction
    from airflow_sfcc.extract.model import Share
    from airflow_sfcc.salesforce import SalesforceClient

PlainShare = Mapping[str, Any]
"""What a download task is handed: a Share as plain JSON."""


def salesforce_extract(
    group_id: str,
    *,
    destination: Destination,
    shares: int = 8,
    slice_at: Sequence[datetime | str] = (),
    skip_if_empty: bool | None = None,
    salesforce_conn_id: str | None = None,
    default_args: dict[str, Any] | None = None,
    **extract: Any,
) -> TaskGroup:
    """A task group that extracts by Bulk API 2.0, its result pages downloaded by `shares` mapped tasks.

    For results that one worker would take too long to download. Tasks: `plan` submits the job and waits for it in the
    triggerer, `download` lands a share of the pages wherever the executor puts it, `commit` checks that all rows are
    there and publishes them. `commit` returns what SalesforceExtractOperator returns; the group is done when it is.

    A download that fails is tried again by itself and asks only for the pages that are missing. To run an extract anew,
    clear `plan` with everything downstream.

    :param group_id: the group's id, which the tasks' ids begin with.
    :param destination: as in SalesforceExtractOperator.
    :param shares: how many download tasks there are at most; pages are dealt to them in turn.
    :param slice_at: values of CreatedDate at which the query is cut into several Bulk jobs that Salesforce works at side
        by side, for first loads that are too large for one; n values make n + 1 jobs (templated). `timeout` counts for each.
    :param skip_if_empty: end `commit` as skipped when there is no row, as SalesforceExtractOperator does; not unless
        `default_args` here or of the DAG says so.
    :param salesforce_conn_id: a connection of type `sfcc`; `sfcc_default` unless `default_args` here or of the DAG has one.
    :param default_args: settings of all tasks in the group, such as `retries`, which is 2 unless it is said here, by a group
        around this one, or in the `default_args` of the DAG.
    :param extract: further parameters of SalesforceExtractOperator (`sobject` or `soql`, `fields`, `where`, ...);
        `parallel_pages` counts for each download task. `api` is always `bulk`. Arguments of every task (`retries`, `pool`,
        `queue`, `execution_timeout`, ...) reach all tasks of the group; `inlets` and `trigger_rule` the first, `outlets` and
        documentation the last.
    """
    checked_value("shares", shares, int)
    checked_value("skip_if_empty", skip_if_empty, bool | None)
    if "api" in extract:
        raise ValueError("A task group always extracts by Bulk API 2.0: leave api out.")
    place: Any = destination if is_known_later(destination) else destination_url(destination)
    extract, of_all, of_plan, of_commit = _shared_out(extract)
    connection: Any = connection_of(salesforce_conn_id)
    if skip_if_empty is not None:
        of_commit["skip_if_empty"] = skip_if_empty
    of_commit.update(connection)
    hash_key = {name: extract[name] for name in ("hash_key_conn_id",) if name in extract}
    with group_of_tasks(group_id, {**(default_args or {}), **of_all}) as group:
        if defaults_in(group).get("calculated", "as_read") != "as_read":
            raise OptionError(
                "default_args has calculated, and a task group does not read calculated fields again: extract by "
                "SalesforceExtractOperator, or give calculated to the tasks that it is for."
            )
        plan = PlanOperator(
            task_id="plan",
            destination=place,
            shares=shares,
            slice_at=slice_at,
            api="bulk",
            **connection,
            **{"deferrable": True, **extract, **of_plan},
        )
        download = DownloadOperator.partial(task_id="download", destination=place, **hash_key, **connection).expand(
            share=plan.output
        )
        CommitOperator(
            task_id="commit",
            destination=place,
            shares=plan.output,
            downloads=download.output,
            sobject=extract.get("sobject"),
            soql=extract.get("soql"),
            **of_commit,
        )
    return group


_OF_PLAN = {"inlets", "trigger_rule"}
"""Arguments of tasks that belong to the group's first task only; those of the last one are in _OF_COMMIT."""
_OF_COMMIT = {"outlets", "doc", "doc_md", "doc_rst", "doc_json", "doc_yaml"}
_OF_NONE = {"task_id", "task_group", "dag", "map_index_template", "default_args"}


def _shared_out(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The extract's options, and the arguments of tasks for all of the group's, for its first and for its last.

    Raises TypeError for what is neither, so that nothing is ignored.
    """
    of_tasks = set(signature(BaseOperator.__init__).parameters) - option_names(SalesforceExtractOperator) - _OF_NONE
    known = of_tasks | (option_names(SalesforceExtractOperator) - {"skip_if_empty", "calculated"})
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise TypeError(f"salesforce_extract takes no argument {name!r}. {hint}".strip())

    def only(names: set[str]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if name in names}

    extract = {name: value for name, value in given.items() if name not in of_tasks}
    return extract, only(of_tasks - _OF_PLAN - _OF_COMMIT), only(_OF_PLAN & of_tasks), only(_OF_COMMIT & of_tasks)


class PlanOperator(SalesforceExtractOperator):
    """Plans the extract, submits its Bulk job or jobs, waits for them, and returns the shares of their pages."""

    template_fields: Sequence[str] = (*SalesforceExtractOperator.template_fields, "slice_at")

    def __init__(self, *, shares: int, slice_at: Sequence[datetime | str] = (), **kwargs: Any) -> None:
        # Nothing has landed when this task ends, so it updates no asset.
        super().__init__(**{"outlets": [], **kwargs})
        self.shares = shares
        self.slice_at = slice_at

    def _new_attempt(self, context: Context) -> ExtractTask:
        from airflow_sfcc._airflow.plan_task import PlanTask

        return PlanTask(self, context, shares=self.shares, slice_at=self.slice_at)

    def announce(self, context: Context, result: Any) -> Any:
        """Nothing to announce yet: `commit` does."""
        return result


class _StageOperator(BaseOperator):
    """A later stage of a planned extract."""

    ui_color = "#c9e7ff"
    destination: str
    salesforce_conn_id: str
    _resumed: Extraction | None = None

    @property
    def _extraction(self) -> Extraction | None:
        return self._resumed

    def _place(self, share: Share) -> tuple[SalesforceClient, ObjectStoragePath]:
        from airflow_sfcc._airflow.destinations import destination_path
        from airflow_sfcc.hooks import SalesforceClientCredentialsHook

        client = SalesforceClientCredentialsHook(self.salesforce_conn_id).client
        return client, destination_path(filled_in(self.destination, share.sobject))


class DownloadOperator(_StageOperator):
    """Lands a share of the result pages, and returns what it landed.

    :param share: what the plan dealt to this task (templated).
    :param hash_key_conn_id: as in SalesforceExtractOperator.
    """

    template_fields: Sequence[str] = ("share", "destination", "hash_key_conn_id", "salesforce_conn_id")
    template_fields_renderers = {"share": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        share: PlainShare,
        destination: str,
        hash_key_conn_id: str | None = None,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.share = share
        self.hash_key_conn_id = hash_key_conn_id
        self.destination = destination
        self.salesforce_conn_id = salesforce_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        with noted_failures(context, lambda: {"conn_id": self.salesforce_conn_id}):
            return self._download()

    def _download(self) -> dict[str, Any]:
        import socket

        from airflow_sfcc._airflow.extract_task import hash_key_of
        from airflow_sfcc.extract.extraction import Extraction
        from airflow_sfcc.extract.model import Landed, Share, from_plain, plain
        from airflow_sfcc.wording import plural

        with airflow_failures():
            share = from_plain(self.share, Share, "The share that the plan dealt to this task")
        with airflow_failures(), storage_failures(filled_in(self.destination, share.sobject)):
            client, destination = self._place(share)
            extraction = self._resumed = Extraction.share(
                client,
                destination,
                share.extract_id,
                share.job_id,
                hash_key=hash_key_of(self.hash_key_conn_id),
            )
            landed = extraction.land_pages(share.pages)
        rows = sum(page.rows for page in landed)
        sobject = extraction.plan.sobject
        self.log.info("Landed %s of %s with %s", plural(len(landed), "result page"), sobject, plural(rows, "row"))
        return plain(Landed(tuple(landed), rows, extraction.client.usage.calls, socket.gethostname()))

    def on_kill(self) -> None:
        """Stop downloading; the job stays, for the next try and for the others."""
        if self._extraction is not None:
            self._extraction.stop()


class CommitOperator(_StageOperator, ExtractPresentation):
    """Checks that every row has landed and publishes the extract; returns what SalesforceExtractOperator returns."""

    template_fields: Sequence[str] = ("shares", "downloads", "destination", "salesforce_conn_id")
    template_fields_renderers = {"shares": "json", "downloads": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        shares: Any,
        downloads: Any,
        destination: str,
        sobject: str | None = None,
        soql: str | None = None,
        skip_if_empty: bool = False,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        added_to_defaults(
            kwargs,
            {"destination": destination, "sobject": sobject, "soql": soql, "salesforce_conn_id": salesforce_conn_id},
        )
        super().__init__(**kwargs)
        self.shares = shares
        self.downloads = downloads
        self.destination = destination
        self.sobject = sobject
        self.skip_if_empty = skip_if_empty
        self.salesforce_conn_id = salesforce_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_sfcc.extract.model import Share, from_plain

        with noted_failures(context, self.failure_facts):
            with airflow_failures():
                share = from_plain(self.shares[0], Share, "What the plan returned")
            with airflow_failures(), storage_failures(filled_in(self.destination, share.sobject)):
                before = self._committed_before(share)
            if before is None:
                return self.announce(context, self._commit(share))
            extracted, result = before
            client, _ = self._place(share)
            self.announce_extract(context, extracted, result, client.usage)
            return result

    def _committed_before(self, share: Share) -> tuple[Extracted, dict[str, Any]] | None:
        """What an earlier try committed of this job before it ended, where nothing of it is staged any more; else None."""
        from airflow_sfcc._airflow.event_facts import Extracted
        from airflow_sfcc.extract.extraction import result_of
        from airflow_sfcc.extract.land.staging import Landing

        _, destination = self._place(share)
        landing = Landing(destination, share.extract_id)
        manifest = landing.committed()
        if manifest is None or manifest.get("job_id") != share.job_id or landing.attempts():
            return None
        self.log.info("An earlier attempt had committed %s", manifest["path"])
        return Extracted.of_manifest(manifest), result_of(manifest, landing.folder)

    def _commit(self, share: Share) -> dict[str, Any]:
        from airflow.providers.common.compat.sdk import AirflowSkipException

        from airflow_sfcc._airflow.extract_task import commit_or_skip
        from airflow_sfcc.extract.extraction import Extraction
        from airflow_sfcc.extract.model import Landed, from_plain
        from airflow_sfcc.wording import plural

        with airflow_failures():
            # Of a run that was cleared and has fewer pages now, Airflow keeps what the other downloads returned before.
            current = list(self.downloads)[: len(self.shares)]
            downloads = from_plain(current, list[Landed], "What the downloads returned")
        with airflow_failures(), storage_failures(filled_in(self.destination, share.sobject)):
            client, destination = self._place(share)
            extraction = self._resumed = Extraction.resume(client, destination, share.extract_id, job_id=share.job_id)
            before = extraction.committed()
            if before is not None:
                self.log.info("An earlier attempt had committed %s", before["manifest"])
                return before
            pages = [page for download in downloads for page in download.pages]
            calls = sum(download.api_calls for download in downloads)
            try:
                result = commit_or_skip(extraction, pages, skip_if_empty=self.skip_if_empty, other_calls=calls)
            except AirflowSkipException:
                extraction.discard()
                raise
        self.log.info("Landed %s: %s", plural(result["rows"], "row"), result["manifest"])
        return result
