"""The comparison itself: it sees a lost row, a doubled row and a single changed value."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import ForeignOrg
from tests.conformance.rows import assert_read_whole, stored_rows


def test_equal_rows_in_any_order(foreign_org: ForeignOrg) -> None:
    assert_read_whole(foreign_org.org, "Contact", reversed(stored_rows(foreign_org.org, "Contact")))


@pytest.mark.parametrize("change", ["lost", "doubled", "changed", "emptied", "rounded"])
def test_differences_are_seen(foreign_org: ForeignOrg, change: str) -> None:
    rows = stored_rows(foreign_org.org, "Invoice__c")
    number = next(name for name, value in rows[0].items() if isinstance(value, float))
    changed = {
        "lost": rows[1:],
        "doubled": [*rows, rows[0]],
        "changed": [{**rows[0], "Name": f"{rows[0]['Name']} "}, *rows[1:]],
        "emptied": [{**rows[0], "CreatedDate": None}, *rows[1:]],
        "rounded": [{**rows[0], number: rows[0][number] + 0.001}, *rows[1:]],
    }
    with pytest.raises(AssertionError, match="values differ"):
        assert_read_whole(foreign_org.org, "Invoice__c", changed[change])
