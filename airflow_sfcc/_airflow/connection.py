"""Reading an Airflow connection of type `sfcc`: from its fields to a Salesforce client."""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from airflow_sfcc.errors import CERTIFICATE, CONSUMER_KEY_AND_SECRET, ConfigurationError
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.jwt_bearer import is_pem, read_key_file
from airflow_sfcc.salesforce.transport import TransportOptions
from airflow_sfcc.wording import did_you_mean

CONN_TYPE = "sfcc"
DEFAULT_CONN_ID = "sfcc_default"

EXTRAS = frozenset(
    {
        "api_version",
        "api_call_budget",
        "request_timeout",
        "max_retries",
        "verify",
        "allowed_hosts",
        "allow_http",
        "username",
        "private_key_file",
        "audience",
    }
)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

_ENCODE = (
    "In a URI the key and the secret must be percent-encoded (a slash is %2F, a plus is %2B): see "
    "docs/salesforce-setup.md#the-airflow-connection, or write it as JSON."
)


_JSON = (
    "As JSON it is one object with conn_type, host, login, password and extra, of which extra is an object too: see "
    "docs/salesforce-setup.md#the-airflow-connection."
)


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read here; `conn_id`, `conn_type` and `extra` too where it has them."""

    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None


def client_of(conn_id: str) -> SalesforceClient:
    """The client of a connection, from wherever Airflow keeps it: environment, secrets backend or metadata database.

    For commands; tasks have the hook. Raises ConfigurationError for a connection that is not there or cannot work.
    """
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        connection = Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        raise unknown_connection(conn_id) from None
    return client_for(connection, connection.extra_dejson)


def client_for(
    connection: ConnectionFields, extra: Mapping[str, Any], *, on_token: Callable[[str], None] | None = None
) -> SalesforceClient:
    """The client that a connection describes; nothing is sent yet.

    `extra` is the connection's extra as a dict: asynchronous callers have to fetch it their own way. Its values may be
    text, as they are when they come from a URI. Raises ConfigurationError for settings that cannot work.
    """
    require_usable(connection, extra)
    settings = _Extra(extra)
    defaults = TransportOptions()
    return connect(
        connection.host or "",
        _pasted(connection.login, "consumer key"),
        _secret(connection.password or "", settings.text("private_key_file")),
        username=settings.text("username"),
        audience=settings.text("audience"),
        port=connection.port,
        scheme=connection.schema if connection.schema in ("http", "https") else None,
        api_version=settings.text("api_version"),
        allow_http=settings.flag("allow_http", False),
        allowed_hosts=settings.names("allowed_hosts"),
        api_call_budget=settings.number("api_call_budget", None, lowest=0, highest=100),
        transport=TransportOptions(
            request_timeout=settings.number("request_timeout", defaults.request_timeout, lowest=1, highest=86_400) or 0,
            max_retries=settings.whole_number("max_retries", defaults.max_retries, lowest=0, highest=20),
            verify=settings.verify(),
        ),
        on_token=on_token,
    )


def _secret(password: str, key_file: str | None) -> str:
    """The consumer secret, or the private key in its place. Raises ConfigurationError when there are both."""
    if key_file is None:
        return password if is_pem(password) else _pasted(password, "consumer secret")
    if password:
        raise ConfigurationError(
            "The connection has private_key_file in its extra, and also something in the field Consumer Secret: empty one of the "
            "two.",
            step=CERTIFICATE,
        )
    return read_key_file(key_file)


def require_usable(connection: ConnectionFields, extra: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for a connection whose login and password must not be sent to Salesforce, or that cannot be
    meant as Airflow reads it."""
    _require_type(connection)
    _require_readable(connection, extra)


def _require_type(connection: ConnectionFields) -> None:
    """Raises ConfigurationError for a connection of another type, before its login and password are sent anywhere."""
    found = getattr(connection, "conn_type", None) or CONN_TYPE
    if found != CONN_TYPE:
        raise ConfigurationError(
            f"The connection {getattr(connection, 'conn_id', '')!r} is of type {found!r}, not {CONN_TYPE!r} (Salesforce (Client "
            "Credentials)); nothing was sent. Name a connection of that type, or change the type of this one."
        )


