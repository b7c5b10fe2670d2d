"""query?columns=true: the answers that salesforcecli/plugin-data keeps in its tests (queryFields.exemplars)."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller


def column(name: str, **known: Any) -> dict[str, Any]:
    return {
        "aggregate": False,
        "apexType": None,
        "booleanType": False,
        "columnName": name,
        "custom": False,
        "displayName": name,
        "foreignKeyName": None,
        "insertable": False,
        "joinColumns": [],
        "numberType": False,
        "textType": False,
        "updatable": False,
        **known,
    }


TEXT = {"apexType": "String", "textType": True}
WRITABLE = {"insertable": True, "updatable": True}
ID = column("Id", apexType="Id")
LAST_NAME = column("LastName", **TEXT, **WRITABLE)


def columns_of(caller: Caller, soql: str) -> dict[str, Any]:
    answer: dict[str, Any] = caller.get("/query", params={"q": soql, "columns": "true"}).json()
    return answer


@pytest.mark.parametrize(
    ("soql", "expected"),
    [
        ("SELECT id, name FROM Contact", [ID, column("Name", **TEXT)]),
        (
            "SELECT Id, ( SELECT LastName FROM Contacts ) FROM Account",
            [ID, column("Contacts", aggregate=True, joinColumns=[LAST_NAME])],
        ),
        (
            "SELECT CampaignId, AVG(Amount) FROM Opportunity GROUP BY CampaignId",
            [
                column("CampaignId", apexType="Id", **WRITABLE),
                column("expr0", aggregate=True, displayName="avg(Amount)", numberType=True),
            ],
        ),
        (
            "SELECT Id, Account.Name FROM Contact",
            [
                ID,
                column("Account", foreignKeyName="AccountId", joinColumns=[column("Name", **TEXT, **WRITABLE)]),
            ],
        ),
        ("SELECT COUNT(Id) n FROM Lead", [column("n", aggregate=True, displayName="count(Id)", numberType=True)]),
        ("SELECT COUNT() FROM Lead", []),
    ],
)
def test_columns_of_a_query(caller: Caller, soql: str, expected: list[dict[str, Any]]) -> None:
    assert columns_of(caller, soql)["columnMetadata"] == expected


def test_columns_come_with_their_object_and_without_rows(caller: Caller) -> None:
    answer = columns_of(caller, "SELECT Industry FROM Account GROUP BY Industry")

    assert {name: answer[name] for name in answer if name != "columnMetadata"} == {
        "entityName": "Account",
        "groupBy": True,
        "idSelected": False,
        "keyPrefix": "001",
    }


def test_columns_of_a_reference_to_several_objects(caller: Caller) -> None:
    owner = columns_of(caller, "SELECT Owner.Name FROM Case")["columnMetadata"]

    assert [each["columnName"] for each in owner] == ["Owner"]
    assert owner[0]["foreignKeyName"] == "OwnerId"
    assert [each["columnName"] for each in owner[0]["joinColumns"]] == ["Name"]


def test_columns_of_a_wrong_query(caller: Caller) -> None:
    assert caller.get("/query", params={"q": "SELECT Foo FROM Lead", "columns": "true"}).json()[0]["errorCode"] == (
        "INVALID_FIELD"
    )
