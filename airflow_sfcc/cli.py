"""The `airflow-sfcc` command."""

from __future__ import annotations

import sys

MISSING_EXTRA = (
    "The local org needs the package {name!r}, which is not installed. Install all it needs with: "
    "pip install 'airflow-sfcc[localorg]'"
)


def main() -> None:
    """Run the command line; without the packages of the localorg extra, say so in one sentence."""
    try:
        _run()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "airflow_sfcc":
            raise
        print(MISSING_EXTRA.format(name=error.name), file=sys.stderr)
        sys.exit(1)


def _run() -> None:
    import click  # part of the localorg extra, like everything the org itself imports

    from airflow_sfcc import __version__
    from airflow_sfcc.localorg.command import org

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(__version__, prog_name="airflow-sfcc")
    def commands() -> None:
        """Salesforce extracts with client credentials (SFCC), for Apache Airflow."""

    commands.add_command(org)
    commands(prog_name="airflow-sfcc")


if __name__ == "__main__":
    main()
