"""The Salesforce client: one object, one org, every call the product makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
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
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.redaction import printable, register_secret
from airflow_sfcc.salesforce import soql as soql_text
from airflow_sfcc.salesforce.api import NEWEST_TESTED_VERSION, Api, ApiVersion
from airflow_sfcc.salesforce.auth import Credentials, LoginCredentials, Token, TokenAuth, Tokens
from airflow_sfcc.salesforce.bulk import BulkQueryJobs
from airflow_sfcc.salesforce.instance import InstanceRule, Origin, login_origin
from airflow_sfcc.salesforce.jwt_bearer import is_pem, key_credentials, require_no_settings
from airflow_sfcc.salesforce.org_clock import OrgClock
from airflow_sfcc.salesforce.query import JsonReader, QueryPage, Record, plain, query_pages
from airflow_sfcc.salesforce.responses import JsonObject, count_of, json_object_of
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.salesforce.transport import Transport, TransportOptions
from airflow_sfcc.salesforce.usage import ApiUsage, Tally
from airflow_sfcc.wording import did_you_mean


def connect(
    host: str,
    consumer_key: str,
    consumer_secret: str,
    *,
    username: str | None = None,
    audience: str | None = None,
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

    With a PEM private key in place of the secret, it logs in as `username` by the JWT bearer flow; `audience` is the `aud`
    claim (None: by the kind of host).

    Raises ConfigurationError for settings that cannot work.
    """
    if not (consumer_key and consumer_secret):
        raise _missing_credentials(consumer_key)
    login = login_origin(host, port=port, scheme=scheme, allow_http=allow_http)
    rule = InstanceRule(login, frozenset(name.strip().lower() for name in allowed_hosts), allow_http)
    credentials: LoginCredentials
    if is_pem(consumer_secret):
        credentials = key_credentials(login, consumer_key, consumer_secret, username, audience, on_token)
    else:
        require_no_settings(username, audience)
        register_secret(consumer_secret, user=consumer_key)
        credentials = Credentials(login, consumer_key, consumer_secret)
    tokens = Tokens(credentials, rule, on_token)
    session = Transport(transport, usage=ApiUsage(api_call_budget), clock=OrgClock(may_be_moved=login.is_loopback))
    return SalesforceClient(Api(session, tokens, ApiVersion(normal_version(api_version))))


def _missing_credentials(consumer_key: str) -> ConfigurationError:
    missing = "consumer secret (password)" if consumer_key else "consumer key (login)"
    return ConfigurationError(
        f"The connection has no {missing}: copy it from the app's settings.", step=CONSUMER_KEY_AND_SECRET
    )


def normal_version(version: str | float | None) -> str | None:
    """`68.0` for 68, "68", "v68.0"; None for None and "". Raises ConfigurationError for anything else."""
    if version is None or version == "":
        return None
    found = re.fullmatch(r"v?([0-9]{2,3})(\.0)?", str(version).strip())
    if not found:
        raise ConfigurationError(
            f"api_version {version!r} is not a Salesforce API version such as {NEWEST_TESTED_VERSION}."
        )
    return f"{found[1]}.0"


