"""The OAuth 2.0 client-credentials exchange, as a `requests` auth class.

Source: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration"
(salesforce-protocol.md#client-credentials).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.auth import AuthBase

from airflow_sfcc.errors import MY_DOMAIN, AuthenticationError, UnexpectedResponseError
from airflow_sfcc.salesforce.instance import InstanceRule, Origin, require_same_origin
from airflow_sfcc.salesforce.responses import parsed
from airflow_sfcc.salesforce.token_errors import token_error
from airflow_sfcc.salesforce.transport import Transport

TOKEN_PATH = "/services/oauth2/token"  # noqa: S105


@dataclass(frozen=True)
class Credentials:
    """Where to log in, and as whom. The secret is left out of `repr`."""

    login: Origin
    consumer_key: str
    consumer_secret: str = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A token and the verified instance that it may be sent to. The token is left out of `repr`.

    `identity_url` ends in `/<org id>/<user id>` (salesforce-protocol.md#token-response); the answer holds no expiry.
    """

    access_token: str = field(repr=False)
    instance: Origin
    identity_url: str

    @property
    def org_id(self) -> str | None:
        return self._identity_part(-2)

    @property
    def user_id(self) -> str | None:
        return self._identity_part(-1)

    def _identity_part(self, index: int) -> str | None:
        parts = self.identity_url.rstrip("/").split("/id/")[-1].split("/")
        return parts[index] if len(parts) == 2 else None


class _NoAuth(AuthBase):
    """Keeps `requests` from adding credentials of its own (.netrc) to the token request."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class ClientCredentialsAuth(AuthBase):
    """Signs requests to the verified instance, and to nothing else.

    The token is fetched at first use and kept. A 401 renews it once and repeats the request; when several threads meet
    a 401 with the same token, one of them fetches and the others take what it got. The token is never revoked: other
    processes may have been given the same one (salesforce-protocol.md#token-lifetime).

    `on_token` is told each new access token before it is used, so that a caller can mask it in its logs.
    """

    def __init__(
        self,
        credentials: Credentials,
        rule: InstanceRule,
        transport: Transport,
        *,
        on_token: Callable[[str], None] | None = None,
    ) -> None:
        self._credentials = credentials
        self._rule = rule
        self._transport = transport
        self._on_token = on_token
        self._token: Token | None = None
        # Reentrant: a signal handler of the same thread may come in between (a killed task aborts its job).
        self._lock = threading.RLock()

    @property
    def token(self) -> Token:
        """The current token, fetched if there is none yet. Raises AuthenticationError or UntrustedHostError."""
        with self._lock:
            if self._token is None:
                self._token = self._fetch()
            return self._token

    @property
    def instance(self) -> Origin:
        return self.token.instance

    def renew(self, refused: Token) -> Token:
        """A token other than `refused`: a new one, unless another thread has fetched one already."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = self._fetch()
            return self._token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self.token
        self._sign(request, token)

        def renew_once(response: requests.Response, **send_options: Any) -> requests.Response:
            return (
                self._repeat_with_new_token(response, token, send_options) if response.status_code == 401 else response
            )

        request.register_hook("response", renew_once)  # type: ignore[no-untyped-call]
        return request

    def _sign(self, request: requests.PreparedRequest, token: Token) -> None:
        require_same_origin(request.url or "", token.instance)
        request.headers["Authorization"] = f"Bearer {token.access_token}"

    def _repeat_with_new_token(
        self, refused: requests.Response, token: Token, send_options: dict[str, Any]
    ) -> requests.Response:
        _ = refused.content  # drained, so that the connection can be used again
        refused.close()
        request = refused.request.copy()
        self._sign(request, self.renew(token))
        response: requests.Response = refused.connection.send(request, **send_options)
        response.history.append(refused)
        response.request = request
        return response

    def _fetch(self) -> Token:
        credentials = self._credentials
        response = self._transport.post(
            f"{credentials.login}{TOKEN_PATH}",
            data={
                "grant_type": "client_credentials",
                "client_id": credentials.consumer_key,
                "client_secret": credentials.consumer_secret,
            },
            headers={"Accept": "application/json"},
            auth=_NoAuth(),
        )
        if response.status_code != 200:
            raise token_error(response, credentials.login)
        token = self._read_token(response)
        if self._on_token:
            self._on_token(token.access_token)
        return token

    def _read_token(self, response: requests.Response) -> Token:
        login = self._credentials.login
        try:
            answer = parsed(response)
            access_token, instance_url = answer["access_token"], answer["instance_url"]
        except (ValueError, KeyError, TypeError):
            raise UnexpectedResponseError(
                f"{login} answered the token request with something that holds no access_token and instance_url: is it "
                "a Salesforce My Domain host?"
            ) from None
        if not (isinstance(instance_url, str) and _fits_a_header(access_token)):
            raise AuthenticationError(
                f"{login} answered the token request with a token that cannot be used: is it a Salesforce My Domain host?",
                step=MY_DOMAIN,
            )
        return Token(access_token, self._rule.verify(instance_url), str(answer.get("id") or ""))


def _fits_a_header(token: object) -> bool:
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable()
