"""Python text as SQL expressions."""

from __future__ import annotations


def quoted(text: str) -> str:
    """`text` as a SQL string expression; NUL cannot stand in SQL text."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"