class SalesforceClient:
    """Calls one org's REST and Bulk APIs. Safe to share between threads; made by `connect`.

    `api` sends requests, `bulk` has the query jobs.
    """

    def __init__(self, api: Api, describes: dict[str, JsonObject] | None = None) -> None:
        self.api = api
        self.bulk = BulkQueryJobs(api)
        self._describes: dict[str, JsonObject] = {} if describes is None else describes

    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        stop: Stop | None = None,
        tally: Tally | None = None,
    ) -> SalesforceClient:
        """A client for the same org, with the same token, usage and describes, and other limits.

        `timeout`: seconds at most for connecting, for each silence and for each whole response that is not a stream; logging
        in included. `max_retries`: attempts after the first one. `stop`: ends its requests when it is set; such a client has
        connections of its own. `tally`: counts its calls.
        """
        api = self.api.with_options(timeout=timeout, max_retries=max_retries, stop=stop, tally=tally)
        return SalesforceClient(api, self._describes)

    @property
    def session(self) -> Transport:
        return self.api.session

    @property
    def auth(self) -> TokenAuth:
        return self.api.auth

    @property
    def usage(self) -> ApiUsage:
        return self.session.usage

    @property
    def ahead(self) -> timedelta:
        """How far the org's clock is ahead of this machine's; zero before the first response."""
        return self.session.clock.ahead

    @property
    def now(self) -> datetime:
        """The org's present time, as far as its responses tell; in UTC."""
        return datetime.now(timezone.utc) + self.ahead

    @property
    def instance(self) -> Origin:
        """The verified instance. Logs in if that has not happened yet."""
        return self.api.instance

    @property
    def api_version(self) -> str:
        """The connection's version, or else the newest that the org offers, capped at the newest we tested."""
        return self.api.version

    def request(self, method: str, path: str, *, api_version: str | None = None, **options: Any) -> requests.Response:
        """Send a signed request to a resource path (`/limits`), or to an absolute URL of the instance."""
        return self.api.request(method, path, api_version=api_version, **options)

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
                    names[sobject] = f"{printable(str(name))} ({record_id})"
        return names

    def versions(self) -> list[str]:
        """API versions that the org offers, such as `["41.0", ..., "68.0"]`."""
        return self.api.versions()

    def query_pages(
        self, soql: str, *, include_deleted: bool = False, read: JsonReader = json_object_of
    ) -> Iterator[QueryPage]:
        """Pages of a REST query as Salesforce sends them; see `query.query_pages`."""
        return query_pages(self.api, soql, include_deleted=include_deleted, read=read)

    def query(
        self, soql: str, bind: Mapping[str, Any] | None = None, include_deleted: bool = False
    ) -> Iterator[Record]:
        """Records of a REST query, one by one, as plain dicts: no `attributes`, parents nested, children as lists."""
        for page in self.query_pages(soql_text.bind(soql, bind), include_deleted=include_deleted):
            yield from (plain(record) for record in page.records)

    def count(self, counting_soql: str, *, include_deleted: bool = False) -> int:
        """The number that a `SELECT COUNT() FROM ...` query returns."""
        page = next(iter(self.query_pages(counting_soql, include_deleted=include_deleted)))
        return len(page.records) if page.total_size is None else page.total_size

    def describe(self, sobject: str) -> JsonObject:
        """The object's description as the Run As user may see it (salesforce-protocol.md#describe); kept for the client's life.

        Raises NotFoundError for objects that do not exist or are hidden.
        """
        require_name(sobject)
        key = sobject.lower()
        if key not in self._describes:
            body = self._describe(sobject)
            if not _is_describe(body, sobject):
                raise UnexpectedResponseError(
                    f"{self.instance} does not describe {sobject} as Salesforce does. Is it the org's My Domain?",
                    step=MY_DOMAIN,
                )
            self._describes[key] = body
        return self._describes[key]

    def _describe(self, sobject: str) -> JsonObject:
        try:
            return json_object_of(self.request("GET", f"/sobjects/{sobject}/describe"))
        except NotFoundError as problem:
            # The same response comes from every resource of a version that the org does not have.
            offered: list[str] = []
            with suppress(AccessError, NotFoundError, UnavailableError, UnexpectedResponseError):
                offered = self.versions()
            if offered and self.api_version not in offered:
                raise ConfigurationError(
                    f"The org does not offer API version {self.api_version}: set api_version in the connection's extra to one "
                    f"that it does, such as {max(offered, key=float)}, or leave it empty."
                ) from None
            problem.message = f"{problem.message} {self._objects_like(sobject)}".rstrip()
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
        """The org's limits, accurate within 5 minutes; needs View Setup and Configuration
        (salesforce-protocol.md#limits-and-counts)."""
        return json_object_of(self.request("GET", "/limits"))

    def record_count(self, sobject: str) -> int:
        """The object's row count, cached by Salesforce; excludes deleted and archived rows
        (salesforce-protocol.md#limits-and-counts)."""
        body = json_object_of(self.request("GET", "/limits/recordCount", params={"sObjects": require_name(sobject)}))
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            counts = {str(entry["name"]).lower(): count_of(entry["count"]) for entry in body["sObjects"]}
            return counts[sobject.lower()]
        raise UnexpectedResponseError(f"Salesforce keeps no record count for {sobject}: count its records by a query.")

    def get_deleted(self, sobject: str, start: datetime, end: datetime) -> JsonObject:
        """Ids deleted within [start, end): `deletedRecords`, `earliestDateAvailable`, `latestDateCovered`
        (salesforce-protocol.md#limits-and-counts)."""
        params = {"start": soql_text.datetime_literal(start), "end": soql_text.datetime_literal(end)}
        return json_object_of(self.request("GET", f"/sobjects/{require_name(sobject)}/deleted/", params=params))

    def user_info(self) -> JsonObject:
        """Who the Run As user is: `preferred_username`, `organization_id`, ... (salesforce-protocol.md#oauth-endpoints)."""
        return json_object_of(self.request("GET", f"{self.instance}/services/oauth2/userinfo"))


def require_name(sobject: str) -> str:
    """`sobject`, which goes into URLs and paths. Raises QueryError when it is no name of an object."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", sobject):
        raise QueryError(f"{sobject!r} is not the name of an object: use its API name, such as Account or Invoice__c.")
    return sobject


def _is_describe(body: JsonObject, sobject: str) -> bool:
    """Whether it is a description of this very object, whose names can be trusted to be names."""
    fields = body.get("fields")
    is_named = str(body.get("name")).lower() == sobject.lower()
    return is_named and isinstance(fields, list) and all(map(_is_described_field, fields))


def _is_described_field(field: object) -> bool:
    if not isinstance(field, Mapping):
        return False
    has_names = all(
        isinstance(field.get(key), str) and re.fullmatch(r"\w{1,255}", field[key]) for key in ("name", "type")
    )
    return has_names and all(_is_size(field.get(key)) for key in ("length", "precision", "scale"))


def _is_size(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31)
