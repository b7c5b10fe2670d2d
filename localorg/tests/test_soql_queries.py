"""SOQL against the org's rows: what a condition selects equals what Python selects from the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from salesforce_localorg.records import Records
from salesforce_localorg.schema import Viewer
from salesforce_localorg.soql import SoqlError

VIEWER = Viewer("0058c0000000001AAA")
Row = dict[str, Any]


def run(records: Records, soql: str) -> list[Row]:
    cursor = records.open_cursor(soql, include_deleted=False, viewer=VIEWER)
    try:
        return cursor.records(0, cursor.total_size, "68.0")
    finally:
        cursor.close()


def lowered(row: Row) -> str | None:
    return None if row["Name"] is None else str(row["Name"]).lower()


CONDITIONS: list[tuple[str, Callable[[Row], bool]]] = [
    ("Name LIKE 'a%'", lambda row: (lowered(row) or "").startswith("a")),
    ("NOT Name LIKE 'a%'", lambda row: not (lowered(row) or "").startswith("a")),
    ("AnnualRevenue > 1e6", lambda row: row["AnnualRevenue"] is not None and row["AnnualRevenue"] > 1e6),
    ("AnnualRevenue = null", lambda row: row["AnnualRevenue"] is None),
    ("Industry != 'Energy'", lambda row: row["Industry"] != "Energy"),
    ("Industry IN ('ENERGY', 'banking', null)", lambda row: row["Industry"] in ("Energy", "Banking", None)),
    ("Industry NOT IN ('Energy')", lambda row: row["Industry"] != "Energy"),
    (
        "Industry = 'Energy' OR (Name LIKE '%a' AND AnnualRevenue != null)",
        lambda row: (
            row["Industry"] == "Energy" or ((lowered(row) or "").endswith("a") and row["AnnualRevenue"] is not None)
        ),
    ),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS, ids=[condition for condition, _ in CONDITIONS])
def test_conditions(records: Records, condition: str, holds: Callable[[Row], bool]) -> None:
    everything = run(records, "SELECT Id, Name, Industry, AnnualRevenue FROM Account")
    expected = {row["Id"] for row in everything if holds(row)}
    assert {row["Id"] for row in run(records, f"SELECT Id FROM Account WHERE {condition}")} == expected
    assert 0 < len(expected) < len(everything)


def test_order_limit_and_offset(records: Records) -> None:
    ordered = [row["Amount"] for row in run(records, "SELECT Amount FROM Opportunity ORDER BY Amount DESC NULLS LAST")]
    values = [value for value in ordered if value is not None]
    assert values == sorted(values, reverse=True) and ordered[len(values) :] == [None] * (len(ordered) - len(values))
    some = run(records, "SELECT Amount FROM Opportunity ORDER BY Amount DESC NULLS LAST LIMIT 5 OFFSET 3")
    assert [row["Amount"] for row in some] == ordered[3:8]


def test_children_and_semi_joins(records: Records) -> None:
    parents = run(records, "SELECT Id, (SELECT Id, AccountId FROM Contacts LIMIT 2) FROM Account")
    families = [row for row in parents if row["Contacts"]]
    assert families and all(len(row["Contacts"]["records"]) <= 2 for row in families)
    assert all(child["AccountId"] == row["Id"] for row in families for child in row["Contacts"]["records"])
    joined = run(records, "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact)")
    assert {row["Id"] for row in joined} == {row["Id"] for row in families}


@pytest.mark.parametrize(
    ("soql", "code", "says"),
    [
        ("SELECT Id FORM Account", "MALFORMED_QUERY", "unexpected token: 'FORM'"),
        ("SELECT Nmae FROM Account", "INVALID_FIELD", "No such column 'Nmae' on entity 'Account'"),
        ("SELECT Id FROM Acount", "INVALID_TYPE", "sObject type 'Acount' is not supported"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "should be enclosed in quotes"),
        ("SELECT Id FROM Account WHERE AnnualRevenue = '5'", "INVALID_FIELD", "should not be enclosed in quotes"),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "2000"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY", "200"),
        ("SELECT Name, COUNT(Id) FROM Account", "MALFORMED_QUERY", "grouped or aggregated"),
    ],
)
def test_errors_carry_salesforces_codes(records: Records, soql: str, code: str, says: str) -> None:
    with pytest.raises(SoqlError) as problem:
        run(records, soql)
    assert problem.value.code == code and says in problem.value.message
