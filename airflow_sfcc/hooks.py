"""The hook: an Airflow connection becomes a Salesforce client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk.log import mask_secret

from airflow_sfcc._airflow.connection import CONN_TYPE, DEFAULT_CONN_ID, client_for, no_object, unknown_connection
from airflow_sfcc.errors import ConfigurationError, SfccError
from airflow_sfcc.provider import EXTRA_FIELDS, FORM
from airflow_sfcc.salesforce import SalesforceClient, soql
from airflow_sfcc.salesforce.bulk import BulkJob
from airflow_sfcc.salesforce.query import Record
from airflow_sfcc.salesforce.responses import JsonObject, raise_for_error
from airflow_sfcc.salesforce.transport import Transport


class SalesforceClientCredentialsHook(HttpHook):
    """Talks to one Salesforce org with the OAuth 2.0 client-credentials flow.

    `run()` and `get_conn()` work as in the HTTP provider's HttpHook: endpoints are relative to the `instance_url` that
    came with the token (`/services/data/v68.0/limits`), and every request is signed, retried and counted.

    Salesforce's other APIs (Apex REST, Tooling, limits) are open by them, and `HttpOperator(http_conn_id="sfcc_default")` works.

    :param salesforce_conn_id: a connection of type `sfcc`: My Domain as host, consumer key as login, consumer secret as
        password (see docs/salesforce-setup.md).
    :param method: the HTTP method that `run()` uses.
    :param http_conn_id: another name for `salesforce_conn_id`.
    :param tcp_options: `tcp_keep_alive` and the like of HttpHook; connections are kept alive as the system is set up.
    """

    conn_name_attr = "salesforce_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = "Salesforce (Client Credentials)"

    def __init__(
        self,
        salesforce_conn_id: str = DEFAULT_CONN_ID,
        *,
        method: str = "GET",
        http_conn_id: str | None = None,
        auth_type: Any = None,
        adapter: Any = None,
        **tcp_options: Any,
    ) -> None:
        if auth_type is not None or adapter is not None:
            raise ConfigurationError(
                "auth_type and adapter cannot be chosen with a connection of type 'sfcc': its requests are signed with the "
                "org's token."
            )
        conn_id = http_conn_id or salesforce_conn_id
        super().__init__(method=method, http_conn_id=conn_id, **{**tcp_options, "tcp_keep_alive": False})
        self.salesforce_conn_id = conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The form's standard fields, for Airflow 3.1, which asks the hook for them."""
        return {key.replace("-", "_"): value for key, value in FORM.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The form's fields for the extra, for Airflow 3.1, which puts stand-ins for these packages where they are missing."""
        from wtforms import BooleanField, StringField  # type: ignore[import-untyped,unused-ignore]

        return {
            name: (BooleanField if "boolean" in about["schema"]["type"] else StringField)(
                about["label"], description=about["description"]
            )
            for name, about in EXTRA_FIELDS.items()
        }

    @cached_property
    def client(self) -> SalesforceClient:
        """The client behind this hook. Raises ConfigurationError for settings that cannot work, or no such connection."""
        from airflow.providers.common.compat.sdk import AirflowNotFoundException

        try:
            connection = self.get_connection(self.salesforce_conn_id)
        except AirflowNotFoundException:
            raise unknown_connection(self.salesforce_conn_id) from None
        try:
            extra = connection.extra_dejson
        except ValueError:
            raise no_object() from None
        return client_for(connection, extra, on_token=mask_secret)

    def get_conn(self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None) -> Transport:
        """A `requests.Session` that signs for the verified instance and for nothing else. Logs in if need be.

        Of `extra_options`, `proxies`, `stream`, `verify` and `cert` are the session's; without `verify`, the connection's
        holds. Redirects are never followed.
        """
        self.base_url = str(self.client.instance)
        self._base_url_initialized = True
        self.merged_extra = dict(extra_options or {})
        session = self.client.with_options().session
        for name in ("proxies", "stream", "verify", "cert"):
            if name in self.merged_extra:
                setattr(session, name, self.merged_extra[name])
        session.headers.update(headers or {})
        return session

    def url_from_endpoint(self, endpoint: str | None) -> str:
        """The absolute URL of an endpoint on the instance."""
        return f"{self.client.instance}/{(endpoint or '').lstrip('/')}"

    def check_response(self, response: requests.Response) -> None:
        """Raise the SalesforceError that an error response stands for."""
        raise_for_error(response)

    def query(
        self, soql: str, bind: Mapping[str, Any] | None = None, include_deleted: bool = False
    ) -> Iterator[Record]:
        """Records of a REST query one by one, as plain dicts; parents are nested, children are lists.

        `bind` fills `:names` in the query with quoted literals; `include_deleted` reads by queryAll.
        """
        return self.client.query(soql, bind, include_deleted)

    def query_all(
        self, soql: str, bind: Mapping[str, Any] | None = None, include_deleted: bool = False
    ) -> list[Record]:
        """All records of a REST query at once; for results that fit memory."""
        return list(self.query(soql, bind, include_deleted))

    def describe(self, sobject: str) -> JsonObject:
        """The object as the Run As user may see it."""
        return self.client.describe(sobject)

    def describe_global(self) -> JsonObject:
        """All objects that the Run As user may see."""
        return self.client.describe_global()

    def limits(self) -> JsonObject:
        """The org's limits."""
        return self.client.limits()

    def record_count(self, sobject: str) -> int:
        """The object's cached row count."""
        return self.client.record_count(sobject)

    def get_deleted(self, sobject: str, start: datetime, end: datetime) -> JsonObject:
        """Ids deleted within the window; see SalesforceClient.get_deleted."""
        return self.client.get_deleted(sobject, start, end)

    def bulk_query(self, query: str, bind: Mapping[str, Any] | None = None, include_deleted: bool = False) -> BulkJob:
        """Submit a Bulk API 2.0 query job; `client.bulk` reads its results."""
        return self.client.bulk.create(soql.bind(query, bind), include_deleted=include_deleted)

    def get_bulk_job(self, job_id: str) -> BulkJob:
        """The job's state."""
        return self.client.bulk.get(job_id)

    def abort_bulk_job(self, job_id: str) -> BulkJob:
        """Abort a job that is not finished."""
        return self.client.bulk.abort(job_id)

    def delete_bulk_job(self, job_id: str) -> None:
        """Delete a finished job with its results."""
        self.client.bulk.delete(job_id)

    def test_connection(self) -> tuple[bool, str]:
        """Whether it works, and in one sentence the connected user and org, or the Setup step to fix."""
        try:
            return True, self.client.introduction()
        except SfccError as problem:
            return False, str(problem)
        except Exception as problem:
            # The text of an unforeseen exception may hold anything, so only its type is shown.
            return False, (
                f"The connection could not be tested ({type(problem).__name__}). Save it and run `airflow-sfcc check` with its "
                "id where Airflow runs: that goes step by step."
            )
