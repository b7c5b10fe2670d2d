"""Sentences of the SOQL and SOSL Reference that no client's suite touches, each with its heading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from caller import Caller, Serve

from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

IDS = ("001000000000001AAA", "001000000000002AAA")
MANY = ", ".join(f"'001{number:012d}AAA'" for number in range(201))
UNBOUNDED = "The SOQL FIELDS function must have a LIMIT of at most 200"


def refused(answer: Any) -> tuple[int, str, str]:
    """Status, code and the last line of the message."""
    told = answer.json()[0]
    return answer.status_code, told["errorCode"], told["message"].rpartition("\n")[2]


@pytest.mark.parametrize(
    "where",
    [
        f"Id IN ('{IDS[0]}', '{IDS[1]}')",
        f"Id = '{IDS[0]}'",
        f"Id = '{IDS[0]}' OR Id = '{IDS[1]}'",
        f"Account.Id = '{IDS[0]}' AND Name != null",
        f"(Id = '{IDS[0]}' OR Id IN ('{IDS[1]}')) AND Industry = null",
    ],
)
def test_fields_are_bounded_by_ids(caller: Caller, where: str) -> None:
    """ "Bounded and Unbounded Queries"."""
    assert caller.query(f"SELECT FIELDS(ALL) FROM Account WHERE {where}").status_code == 200


@pytest.mark.parametrize(
    "where",
    [
        "Name IN ('a')",
        f"Id IN ({MANY})",
        f"Id = '{IDS[0]}' OR Name = 'a'",
        f"Id != '{IDS[0]}'",
        f"Id NOT IN ('{IDS[0]}')",
        f"ParentId = '{IDS[0]}'",
        f"Parent.Id = '{IDS[0]}'",
        f"NOT Id = '{IDS[0]}'",
    ],
)
def test_fields_are_bounded_by_nothing_else(caller: Caller, where: str) -> None:
    answer = caller.query(f"SELECT FIELDS(ALL) FROM Account WHERE {where}")

    assert refused(answer) == (400, "MALFORMED_QUERY", UNBOUNDED)


def test_custom_fields_of_an_object_without_any(caller: Caller) -> None:
    """ "Considerations for FIELDS()": an error alone, nothing beside other fields."""
    alone = caller.query("SELECT FIELDS(CUSTOM) FROM User LIMIT 200")
    message = "'FIELDS(...)' expansion function must result in at least one field being selected."
    assert refused(alone) == (400, "MALFORMED_QUERY", message)

    rows = caller.query("SELECT Id, FIELDS(CUSTOM) FROM User LIMIT 2").json()["records"]
    assert rows and all(set(row) == {"attributes", "Id"} for row in rows)


def test_fields_and_groups_do_not_go_together(caller: Caller) -> None:
    soql = "SELECT FIELDS(ALL), MIN(NumberOfEmployees) FROM Account GROUP BY Id LIMIT 200"

    assert refused(caller.query(soql)) == (400, "MALFORMED_QUERY", "Field must be grouped or aggregated")


def test_fields_are_selected_once(caller: Caller) -> None:
    """ "SELECT": the message has no position."""
    told = [{"message": "duplicate field selected: Id", "errorCode": "INVALID_FIELD"}]

    for soql in ("SELECT Id, FIELDS(ALL) FROM User LIMIT 200", "SELECT Id, Name, id FROM User"):
        assert caller.query(soql).json() == told
    aliases = caller.query("SELECT Account.Name, Owner.Name FROM Contact GROUP BY Account.Name, Owner.Name")
    assert refused(aliases) == (400, "MALFORMED_QUERY", "duplicate alias: Name")


def test_fields_in_a_bulk_query(caller: Caller) -> None:
    """ "Bulk API 2.0 Example", of an object with addresses: what CSV cannot hold is left out unless it is named."""
    job = caller.finished_job("SELECT FIELDS(STANDARD) FROM Account LIMIT 3")
    header, *rows = caller.page(job["id"]).rows
    described = caller.get("/sobjects/Account/describe").json()["fields"]

    assert header == [each["name"] for each in described if not each["custom"] and each["type"] != "address"]
    assert len(rows) == 3
    named = caller.create_job("SELECT FIELDS(CUSTOM), BillingAddress FROM Account LIMIT 3")
    assert refused(named)[1:] == ("API_ERROR", "Selecting compound data not supported in Bulk Query")


def test_offset_returns_one_batch(caller: Caller) -> None:
    """ "Considerations When Using OFFSET": "only the first batch of records is returned"; no locator is made."""
    small = {"Sforce-Query-Options": "batchSize=200"}
    every = [row["Id"] for row in caller.query("SELECT Id FROM Account ORDER BY Id").json()["records"]]

    for soql in (
        "SELECT Id FROM Account ORDER BY Id OFFSET 10",
        "SELECT Id FROM Account ORDER BY Id LIMIT 300 OFFSET 10",
    ):
        page = caller.query(soql, headers=small).json()
        assert (page["done"], page["totalSize"], "nextRecordsUrl" in page) == (True, 200, False)
        assert [row["Id"] for row in page["records"]] == every[10:210]


def test_date_functions_of_a_grouped_date(caller: Caller) -> None:
    """ "Date Functions": "You can use the date field instead of the date function in the GROUP BY clause"."""
    rows = caller.query("SELECT CloseDate, CALENDAR_YEAR(CloseDate) y FROM Opportunity GROUP BY CloseDate").json()[
        "records"
    ]
    assert rows and all(row["y"] == int(row["CloseDate"][:4]) for row in rows)

    stamps = caller.query("SELECT CALENDAR_YEAR(CreatedDate) FROM Opportunity GROUP BY CreatedDate")
    assert refused(stamps)[1:] == ("MALFORMED_QUERY", "field 'CreatedDate' can not be grouped in a query call")


@pytest.mark.parametrize(
    ("soql", "told"),
    [
        ("SELECT Id FROM Opportunity WHERE convertCurrency(Amount) > 5", "convertCurrency can not be used in WHERE"),
        ("SELECT Id FROM Opportunity ORDER BY convertCurrency(Amount)", "convertCurrency can not be used in ORDER BY"),
        ("SELECT Id FROM Lead ORDER BY toLabel(Status)", "toLabel can not be used in ORDER BY"),
        ("SELECT Id FROM Account ORDER BY Name FOR UPDATE", "ORDER BY can not be used with FOR UPDATE"),
        (
            "SELECT Id, (SELECT Id FROM Contacts USING SCOPE mine) FROM Account",
            "USING SCOPE can not be used in a subquery",
        ),
        (
            "SELECT Id FROM Account WHERE DISTANCE(GEOLOCATION(1, 2), BillingAddress, 'mi') < 5",
            "The function DISTANCE takes the location field before GEOLOCATION(latitude, longitude)",
        ),
        ("SELECT Id FROM Account ORDER BY Description", "field 'Description' can not be sorted in a query call"),
        (
            "SELECT Description, COUNT(Id) FROM Account GROUP BY Description",
            "field 'Description' can not be grouped in a query call",
        ),
        (
            "SELECT Description, COUNT(Id) FROM Account GROUP BY Name",
            "Field must be grouped or aggregated: Description",
        ),
    ],
)
def test_what_clauses_do_not_take(caller: Caller, soql: str, told: str) -> None:
    """ "convertCurrency()", "toLabel()", "FOR UPDATE", "Location-Based SOQL Query Considerations", "ORDER BY", "GROUP BY"."""
    assert refused(caller.query(soql)) == (400, "MALFORMED_QUERY", told)


def test_typeof_follows_relationships(serve: Serve) -> None:
    """ "TYPEOF": "fields in the referenced object type or paths to related object fields"."""
    own = serve(own_rows={"User": 3, "Account": 2})
    account, other = (row["Id"] for row in own.query("SELECT Id FROM Account").json()["records"])
    own.org.records.update("Account", account, {"ParentId": other})
    deal = own.org.records.insert("Opportunity", {"Name": "d", "StageName": "Prospecting", "AccountId": account})
    for what in (account, deal, None):
        own.org.records.insert("Task", {"Subject": what or "none", "WhatId": what})
    owner = own.query(f"SELECT Owner.Username FROM Account WHERE Id = '{account}'").json()["records"][0]["Owner"]

    of_account = "Name, Owner.Username, Parent.Id, Parent.Owner.Alias"
    soql = f"SELECT Subject, TYPEOF What WHEN Account THEN {of_account} WHEN Opportunity THEN Account.Id END FROM Task"
    for more in ("", " WHERE Subject != 'x' ORDER BY Subject"):
        found = {row["Subject"]: row["What"] for row in own.query(soql + more).json()["records"]}
        assert list(found[account]) == ["attributes", "Name", "Owner", "Parent"]
        assert found[account]["Owner"] == owner
        assert found[account]["Parent"]["Id"] == other
        assert set(found[account]["Parent"]["Owner"]) == {"attributes", "Alias"}
        assert found[deal]["Account"]["Id"] == account
        assert found["none"] is None
    wrong = own.query("SELECT TYPEOF What WHEN Account THEN Nonsense.Name END FROM Task")
    assert refused(wrong)[1] == "INVALID_FIELD"


def test_half_a_location_is_none(serve: Serve) -> None:
    """ "How SOQL Treats Null Location Values"; an address with half a location is an address all the same."""
    own = serve(own_rows={"User": 2, "Account": 1})
    number = {"type": "double", "precision": 15, "scale": 6, "compoundFieldName": "Place__c"}
    for name in ("Place__Latitude__s", "Place__Longitude__s"):
        own.org.add_field("Account", {"name": name, **number})
    own.org.add_field("Account", {"name": "Place__c", "type": "location"})
    for name, longitude in (("whole", -122.4), ("half", None)):
        values = {"Name": name, "Place__Latitude__s": 37.7, "Place__Longitude__s": longitude}
        own.org.records.insert("Account", {**values, "BillingLatitude": 37.7, "BillingLongitude": longitude})

    def places(more: str) -> dict[str, Any]:
        soql = f"SELECT Name, Place__c, Place__Latitude__s, BillingAddress {more} FROM Account WHERE Name IN ('whole', 'half')"
        return {row["Name"]: row for row in own.query(soql).json()["records"]}

    for rows in (places(""), places(", (SELECT Id FROM Contacts)")):
        assert rows["whole"]["Place__c"] == {"latitude": 37.7, "longitude": -122.4}
        assert (rows["half"]["Place__c"], rows["half"]["Place__Latitude__s"]) == (None, 37.7)
        assert rows["half"]["BillingAddress"]["latitude"] == 37.7


@pytest.fixture(scope="module")
def library() -> Iterator[Callable[..., list[str]]]:
    """Finds names of leads in an org with five of them."""
    names = ("Bob Jones", "Bob Thomas", "Sally Smith", "Sally Jones", "Why* not?")
    with LocalOrg(OrgConfig(counts={"User": 1})) as org, OrgServer(org) as server:
        org.generate()
        for name in names:
            org.records.insert("Lead", {"LastName": name, "Company": f"{name.split()[0]} and Co"})
            org.records.insert("Contact", {"LastName": name})
        caller = Caller(server)
        caller.log_in()

        def find(sosl: str) -> list[str]:
            answer = caller.get("/search", params={"q": sosl})
            assert answer.status_code == 200, answer.text
            return [str(each.get("LastName", each["attributes"]["type"])) for each in answer.json()["searchRecords"]]

        yield find


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("bob AND (jones OR thomas)", ["Bob Jones", "Bob Thomas"]),
        ("(bob AND jones) OR (sally AND smith)", ["Bob Jones", "Sally Smith"]),
        ("sally AND smith OR thomas", ["Bob Thomas", "Sally Smith"]),
        ("thomas OR sally AND smith", ["Bob Thomas", "Sally Smith"]),
        ("jones AND NOT (sally OR thomas)", ["Bob Jones"]),
        ('"bob jones" OR "sally smith"', ["Bob Jones", "Sally Smith"]),
        ('bob ("jones")', ["Bob Jones"]),
        (r"why\*", ["Why* not?"]),
        (r"bob\*", []),
        (r'"not\?"', ["Why* not?"]),
        ("tho?as", ["Bob Thomas"]),
        ('"and"', ["Bob Jones", "Bob Thomas", "Sally Jones", "Sally Smith", "Why* not?"]),
    ],
)
def test_search_terms(library: Callable[..., list[str]], term: str, found: list[str]) -> None:
    """ "FIND {SearchQuery}": parentheses, then AND and AND NOT, then OR; an escaped wildcard is none."""
    sosl = f"FIND {{{term}}} IN NAME FIELDS RETURNING Lead(LastName WHERE Company != 'x' ORDER BY LastName)"

    assert library(sosl) == found


def test_limits_of_a_search_are_shared(library: Callable[..., list[str]]) -> None:
    """ "LIMIT n": "results are evenly distributed among the objects returned"."""
    assert library("FIND {bob OR sally} RETURNING Lead, Contact LIMIT 4").count("Lead") == 2
    assert len(library("FIND {bob OR sally} RETURNING Lead(Id LIMIT 1), Contact(Id) LIMIT 4")) == 4
    assert library("FIND {bob} RETURNING Lead WITH SPELL_CORRECTION = false LIMIT 1 UPDATE TRACKING") == ["Lead"]


@pytest.mark.parametrize(
    "sosl",
    [
        'FIND {"John Smith}',
        "FIND {a+b}",
        "FIND {(bob}",
        "FIND {bob)}",
        "FIND {bob AND}",
        "FIND {OR bob}",
        "FIND {bob} RETURNING Lead(WHERE LastName = 'x')",
        "FIND {bob} RETURNING Lead(LIMIT 10)",
        "FIND {bob} RETURNING Lead, Contact, Lead",
        "FIND {bob} RETURNING Lead(Id OFFSET 5), Contact",
        "FIND {bob} RETURNING Lead(Id OFFSET 2001)",
        "FIND {bob} WITH METADATA = 'LABELS'",
        "FIND {bob} IN Accounts",
    ],
)
def test_searches_that_are_malformed(caller: Caller, sosl: str) -> None:
    answer = caller.get("/search", params={"q": sosl})

    assert refused(answer)[:2] == (400, "MALFORMED_SEARCH")
