"""The local org: its configuration, and everything it is made of."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from salesforce_localorg.async_jobs import AsyncJobs
from salesforce_localorg.bulk_jobs import BulkJobs
from salesforce_localorg.calls import Calls
from salesforce_localorg.clock import Clock
from salesforce_localorg.faults import Faults
from salesforce_localorg.host_names import ANY_MY_DOMAIN, MY_DOMAIN
from salesforce_localorg.ids import INTEGRATION_USER, ORGANIZATION
from salesforce_localorg.ingest_jobs import IngestJobs
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.key_pairs import check_certificate
from salesforce_localorg.locators import QueryLocators
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Field, Schema, SObject, Viewer
from salesforce_localorg.schema_changes import SchemaChanges
from salesforce_localorg.sessions import Sessions
from salesforce_localorg.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import Self

LoginRefusal = Literal[
    "flow_not_enabled", "inactive_user", "ip_restricted", "not_approved", "login_rate", "inactive_org", "server_error"
]
ResultPagesShape = Literal["documented", "observed", "absent"]
DEFAULT_COUNTS: Mapping[str, int] = {
    "User": 20,
    "Account": 2000,
    "Contact": 2000,
    "Opportunity": 1000,
    "Case": 1000,
    "Lead": 500,
    "Task": 500,
    "Event": 200,
    "Invoice__c": 1000,
}
MOST_ROWS_IN_MEMORY = 200_000  # orgs with more keep them on disk, for want of a folder in a temporary one
DATA_FORMAT = 2  # of a data folder: 2 brought the log of deletions


def _consumer_key() -> str:
    return "3MVG9" + secrets.token_hex(40)


@dataclass(frozen=True)
class OrgConfig:
    """What does not change while the org runs.

    Numbers and shapes that Salesforce's documents leave open are settings here.

    org_id: the Id of the generated Organization record; with another one the two differ
    my_domain: host names (`*` allowed) that the token endpoint takes for the org's My Domain, beside loopback names
    instance_url: for token answers, `{scheme}` and `{port}` taken from the call; None repeats the URL of the call, or names
        the My Domain to callers of a login host
    my_domain_host: the My Domain that the org calls its own, where login hosts send their callers
    refresh_token: a refresh token that the token endpoint takes, for clients that know no client credentials
    certificate: the PEM certificate of the app ("Use digital signatures"), which makes the JWT bearer flow possible
    identity_url: what the `id` of token answers begins with
    jwt_tokens: access tokens are three-segment JWTs, as orgs may issue them
    limit_info_app: an app name makes Sforce-Limit-Info take its longer shape
    uneven_pages: query pages are shorter than asked, each by another amount
    result_page_rows: rows per page of Bulk results when the client names no number
    largest_result_page: what `maxRecords` can get at most
    delete_log_days: how far back the log of deletions reaches
    admin_from_anywhere: opens `/` and `/_org/` to callers beyond the loopback interface (for containers), who name the org by
        an address or one of `my_domain`
    """

    org_id: str = ORGANIZATION
    my_domain: tuple[str, ...] = (ANY_MY_DOMAIN,)
    my_domain_host: str = MY_DOMAIN
    instance_url: str | None = None
    identity_url: str = "https://login.salesforce.com"
    consumer_key: str = field(default_factory=_consumer_key)
    consumer_secret: str = field(default_factory=lambda: secrets.token_hex(32).upper(), repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    certificate: str | None = None
    run_as_username: str | None = "user1@localorg.example"  # the generated User row that tokens act for
    client_credentials_enabled: bool = True
    session_idle_seconds: float = 7200
    same_token_on_repeat: bool = False
    jwt_tokens: bool = False
    logins_per_hour: int = 3600
    userinfo_refusal_status: Literal[403, 401] = 403
    oldest_version: int = 31
    newest_version: int = 68
    retired_below: int = 31
    daily_api_requests: int = 100_000
    limit_info_app: str | None = None
    daily_bulk_query_jobs: int = 10_000
    daily_bulk_result_kilobytes: int = 1_000_000_000
    can_view_setup: bool = True
    query_batch: int = 2000
    uneven_pages: bool = False
    result_page_rows: int = 50_000
    largest_result_page: int = 250_000
    result_pages_shape: ResultPagesShape = "documented"
    result_pages_honour_max_records: bool = False
    incomplete_results_status: Literal[412, 204] = 412
    empty_results_header: bool = True
    bulk_timings: BulkTimings = field(default_factory=BulkTimings)
    delete_log_days: float = 15
    counts: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_COUNTS))
    seed: int = 1
    admin_from_anywhere: bool = False

    @property
    def versions(self) -> tuple[str, ...]:
        """The API versions on offer, such as "67.0", oldest first."""
        return tuple(f"{number}.0" for number in range(self.oldest_version, self.newest_version + 1))


class LocalOrg:
    """A Salesforce org in this process, without its HTTP side (that is `OrgServer`).

    May be changed while it runs: `run_as`, `pre_authorised` (user names that JWT bearer assertions may stand for),
    `client_credentials_enabled`, `login_refusal`, `bulk_enabled`, and what the
    integration user may do: `hidden_fields` ((object, field) pairs), `hidden_objects`, `permissions` (such as
    `ApiEnabled`; without `ViewAllData` only records that the user owns are there).
    """

    def __init__(
        self,
        config: OrgConfig | None = None,
        *,
        schema: Schema | None = None,
        clock: Clock | None = None,
        records: Records | None = None,
        data_dir: Path | None = None,
    ) -> None:
        self.config = config or OrgConfig()
        self.clock = clock or Clock()
        # Orgs with records of their own may change their schema; those on shared records share it.
        self.schema = (schema or Schema.standard()).copy() if records is None else (schema or Schema.standard())
        self._closing = contextlib.ExitStack()
        self._data_dir = data_dir or Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="sfcc-org-")))
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._record_of_rows = self._data_dir / "rows.json"
        on_disk = data_dir is not None or sum(self.config.counts.values()) > MOST_ROWS_IN_MEMORY
        path = self._data_dir / "org.duckdb" if on_disk else None
        self._had_rows = path is not None and path.exists()
        if records is None:
            records = Records.open(self.schema, clock=self.clock, path=path)
            self._closing.callback(records.close)
        self.records = records
        self.sessions = Sessions(
            self.clock, self.config.org_id, self.config.session_idle_seconds, self.config.jwt_tokens
        )
        self.usage = Usage(self.clock)
        self.locators = QueryLocators(self.clock)
        self._closing.callback(self.locators.close)
        self.bulk_jobs = self._open_bulk_jobs(self._data_dir / "jobs")
        self._closing.callback(self.bulk_jobs.close)
        self.async_jobs = AsyncJobs(
            self.records,
            self.clock,
            self._data_dir / "jobs",
            self.config.bulk_timings,
            self.config.result_page_rows,
        )
        self._closing.callback(self.async_jobs.close)
        self.ingest_jobs = IngestJobs(self.clock, self.config.bulk_timings)
        self.faults = Faults()
        self.calls = Calls()
        self.hidden_fields: set[tuple[str, str]] = set()
        self.hidden_objects: set[str] = set()
        self.run_as = self.config.run_as_username
        self.pre_authorised = {self.run_as} if self.run_as else set()
        if self.config.certificate is not None:
            check_certificate(self.config.certificate)
        self.client_credentials_enabled = self.config.client_credentials_enabled
        self.login_refusal: LoginRefusal | None = None
        self._schema_changes = SchemaChanges(self.schema, self.records)
        self._schema_changed = self.clock.now().replace(microsecond=0) - timedelta(days=1)
        self._described = self._hidden()
        self.permissions = {"ApiEnabled", "ApiUserOnly", "ViewAllData"} | (
            {"ViewSetup"} if self.config.can_view_setup else set()
        )
        self.bulk_enabled = True

    def _open_bulk_jobs(self, directory: Path) -> BulkJobs:
        config = self.config
        shutil.rmtree(directory, ignore_errors=True)  # results of an earlier run; jobs do not outlive the org
        return BulkJobs(
            self.records,
            self.clock,
            self.usage,
            directory,
            config.bulk_timings,
            config.result_page_rows,
            config.largest_result_page,
        )

    def generate(self, progress: Callable[[str, int], None] | None = None) -> None:
        """Fill the org with the configured rows; `progress` hears (object, rows so far).

        A data folder that already holds them is left as it is. Raises ValueError when it holds others.
        """
        made_of = self._made_of()
        known = json.loads(self._record_of_rows.read_text()) if self._record_of_rows.exists() else None
        if known == made_of:
            return
        if known is not None or self._had_rows:
            raise ValueError(
                f"The folder {self._data_dir} holds records made with other settings. Choose another folder or delete it."
            )
        self.records.generate(self.config.counts, seed=self.config.seed, progress=progress)
        self._record_of_rows.write_text(json.dumps(made_of))

    def _made_of(self) -> dict[str, Any]:
        fields = {each.name: len(each.fields) for each in self.schema}
        return {"format": DATA_FORMAT, "seed": self.config.seed, "counts": dict(self.config.counts), "fields": fields}

    @property
    def run_as_user_id(self) -> str:
        """The id of the integration user that tokens act for."""
        return INTEGRATION_USER

    @property
    def viewer(self) -> Viewer:
        """The integration user with what is hidden from them at this time."""
        return Viewer(
            self.run_as_user_id,
            frozenset(self.hidden_fields),
            frozenset(self.hidden_objects),
            sees_all_records="ViewAllData" in self.permissions,
        )

    # Schema changes while the org runs

    def add_field(self, sobject: str, field: Mapping[str, Any], value: Any = None, formula: str | None = None) -> Field:
        """Add a field, such as `{"name": "Tier__c", "type": "string", "length": 40}`; see `SchemaChanges.add_field`."""
        added = self._schema_changes.add_field(sobject, field, value, formula)
        self._note_schema_change()
        return added

    def remove_field(self, sobject: str, name: str) -> None:
        """Delete a field with its values."""
        self._schema_changes.remove_field(sobject, name)
        self._note_schema_change()

    def change_field(self, sobject: str, name: str, changes: Mapping[str, Any]) -> Field:
        """Change describe keys of a field, its type for one; see `SchemaChanges.change_field`."""
        changed = self._schema_changes.change_field(sobject, name, changes)
        self._note_schema_change()
        return changed

    def change_formula(self, sobject: str, name: str, formula: str) -> None:
        """Give a field another formula (SQL over the object's columns): all its values change, no stamp moves."""
        self._schema_changes.change_formula(sobject, name, formula)
        self._note_schema_change()

    def add_object(self, describe: Mapping[str, Any]) -> SObject:
        """Add an object without records, from its describe answer (`name` and `fields` are enough)."""
        added = self._schema_changes.add_object(describe)
        self._note_schema_change()
        return added

    def drop_object(self, name: str) -> None:
        """Delete an object with its records."""
        self._schema_changes.drop_object(name)
        self._note_schema_change()

    def set_flags(self, sobject: str, **flags: bool) -> SObject:
        """Change what may be done with an object: bulk, needs_filter, queryable, replicateable, createable, ..."""
        changed = self._schema_changes.set_flags(sobject, **flags)
        self._note_schema_change()
        return changed

    def hide_field(self, sobject: str, name: str) -> None:
        """Take a field from the integration user (field-level security): for them it does not exist."""
        self.hidden_fields.add((sobject, name))

    def show_field(self, sobject: str, name: str) -> None:
        """Give a hidden field back."""
        self.hidden_fields -= {each for each in self.hidden_fields if _same_name(each, (sobject, name))}

    @property
    def schema_changed(self) -> datetime:
        """When describes last changed, in whole seconds, each change later than the one before."""
        if self._described != self._hidden():
            self._note_schema_change()
        return self._schema_changed

    def _note_schema_change(self) -> None:
        self._described = self._hidden()
        # The next whole second, so that a describe read within this one is older than the change.
        following = self.clock.now().replace(microsecond=0) + timedelta(seconds=1)
        self._schema_changed = max(following, self._schema_changed + timedelta(seconds=1))

    def _hidden(self) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
        return frozenset(self.hidden_fields), frozenset(self.hidden_objects)

    def expire_sessions(self) -> int:
        """End all sessions at once, as an administrator or an idle night would; returns how many ended."""
        return self.sessions.expire_all()

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _same_name(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return [each.lower() for each in one] == [each.lower() for each in other]
