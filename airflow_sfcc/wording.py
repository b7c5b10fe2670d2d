"""Pieces of sentences for people: numbers of things, and names that may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from airflow_sfcc.redaction import printable


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """A question that names up to three of the `known` which are spelt nearly so, each on one line; empty when none is.

    `cutoff` is how alike they are at least, from 0 to 1.
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    close = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=cutoff)]
    return f"Did you mean {' or '.join(map(printable, close))}?" if close else ""


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 row`, `1,200 rows`; `nouns` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
