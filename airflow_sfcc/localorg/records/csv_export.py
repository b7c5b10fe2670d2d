"""Query results as Bulk API CSV pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CsvPage:
    """One result page: a gzip file whose text holds the header row and `rows` records."""

    path: Path
    rows: int
    plain_bytes: int
    gzip_bytes: int


@dataclass(frozen=True)
class CsvExport:
    """A finished export. `header` holds the column names, unquoted, in select order."""

    sobject: str
    rows: int
    pages: tuple[CsvPage, ...]
    header: tuple[str, ...]
