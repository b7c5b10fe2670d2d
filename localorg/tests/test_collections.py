"""sObject Collections: REST API Developer Guide, "sObject Collections"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from caller import Caller

from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

PATH = "/composite/sobjects"
MISSING = "001000000000001AAA"


@pytest.fixture(scope="module")
def own() -> Iterator[Caller]:
    with LocalOrg(OrgConfig(counts={"Account": 3, "Contact": 3, "Invoice__c": 3})) as org, OrgServer(org) as server:
        org.generate()
        caller = Caller(server)
        caller.log_in()
        yield caller


def account(**values: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Account"}, **values}


def invoice(key: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Invoice__c"}, "External_Id__c": key}


def post(caller: Caller, *records: dict[str, Any], all_or_none: bool = False, **more: Any) -> Any:
    answer = caller.post(PATH, json={"allOrNone": all_or_none, "records": list(records)}, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def failure(code: str, message: str, *fields: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": list(fields)}]}


ROLLED_BACK = failure(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)
NO_NAME = failure("REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]", "Name")


def names(caller: Caller) -> set[str]:
    return {row["Name"] for row in caller.query("SELECT Name FROM Account").json()["records"]}


def test_records_of_several_objects_are_created(own: Caller) -> None:
    contact = {"attributes": {"type": "Contact"}, "LastName": "Johnson"}

    made = post(own, account(Name="example.com"), contact)
    assert [each["success"] for each in made] == [True, True]
    assert [each["errors"] for each in made] == [[], []]
    assert [each["id"][:3] for each in made] == ["001", "003"]
    assert "example.com" in names(own)


def test_a_failed_record_leaves_the_others(own: Caller) -> None:
    made = post(own, account(Name="one"), account(Site="no name"), account(Name="two"))

    assert made[1] == NO_NAME
    assert {"one", "two"} <= names(own)


def test_all_or_none(own: Caller) -> None:
    before = names(own)

    assert post(own, account(Name="one"), account(Site="no name"), all_or_none=True) == [ROLLED_BACK, NO_NAME]
    assert names(own) == before


def test_records_are_updated_by_id(own: Caller) -> None:
    first, second = [each["id"] for each in post(own, account(Name="one"), account(Name="two"))]

    body = {"records": [account(id=first, Site="x"), account(Id=second[:15], Site="y"), account(Id=MISSING, Site="z")]}
    changed = own.call("PATCH", PATH, json=body).json()
    assert [each.get("id") for each in changed] == [first, second, None]
    assert changed[2] == failure("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    assert [own.get(f"/sobjects/Account/{each}").json()["Site"] for each in (first, second)] == ["x", "y"]


def test_records_are_read_in_the_order_of_their_ids(own: Caller) -> None:
    first, second = [each["id"] for each in post(own, account(Name="one"), account(Name="two"))]
    ids = [second, MISSING, first[:15], "nonsense"]

    by_get = own.get(f"{PATH}/Account", params={"ids": ",".join(ids), "fields": "Name"}).json()
    by_post = own.post(f"{PATH}/Account", json={"ids": ids, "fields": ["Name"]}).json()
    assert by_get == by_post
    url = f"/services/data/v67.0/sobjects/Account/{second}"
    assert by_get[0] == {"attributes": {"type": "Account", "url": url}, "Name": "two", "Id": second}
    assert [row and row["Name"] for row in by_get] == ["two", None, "one", None]


def test_records_are_created_or_changed_by_an_external_id(own: Caller) -> None:
    def upsert(*values: str) -> Any:
        records = [{"attributes": {"type": "Invoice__c"}, "External_Id__c": each} for each in values]
        return own.call("PATCH", f"{PATH}/Invoice__c/External_Id__c", json={"records": records}).json()

    (made,) = upsert("a-1")
    again, other = upsert("a-1", "a-2")
    assert made == {"id": made["id"], "success": True, "errors": [], "created": True}
    assert again == {**made, "created": False}
    assert other["created"] and other["id"] != made["id"]


def test_records_are_deleted_whatever_their_object(own: Caller) -> None:
    contact = {"attributes": {"type": "Contact"}, "LastName": "Johnson"}
    ids = [each["id"] for each in post(own, account(Name="one"), contact)]

    gone = own.call("DELETE", PATH, params={"ids": ",".join([*ids, MISSING, "x"])}).json()
    assert gone[:2] == [{"id": each, "success": True, "errors": []} for each in ids]
    assert gone[2] == failure("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    assert gone[3] == failure("MALFORMED_ID", "malformed id x")
    again = own.call("DELETE", PATH, params={"ids": ids[0], "allOrNone": "true"}).json()
    assert again == [failure("ENTITY_IS_DELETED", "entity is deleted")]


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", PATH, {"records": [account(Name="a"), account(Nonsense="x")]}, "INVALID_FIELD"),
        ("POST", PATH, {"records": [{"Name": "no type"}]}, "INVALID_INPUT"),
        ("POST", PATH, {"records": [{"attributes": {"type": "Nope__c"}}]}, "INVALID_TYPE"),
        ("POST", PATH, {"records": [account(Name="a")] * 201}, "EXCEEDED_ID_LIMIT"),
        ("POST", PATH, {"records": "none"}, "JSON_PARSER_ERROR"),
        ("POST", PATH, {"records": [1]}, "JSON_PARSER_ERROR"),
        ("POST", f"{PATH}/Account", {"ids": [1], "fields": ["Id"]}, "JSON_PARSER_ERROR"),
        ("POST", f"{PATH}/Account", {"ids": [MISSING], "fields": ["Nonsense"]}, "INVALID_FIELD"),
        ("POST", f"{PATH}/Account", {"ids": [MISSING] * 2001, "fields": ["Id"]}, "EXCEEDED_ID_LIMIT"),
        ("PATCH", f"{PATH}/Account/Nonsense", {"records": []}, "INVALID_FIELD"),
    ],
)
def test_calls_that_are_refused_as_a_whole(caller: Caller, method: str, path: str, body: Any, code: str) -> None:
    answer = caller.call(method, path, json=body)

    assert answer.status_code == 400
    assert answer.json()[0]["errorCode"] == code


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Name": "x", "NumberOfEmployees": "many"}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ({"Name": "x", "CreatedDate": "2020-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Name": "x" * 300}, "STRING_TOO_LONG"),
        ({"Id": MISSING, "Name": "x"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ],
)
def test_records_that_are_refused(caller: Caller, values: dict[str, Any], code: str) -> None:
    (result,) = post(caller, account(**values))

    assert result["errors"][0]["statusCode"] == code


def test_records_of_one_call_know_each_other(own: Caller) -> None:
    """A unique value is held once also among the records of one call, and what one adds another may refer to."""
    first, second = (invoice(key) for key in ("Twice", "TWICE"))

    one, other = post(own, first, second)
    assert (one["success"], other["errors"][0]["statusCode"]) == (True, "DUPLICATE_VALUE")
    tree = [
        {"attributes": {"type": "Invoice__c", "referenceId": f"r{n}"}, "External_Id__c": "in a tree"} for n in (1, 2)
    ]
    grown = own.post("/composite/tree/Invoice__c", json={"records": tree})
    assert (grown.status_code, grown.json()["results"][0]["errors"][0]["statusCode"]) == (400, "DUPLICATE_VALUE")


def test_keys_of_an_upsert_are_there_and_each_once(own: Caller) -> None:
    """SOAP API Developer Guide, upsert(); Salesforce rejects every record that shares its key with another of the call."""
    records = [invoice(key) for key in ("k-1", "k-2", "K-1", None, "")]
    body = {"allOrNone": False, "records": [*records, invoice(7)]}
    results = own.call("PATCH", f"{PATH}/Invoice__c/External_Id__c", json=body).json()

    told = [(each["errors"] or [{"statusCode": ""}])[0]["statusCode"] for each in results]
    assert told == ["DUPLICATE_VALUE", "", "DUPLICATE_VALUE", "MISSING_ARGUMENT", "MISSING_ARGUMENT", ""]
    assert results[0]["errors"][0]["message"] == "Duplicate external id specified: k-1"
    assert results[3]["errors"][0]["message"] == "External_Id__c not specified"
