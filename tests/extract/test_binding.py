"""Text that is bound to a field of another type is read as one: what Jinja renders is text, whatever it means."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.binding import bound_query
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.salesforce import SalesforceClient, soql
from tests.conftest import RunningOrg
from tests.extract.runs import extract, run_identity

MIDNIGHT = "2026-11-23T00:00:00Z"


def planned(client: SalesforceClient, where: str, bind: dict[str, Any], sobject: str = "Opportunity") -> str:
    plan = make_plan(
        client, Request(sobject=sobject, fields=["Id"], where=where, bind=bind, api="rest"), run_identity()
    )
    return plan.soql.partition(" WHERE ")[2]


@pytest.mark.parametrize(
    ("where", "value", "written"),
    [
        ("CreatedDate >= :v", "2026-11-23T02:00:00+00:00", "CreatedDate >= 2026-11-23T02:00:00Z"),
        ("CreatedDate >= :v", "2026-11-23 04:00:00+02:00", "CreatedDate >= 2026-11-23T02:00:00Z"),
        ("CreatedDate >= :v", "2026-11-23T02:00:00.250Z", "CreatedDate >= 2026-11-23T02:00:00.250Z"),
        ("CreatedDate >= :v", "2026-11-23", f"CreatedDate >= {MIDNIGHT}"),
        ("CreatedDate >= :v", date(2026, 11, 23), f"CreatedDate >= {MIDNIGHT}"),
        ("CloseDate >= :v", "2026-11-23", "CloseDate >= 2026-11-23"),
        ("CloseDate >= :v", "2026-11-23T23:30:00-02:00", "CloseDate >= 2026-11-24"),
        ("CloseDate >= :v", datetime(2026, 11, 23, 23, tzinfo=timezone.utc), "CloseDate >= 2026-11-23"),
        ("closedate IN :v", ["2026-11-23", date(2026, 11, 24)], "closedate IN (2026-11-23, 2026-11-24)"),
        ("CloseDate NOT IN (:v, TODAY)", "2026-11-23", "CloseDate NOT IN (2026-11-23, TODAY)"),
        ("Amount > :v", "1000", "Amount > 1000"),
        ("Amount > :v", " -1.5e3 ", "Amount > -1500"),
        ("Amount IN (1, :v)", "2.50", "Amount IN (1, 2.50)"),
        ("IsDeleted = :v", "False", "IsDeleted = false"),
        ("(NOT IsDeleted = :v)", "true", "(NOT IsDeleted = true)"),
        (
            "DAY_ONLY(convertTimezone(CreatedDate)) = :v",
            "2026-11-23",
            "DAY_ONLY(convertTimezone(CreatedDate)) = 2026-11-23",
        ),
        ("CALENDAR_YEAR(CreatedDate) = :v", "2026", "CALENDAR_YEAR(CreatedDate) = 2026"),
        ("Account.CreatedDate < :v", "2026-11-23", f"Account.CreatedDate < {MIDNIGHT}"),
        ("account.NumberOfEmployees != :v", "5", "account.NumberOfEmployees != 5"),
        (
            "AccountId IN (SELECT Id FROM Account WHERE NumberOfEmployees > :v)",
            "5",
            "AccountId IN (SELECT Id FROM Account WHERE NumberOfEmployees > 5)",
        ),
        ("Name = :v", "2026-11-23", "Name = '2026-11-23'"),
        ("Name IN :v", ["5", "true"], "Name IN ('5', 'true')"),
        ("Name LIKE :v", "5%", "Name LIKE '5%'"),
        ("Name != ':v' AND Amount = :v", "7", "Name != ':v' AND Amount = 7"),
        ("NoSuch__c = :v", "7", "NoSuch__c = '7'"),
    ],
)
def test_text_becomes_a_literal_of_its_fields_type(
    client: SalesforceClient, where: str, value: Any, written: str
) -> None:
    assert planned(client, where, {"v": value}) == written


def test_one_name_beside_fields_of_two_types(client: SalesforceClient) -> None:
    where = planned(client, "Name = :v OR Amount = :v OR CreatedDate = :w", {"v": "5", "w": "2026-11-23"})
    assert where == f"Name = '5' OR Amount = 5 OR CreatedDate = {MIDNIGHT}"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("SELECT o.Id FROM Opportunity o, o.Account a WHERE a.NumberOfEmployees = :v", "a.NumberOfEmployees = 5"),
        ("SELECT Id FROM Opportunity LIMIT :v", "LIMIT 5"),
        ("SELECT COUNT(Id) n FROM Opportunity GROUP BY Name HAVING COUNT(Id) > :v", "COUNT(Id) > 5"),
        ("SELECT Id, (SELECT Id FROM Opportunities WHERE Amount > :v LIMIT :v) FROM Account", "Amount > 5 LIMIT 5)"),
        ("SELECT Id FROM Account WHERE DISTANCE(BillingAddress, GEOLOCATION(:v, :v), 'mi') < :v", "(5, 5), 'mi') < 5"),
    ],
)
def test_aliases_child_queries_and_limits(client: SalesforceClient, text: str, written: str) -> None:
    plan = make_plan(client, Request(soql=text, bind={"v": "5"}, api="rest"), run_identity())
    assert written in plan.soql


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (
            "CreatedDate > :v",
            "yesterday",
            r"v the value 'yesterday', and CreatedDate is of type datetime: give a timestamp",
        ),
        ("CreatedDate > :v", "2026-11-23T02:00:00", "time zone"),
        ("CloseDate > :v", "23.11.2026", "CloseDate is of type date: give a date, such as"),
        ("Amount > :v", "1,000", "Amount is of type currency: give a number"),
        ("Amount IN :v", ["1", "None"], "Amount is of type currency: give a number"),
        ("IsDeleted = :v", "", "IsDeleted is of type boolean: give true or false"),
    ],
)
def test_text_that_is_not_of_the_type_is_told(client: SalesforceClient, where: str, value: Any, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        planned(client, where, {"v": value})


def test_bound_text_finds_the_rows(org: RunningOrg, tmp_path: Path) -> None:
    now = datetime.now(timezone.utc) + timedelta(days=400)
    bind = {"now": now.isoformat(), "day": now.date().isoformat(), "n": "0", "no": "false"}
    where = "CreatedDate < :now AND CloseDate < :day AND Amount >= :n AND IsDeleted = :no"
    assert extract(org, tmp_path, sobject="Opportunity", where=where, bind=bind)["rows"] > 0


def test_queries_of_other_operators_describe_only_what_may_be_no_text(org: RunningOrg) -> None:
    client = org.client()
    text = "SELECT Id FROM Opportunity WHERE Name = :v"
    assert bound_query(client, text, {"v": "Acme"}).endswith("Name = 'Acme'") and org.calls("describe") == 0
    assert bound_query(client, text, {"v": "5"}).endswith("Name = '5'") and org.calls("describe") == 1
    assert bound_query(client, text.replace("Name", "Amount"), {"v": "5"}).endswith("Amount = 5")


@given(st.text(st.sampled_from("()',:=<> \\.aA1%SELECTFROMWHEREIN\n"), max_size=60))
def test_any_text_is_read_or_told(text: str) -> None:
    """Nothing but our own errors, for text that is no SOQL."""
    with suppress(QueryError):
        soql.bind_uses(f"SELECT Id FROM Account WHERE {text}")
