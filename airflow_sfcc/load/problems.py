"""Sentences that the targets share."""

from __future__ import annotations

from airflow_sfcc.errors import TableBusyError, TableError


class ChangedMeanwhileError(TableBusyError):
    """The table has a newer version than the one the changes were computed from."""


def changed_by_hand(table: str, what: str) -> TableError:
    """The table is not what the last load left there."""
    return TableError(
        f"{table} is not as the last load left it: {what}. Nothing was loaded. Undo that change, or drop the table to have "
        "the next run build it anew from the extracts."
    )
