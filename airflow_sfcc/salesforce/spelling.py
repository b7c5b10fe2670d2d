"""Names that a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names up to three of the `known` which are spelt nearly so; empty when none is."""
    lowered = {candidate.lower(): candidate for candidate in known}
    close = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3)]
    return f"Did you mean {' or '.join(close)}?" if close else ""
