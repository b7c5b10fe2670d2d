"""The schema of a running org changes: fields and objects come, go, change type, and hide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from caller import Caller

from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer


@pytest.fixture(scope="module")
def own(org_schema: Schema) -> Iterator[Caller]:
    """One org for all: each test changes fields and objects that no other looks at."""
    config = OrgConfig(counts={"Account": 130, "Contact": 2, "Invoice__c": 90})
    with LocalOrg(config, schema=org_schema) as org, OrgServer(org) as server:
        org.generate()
        caller = Caller(server)
        caller.log_in()
        yield caller


def values(caller: Caller, field: str, sobject: str = "Account") -> list[Any]:
    answer = caller.query(f"SELECT {field} FROM {sobject} ORDER BY Id LIMIT 90").json()
    return [row[field] for row in answer["records"]]


def stamps(caller: Caller) -> list[Any]:
    return values(caller, "SystemModstamp")


def described(caller: Caller, sobject: str = "Account") -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in caller.get(f"/sobjects/{sobject}/describe").json()["fields"]}


def test_field_comes_with_a_default_and_no_stamp_moves(own: Caller) -> None:
    before = stamps(own)
    own.org.add_field("Account", {"name": "Tier__c", "type": "string", "length": 12}, value="gold")

    assert set(values(own, "Tier__c")) == {"gold"}
    assert described(own)["Tier__c"]["soapType"] == "xsd:string"
    assert stamps(own) == before
    created = own.post("/sobjects/Account", json={"Name": "x", "Tier__c": "silver"}).json()["id"]
    assert own.get(f"/sobjects/Account/{created}").json()["Tier__c"] == "silver"


def test_removed_field_is_unknown_everywhere(own: Caller) -> None:
    own.org.remove_field("Account", "Fax")

    assert "Fax" not in described(own)
    assert own.query("SELECT Fax FROM Account").json()[0]["errorCode"] == "INVALID_FIELD"
    assert own.create_job("SELECT Id, Fax FROM Account").status_code == 400
    assert own.post("/sobjects/Account", json={"Name": "x"}).status_code == 201


def test_type_changes_with_what_follows_from_it(own: Caller) -> None:
    before = values(own, "NumberOfEmployees")
    own.org.change_field("Account", "NumberOfEmployees", {"type": "string", "length": 20})

    field = described(own)["NumberOfEmployees"]
    assert (field["type"], field["soapType"], field["length"], field["digits"]) == ("string", "xsd:string", 20, 0)
    assert values(own, "NumberOfEmployees") == [None if each is None else str(each) for each in before]
    own.org.change_field("Account", "Tradestyle", {"type": "double"})
    assert not [each for each in values(own, "Tradestyle") if isinstance(each, str)]


def test_formula_changes_values_without_stamps(own: Caller) -> None:
    before = values(own, "SystemModstamp", "Invoice__c")
    own.org.change_formula("Invoice__c", "Total_Formula__c", '"Amount__c" * 2')
    own.org.add_field(
        "Account", {"name": "Staff__c", "type": "double", "calculated": True}, formula='"AnnualRevenue" + 1'
    )

    amounts = values(own, "Amount__c", "Invoice__c")
    assert values(own, "Total_Formula__c", "Invoice__c") == [None if each is None else each * 2 for each in amounts]
    assert values(own, "SystemModstamp", "Invoice__c") == before
    created = own.post("/sobjects/Account", json={"Name": "x", "AnnualRevenue": 41}).json()["id"]
    assert own.get(f"/sobjects/Account/{created}").json()["Staff__c"] == 42
    with pytest.raises(ValueError, match="cannot be computed"):
        own.org.change_formula("Invoice__c", "Total_Formula__c", "nonsense(")


def test_dropped_object_is_gone_and_a_new_one_is_empty(own: Caller) -> None:
    own.org.drop_object("Contact")

    assert own.get("/sobjects/Contact/describe").status_code == 404
    assert own.query("SELECT Id FROM Contact").json()[0]["errorCode"] == "INVALID_TYPE"
    children = own.get("/sobjects/Account/describe").json()["childRelationships"]
    assert "Contact" not in {each["childSObject"] for each in children}
    fields = [{"name": "Id", "type": "id"}, {"name": "Account__c", "type": "reference", "referenceTo": ["Account"]}]
    own.org.add_object({"name": "Visit__c", "keyPrefix": "a0V", "fields": fields})
    assert own.query("SELECT COUNT() FROM Visit__c").json()["totalSize"] == 0
    assert own.post("/sobjects/Visit__c", json={}).status_code == 201


def test_hidden_field_comes_back(own: Caller) -> None:
    own.org.hide_field("Account", "Phone")
    assert "Phone" not in described(own)
    assert own.query("SELECT Phone FROM Account").status_code == 400
    own.org.show_field("account", "PHONE")
    assert "Phone" in described(own)


def test_describe_is_modified_by_every_change(own: Caller) -> None:
    def modified() -> str:
        return own.get("/sobjects/Account/describe").headers["Last-Modified"]

    seen = [modified()]
    for change in (
        lambda: own.org.remove_field("Account", "Sic"),
        lambda: own.org.hide_field("Account", "Website"),
        lambda: own.org.set_flags("Account", undeletable=False),
    ):
        change()
        assert own.get("/sobjects/Account/describe", headers={"If-Modified-Since": seen[-1]}).status_code == 200
        seen.append(modified())
        assert own.get("/sobjects/Account/describe", headers={"If-Modified-Since": seen[-1]}).status_code == 304
    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    ("flag", "value", "code"),
    [
        ("queryable", False, "INVALID_TYPE_FOR_OPERATION"),
        ("replicateable", False, "INVALID_TYPE_FOR_OPERATION"),
        ("bulk", False, "INVALIDENTITY"),
        ("needs_filter", True, "MALFORMED_QUERY"),
    ],
)
def test_flags_of_an_object(own: Caller, flag: str, value: bool, code: str) -> None:
    def answer() -> requests.Response:
        if flag == "replicateable":
            window = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
            return own.get("/sobjects/Lead/updated", params=window)
        return own.create_job("SELECT Id FROM Lead") if flag == "bulk" else own.query("SELECT Id FROM Lead")

    own.org.set_flags("Lead", **{flag: value})
    assert answer().status_code == 400
    assert answer().json()[0]["errorCode"] == code
    if flag == "needs_filter":
        assert own.query("SELECT Id FROM Lead WHERE Name != null").status_code == 200
    if flag in ("queryable", "replicateable"):
        assert own.get("/sobjects/Lead/describe").json()[flag] is False
    own.org.set_flags("Lead", **{flag: not value})
    assert code not in answer().text


def test_changes_over_http(own: Caller) -> None:
    changes = [
        {"do": "add_field", "object": "Account", "field": {"name": "Rank__c", "type": "string"}, "value": "gold"},
        {"do": "remove_field", "object": "Account", "name": "TickerSymbol"},
        {"do": "change_field", "object": "Account", "name": "Site", "changes": {"length": 90}},
        {"do": "hide_field", "object": "Account", "name": "AccountNumber"},
        {"do": "set_flags", "object": "Lead", "flags": {"bulk": False}},
        {"do": "drop_object", "object": "Event"},
    ]
    assert own.post("/_org/schema", json={"changes": changes}).json() == {"changed": 6}
    fields = described(own)
    assert "Rank__c" in fields
    assert not {"TickerSymbol", "AccountNumber"} & set(fields)
    assert fields["Site"]["length"] == 90
    assert own.create_job("SELECT Id FROM Lead").json()[0]["errorCode"] == "INVALIDENTITY"
    assert own.get("/sobjects/Event/describe").status_code == 404


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"do": "explode"}, "add_field"),
        ({"do": "remove_field", "object": "Account"}, "name"),
        ({"do": "remove_field", "object": "Account", "name": "Nonsense"}, "Nonsense"),
        ({"do": "remove_field", "object": "Nothing", "name": "x"}, "Nothing"),
        ({"do": "add_field", "object": "Account", "field": {"name": "Name", "type": "string"}}, "already"),
        ({"do": "add_field", "object": "Account", "field": {"name": "X__c"}}, "type"),
        ({"do": "set_flags", "object": "Account", "flags": {"shiny": True}}, "needs_filter"),
        ({"do": "add_object", "describe": {"name": "X"}}, "describe answer"),
    ],
)
def test_refusals_name_what_is_wrong(own: Caller, change: dict[str, Any], named: str) -> None:
    answer = own.post("/_org/schema", json={"changes": [change]})

    assert answer.status_code == 400
    assert named in answer.json()[0]["message"]
