"""Joining pages while others are still being fetched, so that little is left to do when the last one has landed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from airflow_sfcc.extract.land.joining import parts_of
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import FileFormat, Part, StagedFile

log = logging.getLogger(__name__)


class JoinAhead:
    """The parts of pages that one process lands. What goes wrong here is left to the commit, which joins what is not joined."""

    def __init__(self, landing: Landing, file_format: FileFormat) -> None:
        self._landing = landing
        self._file_format = file_format
        self._pages: list[StagedFile] = []
        self._parts: dict[Part, str] = {}

    @contextmanager
    def running(self) -> Iterator[_PagesInOrder]:
        """Takes pages in any order as they land, in the `with` block; after it they are joined, unless it failed."""
        pages = _PagesInOrder()
        with ThreadPoolExecutor(1, thread_name_prefix="join-pages") as pool:
            joining = pool.submit(self._join, pages)
            try:
                yield pages
            except BaseException:
                pages.give_up()
                raise
            pages.end()
            joining.result()

    def _join(self, pages: _PagesInOrder) -> None:
        try:
            self._parts = parts_of(pages, self._landing, self._file_format)
            self._pages = pages.given
        except _GivenUpError:
            return
        except Exception as problem:
            log.warning("Pages could not be joined while others landed, so they will be at the end: %s", problem)

    def parts_of(self, pages: Sequence[StagedFile]) -> dict[Part, str]:
        """The parts of these pages, joined now unless they are already."""
        in_order = sorted(pages, key=lambda page: page.index)
        if in_order != self._pages:
            return parts_of(in_order, self._landing, self._file_format)
        return self._parts


class _GivenUpError(Exception):
    """Nobody wants the parts any more."""


class _PagesInOrder:
    """Pages that are put in as they land and come out by their indexes, from 0 on; whoever takes them waits for them."""

    def __init__(self) -> None:
        self.given: list[StagedFile] = []
        self._waiting: dict[int, StagedFile] = {}
        self._is_over = self._is_given_up = False
        self._changed = threading.Condition()

    def add(self, page: StagedFile) -> None:
        with self._changed:
            self._waiting[page.index] = page
            self._changed.notify()

    def end(self) -> None:
        """No page comes any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def give_up(self) -> None:
        """Make whoever takes pages fail."""
        with self._changed:
            self._is_given_up = True
            self._changed.notify()

    def __iter__(self) -> Iterator[StagedFile]:
        while (page := self._next()) is not None:
            self.given.append(page)
            yield page

    def _next(self) -> StagedFile | None:
        index = len(self.given)
        with self._changed:
            self._changed.wait_for(lambda: index in self._waiting or self._is_over or self._is_given_up)
            if self._is_given_up:
                raise _GivenUpError
            return self._waiting.pop(index, None)
