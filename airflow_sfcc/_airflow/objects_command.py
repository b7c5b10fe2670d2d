"""`airflow-sfcc objects`: what a sync would do with each object of an org."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_sfcc.salesforce import SalesforceClient
    from airflow_sfcc.sync.catalog import Catalog, OrgObject

_HEADER = ("object", "class", "rows", "size", "why")
_RECORD_BYTES = 2_048
"""What Salesforce counts of its storage for a record of nearly every object (Salesforce Help, "Data and File Storage")."""

_UNITS = ("B", "KB", "MB", "GB", "TB")


def lines_of(client: SalesforceClient, patterns: Sequence[str]) -> Iterator[str]:
    """The objects that patterns select, as a table, and how many there are of each class. Raises what a request raises, and
    OptionError for patterns that select nothing."""
    from airflow_sfcc.sync.catalog import read_catalog
    from airflow_sfcc.sync.patterns import Patterns
    from airflow_sfcc.sync.report import aligned

    catalog = read_catalog(client, Patterns(patterns or ["*"]), {})
    if catalog.objects:
        yield from aligned([_HEADER, *map(_row, catalog.objects)])
    yield _sum(catalog)
    yield from catalog.unmatched


def _row(sobject: OrgObject) -> tuple[str, ...]:
    rows, size = ("?", "?") if sobject.rows is None else (f"{sobject.rows:,}", _size(sobject.rows * _RECORD_BYTES))
    return sobject.name, sobject.kind.replace("_", " "), rows, size, sobject.reason or ""


def _sum(catalog: Catalog) -> str:
    kinds = [each.kind for each in catalog.objects]
    numbers = {kind: kinds.count(kind) for kind in ("incremental", "full", "needs_filter", "not_extractable")}
    told = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in numbers.items())
    return f"{len(kinds):,} of {len(catalog.names):,} objects: {told}."


def _size(size: float) -> str:
    """`1.2 GB`."""
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} {_UNITS[-1]}"
