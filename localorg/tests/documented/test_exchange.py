"""The comparison of answers with documents: it sees what is missing, what is too much and what is different."""

from __future__ import annotations

import re
from typing import Any

import pytest

from documented.exchange import PRESENT, Each, Some, unlike


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": PRESENT, "b": str}, {"b": "x", "a": None}),
        (Some({"a": 1}), {"a": 1, "b": 2}),
        (Each({"id": re.compile("x+")}), [{"id": "x"}, {"id": "xx"}]),
        ([{"a": int}], [{"a": 3}]),
    ],
)
def test_alike(expected: Any, found: Any) -> None:
    assert unlike(expected, found) is None


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": PRESENT}, {"a": 1}),
        (Some({"a": 1}), {"b": 1}),
        (Some({}), []),
        (Each(int), []),
        (Each(int), [1, "2"]),
        ([int], [1, 2]),
        (int, True),
        (re.compile("x"), "xy"),
        (re.compile("x"), None),
    ],
)
def test_unlike(expected: Any, found: Any) -> None:
    assert unlike(expected, found) is not None
