"""`salesforce-localorg`: the org from the command line."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salesforce_localorg import __version__

if TYPE_CHECKING:
    from salesforce_localorg.faults import Fault
    from salesforce_localorg.org import LocalOrg, OrgConfig
    from salesforce_localorg.schema import Schema
    from salesforce_localorg.server import OrgServer

DEFAULT_PORT = 8711
CONNECTION_VARIABLE = "AIRFLOW_CONN_SFCC_DEFAULT"
SECRET_VARIABLES = ["LOCALORG_CONSUMER_SECRET", "SFCC_ORG_CONSUMER_SECRET"]
PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="salesforce-localorg")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--tls", is_flag=True, help="Serve HTTPS with a certificate made for this run.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same records.")
@click.option("--rows", multiple=True, metavar="OBJECT=N", help="How many records of an object. Repeatable.")
@click.option(
    "--objects",
    type=int,
    help="How many objects the org has; all above the standard ones are generated, of every kind.",
)
@click.option("--data-dir", type=PATH, help="Keep the records in this folder; the next run finds them.")
@click.option("--consumer-key", help="Consumer key (client id); made up when absent.")
@click.option("--consumer-secret", envvar=SECRET_VARIABLES, help="Consumer secret; made up when absent.")
@click.option(
    "--describe", "describes", multiple=True, type=PATH, help="A describe answer saved from an org. Repeatable."
)
@click.option("--job-seconds", default=1.0, show_default=True, help="How long a Bulk job takes at least.")
@click.option("--page-rows", default=50_000, show_default=True, help="Records per page of Bulk results.")
@click.option("--my-domain", multiple=True, help="Another host name the org answers tokens for. Repeatable.")
@click.option("--instance-url", help="instance_url of token answers; {scheme} and {port} are filled in.")
@click.option(
    "--proxy-port",
    type=int,
    help="Also run a proxy on this port that leads https://*.my.salesforce.com and login.salesforce.com here, and "
    "nothing elsewhere; 0 takes a free one. Implies --tls.",
)
@click.option("--refresh-token", help="A refresh token to accept, for clients that know no client credentials.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    help="A fault from the start: a name such as bulk_throttled, or JSON. Repeatable.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The app's certificate (PEM): the org then takes JWT bearer assertions that its key signed.",
)
@click.option("--jwt-tokens", is_flag=True, help="Access tokens are JWTs, as orgs may issue them.")
@click.option(
    "--open-admin",
    is_flag=True,
    help="Open / and /_org to other machines (for containers), under their addresses and the names of --my-domain.",
)
@click.option("--ready-file", type=PATH, help="Write a JSON file here once the org answers.")
def org(**options: Any) -> None:
    """Run a Salesforce org on this machine until Ctrl-C."""
    run(OrgOptions(**options))


@dataclass(frozen=True)
class OrgOptions:
    """What the command line says, name by name."""

    host: str
    port: int
    tls: bool
    seed: int
    rows: tuple[str, ...]
    objects: int | None
    data_dir: Path | None
    consumer_key: str | None
    consumer_secret: str | None
    describes: tuple[Path, ...]
    job_seconds: float
    page_rows: int
    my_domain: tuple[str, ...]
    instance_url: str | None
    proxy_port: int | None
    refresh_token: str | None
    faults: tuple[str, ...]
    certificate: Path | None
    jwt_tokens: bool
    open_admin: bool
    ready_file: Path | None


def run(options: OrgOptions) -> None:
    """Make the org, serve it until SIGINT or SIGTERM, stop.

    Raises click.ClickException with a sentence for whatever the user can correct.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(options)
    except KeyboardInterrupt:
        click.echo("The org has stopped.", err=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise click.ClickException(f"The org could not start: {_taken(options)}") from None
        raise click.ClickException(f"The org could not start: {error}") from error
    finally:
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)


def _taken(options: OrgOptions) -> str:
    if options.proxy_port is None:
        return f"port {options.port} of {options.host} is taken. Choose another with --port."
    return (
        f"port {options.port} or {options.proxy_port} of {options.host} is taken. "
        "Choose others with --port and --proxy-port."
    )


def _serve(options: OrgOptions) -> None:
    from salesforce_localorg.org import LocalOrg
    from salesforce_localorg.server import OrgServer
    from salesforce_localorg.soql import parse

    schema = _schema(options)
    config = _config(options, schema)
    with LocalOrg(config, schema=schema, data_dir=options.data_dir) as local_org:
        server = OrgServer(local_org, options.host, options.port, options.tls, options.my_domain, options.proxy_port)
        for fault in options.faults:
            local_org.faults.add(_fault(fault))
        # The grammar takes a while to load; without this the first query would wait for it.
        warming = threading.Thread(target=parse, args=("SELECT Id FROM Organization",), daemon=True)
        warming.start()
        _generate(local_org)
        warming.join()
        with server:
            _announce(server, show_secret=sys.stdout.isatty() or options.consumer_secret is None)
            if options.ready_file is not None:
                _write_ready_file(server, options.ready_file)
            threading.Event().wait()


def _fault(text: str) -> Fault:
    from salesforce_localorg.faults import Fault

    if not text.lstrip().startswith("{"):
        return Fault.named(text)
    try:
        return Fault.from_json(json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"--fault {text} is no JSON: {error}") from None


def _schema(options: OrgOptions) -> Schema:
    from salesforce_localorg.schema import Schema

    base = Schema.standard() if options.objects is None else Schema.sized(options.objects)
    if not options.describes:
        return base
    return Schema.from_describes([_describe(path) for path in options.describes], base=base)


