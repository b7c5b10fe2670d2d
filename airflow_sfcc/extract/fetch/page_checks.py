"""Whether a response is that of the result page that was requested.

A cache that mixes up its entries, or a connection that is one response behind, answers with another page of the same job. Row
counts cannot tell: rows are lost and doubled in equal numbers. Two facts can. The locator in a page's response is that of
the page after it, `null` on the last one (salesforce-protocol.md#result-pages). And a record is in one page only, so no Id may
come twice. Equal text of two pages proves nothing, since rows without an Id may well repeat.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from airflow_sfcc.errors import QueryError, RowCountError
from airflow_sfcc.extract.model import NO_ID, Column, Plan
from airflow_sfcc.salesforce.bulk import NO_LOCATOR, ResultPage

Verdict = Literal["right", "wrong", "unproven"]

MOST_UNPROVEN = 8
"""So many responses without a listed locator in them show that the org does not tie its listed pages to one another."""

MOST_IDS = 32_768
"""Ids that are remembered of a job; beyond that, those with certain last characters only."""

_NO_IDS = pa.array([], pa.string())
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEPT = (62, 31, 16, 8, 4, 2, 1)
"""How many of the 62 digits are kept at a place of the Id, from one level of sampling to the next."""

_COUNTING_PLACES = (14, 13, 12)
"""Places of the digits that differ most between Ids: the last ones of the first 15 characters."""


def listed_in_order(pages: Iterator[ResultPage]) -> Iterator[ResultPage]:
    """The same pages, each with the locator of the page after it."""
    for page, following in pairwise(chain(pages, [None])):
        if page is not None:
            yield replace(page, following=NO_LOCATOR if following is None else _locator_in(following))


def _locator_in(page: ResultPage) -> str | None:
    return next(iter(parse_qs(urlsplit(page.url).query).get("locator", ())), None)


class PageOrder:
    """What the locators in responses prove, from page to page of a job. Safe to share between threads."""

    def __init__(self) -> None:
        self._locators: set[str] = set()
        self._lock = threading.Lock()
        self.is_proven = False
        """Whether responses are known to name the page after theirs."""

    def know(self, pages: Iterable[ResultPage]) -> None:
        """Remember the locators of pages that are still to be requested."""
        for page in pages:
            self._locators |= {_locator_in(page) or NO_LOCATOR, page.following or NO_LOCATOR}

    def judge(self, page: ResultPage, told: str | None) -> Verdict:
        """Whether a response with this locator in it (None: with none) belongs to the page.

        A page that is right proves that others must be so too. Where the page's own successor is not known, it counts as right.
        """
        with self._lock:
            expected, told = page.following, told or NO_LOCATOR
            if expected is None:
                return "right"
            self.know([page])
            if told == expected:
                self.is_proven = self.is_proven or told != NO_LOCATOR
                return "right" if self.is_proven else "unproven"
            if self.is_proven or (told in self._locators and told != NO_LOCATOR):
                return "wrong"
            return "unproven"


class SeenIds:
    """The Ids of the pages that have landed, as many as fit into a bounded memory.

    Up to MOST_IDS rows every Id is remembered. Beyond that it is a sample, by the last digits of the Id: of 100 million rows
    one in 4,000, which is enough to notice a page of 100,000 that comes twice. Objects whose Ids repeat within a page are not
    checked: big objects and some setup objects have none, all of their rows have `000000000000000AAA`.
    """

    def __init__(self) -> None:
        self._level = 0
        self._ids = _NO_IDS
        self._are_unique = True

    def add(self, page: Sequence[pa.Array]) -> str | None:
        """Remember one more page's Ids. Returns one of them that another page had already, if there is any."""
        ids = _sampled(pa.chunked_array(page, pa.string()).combine_chunks(), self._level).drop_null()
        self._are_unique = self._are_unique and len(ids.unique()) == len(ids)
        if not self._are_unique:
            return None
        twice = self._ids.filter(pc.is_in(self._ids, value_set=ids))
        self._ids = pa.concat_arrays([self._ids, ids])
        while len(self._ids) > MOST_IDS and self._level < len(_KEPT[1:]) * len(_COUNTING_PLACES):
            self._level += 1
            self._ids = _sampled(self._ids, self._level)
        return str(twice[0]) if len(twice) else None


class PageIds:
    """The Ids of one page, where the columns have them."""

    def __init__(self, seen: SeenIds, columns: Sequence[Column]) -> None:
        self._seen = seen
        self._is_there = any(column.name == "Id" for column in columns)
        self.ids: list[pa.Array] = []

    def take(self, batch: pa.RecordBatch) -> None:
        if self._is_there:
            # A copy, since a column that was parsed holds on to more memory than its values need.
            self.ids.append(pa.concat_arrays([batch.column("Id"), _NO_IDS]))

    def require_new(self, page: ResultPage) -> None:
        """Raise RowCountError when another page of the job had one of them."""
        twice = self._seen.add(self.ids)
        if twice is not None:
            raise RowCountError(
                f"Result page {page.index} of Bulk job {page.job_id} has the record {twice}, which another page had already: a "
                "cache or proxy on the way mixes up responses. Nothing was landed. Have result pages bypass it, and run the "
                "task again."
            )


class OwnIds:
    """Whether the rows of a file have Ids of their own, which matters where readers merge them by Id."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.are_there = True

    def take(self, batch: pa.RecordBatch) -> None:
        """Raises QueryError for a row of an incremental extract that has none."""
        if self._plan.increment.watermark is None or "Id" not in batch.schema.names:
            return
        ids = batch.column("Id")
        if not (ids.null_count or pc.any(pc.equal(ids, NO_ID)).as_py()):
            return
        if self._plan.increment.mode == "incremental":
            raise QueryError(
                f"{self._plan.sobject} has rows without an Id of their own (null or {NO_ID}), so a changed row cannot be told "
                "from a new one; nothing was landed. Use mode='full'."
            )
        self.are_there = False


def _sampled(ids: pa.Array, level: int) -> pa.Array:
    places, step = divmod(level, len(_KEPT) - 1)
    for number, place in enumerate(_COUNTING_PLACES[: places + 1]):
        kept = _KEPT[step] if number == places else 1
        if kept < len(_DIGITS):
            digits = pa.array([digit.encode() for digit in _DIGITS[:kept]])
            ids = ids.filter(pc.is_in(pc.binary_slice(ids.cast(pa.binary()), place, place + 1), value_set=digits))
    return ids