def _require_readable(connection: ConnectionFields, extra: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for what Airflow reads without an error, though it cannot be meant so."""
    if "@" in (connection.schema or ""):
        raise ConfigurationError(
            f"The connection's URI is set but unreadable: what should be the secret was read as a port and a path.\n{_ENCODE}"
        )
    try:
        text = getattr(connection, "extra", None)
        is_object = not text or isinstance(json.loads(text) if isinstance(text, str) else text, Mapping)
    except ValueError:
        is_object = False
    if not (is_object and isinstance(extra, Mapping)):
        raise no_object()


def no_object() -> ConfigurationError:
    """What to raise for an extra that is not a JSON object; some classes of connection raise ValueError when it is read."""
    return ConfigurationError('The connection\'s extra must be a JSON object, such as {"api_call_budget": 80}.')


def _pasted(value: str | None, name: str) -> str:
    """What a person meant who pasted it with a line break or blank at its ends. Raises ConfigurationError for those within."""
    meant = (value or "").strip()
    if not meant.isprintable():
        raise ConfigurationError(
            f"The connection's {name} has a line break or another invisible character within: copy it again.",
            step=CONSUMER_KEY_AND_SECRET,
        )
    return meant


def unknown_connection(conn_id: str) -> ConfigurationError:
    """What to raise where Airflow has no such connection, or could not read it."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    written = os.environ.get(variable, "").strip()
    if written:
        advice = _JSON if written.startswith("{") else _ENCODE
        return ConfigurationError(f"The connection in {variable} is set but unreadable.\n{advice}")
    in_dags_test = sys.argv[1:3] == ["dags", "test"]
    hint = (
        " Where `airflow dags test` runs a deferred task, Airflow looks in the environment only."
        if in_dags_test
        else ""
    )
    return ConfigurationError(
        f"Airflow knows no connection {conn_id!r}: add it in the UI (Admin, Connections), or as {variable} in the "
        f"environment.{hint}"
    )


class _Extra:
    """Typed reading of the connection's extra; empty text counts as not set."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in EXTRAS:
                raise ConfigurationError(
                    f"The connection's extra has {name!r}, which is no setting of this package. "
                    f"{did_you_mean(name, EXTRAS) or 'It knows ' + ', '.join(sorted(EXTRAS)) + '.'}"
                )
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        self._values = {name: value for name, value in stripped.items() if value not in (None, "")}

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        return None if value is None else str(value)

    def flag(self, name: str, default: bool) -> bool:
        value = str(self._values.get(name, default)).strip().lower()
        if value in _TRUE | _FALSE:
            return value in _TRUE
        raise self._unusable(name, "true or false")

    def number(self, name: str, default: float | None, *, lowest: float, highest: float) -> float | None:
        if name not in self._values:
            return default
        value = self._values[name]
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not lowest <= number <= highest:
            raise self._unusable(name, f"a number, {lowest:,g} to {highest:,g}")
        return number

    def whole_number(self, name: str, default: int, *, lowest: int, highest: int) -> int:
        number = self.number(name, default, lowest=lowest, highest=highest) or 0
        if number != int(number):
            raise self._unusable(name, f"a whole number, {lowest:,} to {highest:,}")
        return int(number)

    def names(self, name: str) -> list[str]:
        value = self._values.get(name, [])
        entries = value.split(",") if isinstance(value, str) else value
        if not isinstance(entries, list):
            raise self._unusable(name, "a list of host names")
        return [str(entry) for entry in entries if str(entry).strip()]

    def verify(self) -> bool | str:
        value = self._values.get("verify", True)
        lowered = str(value).strip().lower()
        if lowered in _TRUE | _FALSE:
            return lowered in _TRUE
        path = Path(str(value).strip())
        try:
            if not path.is_dir():
                ssl.create_default_context(cafile=str(path))
        except (OSError, ValueError) as problem:  # ssl.SSLError is an OSError
            raise ConfigurationError(
                f"verify in the connection's extra names {str(path)!r}, which is no CA bundle that this machine can read "
                f"({type(problem).__name__}).\nPut the file (PEM) there on every worker, triggerer and API server, or set verify "
                "to true."
            ) from None
        return str(path)

    def _unusable(self, name: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"{name} in the connection's extra must be {wanted}, not {self._values[name]!r}.")
