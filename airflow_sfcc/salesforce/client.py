"""The Salesforce client: one object, one org, every call the product makes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import requests

from airflow_sfcc.errors import (
    CONSUMER_KEY_AND_SECRET,
    MY_DOMAIN,
    AccessError,
    ConfigurationError,
    NotFoundError,
    QueryError,
    SalesforceError,
    UnexpectedResponseError,
)
from airflow_sfcc.salesforce import soql as soql_text
from airflow_sfcc.salesforce.auth import ClientCredentialsAuth, Credentials, Token
from airflow_sfcc.salesforce.bulk import BulkQueryJobs
from airflow_sfcc.salesforce.instance import InstanceRule, Origin, login_origin, resolve_link
from airflow_sfcc.salesforce.query import JsonReader, QueryPage, Record, plain, query_pages
from airflow_sfcc.salesforce.responses import JsonObject, json_object_of, json_of
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.salesforce.transport import Transport, TransportOptions
from airflow_sfcc.salesforce.usage import ApiUsage
from airflow_sfcc.wording import did_you_mean

log = logging.getLogger(__name__)

NEWEST_TESTED_VERSION = "68.0"
"""Winter '27."""


def connect(
    host: str,
    consumer_key: str,
    consumer_secret: str,
    *,
    port: int | None = None,
    scheme: str | None = None,
    api_version: str | float | None = None,
    allow_http: bool = False,
    allowed_hosts: Iterable[str] = (),
    api_call_budget: float | None = None,
    transport: TransportOptions | None = None,
    on_token: Callable[[str], None] | None = None,
) -> SalesforceClient:
    """A client for the org whose My Domain is `host`. Nothing is sent before the first call.

    Raises ConfigurationError for settings that cannot work.
    """
    if not (consumer_key and consumer_secret):
        raise _missing_credentials(consumer_key)
    login = login_origin(host, port=port, scheme=scheme, allow_http=allow_http)
    rule = InstanceRule(login, frozenset(name.strip().lower() for name in allowed_hosts), allow_http)
    session = Transport(transport, usage=ApiUsage(api_call_budget))
    session.auth = ClientCredentialsAuth(
        Credentials(login, consumer_key, consumer_secret), rule, Transport(transport), on_token=on_token
    )
    return SalesforceClient(session, session.auth, api_version=normal_version(api_version))


def _missing_credentials(consumer_key: str) -> ConfigurationError:
    missing = "consumer secret (password)" if consumer_key else "consumer key (login)"
    return ConfigurationError(
        f"The connection has no {missing}: copy it from the app's settings.", step=CONSUMER_KEY_AND_SECRET
    )


def normal_version(version: str | float | None) -> str | None:
    """`68.0` for 68, "68", "v68.0"; None for None and "". Raises ConfigurationError for anything else."""
    if version is None or version == "":
        return None
    found = re.fullmatch(r"v?(\d{2,3})(\.0)?", str(version).strip())
    if not found:
        raise ConfigurationError(
            f"api_version {version!r} is not a Salesforce API version such as {NEWEST_TESTED_VERSION}."
        )
    return f"{found[1]}.0"


