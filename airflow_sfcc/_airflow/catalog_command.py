"""`airflow-sfcc catalog`: what landed, described for people and for dbt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from airflow_sfcc.catalog.dbt_sources import Freshness
    from airflow_sfcc.catalog.tables import Describer, Table
    from airflow_sfcc.extract.storage import StoragePath
    from airflow_sfcc.salesforce.client import SalesforceClient


@click.command()
@click.argument("destinations", metavar="DESTINATION...", nargs=-1, required=True)
@click.option(
    "--output",
    default="catalog",
    show_default=True,
    metavar="DIR",
    help="The folder to write into; made if it is not there.",
)
@click.option(
    "--connection",
    metavar="CONN_ID",
    help="Describe objects by this Salesforce connection, where their extracts kept no description.",
)
@click.option(
    "--freshness",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    metavar="HOURS",
    help="How often new rows are expected. Without it, as often as the DAG that landed them is scheduled, where Airflow's "
    "database is at hand.",
)
@click.option("--source", default="salesforce", show_default=True, metavar="NAME", help="What dbt calls the source.")
def catalog(
    destinations: tuple[str, ...], output: str, connection: str | None, freshness: float | None, source: str
) -> None:
    """Write a data dictionary and dbt's sources.yml of what landed in each DESTINATION.

    A DESTINATION is the folder of an object, or the one that holds those, as a path or a URL as in a DAG. DIR gets sources.yml,
    dictionary.html and dictionary.md.
    """
    from airflow_sfcc._airflow.destinations import place_of, storage_failures
    from airflow_sfcc.catalog.dbt_sources import sources_yaml
    from airflow_sfcc.catalog.dictionary import html, markdown
    from airflow_sfcc.catalog.tables import tables_in
    from airflow_sfcc.errors import SfccError

    try:
        with storage_failures(", ".join(destinations), "nothing was written"):
            tables = tables_in([place_of(each) for each in destinations], _describer(connection), _say)
        expected = _freshness(tables, freshness)
        folder = place_of(output)
        pages = {
            "sources.yml": sources_yaml(tables, expected, source),
            "dictionary.html": html(tables),
            "dictionary.md": markdown(tables),
        }
        with storage_failures(output, "the catalog is not complete"):
            _write(folder, pages)
    except (SfccError, OSError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    for line in _told(tables, expected):
        click.echo(line)
    click.echo(f"Wrote {', '.join(pages)} into {folder}.")


def _write(folder: StoragePath, pages: Mapping[str, str]) -> None:
    from airflow_sfcc.extract.storage import write_whole

    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pages.items():
        write_whole(folder / name, content.encode())


def _freshness(tables: Sequence[Table], hours: float | None) -> dict[str, Freshness]:
    from airflow_sfcc._airflow.schedules import longest_wait
    from airflow_sfcc.catalog.dbt_sources import Freshness

    if hours is not None:
        return {table.sobject: Freshness(timedelta(hours=hours)) for table in tables}
    waits = {dag_id: longest_wait(dag_id) for dag_id in {str(table.newest.get("dag_id")) for table in tables}}
    found = {table.sobject: waits[str(table.newest.get("dag_id"))] for table in tables}
    return {name: Freshness(wait) for name, wait in found.items() if wait}


def _told(tables: Sequence[Table], freshness: Mapping[str, Freshness]) -> list[str]:
    """A line for each table, with what is missing and why."""
    lines = []
    for table in tables:
        told = [f"{len(table.columns)} columns"]
        if table.sobject in freshness:
            told.append(f"new rows every {freshness[table.sobject].every}")
        else:
            told.append(
                f"no freshness: the schedule of {table.newest.get('dag_id')} is not known here, see --freshness"
            )
        if table.described is None:
            told.append("names and types only: it landed before descriptions were kept, see --connection")
        if table.file_format != "parquet":
            told.append(
                f"no external_location: dbt-duckdb reads Parquet, and these are {table.file_format or 'no'} files"
            )
        lines.append(f"{table.sobject}: {'; '.join(told)}")
    return lines


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _describer(connection: str | None) -> Describer | None:
    if connection is None:
        return None
    from airflow_sfcc.extract.described import Described, described_of

    clients: list[SalesforceClient] = []

    def describe(sobject: str) -> Described | None:
        from airflow_sfcc._airflow.connection import client_of
        from airflow_sfcc.errors import NotFoundError

        if not clients:
            clients.append(client_of(connection))
        try:
            return described_of(clients[0].describe(sobject))
        except NotFoundError:
            _say(f"{sobject} is not in the org any more, or the Run As user may not see it: names and types only.")
            return None

    return describe
