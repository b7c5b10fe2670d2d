"""Logging in to an org, as a `requests` auth class: by the client credentials flow here, by JWT bearer in `jwt_bearer`.

Source: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration"
(salesforce-protocol.md#client-credentials).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

import requests
from requests.auth import AuthBase

from airflow_sfcc.errors import (
    MY_DOMAIN,
    AuthenticationError,
    StoppedError,
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.redaction import register_secret
from airflow_sfcc.salesforce.error_tables import TOKEN_ERRORS, TokenError
from airflow_sfcc.salesforce.instance import InstanceRule, Origin, require_same_origin
from airflow_sfcc.salesforce.org_clock import TOLERATED
from airflow_sfcc.salesforce.responses import parsed, says_expired, token_error
from airflow_sfcc.salesforce.transport import Transport

TOKEN_PATH = "/services/oauth2/token"  # noqa: S105

_CLOCK_ATTEMPTS = 3
"""Logins with a signed time: the second goes by the `Date` of the first response, the third by one on which two agree."""

_ID = re.compile(r"[A-Za-z0-9]{1,18}")
"""Of an org or a user: it is shown, logged, and written into manifests."""

_SHORT_ID = 15
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

LOGIN_SECONDS = 60.0
"""The longest `request_timeout` and `response_timeout` of a login; Salesforce takes about a second."""


class LoginCredentials(Protocol):
    """Where to log in, and with what. `errors` explains what the token endpoint says against it."""

    @property
    def login(self) -> Origin: ...

    @property
    def errors(self) -> Sequence[TokenError]: ...

    def form(self, now: datetime) -> dict[str, str]:
        """The fields of the token request; `now` is the org's time."""


@dataclass(frozen=True)
class Credentials:
    """A consumer key and its secret, for the client credentials flow. The secret is left out of `repr`."""

    login: Origin
    consumer_key: str
    consumer_secret: str = field(repr=False)

    @property
    def errors(self) -> Sequence[TokenError]:
        return TOKEN_ERRORS

    def form(self, now: datetime) -> dict[str, str]:
        register_secret(self.consumer_secret, user=self.consumer_key)
        return {
            "grant_type": "client_credentials",
            "client_id": self.consumer_key,
            "client_secret": self.consumer_secret,
        }


