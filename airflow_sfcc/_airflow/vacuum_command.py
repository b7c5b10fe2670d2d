"""`airflow-sfcc vacuum`: removing what nobody reads from a destination."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_sfcc.extract.land.vacuum import Leftover
    from airflow_sfcc.extract.storage import StoragePath

NOT_REMOVED = "what was not removed yet is still there"
_MOST_HOURS = 24 * 366 * 100


@click.command()
@click.argument("destination")
@click.option("--superseded", is_flag=True, help="Also remove extracts that were read before the newest full one.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also remove extracts that were read before the newest N full ones.",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0, max=_MOST_HOURS),
    default=None,
    metavar="HOURS",
    help="Leave leftovers younger than this alone.  [default: 48; of a Delta table 168]",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
def vacuum(destination: str, superseded: bool, keep: int | None, older_than: float | None, dry_run: bool) -> None:
    """Remove what runs that died left in DESTINATION (one object's folder: a path, or a URL as in a DAG).

    Committed extracts stay, but for those that --superseded or --keep names. Of a Delta table (delta+file:///…, delta+s3://…)
    files go that no version of the last --older-than hours needs.
    """
    from airflow_sfcc._airflow.destinations import place_of, storage_failures
    from airflow_sfcc.errors import SfccError
    from airflow_sfcc.extract.land.vacuum import vacuum as remove

    if destination.startswith("delta+"):
        if superseded or keep:
            raise click.UsageError("--superseded and --keep are of extracts: a Delta table has --older-than only.")
        _vacuum_table(destination, older_than, dry_run)
        return
    try:
        with storage_failures(destination, NOT_REMOVED):
            place = place_of(destination)
            removed = remove(
                place,
                superseded=superseded,
                keep=keep,
                older_than=timedelta(hours=48 if older_than is None else older_than),
                dry_run=dry_run,
            )
            nothing = [] if removed else nothing_there(destination, place)
    except (SfccError, OSError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    for line in (*nothing, *told(removed, dry_run=dry_run)):
        click.echo(line)


def _vacuum_table(url: str, older_than: float | None, dry_run: bool) -> None:
    from airflow_sfcc._airflow.destinations import place_of, storage_failures
    from airflow_sfcc._airflow.load_task import delta_options
    from airflow_sfcc.errors import SfccError

    place = url.removeprefix("delta+")
    try:
        from airflow_sfcc.load.delta.table import DeltaTable
        from airflow_sfcc.load.delta.vacuum import DEFAULT_AGE
        from airflow_sfcc.load.delta.vacuum import vacuum as remove

        age = DEFAULT_AGE if older_than is None else timedelta(hours=older_than)
        with storage_failures(place, NOT_REMOVED):
            removed = remove(DeltaTable(place_of(place), url, delta_options(place)), older_than=age, dry_run=dry_run)
    except (SfccError, OSError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    for file in removed:
        click.echo(f"{file.path}: {_size(1, 'file', file.bytes)}")
    what = _size(len(removed), "file", sum(file.bytes for file in removed))
    click.echo(f"{'Would remove' if dry_run else 'Removed'} {what}.")


def nothing_there(destination: str, place: StoragePath) -> list[str]:
    """What to say of a folder that holds no extracts: its name may be mistyped."""
    if any(place.glob("extract=*")):
        return []
    return [f"{destination} holds no extracts: name the folder of one object, as the DAG's destination does."]


def told(removed: Sequence[Leftover], *, dry_run: bool) -> Iterator[str]:
    """What was removed, a line for each folder, and the sum."""
    for leftover in removed:
        yield f"{leftover.path}: {_size(leftover.files, 'file', leftover.bytes)}: {leftover.reason}"
    what = _size(len(removed), "folder", sum(leftover.bytes for leftover in removed))
    yield f"{'Would remove' if dry_run else 'Removed'} {what}."


def _size(number: int, noun: str, size: int) -> str:
    from airflow_sfcc.wording import plural

    return f"{plural(number, noun)}, {plural(size, 'byte')}"
