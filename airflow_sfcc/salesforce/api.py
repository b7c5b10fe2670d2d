"""One org's API: a session, a token and a version make requests, URLs and links."""

from __future__ import annotations

import re
from typing import Any

import requests

from airflow_sfcc.errors import ConfigurationError, UnexpectedResponseError
from airflow_sfcc.salesforce.auth import TokenAuth, Tokens
from airflow_sfcc.salesforce.instance import Origin, resolve_link
from airflow_sfcc.salesforce.responses import json_of
from airflow_sfcc.salesforce.stopping import Stop
from airflow_sfcc.salesforce.transport import Transport
from airflow_sfcc.salesforce.usage import Tally

NEWEST_TESTED_VERSION = "68.0"
"""Winter '27."""

_VERSION = re.compile(r"[0-9]{2,3}\.[0-9]")


class ApiVersion:
    """The API version of one connection: set in its extra, or else found by the first request that needs it."""

    def __init__(self, number: str | None = None) -> None:
        self.number = number


class Api:
    """Sends requests to one org. Safe to share between threads."""

    def __init__(self, session: Transport, tokens: Tokens, version: ApiVersion) -> None:
        self.session = session
        self.auth = TokenAuth(tokens, session)
        session.auth = self.auth
        self._version = version

    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        stop: Stop | None = None,
        tally: Tally | None = None,
    ) -> Api:
        """The same API with other limits; see SalesforceClient.with_options."""
        settings = self.session.settings.limited(timeout, max_retries)
        return Api(self.session.derived(settings, stop, tally), self.auth.tokens, self._version)

    @property
    def instance(self) -> Origin:
        """The verified instance. Logs in if that has not happened yet."""
        return self.auth.instance

    @property
    def version(self) -> str:
        """The connection's version, or else the newest that the org offers, capped at the newest we tested."""
        if self._version.number is None:
            self._version.number = self._newest_version()
        return self._version.number

    def _newest_version(self) -> str:
        offered = sorted(self.versions(), key=float)
        tested = [version for version in offered if float(version) <= float(NEWEST_TESTED_VERSION)]
        if not tested:
            raise ConfigurationError(
                f"The org offers no API version up to {NEWEST_TESTED_VERSION}, the newest that this package was tested with: set "
                f"api_version in the connection's extra to one that it offers, such as {offered[0]}."
            )
        return tested[-1]

    def versions(self) -> list[str]:
        """API versions that the org offers, such as `["41.0", ..., "68.0"]` (salesforce-protocol.md#api-versions)."""
        body = json_of(self.session.request("GET", f"{self.instance}/services/data"))
        try:
            offered = [str(entry["version"]) for entry in body]
            if offered and all(map(_VERSION.fullmatch, offered)):
                return offered
        except (TypeError, KeyError):
            pass
        raise UnexpectedResponseError(
            f"{self.instance} does not list its API versions as Salesforce does. Is it the org's My Domain? If so, set "
            f"api_version in the connection's extra, such as {NEWEST_TESTED_VERSION}."
        )

    def url(self, path: str, *, api_version: str | None = None) -> str:
        """The absolute URL of a resource below `/services/data/vXX.X`."""
        return f"{self.instance}/services/data/v{api_version or self.version}{path}"

    def resolve(self, link: str, *, api_version: str | None = None) -> str:
        """The absolute URL of a link that the org sent. Raises UntrustedHostError when it leaves the instance."""
        return resolve_link(link, instance=self.instance, api_version=api_version or self.version)

    def request(self, method: str, path: str, *, api_version: str | None = None, **options: Any) -> requests.Response:
        """Send a signed request to a resource path (`/limits`), or to an absolute URL made by `url` or `resolve`."""
        target = path if "://" in path else self.url(path, api_version=api_version)
        return self.session.request(method, target, **options)
