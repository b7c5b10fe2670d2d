"""`airflow-sfcc rotate`: new consumer key and secret for a connection."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from airflow_sfcc.org_setup.rotation import Pair, Rotation

_LOWEST = click.FloatRange(min=0)


@click.command()
@click.argument("conn_id", metavar="CONNECTION")
@click.option(
    "--with", "admin", required=True, metavar="CONNECTION", help="The connection to do it with: another app's."
)
@click.option("--app", metavar="NAME", help="The app's API name, where the connection's key need not be searched for.")
@click.option("--print", "printed", is_flag=True, help="Print the new connection, secret and all, as JSON.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the new connection to this new file."
)
@click.option("--to-command", metavar="COMMAND", help="Hand the new connection to this command's standard input.")
@click.option("--store", is_flag=True, help="Change the connection in Airflow's database.")
@click.option(
    "--activate-first", is_flag=True, help="Activate the new pair before the login with it, for orgs that want that."
)
@click.option("--discard-staged", is_flag=True, help="Delete what is staged in the app, and stage a new pair.")
@click.option("--revoke-old", is_flag=True, help="Delete the old pair at once, as after a leak.")
@click.option(
    "--wait", type=_LOWEST, default=10.0, show_default=True, metavar="MINUTES", help="For the new pair to be known."
)
def rotate(
    conn_id: str,
    admin: str,
    app: str | None,
    printed: bool,
    output: Path | None,
    to_command: str | None,
    store: bool,
    activate_first: bool,
    discard_staged: bool,
    revoke_old: bool,
    wait: float,
) -> None:
    """Give the external client app of CONNECTION a new consumer key and secret.

    Staged, verified by a login, stored, then activated. Stopped in between, it goes on when run again. Say where the new
    pair goes: --print, --output, --to-command or --store. See docs/setup-as-code.md.
    """
    from airflow_sfcc.errors import SfccError

    try:
        fields = _read(conn_id)
        destination = _destination(fields, printed, output, to_command, store)
        _require_secret(fields)
        rotation = _rotation(fields, _read(admin), destination, wait * 60)
        rotation.run(fields.login or "", app=app, activate_first=activate_first, discard_staged=discard_staged)
        if revoke_old:
            rotation.revoke_old(destination.key or fields.login or "", app)
    except (SfccError, OSError) as problem:
        raise click.ClickException(str(problem)) from problem


@dataclass
class _Fields:
    """A connection's fields, apart from Airflow's class."""

    conn_id: str
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None = field(repr=False)
    extra: Mapping[str, Any] = field(repr=False)

    def with_pair(self, pair: Pair) -> _Fields:
        return replace(self, login=pair.key, password=pair.secret)

    def json(self) -> str:
        """As in `AIRFLOW_CONN_…`."""
        values = {"conn_type": "sfcc", "host": self.host, "login": self.login, "password": self.password}
        more = {"port": self.port, "schema": self.schema, "extra": dict(self.extra) or None}
        return json.dumps({**values, **{name: value for name, value in more.items() if value}})


def _read(conn_id: str) -> _Fields:
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_sfcc._airflow.connection import require_usable, unknown_connection

    try:
        found = Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        raise unknown_connection(conn_id) from None
    extra = found.extra_dejson
    require_usable(found, extra)
    return _Fields(conn_id, found.host, found.port, found.schema, found.login, found.password, extra)


def _require_secret(fields: _Fields) -> None:
    from airflow_sfcc.errors import ConfigurationError
    from airflow_sfcc.org_setup.rotation import ROTATING
    from airflow_sfcc.salesforce.jwt_bearer import is_pem

    if is_pem(fields.password or "") or fields.extra.get("private_key_file"):
        raise ConfigurationError(
            f"The connection {fields.conn_id!r} logs in with a private key, and has no consumer secret to rotate: make a new "
            "key pair with airflow-sfcc setup --flow jwt, and deploy its certificate.",
            step=ROTATING,
        )


def _rotation(fields: _Fields, admin: _Fields, store: _Destination, patience: float) -> Rotation:
    """Raises ConfigurationError when the two connections are of one app, or of two orgs."""
    from airflow_sfcc._airflow.connection import client_for
    from airflow_sfcc.errors import AuthenticationError, ConfigurationError
    from airflow_sfcc.org_setup.rotation import ROTATING, CredentialsApi, Rotation

    if admin.login == fields.login:
        raise ConfigurationError(
            f"The connections {admin.conn_id!r} and {fields.conn_id!r} are of the same app: an app must not rotate its own "
            "credentials, which would end the very login that does it. Use a connection of another app.",
            step=ROTATING,
        )
    client = client_for(admin, admin.extra)
    org = client.auth.token.org_id

    def log_in(used: _Fields) -> None:
        if client_for(used, used.extra).auth.token.org_id != org:
            raise ConfigurationError(
                f"The connections {admin.conn_id!r} and {fields.conn_id!r} lead to different orgs.", step=ROTATING
            )

    with suppress(AuthenticationError):  # a pair that does not work may be rotated too
        log_in(fields)
    return Rotation(CredentialsApi(client), lambda pair: log_in(fields.with_pair(pair)), store, _say, patience=patience)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)  # standard output is for the connection alone


class _Destination:
    """Puts a new pair where the connection is kept; `key` is the one it was given last."""

    def __init__(self, fields: _Fields, put: Callable[[_Fields], None]) -> None:
        self._fields = fields
        self._put = put
        self.key = ""

    def __call__(self, pair: Pair) -> None:
        self._put(self._fields.with_pair(pair))
        self.key = pair.key


def _destination(fields: _Fields, printed: bool, output: Path | None, command: str | None, store: bool) -> _Destination:
    """Where the new connection goes; what would fail later is checked now."""
    if sum((printed, output is not None, command is not None, store)) != 1:
        raise click.UsageError("Say where the new pair goes: one of --print, --output, --to-command and --store.")
    if output is not None:
        _require_new(output)
        return _Destination(fields, lambda new: _write(output, new))
    if command is not None:
        _require_command(command)
        return _Destination(fields, lambda new: _hand_over(command, new))
    if store:
        _require_stored(fields.conn_id)
        return _Destination(fields, _change_stored)
    return _Destination(fields, lambda new: click.echo(new.json()))


def _require_new(path: Path) -> None:
    from airflow_sfcc.errors import ConfigurationError

    if path.exists():
        raise ConfigurationError(f"{path} is there already: name a new file.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"{path} cannot be written: its folder is not there, or not yours.")


def _require_command(command: str) -> None:
    from airflow_sfcc.errors import ConfigurationError

    try:
        words = shlex.split(command)
    except ValueError as problem:
        raise ConfigurationError(f"--to-command {command!r} cannot be read as a shell would: {problem}.") from None
    if not words or shutil.which(words[0]) is None:
        raise ConfigurationError(f"--to-command {command!r} is no command here: name a program that can be run.")


def _write(path: Path, new: _Fields) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(new.json() + "\n")
        file.flush()
        os.fsync(file.fileno())  # before the pair is activated


def _hand_over(command: str, new: _Fields) -> None:
    from airflow_sfcc.errors import ConfigurationError

    done = subprocess.run(shlex.split(command), input=new.json(), text=True, check=False)
    if done.returncode:
        raise ConfigurationError(
            f"{shlex.split(command)[0]} ended with exit code {done.returncode}: the new pair was not stored. Run this again "
            "when it works; it goes on from here."
        )


def _require_stored(conn_id: str) -> None:
    from airflow_sfcc.errors import ConfigurationError

    if f"AIRFLOW_CONN_{conn_id.upper()}" in os.environ:
        raise ConfigurationError(
            f"The connection {conn_id!r} is set in the environment, which comes before the database: use --print, --output or "
            "--to-command, and change it there."
        )
    with _stored(conn_id) as found:
        if found is None or _is_in_backend(conn_id):
            raise ConfigurationError(
                f"The connection {conn_id!r} is in a secrets backend, which comes before Airflow's database: use --to-command, "
                "with the backend's own command line."
            )


def _is_in_backend(conn_id: str) -> bool:
    """Whether Airflow finds the connection before it looks into its database, where a new pair would be seen by nobody."""
    from airflow.configuration import ensure_secrets_loaded
    from airflow.secrets.metastore import MetastoreBackend

    for backend in ensure_secrets_loaded():
        if isinstance(backend, MetastoreBackend):
            return False
        with suppress(Exception):  # as Airflow, which goes on with the next one then
            if backend.get_connection(conn_id=conn_id):
                return True
    return False


def _change_stored(new: _Fields) -> None:
    with _stored(new.conn_id) as found:
        if found is not None:
            found.login = new.login
            found.set_password(new.password)


@contextmanager
def _stored(conn_id: str) -> Iterator[Any]:
    """The connection's row, or None; what is changed in it is kept."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        yield session.scalar(select(Connection).where(Connection.conn_id == conn_id))
