"""Landed pages, and which of them make up a part.

A page's rows are staged in a file of their own, complete and readable by itself, so that a finished page outlives the
process that fetched it. The parts that readers get are larger: small pages are joined in page order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from airflow_sfcc.extract.model import StagedFile

SMALLEST_PART = 128 * 1024 * 1024
"""Bytes. Pages are joined until a part has this many. Parts of about 128 to
512 MB are what Spark, Trino, Snowflake and BigQuery advise."""

LARGE_CSV_PAGE = 1024 * 1024
"""Bytes. A CSV page as Salesforce packed it has its header in the same gzip data as its rows, so joining it means packing
it anew; that is worth it for small pages only."""


def page_name(index: int, extension: str) -> str:
    return f"page-{index:05d}.{extension}"


def part_name(index: int, extension: str) -> str:
    return f"part-{index:05d}.{extension}"


def grouped(pages: Iterable[StagedFile], large: int = SMALLEST_PART) -> Iterator[Iterator[StagedFile]]:
    """The pages of each part; `pages` come in their order, and a page of `large` bytes stays alone.

    Pages without rows are in none. A part's pages have to be read before the next part is asked for.
    """
    return (part for _, part in groupby((page for page in pages if page.rows), _PartNumber(large)))


class _PartNumber:
    """Which part each page is in, of pages that are asked about in their order."""

    def __init__(self, large: int) -> None:
        self._large = large
        self._number = 0
        self._bytes = SMALLEST_PART

    def __call__(self, page: StagedFile) -> int:
        if self._bytes >= SMALLEST_PART or page.bytes >= self._large:
            self._number += 1
            self._bytes = 0
        self._bytes += SMALLEST_PART if page.bytes >= self._large else page.bytes
        return self._number
