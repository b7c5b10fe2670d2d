"""What a table has to be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from airflow_sfcc.load.model import Commit, Counts, Extract, TableColumn, TableState
from airflow_sfcc.load.scratch import Scratch


@dataclass(frozen=True)
class Change:
    """What one commit does to a table: rows of the Ids `removed` go, `rows` come.

    Both are SQL over the scratch database. `order` is the one that rows are to come in (in_order.py); it is empty where they
    are in the order of their Ids. With `replaces_all` nothing else stays, and each row that comes counts as
    inserted; `unchanged_files_of` is then an extract whose rows are exactly these.
    """

    removed: str
    rows: str
    counts: Counts
    replaces_all: bool = False
    unchanged_files_of: Extract | None = None
    order: str = '"Id"'


class Existing(Protocol):
    """Rows that are in a table already."""

    def existing(self, scratch: Scratch, ids: str | None, columns: Sequence[TableColumn]) -> str:
        """Rows of the Ids in the scratch table `ids` (None: all rows), as a relation of the scratch."""
        ...


class Target(Existing, Protocol):
    """A table somewhere. Its methods are called between entering and leaving `locked`.

    All raise TableError for what a person has to change, TableBusyError while another load is at work on the table, and
    TableUnavailableError when its database or storage fails.
    """

    name: str
    knows_rows: bool
    """Whether it can tell what is in the table; else each change is computed from the history of the extracts."""

    def locked(self, scratch: Scratch) -> AbstractContextManager[None]:
        """One load of a table at a time."""
        ...

    def state(self, known: Sequence[str]) -> TableState | None:
        """What the table says of itself, None if there is none. `known` are the ids of the extracts that matter."""
        ...

    def column_type(self, kind: str) -> str:
        """The type that the table has for a manifest's type."""
        ...

    def apply(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        """Change the rows and record the loaded extracts, in one commit; returns how many rows came."""
        ...