class SalesforceClient:
    """Calls one org's REST and Bulk APIs. Safe to share between threads; made by `connect`."""

    def __init__(self, session: Transport, auth: ClientCredentialsAuth, *, api_version: str | None = None) -> None:
        self.session = session
        self.auth = auth
        self.bulk = BulkQueryJobs(self)
        self._chosen_version = api_version
        self._describes: dict[str, JsonObject] = {}

    def new_session(self, settings: TransportOptions | None = None, stop: Stop | None = None) -> Transport:
        """Another session for the same org and token, counting into the same usage."""
        session = Transport(settings or self.session.settings, usage=self.usage, clock=self.session.clock, stop=stop)
        session.auth = self.auth
        return session

    def in_a_hurry(self, seconds: float) -> SalesforceClient:
        """A client that gives each request one try of at most `seconds`, for callers that are themselves being stopped."""
        settings = replace(self.session.settings, request_timeout=seconds, connect_timeout=seconds, max_retries=0)
        return SalesforceClient(self.new_session(settings), self.auth, api_version=self.api_version)

    def with_request_timeout(self, seconds: float) -> SalesforceClient:
        """A client with the same token that waits at most `seconds` for an answer, or less if it was set to less."""
        shorter = min(seconds, self.session.settings.request_timeout)
        session = self.new_session(replace(self.session.settings, request_timeout=shorter))
        return SalesforceClient(session, self.auth, api_version=self._chosen_version)

    def stoppable(self, stop: Stop) -> SalesforceClient:
        """A client whose requests end when `stop` is set."""
        return SalesforceClient(self.new_session(stop=stop), self.auth, api_version=self.api_version)

    def introduction(self) -> str:
        """Who this client is, in one sentence: user, org, API version, calls left. Raises what logging in raises."""
        token = self.auth.token
        names = self._names(token)
        left = (
            f"{self.usage.left:,} of {self.usage.limit:,} API calls left" if self.usage.limit else "API calls unknown"
        )
        return (
            f"Connected to {names['Organization']} at {token.instance} as {names['User']}, API version {self.api_version}, "
            f"{left}."
        )

    def _names(self, token: Token) -> dict[str, str]:
        """What the org and the user are called, or their ids where the user may not read that."""
        names = {"Organization": f"org {token.org_id}", "User": f"user {token.user_id}"}
        for sobject, name_field, record_id in (
            ("Organization", "Name", token.org_id),
            ("User", "Username", token.user_id),
        ):
            with suppress(QueryError, AccessError, NotFoundError):
                found = list(self.query(f"SELECT {name_field} FROM {sobject} WHERE Id = :id", {"id": record_id}))
                if found and (name := found[0].get(name_field)):
                    names[sobject] = f"{name} ({record_id})"
        return names

    @property
    def usage(self) -> ApiUsage:
        return self.session.usage

    @property
    def ahead(self) -> timedelta:
        """How far the org's clock is ahead of this machine's; zero before the first answer."""
        return self.session.clock.ahead

    @property
    def instance(self) -> Origin:
        """The verified instance. Logs in if that has not happened yet."""
        return self.auth.instance

    @cached_property
    def api_version(self) -> str:
        """The connection's version, or else the newest that the org offers, capped at the newest we tested."""
        if self._chosen_version:
            return self._chosen_version
        offered = sorted(self.versions(), key=float)
        tested = [version for version in offered if float(version) <= float(NEWEST_TESTED_VERSION)]
        if not tested:
            raise ConfigurationError(
                f"The org offers no API version up to {NEWEST_TESTED_VERSION}, the newest that this package was tested with: set "
                f"api_version in the connection's extra to one that it offers, such as {offered[0]}."
            )
        return tested[-1]

    def url(self, path: str, *, api_version: str | None = None) -> str:
        """The absolute URL of a resource below `/services/data/vXX.X`."""
        return f"{self.instance}/services/data/v{api_version or self.api_version}{path}"

    def resolve(self, link: str, *, api_version: str | None = None) -> str:
        """The absolute URL of a link that the org sent. Raises UntrustedHostError when it leaves the instance."""
        return resolve_link(link, instance=self.instance, api_version=api_version or self.api_version)

    def request(self, method: str, path: str, *, api_version: str | None = None, **options: Any) -> requests.Response:
        """Send a signed request to a resource path (`/limits`), or to an absolute URL made by `url` or `resolve`."""
        target = path if "://" in path else self.url(path, api_version=api_version)
        return self.session.request(method, target, **options)

    def versions(self) -> list[str]:
        """API versions that the org offers, such as `["41.0", ..., "68.0"]` (salesforce-protocol.md#api-versions)."""
        answer = json_of(self.session.request("GET", f"{self.instance}/services/data"))
        try:
            offered = [str(entry["version"]) for entry in answer]
            if offered and all(float(version) for version in offered):
                return offered
        except (TypeError, KeyError, ValueError):
            pass
        raise UnexpectedResponseError(
            f"{self.instance} does not list its API versions as Salesforce does. Is it the org's My Domain? If so, set "
            f"api_version in the connection's extra, such as {NEWEST_TESTED_VERSION}."
        )

    def query_pages(
        self,
        soql: str,
        *,
        include_deleted: bool = False,
        read: JsonReader = json_object_of,
    ) -> Iterator[QueryPage]:
        """Pages of a REST query as Salesforce sends them; see `queries.query_pages`."""
        return query_pages(self, soql, include_deleted=include_deleted, read=read)

    def query(
        self, soql: str, bind: Mapping[str, Any] | None = None, include_deleted: bool = False
    ) -> Iterator[Record]:
        """Records of a REST query, one by one, as plain dicts: no `attributes`, parents nested, children as lists."""
        for page in self.query_pages(soql_text.bind(soql, bind), include_deleted=include_deleted):
            yield from (plain(record) for record in page.records)

    def count(self, counting_soql: str, *, include_deleted: bool = False) -> int:
        """The number that a `SELECT COUNT() FROM ...` query answers."""
        page = next(iter(self.query_pages(counting_soql, include_deleted=include_deleted)))
        return len(page.records) if page.total_size is None else page.total_size

    def describe(self, sobject: str) -> JsonObject:
        """The object's description as the Run As user may see it (salesforce-protocol.md#describe); kept for the client's life.

        Raises NotFoundError for objects that do not exist or are hidden.
        """
        if not re.fullmatch(r"\w+", sobject):
            raise QueryError(
                f"{sobject!r} is not the name of an object: use its API name, such as Account or Invoice__c."
            )
        key = sobject.lower()
        if key not in self._describes:
            answer = self._describe(sobject)
            if not _is_describe(answer):
                raise UnexpectedResponseError(
                    f"{self.instance} does not describe {sobject} as Salesforce does. Is it the org's My Domain?",
                    step=MY_DOMAIN,
                )
            self._describes[key] = answer
        return self._describes[key]

    def _describe(self, sobject: str) -> JsonObject:
        try:
            return json_object_of(self.request("GET", f"/sobjects/{sobject}/describe"))
        except NotFoundError as refusal:
            # The same answer comes to every resource of a version that the org does not have.
            if self.api_version not in (offered := self.versions()):
                raise ConfigurationError(
                    f"The org does not offer API version {self.api_version}: set api_version in the connection's extra to one "
                    f"that it does, such as {max(offered, key=float)}, or leave it empty."
                ) from None
            refusal.message = f"{refusal.message} {self._objects_like(sobject)}".rstrip()
            raise

    def _objects_like(self, sobject: str) -> str:
        """A question that names objects which are spelt nearly so; empty when there is one of this name."""
        with suppress(SalesforceError, KeyError, TypeError):
            names = [str(each["name"]) for each in self.describe_global()["sobjects"]]
            if sobject.lower() not in map(str.lower, names):
                return did_you_mean(sobject, names)
        return ""

    def describe_global(self) -> JsonObject:
        """All objects that the Run As user may see (salesforce-protocol.md#describe)."""
        return json_object_of(self.request("GET", "/sobjects"))

    def limits(self) -> JsonObject:
        """The org's limits, accurate within 5 minutes; needs View Setup and Configuration.

        Source: salesforce-protocol.md#limits-and-counts.
        """
        return json_object_of(self.request("GET", "/limits"))

    def record_count(self, sobject: str) -> int:
        """The object's row count, cached by Salesforce; excludes deleted and archived rows.

        Source: salesforce-protocol.md#limits-and-counts.
        """
        answer = json_object_of(self.request("GET", "/limits/recordCount", params={"sObjects": sobject}))
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            counts = {str(entry["name"]).lower(): int(entry["count"]) for entry in answer["sObjects"]}
            return counts[sobject.lower()]
        raise UnexpectedResponseError(f"Salesforce keeps no record count for {sobject}: count its records by a query.")

    def get_deleted(self, sobject: str, start: datetime, end: datetime) -> JsonObject:
        """Ids deleted within [start, end): `deletedRecords`, `earliestDateAvailable`, `latestDateCovered`.

        Source: salesforce-protocol.md#limits-and-counts.
        """
        params = {"start": soql_text.datetime_literal(start), "end": soql_text.datetime_literal(end)}
        return json_object_of(self.request("GET", f"/sobjects/{sobject}/deleted/", params=params))

    def user_info(self) -> JsonObject:
        """Who the Run As user is: `preferred_username`, `organization_id`, ... (salesforce-protocol.md#oauth-endpoints)."""
        return json_object_of(self.request("GET", f"{self.instance}/services/oauth2/userinfo"))


def _is_describe(answer: JsonObject) -> bool:
    fields = answer.get("fields")
    return bool(answer.get("name")) and isinstance(fields, list) and all(map(_is_described_field, fields))


def _is_described_field(field: object) -> bool:
    return isinstance(field, Mapping) and bool(field.get("name") and field.get("type"))
