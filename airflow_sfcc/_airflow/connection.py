"""Reading an Airflow connection of type `sfcc`: from its fields to a Salesforce client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from airflow_sfcc.errors import CERTIFICATE, ConfigurationError
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.jwt_bearer import read_key_file
from airflow_sfcc.salesforce.transport import TransportOptions

CONN_TYPE = "sfcc"
DEFAULT_CONN_ID = "sfcc_default"

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read here."""

    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None


def client_for(
    connection: ConnectionFields, extra: Mapping[str, Any], *, on_token: Callable[[str], None] | None = None
) -> SalesforceClient:
    """The client that a connection describes; nothing is sent yet.

    `extra` is the connection's extra as a dict: asynchronous callers have to fetch it their own way. Its values may be
    text, as they are when they come from a URI. Raises ConfigurationError for settings that cannot work.
    """
    settings = _Extra(extra)
    defaults = TransportOptions()
    return connect(
        connection.host or "",
        connection.login or "",
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
            max_retries=int(settings.number("max_retries", defaults.max_retries, lowest=0, highest=20) or 0),
            verify=settings.verify(),
        ),
        on_token=on_token,
    )


def _secret(password: str, key_file: str | None) -> str:
    """The consumer secret, or the private key in its place. Raises ConfigurationError when there are both."""
    if key_file is None:
        return password
    if password:
        raise ConfigurationError(
            "The connection has private_key_file in its extra, and also something in the field Consumer Secret: empty one of the "
            "two.",
            step=CERTIFICATE,
        )
    return read_key_file(key_file)


def unknown_connection(conn_id: str, hint: str = "") -> ConfigurationError:
    """What to raise where Airflow has no such connection."""
    return ConfigurationError(
        f"Airflow knows no connection {conn_id!r}: add it in the UI (Admin, Connections), or as "
        f"AIRFLOW_CONN_{conn_id.upper()} in the environment.{hint}"
    )


class _Extra:
    """Typed reading of the connection's extra; empty text counts as not set."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value not in (None, "")}

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
        try:
            number = float(self._values[name])
        except (TypeError, ValueError):
            number = float("nan")
        if not lowest <= number <= highest:
            raise self._unusable(name, f"a number, {lowest:,g} to {highest:,g}")
        return number

    def names(self, name: str) -> list[str]:
        value = self._values.get(name, [])
        entries = value.split(",") if isinstance(value, str) else value
        if not isinstance(entries, list):
            raise self._unusable(name, "a list of host names")
        return [str(entry) for entry in entries if str(entry).strip()]

    def verify(self) -> bool | str:
        value = self._values.get("verify", True)
        lowered = str(value).strip().lower()
        return lowered in _TRUE if lowered in _TRUE | _FALSE else str(value)

    def _unusable(self, name: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"{name} in the connection's extra must be {wanted}, not {self._values[name]!r}.")
