"""Query results as Bulk API CSV pages, in the dialect of salesforce-protocol.md#csv-dialect.

DuckDB writes each row's text; this module joins rows into pages and compresses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from isal import isal_zlib

from salesforce_localorg.records.tables import literal
from salesforce_localorg.records.text_rows import text_batches, text_of
from salesforce_localorg.soql.plan import Column, Plan

_GZIP_LEVEL = 1
_GZIP_WINDOW = 31

_TEXT_OF = {
    "boolean": "CASE {0} WHEN TRUE THEN 'true' WHEN FALSE THEN 'false' END",
    "double": "sf_java_double({0})",
    "currency": "sf_java_double({0})",
    "percent": "sf_java_double({0})",
    "date": "CAST({0} AS VARCHAR)",
    "datetime": "strftime({0}, '%Y-%m-%dT%H:%M:%S.%gZ')",
    "time": "CASE WHEN {0} IS NOT NULL THEN sf_csv_time(CAST({0} AS VARCHAR)) END",
    "int": "CAST({0} AS VARCHAR)",
    "long": "CAST({0} AS VARCHAR)",
}

_WITHOUT_QUOTES = frozenset({*_TEXT_OF, "id", "reference"})


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


def export_pages(
    connection: duckdb.DuckDBPyConnection,
    plan: Plan,
    directory: Path,
    page_rows: int,
    delimiter: str,
    line_ending: str,
) -> CsvExport:
    """Write a plan's rows as pages of `page_rows` rows; without rows there is one page with the header alone."""
    header = tuple(name for name, _ in plan.header)
    head = (delimiter.join(f'"{name}"' for name in header) + line_ending).encode()
    pages: list[CsvPage] = []
    page = _Page(directory / "page-00000.csv.gz", head)
    for lines in _lines(connection, plan, delimiter, line_ending):
        start = 0
        while start < len(lines):
            stop = min(len(lines), start + page_rows - page.rows)
            page.add(text_of(lines, start, stop), stop - start)
            start = stop
            if page.rows == page_rows:
                pages.append(page.finish())
                page = _Page(directory / f"page-{len(pages):05d}.csv.gz", head)
    if page.rows or not pages:
        pages.append(page.finish())
    else:
        page.discard()
    return CsvExport(plan.sobject.name, sum(each.rows for each in pages), tuple(pages), header)


def _lines(connection: duckdb.DuckDBPyConnection, plan: Plan, delimiter: str, line_ending: str) -> Iterator[pa.Array]:
    """The text of each row, many rows at a time."""
    cells = [_cell(plan.columns[place]) for _, place in plan.header]
    # One call with all cells: a chain of `||` would copy the growing row once for each cell.
    row = f"""concat('"', concat_ws({literal(f'"{delimiter}"')}, {", ".join(cells)}), {literal(f'"{line_ending}')})"""
    return text_batches(connection, plan.relation.select([row]))


def _cell(column: Column) -> str:
    """The SQL of a cell between its quotes; Salesforce writes null as empty text."""
    text = csv_text(column)
    return f"coalesce({text}, '')" if column.type in _WITHOUT_QUOTES else f"sf_csv_cell({text})"


def csv_text(column: Column) -> str:
    """The SQL of a column's value as CSV shows it, null where it shows nothing."""
    return _TEXT_OF.get(column.type, "{0}").format(column.sql)


class _Page:
    """A gzip file being written."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._path = path
        self._file = path.open("wb")
        self._deflate = isal_zlib.compressobj(level=_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        self._plain = self._packed = self.rows = 0
        self._write(head)

    def _write(self, data: bytes | memoryview) -> None:
        self._plain += len(data)
        self._put(self._deflate.compress(data))

    def _put(self, packed: bytes) -> None:
        self._packed += len(packed)
        self._file.write(packed)

    def add(self, lines: memoryview, rows: int) -> None:
        self.rows += rows
        self._write(lines)

    def finish(self) -> CsvPage:
        self._put(self._deflate.flush())
        self._file.close()
        return CsvPage(self._path, self.rows, self._plain, self._packed)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink()
