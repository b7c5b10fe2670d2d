"""Landed pages, and which of them make up a part.

A page's rows are staged in a file of their own, complete and readable by itself, so that a finished page outlives the
process that fetched it. The parts that readers get are larger: small pages are joined in page order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

SMALLEST_PART = 128 * 1024 * 1024
"""Bytes. Pages are joined until a part has this many. Parts of about 128 to
512 MB are what Spark, Trino, Snowflake and BigQuery advise."""

LARGE_CSV_PAGE = 1024 * 1024
"""Bytes. A CSV page as Salesforce packed it has its header in the same gzip data as its rows, so joining it means packing
it anew; that is worth it for small pages only."""


@dataclass(frozen=True)
class LandedPage:
    """A page whose rows are staged: `name` of the file, `url` it was read from (None by REST), `next_locator` as answered.

    Plain JSON by `to_json`, so that the process that commits need not be the one that landed it.
    """

    index: int
    name: str
    rows: int
    bytes: int
    sha256: str
    url: str | None = None
    next_locator: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LandedPage:
        return cls(**data)

    @classmethod
    def from_receipt(cls, data: Mapping[str, Any] | None) -> LandedPage | None:
        """The page, or None for what is no receipt of this version of the package; such a page is fetched again."""
        try:
            return cls.from_json(data or {})
        except TypeError:
            return None


@dataclass(frozen=True)
class Part:
    """A part file: its name below the extract's folder, and what it holds."""

    name: str
    rows: int
    bytes: int
    sha256: str


def page_name(index: int, extension: str) -> str:
    return f"page-{index:05d}.{extension}"


def part_name(index: int, extension: str) -> str:
    return f"part-{index:05d}.{extension}"


def grouped(pages: Iterable[LandedPage], large: int = SMALLEST_PART) -> Iterator[Iterator[LandedPage]]:
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

    def __call__(self, page: LandedPage) -> int:
        if self._bytes >= SMALLEST_PART or page.bytes >= self._large:
            self._number += 1
            self._bytes = 0
        self._bytes += SMALLEST_PART if page.bytes >= self._large else page.bytes
        return self._number