def _generated_counts(options: OrgOptions, schema: Schema) -> dict[str, int]:
    """Rows of the objects that --objects brought."""
    from salesforce_localorg.schema.generated import generated_counts

    return generated_counts(schema) if options.objects is not None else {}


def _describe(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_bytes())
    except ValueError:
        described = None
    if not isinstance(described, dict) or not isinstance(described.get("fields", described.get("sobjects")), list):
        raise click.BadParameter(
            f"{path} is no describe answer; save the body of GET /services/data/vXX.0/sobjects/<Object>/describe."
        )
    return described


def _config(options: OrgOptions, schema: Schema) -> OrgConfig:
    from salesforce_localorg.host_names import ANY_MY_DOMAIN
    from salesforce_localorg.jobs import BulkTimings
    from salesforce_localorg.org import DEFAULT_COUNTS, OrgConfig

    given = {
        "consumer_key": options.consumer_key,
        "consumer_secret": options.consumer_secret,
        "instance_url": options.instance_url,
        "my_domain_host": next((name for name in options.my_domain if "*" not in name), None),
        "refresh_token": options.refresh_token,
        "certificate": None if options.certificate is None else options.certificate.read_text(encoding="utf-8"),
    }
    return OrgConfig(
        seed=options.seed,
        counts={**DEFAULT_COUNTS, **_generated_counts(options, schema), **_counts(options.rows, schema)},
        bulk_timings=BulkTimings(in_progress_seconds=options.job_seconds),
        result_page_rows=options.page_rows,
        my_domain=(ANY_MY_DOMAIN, *options.my_domain),
        admin_from_anywhere=options.open_admin,
        jwt_tokens=options.jwt_tokens,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )


def _counts(rows: tuple[str, ...], schema: Schema) -> dict[str, int]:
    counts = {}
    for each in rows:
        name, _, number = each.partition("=")
        sobject = schema.sobject(name.strip())
        digits = number.strip().replace("_", "").replace(",", "")
        if sobject is None:
            known = ", ".join(sorted(one.name for one in schema))
            raise click.BadParameter(f"--rows {each}: the org has no object {name!r}. It has {known}.")
        if not (digits.isascii() and digits.isdigit()):
            raise click.BadParameter(f"--rows {each}: write it as Account=50000.")
        counts[sobject.name] = int(digits)
    return counts


def _generate(local_org: LocalOrg) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def show(sobject: str, rows: int) -> None:
            if sobject not in tasks:
                total = max(local_org.config.counts.get(sobject, 0), rows)
                tasks[sobject] = progress.add_task(sobject, total=total)
            progress.update(tasks[sobject], completed=rows)

        local_org.generate(show)


def _connection(server: OrgServer) -> dict[str, Any]:
    credentials = server.credentials
    connection: dict[str, Any] = {
        "conn_type": "sfcc",
        "host": credentials.url,
        "login": credentials.consumer_key,
        "password": credentials.consumer_secret,
    }
    if server.ca_file is not None:
        connection["extra"] = {"verify": str(server.ca_file)}
    return connection


def _announce(server: OrgServer, *, show_secret: bool) -> None:
    """Say how the org is reached. A secret that the caller chose is not repeated where it would end in a log."""
    credentials = server.credentials
    click.echo(
        f"A local Salesforce org listens at {credentials.url} (Ctrl-C stops it).\n\n"
        f"  Host             {credentials.url}\n"
        f"  Consumer key     {credentials.consumer_key}\n"
        f"  Consumer secret  {credentials.consumer_secret if show_secret else 'the one it was started with'}\n"
    )
    if show_secret:
        click.echo(_first_steps(server))
    if server.proxy_url is not None:
        click.echo(_about_proxy(server))


def _first_steps(server: OrgServer) -> str:
    credentials = server.credentials
    authority = f"--cacert {shlex.quote(str(server.ca_file))} " if server.ca_file is not None else ""
    connection = (
        "As an Airflow connection:\n\n"
        f"  export {CONNECTION_VARIABLE}={shlex.quote(json.dumps(_connection(server)))}\n\n"
    )
    return (
        f"{connection if find_spec('airflow_sfcc') else ''}"
        "A first call:\n\n"
        f"  curl -s {authority}{credentials.url}/services/oauth2/token -d grant_type=client_credentials "
        f"-d client_id={shlex.quote(credentials.consumer_key)} "
        f"-d client_secret={shlex.quote(credentials.consumer_secret)}\n"
    )


def _about_proxy(server: OrgServer) -> str:
    names = "REQUESTS_CA_BUNDLE SSL_CERT_FILE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS"
    authority = shlex.quote(str(server.ca_file))
    return (
        "Clients that insist on https://*.salesforce.com reach the org through its proxy:\n\n"
        f"  export HTTPS_PROXY={server.proxy_url} {' '.join(f'{name}={authority}' for name in names.split())}\n"
        f"  curl -s https://{server.org.config.my_domain_host}/services/data\n"
    )


def _write_ready_file(server: OrgServer, path: Path) -> None:
    """All that a script needs, in one JSON object; readable by this user only, since it holds the secret."""
    ready = {
        "url": server.url,
        "pid": os.getpid(),
        "consumer_key": server.credentials.consumer_key,
        "consumer_secret": server.credentials.consumer_secret,
        "ca_file": str(server.ca_file) if server.ca_file is not None else None,
        "proxy_url": server.proxy_url,
        "my_domain_host": server.org.config.my_domain_host,
        "connection": _connection(server),
    }
    unfinished = path.with_name(path.name + ".part")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(ready, file)
    unfinished.replace(path)


def main() -> None:
    """The console script `salesforce-localorg`."""
    org(prog_name="salesforce-localorg")
