"""The `airflow-sfcc` command."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from airflow_sfcc import __version__
from airflow_sfcc._airflow.catalog_command import catalog
from airflow_sfcc._airflow.docs_command import docs
from airflow_sfcc._airflow.rotate_command import rotate
from airflow_sfcc._airflow.vacuum_command import vacuum
from airflow_sfcc.org_setup.setup_command import setup

MISSING_EXTRA = (
    "The local org needs the package {name!r}, which is not installed. Install all it needs with: "
    "pip install 'airflow-sfcc[localorg]'"
)


class _Commands(click.Group):
    """The local org's command is imported when it is asked for, since its packages are an extra."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "org"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "org":
            return super().get_command(ctx, cmd_name)
        try:
            from salesforce_localorg.command import org
        except ModuleNotFoundError as problem:
            return _org_without(problem)
        return org


def _org_without(problem: ModuleNotFoundError) -> click.Command:
    """What `org` is without its packages, so that all other commands and `--help` do without them."""

    def say() -> None:
        raise click.ClickException(MISSING_EXTRA.format(name=str(problem.name).partition(".")[0]))

    about = "Serve a local Salesforce org (needs airflow-sfcc[localorg])."
    anything = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command("org", callback=say, help=about, context_settings=anything, add_help_option=False)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="airflow-sfcc")
def commands() -> None:
    """Salesforce extracts with client credentials (SFCC), for Apache Airflow."""


commands.add_command(catalog)
commands.add_command(docs)
commands.add_command(vacuum)
commands.add_command(setup)
commands.add_command(rotate)


@commands.command()
@click.argument("conn_id", default="sfcc_default")
@click.option("--object", "sobjects", multiple=True, metavar="NAME", help="Also check this object; may be repeated.")
def check(conn_id: str, sobjects: tuple[str, ...]) -> None:
    """Check an Airflow connection and the org behind it, step by step.

    Prints each step of docs/salesforce-setup.md as passed, failed, warning or not checkable, with what to do. Exit code 1 when a
    step has failed.
    """
    from airflow_sfcc._airflow.check import check_org, lines
    from airflow_sfcc._airflow.connection import client_of
    from airflow_sfcc.wording import plural

    failed = 0
    for finding, text in lines(check_org(lambda: client_of(conn_id), sobjects)):
        click.echo(text)
        failed += finding.verdict == "failed"
    if failed:
        click.echo(f"{plural(failed, 'step')} failed.")
        sys.exit(1)


@commands.command()
@click.argument("conn_id", metavar="CONNECTION", default="sfcc_default")
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
def objects(conn_id: str, patterns: tuple[str, ...]) -> None:
    """Show how a sync would read each object of an org: class, rows, size, and why not otherwise.

    A PATTERN is a name with `*` and `?`; `!` excludes, later ones win: `airflow-sfcc objects sfcc_default '*' '!*History'`. Rows
    are Salesforce's own counts, hours old at times; sizes are 2 KB a row, as Salesforce counts its storage.
    """
    from airflow_sfcc._airflow.connection import client_of
    from airflow_sfcc._airflow.objects_command import lines_of
    from airflow_sfcc.errors import SfccError

    try:
        for line in lines_of(client_of(conn_id), patterns):
            click.echo(line)
    except SfccError as problem:
        raise click.ClickException(str(problem)) from problem


def main() -> None:
    """Run the command line; where a command lacks the packages of an extra, say so in one sentence."""
    with ExitStack() as stack:
        if sys.argv[1:2] != ["org"]:  # which has nothing to do with Airflow
            _quieten_airflow(stack)
        try:
            commands(prog_name="airflow-sfcc")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "airflow_sfcc":
                raise
            from airflow_sfcc._airflow.load_task import missing_package

            of_org = MISSING_EXTRA.format(name=error.name.partition(".")[0])
            print(of_org if sys.argv[1:2] == ["org"] else f"Error: {missing_package(error)}", file=sys.stderr)
            sys.exit(1)


def _quieten_airflow(stack: ExitStack) -> None:
    """Settle, before Airflow is imported, that it says little and leaves nothing behind.

    Importing Airflow makes a folder with an empty database where there is none. A connection in the environment or in a
    secrets backend needs neither, so they come and go with `stack`.
    """
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    if not sys.warnoptions:
        sys.warnoptions.append("ignore")  # as `python -W ignore` does; else Airflow turns its deprecations on again
        warnings.simplefilter("ignore")
    if not Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().exists():
        os.environ["AIRFLOW_HOME"] = stack.enter_context(TemporaryDirectory(prefix="airflow-sfcc-"))


if __name__ == "__main__":
    main()