@dataclass(frozen=True)
class Token:
    """A token and the verified instance that it may be sent to. The token is left out of `repr`.

    `identity_url` ends in `/<org id>/<user id>`; the response holds no expiry (salesforce-protocol.md#token-response).
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
        return _whole_id(parts[index]) if len(parts) == 2 and _ID.fullmatch(parts[index]) else None


def _whole_id(record_id: str) -> str:
    """The id in 18 characters, as data has it. Salesforce's documents show identity URLs with ids of 15, to which three are
    added that say which letters are capitals (Object Reference, "ID Field Type")."""
    if len(record_id) != _SHORT_ID:
        return record_id
    fives = (record_id[start : start + 5] for start in range(0, _SHORT_ID, 5))
    return record_id + "".join(
        _CAPITALS[sum(letter.isupper() << place for place, letter in enumerate(five))] for five in fives
    )


class _NoAuth(AuthBase):
    """Keeps `requests` from adding credentials of its own (.netrc) to the token request."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Login:
    """A login that is under way in one thread; others wait for its token."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.token: Future[Token] = Future()


class Tokens:
    """The token of one connection, shared by the sessions of all its clients.

    It is fetched at first use and kept. When several threads need a new one, one of them fetches and the others take what it
    got. It is never revoked: other processes may have been given the same one (salesforce-protocol.md#token-lifetime).
    No lock is held while a login is under way, and nobody waits for it longer than for a request of their own.

    `on_token` gets each new access token before it is used, so that a caller can mask it in its logs.
    """

    def __init__(
        self, credentials: LoginCredentials, rule: InstanceRule, on_token: Callable[[str], None] | None = None
    ) -> None:
        self.credentials = credentials
        self.rule = rule
        self._on_token = on_token
        self._token: Token | None = None
        self._login: _Login | None = None
        # Reentrant: a signal handler of the same thread may come in between (a killed task aborts its job).
        self._lock = threading.RLock()

    def get(self, session: Transport, refused: Token | None = None) -> Token:
        """The current token, or another one when Salesforce `refused` it; `session` logs in where that is necessary."""
        while True:
            with self._lock:
                if self._token is not None and self._token != refused:
                    return self._token
                login = self._login
                leads = login is None or login.thread == threading.get_ident()
                if login is None or leads:
                    login = self._login = _Login()
            if leads:
                return self._lead(login, session)
            try:
                return login.token.result(session.settings.request_timeout)
            except StoppedError:
                session.stop.check()  # else the other thread was stopped, and this one logs in itself
            except FutureTimeoutError:
                raise UnavailableError(
                    f"{self.credentials.login} did not finish a login within {session.settings.request_timeout:,.0f} s. Try "
                    "again later."
                ) from None

    def _lead(self, login: _Login, session: Transport) -> Token:
        try:
            token = self._fetch(session)
        except BaseException as problem:
            self._end(login, None)
            login.token.set_exception(problem)
            raise
        self._end(login, token)
        login.token.set_result(token)
        return token

    def _end(self, login: _Login, token: Token | None) -> None:
        with self._lock:
            self._token = token or self._token
            if self._login is login:
                self._login = None

    def _fetch(self, session: Transport) -> Token:
        response = self._request_token(session.derived(session.settings.limited(LOGIN_SECONDS)))
        if response.status_code != 200:
            raise token_error(response, self.credentials.login, self.credentials.errors)
        token = self._read_token(response)
        register_secret(token.access_token)
        if self._on_token:
            self._on_token(token.access_token)
        return token

    def _request_token(self, session: Transport) -> requests.Response:
        """The token endpoint's response. What was signed by a wrong clock is signed again, by the clock that responses tell."""
        for attempt in range(_CLOCK_ATTEMPTS):
            ahead = session.clock.ahead
            response = session.post(
                f"{self.credentials.login}{TOKEN_PATH}",
                data=self.credentials.form(datetime.now(timezone.utc) + ahead),
                headers={"Accept": "application/json"},
                auth=_NoAuth(),
            )
            is_last = response.status_code == 200 or attempt == _CLOCK_ATTEMPTS - 1
            if is_last or not (says_expired(response) or abs(session.clock.ahead - ahead) > TOLERATED):
                break
        return response

    def _read_token(self, response: requests.Response) -> Token:
        login = self.credentials.login
        try:
            body = parsed(response)
            access_token, instance_url = body["access_token"], body["instance_url"]
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
        return Token(access_token, self.rule.verify(instance_url), str(body.get("id") or ""))


def _fits_a_header(token: object) -> bool:
    return isinstance(token, str) and 0 < len(token) <= 16_384 and token.isascii() and token.isprintable()


def _is_refused(response: requests.Response) -> bool:
    """Whether the token is no longer good. The identity service says so with 403 and a word of its own
    (salesforce-protocol.md#oauth-endpoints)."""
    status = response.status_code
    return status == 401 or (status == 403 and response.content.strip() == b"Bad_OAuth_Token")


class TokenAuth(AuthBase):
    """Signs a session's requests to the verified instance, and to nothing else. A token that is refused is renewed once, and the
    request repeated."""

    def __init__(self, tokens: Tokens, session: Transport) -> None:
        self.tokens = tokens
        self._session = session

    @property
    def token(self) -> Token:
        """The current token. Raises AuthenticationError, UnavailableError or UntrustedHostError where there can be none."""
        return self.tokens.get(self._session)

    @property
    def instance(self) -> Origin:
        return self.token.instance

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self.token
        self._sign(request, token)

        def renew_once(response: requests.Response, **send_options: Any) -> requests.Response:
            nonlocal token
            if not _is_refused(response):
                return response
            token = self.tokens.get(self._session, refused=token)
            return self._repeat(response, token, send_options)

        request.register_hook("response", renew_once)  # type: ignore[no-untyped-call]
        return request

    def _sign(self, request: requests.PreparedRequest, token: Token) -> None:
        require_same_origin(request.url or "", token.instance)
        register_secret(token.access_token)  # again: by now it may be forgotten for those of other connections
        request.headers["Authorization"] = f"Bearer {token.access_token}"

    def _repeat(self, refused: requests.Response, token: Token, send_options: dict[str, Any]) -> requests.Response:
        """Send the request signed anew; a later attempt at it, after a transient error, is made with that token too."""
        _ = refused.content  # drained, so that the connection can be used again
        refused.close()
        request = refused.request
        self._sign(request, token)
        response: requests.Response = refused.connection.send(request, **send_options)
        response.history.append(refused)
        response.request = request
        return response
