"""Binding values, and cutting a query into its clauses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salesforce_localorg.soql import parse

from airflow_sfcc.errors import QueryError
from airflow_sfcc.salesforce import soql


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1e20, "100000000000000000000"),
        (0.1, "0.1"),
        (Decimal("1.50"), "1.50"),
        ('O\'Brien \\ "x"\n', "'O\\'Brien \\\\ \\\"x\\\"\\n'"),
        (date(2026, 11, 23), "2026-11-23"),
        (datetime(2026, 11, 23, 2, tzinfo=timezone(timedelta(hours=1))), "2026-11-23T01:00:00Z"),
        (datetime(2026, 11, 23, 2, 0, 0, 5000, tzinfo=timezone.utc), "2026-11-23T02:00:00.005Z"),
        (["a", "b"], "('a', 'b')"),
        ((1, None), "(1, null)"),
    ],
)
def test_literals(value: Any, text: str) -> None:
    assert soql.literal(value) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [], object(), {"a": 1}, datetime(2026, 1, 1), b"x", "cut \ud83d", ["\udc80"]]
)
def test_values_without_a_literal_are_refused(value: Any) -> None:
    with pytest.raises(QueryError):
        soql.literal(value)


@given(st.text(min_size=1))
def test_no_text_leaves_its_literal(text: str) -> None:
    """Read back by the local org's own SOQL grammar, a bound text is one string literal that means the text."""
    query = parse(soql.bind("SELECT Id FROM Account WHERE Name = :name AND Id != null", {"name": text}))
    assert query.where.terms[0].value.value == text  # type: ignore[union-attr]


def test_bind_leaves_strings_and_datetimes_alone() -> None:
    text = "SELECT Id FROM A WHERE X = ':name' AND D > 2026-01-01T00:00:00Z AND E IN :ids AND L = LAST_N_DAYS:3"
    assert soql.bind(text, {"ids": [1]}) == text.replace(":ids", "(1)")
    assert soql.bind(text.replace(":ids", "(1)"), None) == text.replace(":ids", "(1)")


def test_bind_names_must_match() -> None:
    with pytest.raises(QueryError, match=":since"):
        soql.bind("SELECT Id FROM A WHERE D > :since", {"until": 1})
    with pytest.raises(QueryError, match="until"):
        soql.bind("SELECT Id FROM A WHERE D > :since", {"since": 1, "until": 1})
    with pytest.raises(QueryError, match=r"names :since, but bind is missing: add bind=\{'since': ...\}"):
        soql.bind("SELECT Id FROM A WHERE D > :since", None)


def test_scan_cuts_clauses() -> None:
    query = soql.scan(
        "select a.Id, toLabel(Status) label, (SELECT Id FROM Contacts WHERE Name = 'x, y'), TYPEOF What WHEN Account THEN "
        "Phone, Name ELSE Id END FROM Account a USING SCOPE mine WHERE Name = 'FROM x GROUP BY y' AND (A = 1 OR B = 2) "
        "ORDER BY Name LIMIT 10 OFFSET 5 FOR VIEW"
    )
    assert [item.kind for item in query.items] == ["field", "function", "subquery", "typeof"]
    assert query.items[1].alias == "label" and query.items[1].argument == "Status"
    assert (query.sobject, query.alias) == ("Account", "a")
    assert list(query.clauses) == ["USING SCOPE", "WHERE", "ORDER BY", "LIMIT", "OFFSET", "FOR"]
    assert query.clauses["WHERE"] == "Name = 'FROM x GROUP BY y' AND (A = 1 OR B = 2)"
    assert query.counting() == (
        "SELECT COUNT() FROM Account a USING SCOPE mine WHERE Name = 'FROM x GROUP BY y' AND (A = 1 OR B = 2) LIMIT 10"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT Id FROM Account", None),
        ("SELECT Id FROM Account ORDER BY Id LIMIT 5", None),
        ("SELECT COUNT(Id) FROM Account", "aggregates"),
        ("SELECT StageName FROM Opportunity GROUP BY StageName", "aggregates"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "child"),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 5", "OFFSET"),
    ],
)
def test_what_bulk_cannot_do(text: str, reason: str | None) -> None:
    found = soql.scan(text).rest_only_reason()
    assert found is None if reason is None else reason in (found or "")


@pytest.mark.parametrize("text", ["", "UPDATE x", "SELECT Id", "SELECT Id FROM"])
def test_scan_refuses_what_is_no_query(text: str) -> None:
    with pytest.raises(QueryError):
        soql.scan(text)


@pytest.mark.parametrize("comment", ["// accounts\n", "/* accounts */ ", "-- accounts\n"])
def test_a_comment_before_the_query_is_called_one(comment: str) -> None:
    with pytest.raises(QueryError, match="begins with a comment, and SOQL has none"):
        soql.scan(f"{comment}SELECT Id FROM Account")


def test_a_byte_order_mark_before_the_query_is_no_part_of_it() -> None:
    """As some editors write it into a .soql file."""
    assert soql.scan("\ufeffSELECT Id FROM Account").text == "SELECT Id FROM Account"
    assert (
        soql.bind("\ufeffSELECT Id FROM Account WHERE Name = :n", {"n": "x"})
        == "SELECT Id FROM Account WHERE Name = 'x'"
    )


@pytest.mark.parametrize("written", ["IN:ids", "in:ids", "NOT IN :ids", "IN  : ids", "IN\n:ids"])
def test_a_name_may_stand_right_after_its_keyword(written: str) -> None:
    """As people write it in Apex."""
    bound = soql.bind(f"SELECT Id FROM Account WHERE Name {written}", {"ids": ["a", "b"]})
    assert bound.endswith("('a', 'b')") and ":" not in bound
    assert soql.bind("SELECT Id FROM A WHERE Name LIKE:n LIMIT:m", {"n": "x%", "m": 5}).endswith("LIKE 'x%' LIMIT 5")
    relative = "SELECT Id FROM Account WHERE CreatedDate = LAST_N_DAYS:30 AND At__c > 10:30:00.000Z"
    assert soql.bind(relative, None) == relative


@pytest.mark.parametrize("value", ["['a', 'b']", "a", 5, None])
def test_what_stands_after_in_must_be_a_list(value: object) -> None:
    """A template renders a list to text, which Salesforce would only call an unexpected token."""
    with pytest.raises(
        QueryError, match=r"bind gives ids the value .* after IN: give a list.*render_template_as_native_obj"
    ):
        soql.bind("SELECT Id FROM Account WHERE Id NOT IN :ids", {"ids": value})
    assert soql.bind("SELECT Id FROM Account WHERE Id IN (:ids)", {"ids": "a"}).endswith("IN ('a')")


def test_any_sequence_is_a_list() -> None:
    """What mapped tasks of Airflow returned is one of Airflow's own."""

    class Lazy(Sequence[str]):
        def __getitem__(self, index: Any) -> Any:
            return ["a", "b"][index]

        def __len__(self) -> int:
            return 2

    assert soql.bind("SELECT Id FROM A WHERE Id IN :ids", {"ids": Lazy()}).endswith("IN ('a', 'b')")
    assert soql.literal({"a": 1}.keys()) == "('a')"
    with pytest.raises(QueryError, match="bytes"):
        soql.literal(b"ab")
