"""Rotating the consumer key and secret of an external client app, so that nothing is lost when it is stopped in between.

Source: Connect REST API Developer Guide, "OAuth Credentials Resources" (API version 65.0 and later for staged ones), and
help, "Stage, Rotate, and Delete OAuth Credentials for an External Client App". Not documented, and so left to the caller
(`activate_first`): whether Salesforce accepts a login with a staged pair, which is reported [M]. The exact JSON of the staged
resource's collection is not shown in the guide either: `_staged_of` takes every shape that was seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import sleep
from typing import Any

import requests

from airflow_sfcc.errors import (
    CONSUMER_KEY_AND_SECRET,
    ApiLimitError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    SalesforceError,
    SetupStep,
    UnexpectedResponseError,
)
from airflow_sfcc.salesforce import SalesforceClient
from airflow_sfcc.salesforce.responses import json_of

FIRST_VERSION = 65.0
ROTATING = SetupStep("rotating the secret", "rotating-the-secret")
PREREQUISITES = (
    "It needs the setting Allow access to External Client App consumer secrets via REST API (Setup > External Client App "
    "Settings), an app whose Distribution State is Local, and a user with the permissions External Client App Developer "
    "and View Client Secret."
)

POLL_SECONDS = 15.0
_ID = re.compile(r"[A-Za-z0-9]{1,64}")


@dataclass(frozen=True)
class Pair:
    """A consumer key and its secret. The secret is left out of `repr`."""

    key: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Staged:
    """What the staged place of a consumer holds: a new pair (`Active`), or the former one (`Rotated`, `Expired`)."""

    id: str
    state: str
    pair: Pair | None


@dataclass(frozen=True)
class Consumer:
    """One OAuth consumer of an app; `path` is that of its credentials below the API version."""

    app: str
    path: str
    key: str


class CredentialsApi:
    """The OAuth credentials resources, called by a client that logs in through another app."""

    def __init__(self, client: SalesforceClient) -> None:
        self._client = client

    def require_version(self) -> None:
        """Raises ConfigurationError for an org or connection whose API version has no staged credentials yet."""
        version = self._client.api_version
        if float(version) < FIRST_VERSION:
            raise ConfigurationError(
                f"Rotating needs API version {FIRST_VERSION} or newer, and the connection uses {version}: raise api_version "
                "in its extra, or rotate in Setup.",
                step=ROTATING,
            )

    def consumers(self, app: str | None) -> Iterator[Consumer]:
        """The consumers of the app with this API name; of all apps for None."""
        for entry in self._apps():
            name = str(entry.get("developerName") or "")
            if app is None or name == app:
                app_id = _identifier(entry.get("identifier"))
                body = self._json("GET", f"/apps/oauth/credentials/{app_id}")
                for consumer in _list(body, "consumers"):
                    path = f"/apps/oauth/credentials/{app_id}/{_identifier(consumer.get('id'))}"
                    key = consumer.get("key") or self._json("GET", path, params={"part": "key"}).get("key")
                    yield Consumer(name, path, str(key or ""))

    def _apps(self) -> Iterator[Mapping[str, Any]]:
        page = 0
        while entries := _list(self._json("GET", "/apps/oauth/usage", params={"page": page}), "apps"):
            yield from entries
            page += 1

    def primary(self, consumer: Consumer) -> Pair:
        body = self._json("GET", consumer.path, params={"part": "keyandsecret"})
        pair = _pair_of(body)
        if pair is None:
            raise UnexpectedResponseError("Salesforce did not return the active consumer key and secret.")
        return pair

    def staged(self, consumer: Consumer) -> Staged | None:
        """The consumer's staged place; None when it is empty."""
        try:
            return _staged_of(self._json("GET", f"{consumer.path}/staged"))
        except _NothingStagedError:
            return None

    def stage(self, consumer: Consumer) -> Staged:
        """Make a new pair. The guide knows no request body; without one, Salesforce was seen not to respond [M]."""
        staged = _staged_of(self._json("POST", f"{consumer.path}/staged", json={}))
        if staged is None or staged.pair is None:
            staged = self.staged(consumer)
        if staged is None:
            raise UnexpectedResponseError("Salesforce returned no staged credentials after it was told to make some.")
        return staged

    def activate(self, consumer: Consumer, staged: Staged) -> None:
        """Make the staged pair the active one; the former one takes its place, for 30 days."""
        self._json("PATCH", f"{consumer.path}/staged/{staged.id}", json={"command": "rotate"})

    def delete(self, consumer: Consumer, staged: Staged) -> None:
        self._json("DELETE", f"{consumer.path}/staged/{staged.id}")

    def _json(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._client.request(method, path, **options)
            return json_of(response) if response.content else _nothing_in(response)
        except NotFoundError as problem:
            if path.endswith("/staged"):
                raise _NothingStagedError from problem
            raise _prerequisite(problem) from problem
        except SalesforceError as problem:
            if problem.status in (400, 403) and not isinstance(problem, ApiLimitError):
                raise _prerequisite(problem) from problem
            raise


def _nothing_in(response: requests.Response) -> dict[str, Any]:
    """The body of a 204; raises what fits any other empty response."""
    return {} if response.ok else json_of(response)


class _NothingStagedError(Exception):
    """Nothing is staged."""


def _prerequisite(problem: SalesforceError) -> ConfigurationError:
    return ConfigurationError(
        f"Salesforce does not let this connection manage consumer credentials ({problem.message}) {PREREQUISITES}",
        step=ROTATING,
        status=problem.status,
        code=problem.code,
    )


@dataclass(frozen=True)
class Rotation:
    """One rotation of the app whose consumer key the connection holds.

    `login` logs in with a pair, and raises AuthenticationError when it is refused; `store` puts a pair where the connection
    is kept; `tell` takes a sentence for each step that is done. `patience` is how many seconds a new pair may take to be
    known everywhere in Salesforce.
    """

    api: CredentialsApi
    login: Callable[[Pair], None]
    store: Callable[[Pair], None]
    tell: Callable[[str], None]
    patience: float = 600.0

    def run(
        self, key: str, *, app: str | None = None, activate_first: bool = False, discard_staged: bool = False
    ) -> None:
        """Rotate, or go on where a run before this one was stopped.

        Before the new pair is active, the old one is; afterwards it is good for another 30 days. So at every point one
        pair works that is written down somewhere. Raises ConfigurationError when a person has to decide.
        """
        self.api.require_version()
        consumer, staged = self._find(key, app)
        if staged is not None and staged.pair is not None and staged.pair.key == key:
            self._finish(consumer, staged)
            return
        staged = self._new_pair(consumer, discard_staged)
        if staged.pair is None:
            raise ConfigurationError(
                f"{consumer.app} has staged credentials whose secret Salesforce does not show again, so they are of no use: "
                "delete them with --discard-staged. The active pair was not changed.",
                step=ROTATING,
            )
        if activate_first:
            self._activate(consumer, staged)
            self._verify(staged.pair, "The new pair is active, but")
            self._store(staged.pair)
        else:
            self._verify(
                staged.pair,
                "Nothing was changed, and the old pair is active. The staged pair is kept: run this again later, or with "
                "--activate-first if this org accepts a pair only once it is active (the old one is then good for another "
                "30 days).",
            )
            self._store(staged.pair)
            self._activate(consumer, staged)

    def _find(self, key: str, app: str | None) -> tuple[Consumer, Staged | None]:
        """The consumer with this key as its active or staged one, and what is staged."""
        consumers = list(self.api.consumers(app))
        for consumer in consumers:
            if consumer.key == key:
                return consumer, None
        for consumer in consumers:
            staged = self.api.staged(consumer)
            if staged is not None and staged.pair is not None and staged.pair.key == key:
                return consumer, staged
        where = f"the app {app}" if app else f"{len(consumers)} apps' credentials"
        raise ConfigurationError(
            f"The consumer key of the connection is neither active nor staged in {where} of this org. {PREREQUISITES}",
            step=CONSUMER_KEY_AND_SECRET,
        )

    def _finish(self, consumer: Consumer, staged: Staged) -> None:
        """An earlier run stored the new pair (it is still staged), or activated it (the old one is what is staged)."""
        if staged.state.lower() == "active":
            self.tell("The connection holds the staged pair already: only its activation was left.")
            self._activate(consumer, staged)
            return
        self.tell("An earlier run has activated a new pair: it is taken from Salesforce.")
        pair = self.api.primary(consumer)
        self._verify(pair, "The new pair is active, but")
        self._store(pair)

    def _new_pair(self, consumer: Consumer, discard: bool) -> Staged:
        staged = self.api.staged(consumer)
        if staged is not None and staged.state.lower() == "active" and not discard:
            self.tell(f"{consumer.app} has a staged pair already: it is used.")
            return staged
        if staged is not None:
            if staged.state.lower() == "rotated" and not discard:
                raise ConfigurationError(
                    f"{consumer.app} was rotated not long ago: the connection has the active pair, and the pair before it is "
                    "still good. A new pair needs its place. When nobody uses it any more (Login History), delete it with "
                    "--discard-staged.",
                    step=ROTATING,
                )
            self.api.delete(consumer, staged)
            self.tell(f"Deleted the {staged.state.lower()} pair that was staged.")
        new = self.api.stage(consumer)
        self.tell(f"Staged a new pair for {consumer.app}.")
        return new

    def _verify(self, pair: Pair, otherwise: str) -> None:
        """Log in with the pair. A new one is not known everywhere in Salesforce at once."""
        for waited in _steps(self.patience):
            try:
                self.login(pair)
            except AuthenticationError as problem:
                if waited >= self.patience:
                    raise AuthenticationError(
                        f"{otherwise} A login with the new pair was refused for {self.patience / 60:g} minutes: "
                        f"{problem.message}",
                        step=problem.step,
                        status=problem.status,
                        code=problem.code,
                    ) from problem
                sleep(POLL_SECONDS)
            else:
                self.tell("A login with the new pair works.")
                return

    def _store(self, pair: Pair) -> None:
        self.store(pair)
        self.tell("The new pair is stored.")

    def _activate(self, consumer: Consumer, staged: Staged) -> None:
        self.api.activate(consumer, staged)
        self.tell("The new pair is active. The old one is good for another 30 days.")

    def revoke_old(self, key: str, app: str | None = None) -> None:
        """Delete the former pair at once, as after a leak. `key` is the consumer key that is active now."""
        for consumer in self.api.consumers(app):
            staged = self.api.staged(consumer) if consumer.key == key else None
            if staged is not None and staged.state.lower() == "rotated":
                self.api.delete(consumer, staged)
                self.tell("The old pair is deleted.")
                return
        self.tell("There is no old pair to delete.")


def _steps(patience: float) -> Iterator[float]:
    """Seconds waited so far, at each attempt; the last is `patience` or a little more."""
    waited = 0.0
    while waited < patience:
        yield waited
        waited += POLL_SECONDS
    yield patience


def _identifier(value: object) -> str:
    if not (isinstance(value, str) and _ID.fullmatch(value)):
        raise UnexpectedResponseError("Salesforce returned an identifier that is not one.")
    return value


def _list(body: object, name: str) -> list[Mapping[str, Any]]:
    found = body.get(name) if isinstance(body, Mapping) else body
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise UnexpectedResponseError(f"Salesforce returned no list of {name}.")
    return found


def _pair_of(body: object) -> Pair | None:
    if not isinstance(body, Mapping):
        return None
    key, secret = body.get("key"), body.get("secret")
    usable = isinstance(key, str) and isinstance(secret, str) and key and secret and set(secret) != {"*"}
    return Pair(str(key), str(secret)) if usable else None


def _staged_of(body: object) -> Staged | None:
    """From the resource itself, or from a collection of it."""
    if isinstance(body, Mapping) and "stagedCredentials" in body:
        body = body["stagedCredentials"]
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, Mapping) or not body:
        return None
    link = str(body.get("stagedCredentialsUrl") or "")
    identifier = _identifier(body.get("id") or link.rstrip("/").rpartition("/")[2])
    return Staged(identifier, str(body.get("state") or "Active"), _pair_of(body))
