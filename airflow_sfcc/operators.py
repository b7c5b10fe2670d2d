"""The operators.

Importing this module is cheap: what needs pyarrow or HTTP is imported when a task runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_sfcc._airflow.compat import conf
from airflow_sfcc._airflow.failures import airflow_failures, noted_failures
from airflow_sfcc._airflow.mapping import MappableOperator, mapped_extract
from airflow_sfcc._airflow.option_values import ColumnRules, Destination, Duration
from airflow_sfcc._airflow.options import (
    ExtractOptions,
    check_rendered,
    checked,
    given,
    must_have_values,
    options_of,
    refuse_without_effect,
)
from airflow_sfcc._airflow.presentation import ExtractPresentation, added_to_defaults
from airflow_sfcc._airflow.versions import without_policy_before_3_3
from airflow_sfcc.errors import OptionError
from airflow_sfcc.load_operator import SalesforceLoadOperator as SalesforceLoadOperator
from airflow_sfcc.reconcile_operator import SalesforceReconcileOperator as SalesforceReconcileOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sfcc._airflow.extract_task import ExtractTask
    from airflow_sfcc.extract.extraction import Extraction

DEFAULT_CONN_ID = "sfcc_default"
DEFAULT_TIMEOUT = timedelta(hours=12)
DEFAULT_LAG = timedelta(minutes=5)
DEFAULT_LOOKBACK = timedelta(minutes=10)


class SalesforceQueryOperator(MappableOperator):
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
        options = checked(SalesforceQueryOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        self.soql: str = options["soql"]
        self.bind: Mapping[str, Any] | None = options["bind"]
        self.include_deleted = include_deleted
        self.max_records = max_records
        self.salesforce_conn_id = salesforce_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        from airflow_sfcc.errors import QueryError
        from airflow_sfcc.extract.plan.binding import bound_query
        from airflow_sfcc.hooks import SalesforceClientCredentialsHook
        from airflow_sfcc.salesforce.query import is_counting, plain
        from airflow_sfcc.wording import plural

        hook = SalesforceClientCredentialsHook(self.salesforce_conn_id)
        records: list[dict[str, Any]] = []
        with airflow_failures():
            check_rendered(self)
            query = bound_query(hook.client, self.soql, self.bind)
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


class SalesforceExtractOperator(ExtractPresentation, MappableOperator, ExtractOptions):
    """Extract an object, or the result of a query, into typed and counted files with a manifest.

    Returns `manifest, path, files, rows, bytes, deleted_rows, api, job_id, window, watermark, api_calls, seconds`; with
    calculated="refresh" also `refreshed` (`manifest, rows, api_calls`, or None where no value differed).
    Running the same task instance again replaces what it wrote.

    Everything up to `hash_key_conn_id` is templated, `salesforce_conn_id` too; a template's value is checked when the task runs.
    The page of rendered fields shows the SOQL that ran as `query`.
    `lookback`, `lag` and `timeout` are seconds, a timedelta, or ISO 8601 text such as `PT10M`.

    :param sobject: the object to extract; all fields that the Run As user may read, unless `fields` says otherwise.
    :param soql: a whole query instead of `sobject`.
    :param fields: API names; parents with dots (`Account.Owner.Name`).
    :param exclude_fields: API names to leave out.
    :param where: a SOQL condition, without the word WHERE.
    :param bind: values for `:names` in `where` or `soql`; they are quoted as SOQL literals.
    :param destination: any ObjectStoragePath URL, an ObjectStoragePath or a Path; `{sobject}` in it becomes the object's
        name.
    :param file_format: `parquet` (Zstandard), `csv` or `jsonl` (both gzip).
    :param api: `rest`, `bulk` (Bulk API 2.0), or `auto`: Bulk from 10,000 rows on where Bulk can do the query.
    :param mode: `full`, or `incremental`: what changed since the destination's newest extract (docs/incremental.md).
    :param cursor_field: the datetime field that windows are cut on; the best of SystemModstamp, LastModifiedDate,
        CreatedDate and LoginTime if not given.
    :param initial_start: where the first incremental extract begins (datetime or ISO 8601 text with time zone);
        at the beginning if not given.
    :param lookback: how far before the last watermark a window begins.
    :param lag: how far before the org's present a window ends at the latest.
    :param deletes: `ignore`, `soft`: also rows in the recycle bin and archived ones, with `IsDeleted`, or `hard`: also
        the ids that were deleted for good, as `deleted-00000` with `Id` and `DeletedDate`.
    :param calculated: `as_read`, or `refresh`: also read formulas, roll-ups and fields of parents of all records, and land the
        records whose values differ (incremental, Parquet; docs/incremental.md).
    :param on_schema_change: `evolve`: go on with types that hold both, or `fail` before a row is asked for.
    :param numbers: `float` (what the wire carries), or `decimal` (declared precision and scale; a value that does not
        fit is an error).
    :param columns: which columns to hash or to leave out, such as `{"Contact.Email": "hash", "*.SSN__c": "drop"}`: `Object.Field`
        with `*`, or `type:email`; the last rule that matches holds, `keep` makes an exception (docs/columns.md).
    :param hash_key_conn_id: a connection whose password is the key for hashing (HMAC-SHA-256).
    :param skip_if_empty: end as skipped when there is no row. A full extract then lands nothing; an incremental one
        lands its manifest with a file of no rows, so that its watermark moves.
    :param page_size: rows asked for per Bulk result page where the org does not list result pages itself.
    :param parallel_pages: Bulk result pages in flight at once.
    :param deferrable: wait for the Bulk job in the triggerer instead of holding a worker slot.
    :param durable: go on where the last try ended: with its Bulk job, and the pages it landed. A task that
        is cleared starts over.
    :param cancel_on_kill: abort the Bulk job when the task is killed.
    :param poll_interval: seconds between the first polls of a Bulk job; later ones are further apart.
    :param timeout: how long a Bulk job may take; then it is aborted and the task fails.
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
        "file_format",
        "api",
        "mode",
        "cursor_field",
        "initial_start",
        "lookback",
        "lag",
        "deletes",
        "calculated",
        "on_schema_change",
        "numbers",
        "columns",
        "hash_key_conn_id",
        "salesforce_conn_id",
        "query",
    )
    template_ext: Sequence[str] = (".soql",)
    template_fields_renderers = {"soql": "sql", "where": "sql", "query": "sql", "bind": "json", "columns": "json"}  # noqa: RUF012
    ui_color = "#c9e7ff"
    _attempt: ExtractTask | None = None

    def __init__(
        self,
        *,
        destination: Destination,
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
        lookback: Duration = DEFAULT_LOOKBACK,
        lag: Duration = DEFAULT_LAG,
        deletes: Literal["ignore", "soft", "hard"] = "ignore",
        calculated: Literal["as_read", "refresh"] = "as_read",
        on_schema_change: Literal["evolve", "fail"] = "evolve",
        numbers: Literal["float", "decimal"] = "float",
        columns: ColumnRules | None = None,
        hash_key_conn_id: str | None = None,
        skip_if_empty: bool = False,
        page_size: int = 100_000,
        parallel_pages: int = 3,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        durable: bool = True,
        cancel_on_kill: bool = True,
        poll_interval: float = 5.0,
        timeout: Duration = DEFAULT_TIMEOUT,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        written = options_of(locals())
        options = checked(SalesforceExtractOperator, written)
        if bool(sobject) == bool(soql):
            raise OptionError("SalesforceExtractOperator takes exactly one of sobject and soql.")
        refuse_without_effect(options, given(SalesforceExtractOperator, written, kwargs.get("default_args") or {}))
        added_to_defaults(kwargs, options)
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        for name, value in options.items():
            setattr(self, name, value)
        self.must_have_values = must_have_values(options)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As in every operator; each mapped task shows its object's name, unless told otherwise."""
        kwargs.setdefault("map_index_template", "{{ task.sobject or 'query' }}")
        return mapped_extract(super().partial(**kwargs), kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        with noted_failures(context, self.failure_facts):
            self._attempt = self._new_attempt(context)
            return self.announce(context, self._attempt.start())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the trigger fired: land the finished job."""
        with noted_failures(context, self.failure_facts):
            self._attempt = self._new_attempt(context)
            return self.announce(context, self._attempt.go_on(event))

    def on_kill(self) -> None:
        """Stop downloading, and abort the Bulk jobs that are still running (unless `cancel_on_kill` is off)."""
        if self._attempt is not None:
            self._attempt.kill()

    def _new_attempt(self, context: Context) -> ExtractTask:
        from airflow_sfcc._airflow.extract_task import ExtractTask

        with airflow_failures():
            check_rendered(self)
        return ExtractTask(self, context)

    @property
    def _extraction(self) -> Extraction | None:
        return self._attempt.extraction if self._attempt else None


class SalesforceVacuumOperator(MappableOperator):
    """Remove what nobody reads from destinations: leftovers of runs that died, and full extracts beyond the newest `keep`.

    What the current table or the next incremental extract needs always stays. Returns what was removed, a list of
    `path, reason, files, bytes`.

    :param destination: the `destination` of the extracts, as in SalesforceExtractOperator (templated).
    :param sobjects: the objects whose names fill `{sobject}` in it (templated); none where there is no `{sobject}`.
    :param keep: how many full extracts to keep; None keeps all, and removes leftovers only.
    :param older_than: leftovers younger than this are left alone, since their run may still go on.
    :param dry_run: only log and return what would be removed.
    """

    template_fields: Sequence[str] = ("destination", "sobjects", "keep", "older_than")
    ui_color = "#c9e7ff"

    def __init__(
        self,
        *,
        destination: Destination,
        sobjects: Sequence[str] | None = None,
        keep: int | None = None,
        older_than: Duration = timedelta(days=2),
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        options = checked(SalesforceVacuumOperator, options_of(locals()))
        without_policy_before_3_3(kwargs)
        super().__init__(**kwargs)
        self.destination: str = options["destination"]
        self.sobjects: Sequence[str] | None = options["sobjects"]
        self.keep: int | None = options["keep"]
        self.older_than: timedelta = options["older_than"]
        self._dry_run: bool = options["dry_run"]

    def execute(self, context: Context) -> list[dict[str, Any]]:
        from dataclasses import asdict

        from airflow_sfcc._airflow.destinations import destination_path, destinations_of, storage_failures
        from airflow_sfcc._airflow.vacuum_command import NOT_REMOVED, nothing_there, told
        from airflow_sfcc.extract.land.vacuum import vacuum

        removed = []
        with airflow_failures():
            check_rendered(self)
            for url in destinations_of(self.destination, self.sobjects):
                with storage_failures(url, NOT_REMOVED):
                    place = destination_path(url)
                    found = vacuum(place, keep=self.keep, older_than=self.older_than, dry_run=self._dry_run)
                    for line in [] if found else nothing_there(url, place):
                        self.log.warning("%s", line)
                for line in told(found, dry_run=self._dry_run):
                    self.log.info("%s", line)
                removed += [asdict(each) for each in found]
        return removed
