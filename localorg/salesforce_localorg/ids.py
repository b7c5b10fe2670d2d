"""Salesforce record ids: 15 case-sensitive characters, 18 with the checksum that makes them safe to compare without case."""

from __future__ import annotations

import re

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in byte order, so ids sort by their number
CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
INSTANCE = "8c0"  # characters 4 to 6: the pod that created the record
COUNTER_LENGTH = 9

_ID = re.compile("[A-Za-z0-9]{15}|[A-Za-z0-9]{18}")


def is_id(text: str) -> bool:
    """Whether the text has the form of a record id."""
    return _ID.fullmatch(text) is not None


def to_18(id15: str) -> str:
    """The 18-character form of a 15-character id: each suffix character tells which of five characters are upper case.

    Raises ValueError when `id15` has another length.
    """
    if len(id15) != 15:
        raise ValueError(f"A case-sensitive Salesforce id has 15 characters; this one has {len(id15)}.")
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << place for place, char in enumerate(id15[start : start + 5]) if "A" <= char <= "Z")
        suffix += CHECKSUM[bits]
    return id15 + suffix


def full_id(given: str) -> str:
    """The 18-character form of an id of 15 characters; any other text as it is."""
    return to_18(given) if len(given) == 15 else given


def record_id(prefix: str, number: int) -> str:
    """The 18-character id of the `number`-th record (0, 1, ...) of the object with this three-character key prefix."""
    counter = ""
    for _ in range(COUNTER_LENGTH):
        number, digit = divmod(number, 62)
        counter = BASE62[digit] + counter
    return to_18(prefix + INSTANCE + counter)


def record_number(id18: str) -> int:
    """The number that `record_id` made this id of."""
    number = 0
    for char in id18[15 - COUNTER_LENGTH : 15]:
        number = number * 62 + BASE62.index(char)
    return number


# The integration user that tokens act for and that changes are written down to, unless something else is said.
INTEGRATION_USER = record_id("005", 1)
# The one record of Organization, whose id is the org's.
ORGANIZATION = record_id("00D", 0)
