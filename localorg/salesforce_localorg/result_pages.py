"""Pages of a finished Bulk query: prepared gzip files, and cuts of them when a client asks for other sizes."""

from __future__ import annotations

import base64
import binascii
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isal import igzip

from salesforce_localorg.records import CsvExport, CsvPage

GZIP_LEVEL = 1
PLAIN_PAGES_KEPT = 2


@dataclass(frozen=True)
class ResultPage:
    """One page to send: a gzip file that begins with the header row. `next_offset` is None for the last page."""

    path: Path
    rows: int
    next_offset: int | None


@dataclass(frozen=True)
class PlainPage:
    """A prepared page unpacked: `ends[0]` is the end of the header row, `ends[n]` the end of the n-th record."""

    text: bytes
    ends: array[int]


class PlainPages:
    """The few pages unpacked last, because a client that asks for small pages comes back to the same file."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Path, PlainPage] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> PlainPage:
        with self._lock:
            page = self._pages.get(path)
            if page is None:
                text = igzip.decompress(path.read_bytes())
                page = PlainPage(text, record_ends(text))
                self._pages[path] = page
            self._pages.move_to_end(path)
            while len(self._pages) > PLAIN_PAGES_KEPT:
                self._pages.popitem(last=False)
            return page


class JobResults:
    """The rows of one job by offset. `largest_page` bounds what one request gets, whatever `maxRecords` says."""

    def __init__(self, export: CsvExport, directory: Path, largest_page: int, plain: PlainPages) -> None:
        self._directory = directory
        self._largest_page = largest_page
        self._plain = plain
        self._pages = export.pages
        self._lock = threading.Lock()
        self.rows = export.rows
        self.offsets = list(_page_offsets(export))

    def page(self, offset: int, max_records: int | None) -> ResultPage | None:
        """The page that starts at row `offset`.

        Without `max_records` it ends where the prepared page ends. None for an offset without rows.
        """
        if offset != 0 and not 0 < offset < self.rows:
            return None
        index = self._page_of(offset)
        prepared = self._pages[index]
        to_page_end = self.offsets[index] + prepared.rows - offset
        remaining = self.rows - offset
        rows = to_page_end if max_records is None else min(max_records, remaining, self._largest_page)
        at_start = offset == self.offsets[index]
        path = prepared.path if at_start and rows == prepared.rows else self._cut(offset, rows)
        return ResultPage(path, rows, offset + rows if rows < remaining else None)

    def _page_of(self, offset: int) -> int:
        return max(index for index, start in enumerate(self.offsets) if start <= offset)

    def _cut(self, offset: int, rows: int) -> Path:
        path = self._directory / f"cut-{offset}-{rows}.csv.gz"
        with self._lock:
            if not path.exists():
                unfinished = path.with_suffix(".part")
                with igzip.open(unfinished, "wb", compresslevel=GZIP_LEVEL) as file:
                    for piece in self._pieces(offset, rows):
                        file.write(piece)
                unfinished.replace(path)
        return path

    def _pieces(self, offset: int, rows: int) -> Iterator[memoryview]:
        with_header = True
        while rows > 0:
            index = self._page_of(offset)
            plain = self._plain.read(self._pages[index].path)
            text = memoryview(plain.text)
            if with_header:
                yield text[: plain.ends[0]]
                with_header = False
            first = offset - self.offsets[index]
            last = min(first + rows, self._pages[index].rows)
            yield text[plain.ends[first] : plain.ends[last]]
            rows -= last - first
            offset += last - first


def _page_offsets(export: CsvExport) -> Iterator[int]:
    offset = 0
    for page in export.pages:
        yield offset
        offset += page.rows


def record_ends(text: bytes) -> array[int]:
    """The byte offset after each record of a CSV in the Bulk dialect, header first.

    Every value is quoted and quotes inside are doubled, so a newline ends a record exactly when the quotes before it
    are even in number.
    """
    ends = array("Q")
    inside = False
    start = 0
    while True:
        newline = text.find(b"\n", start)
        if newline < 0:
            return ends
        if text.count(b'"', start, newline) % 2:
            inside = not inside
        if not inside:
            ends.append(newline + 1)
        start = newline + 1


def encode_locator(offset: int) -> str:
    """The opaque locator of a row offset; the documented examples look like base64 of a number."""
    return base64.urlsafe_b64encode(str(offset).encode()).decode().rstrip("=")


def decode_locator(locator: str) -> int | None:
    """The row offset of a locator, or None for a text that is none."""
    padded = locator + "=" * (-len(locator) % 4)
    try:
        digits = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        return None
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else None


def plain_bytes_of(pages: tuple[CsvPage, ...]) -> int:
    return sum(page.plain_bytes for page in pages)
