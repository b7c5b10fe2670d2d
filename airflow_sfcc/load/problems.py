"""Sentences that the targets share."""

from __future__ import annotations

from airflow_sfcc.errors import TableBusyError, TableError


class ChangedMeanwhileError(TableBusyError):
    """The table has a newer version than the one the changes were computed from."""


def does_not_fit(table: str, what: object) -> TableError:
    """A value is none that the table's column holds."""
    return TableError(
        f"A value does not fit into {table} ({what}); nothing was loaded. Correct the record, or extract without that field "
        "(exclude_fields). After a change of numbers, go back to what it was, or drop the table and run once with mode='full'."
    )


def changed_by_hand(table: str, what: str) -> TableError:
    """The table is not what the last load left there."""
    return TableError(
        f"{table} is not as the last load left it: {what}. Nothing was loaded. Undo that change, or drop the table to have "
        "the next run build it anew from the extracts."
    )
