"""Escape sequences in SOQL strings.

Source: SOQL and SOSL Reference, "Quoted String Escape Sequences".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}

# What the character after a backslash stands for; `uXXXX` is a code point and not in the table.
ESCAPES = {
    **_CONTROL,
    **{letter.upper(): meaning for letter, meaning in _CONTROL.items()},
    **{char: char for char in "\"'\\_%"},
}

_PIECE = re.compile(
    r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\.|[^\\]+", re.DOTALL
)


def pieces(raw: str) -> Iterator[tuple[int, str]]:
    """The text between quotes cut into escape sequences and what stands between them, each with its offset."""
    for match in _PIECE.finditer(raw):
        yield match.start(), match.group()


def code_point(escape: str) -> str:
    r"""The character of `\uXXXX`, or of the two surrogates of one; half a pair stands for no character."""
    units = bytes.fromhex(escape.replace("\\u", ""))
    return units.decode("utf-16-be", errors="replace")
