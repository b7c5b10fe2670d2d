"""What the integration user may do, tokens of the other format, external ids, and child records that fill a page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from caller import Caller, Serve

from salesforce_localorg.faults import NAMED_FAULTS, Fault
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer


@pytest.fixture(scope="module")
def own(org_schema: Schema) -> Iterator[Caller]:
    config = OrgConfig(counts={"Account": 10, "Invoice__c": 5}, jwt_tokens=True)
    with LocalOrg(config, schema=org_schema) as org, OrgServer(org) as server:
        org.generate()
        caller = Caller(server)
        caller.log_in()
        yield caller


def test_jwt_tokens_have_three_segments_and_work(own: Caller) -> None:
    answer = own.log_in().json()

    assert answer["token_format"] == "jwt"
    header, claims, _ = answer["access_token"].split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == "RS256"
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["client_id"] == own.org.config.consumer_key
    assert own.query("SELECT Id FROM Account LIMIT 1").status_code == 200


def test_upsert_by_external_id(own: Caller) -> None:
    path = "/sobjects/Invoice__c/External_Id__c/E%2F1"
    created = own.call("PATCH", path, json={"Amount__c": 1})
    assert (created.status_code, created.json()["created"]) == (201, True)
    record_id = created.json()["id"]
    changed = own.call("PATCH", path, json={"Amount__c": 2})
    assert changed.status_code == 200
    assert changed.json() == {"id": record_id, "success": True, "errors": [], "created": False}
    assert own.call("PATCH", "/services/data/v45.0" + path, json={"Amount__c": 3}).status_code == 204
    assert own.get(path).json()["Amount__c"] == 3
    assert own.call("DELETE", path).status_code == 204
    assert own.get(path).status_code == 404
    assert own.call("PATCH", "/sobjects/Account/Name/x", json={}).status_code == 404


def test_several_matches_are_listed(own: Caller) -> None:
    for _ in range(2):
        own.org.records.insert("Invoice__c", {"External_Id__c": "twice"})

    answer = own.get("/sobjects/Invoice__c/External_Id__c/twice")
    assert answer.status_code == 300
    assert len(answer.json()) == 2
    assert all(each.startswith("/services/data/v67.0/sobjects/Invoice__c/") for each in answer.json())


@pytest.mark.parametrize(
    ("flag", "method", "path"),
    [
        ("createable", "POST", "/sobjects/Lead"),
        ("updateable", "PATCH", "/sobjects/Lead/00Q8c0000000000AAA"),
        ("deletable", "DELETE", "/sobjects/Lead/00Q8c0000000000AAA"),
    ],
)
def test_objects_that_cannot_be_changed(own: Caller, flag: str, method: str, path: str) -> None:
    own.org.set_flags("Lead", **{flag: False})
    answer = own.call(method, path, json={})
    own.org.set_flags("Lead", **{flag: True})

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_TYPE_FOR_OPERATION")


def test_users_without_view_all_data_see_their_own_records(own: Caller) -> None:
    everything = own.query("SELECT COUNT() FROM Account").json()["totalSize"]
    mine = own.query(f"SELECT COUNT() FROM Account WHERE OwnerId = '{own.org.run_as_user_id}'").json()["totalSize"]
    own.org.permissions.discard("ViewAllData")
    seen = own.query("SELECT COUNT() FROM Account").json()["totalSize"]
    own.org.permissions.add("ViewAllData")

    assert seen == mine < everything


def test_children_that_fill_a_page_have_a_locator_of_their_own(own: Caller) -> None:
    account = own.org.records.insert("Account", {"Name": "big"})
    own.org.records.insert_many("Contact", [{"LastName": f"c{n}", "AccountId": account} for n in range(650)])
    soql = f"SELECT Id, (SELECT Id FROM Contacts) FROM Account WHERE Id = '{account}'"

    page = own.query(soql, headers={"Sforce-Query-Options": "batchSize=200"}).json()
    children = page["records"][0]["Contacts"]
    assert (page["done"], children["done"], children["totalSize"]) == (True, False, 650)
    found = [each["Id"] for each in children["records"]]
    assert len(found) == 199
    following = children["nextRecordsUrl"]
    while following:
        more = own.get(following).json()
        assert more["totalSize"] == 650
        found += [each["Id"] for each in more["records"]]
        following = more.get("nextRecordsUrl")
    assert len(set(found)) == len(found) == 650


def test_next_page_of_parents_closes_the_children(own: Caller) -> None:
    accounts = own.org.records.insert_many("Account", [{"Name": "a parent"}, {"Name": "a parent"}])
    own.org.records.insert_many(
        "Contact", [{"LastName": "c", "AccountId": each} for each in accounts for _ in range(300)]
    )
    soql = "SELECT Id, (SELECT Id FROM Contacts) FROM Account WHERE Name = 'a parent'"

    page = own.query(soql, headers={"Sforce-Query-Options": "batchSize=200"}).json()
    rest = page["records"][0]["Contacts"]["nextRecordsUrl"]
    assert own.get(rest).status_code == 200
    assert len(own.get(page["nextRecordsUrl"]).json()["records"]) == 1
    assert own.get(rest).json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


@pytest.mark.parametrize("name", NAMED_FAULTS)
def test_named_faults_are_faults(name: str) -> None:
    fault = Fault.named(name)

    assert Fault.from_json({"name": name}) == fault
    assert Fault.from_json(fault.to_json()) == fault


def test_throttled_answers_keep_their_pace(own: Caller) -> None:
    own.org.records.insert_many("Account", [{"Name": "x" * 255, "Description": "d" * 9000} for _ in range(40)])
    added = own.post("/_org/faults", json={"name": "bulk_throttled"})
    assert added.json()["bytes_per_second"] == 5_000_000
    answer = own.query("SELECT Name, Description FROM Account", headers={"Accept-Encoding": ""})
    own.org.faults.clear()

    assert answer.elapsed.total_seconds() >= 0.3
    assert len(answer.content) > 300_000


SITES = [{"Origin": "https://example.com"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]


@pytest.mark.parametrize("path", ["/_org/faults", "/_org/calls", "/_org/sessions"])
def test_a_post_of_another_site_clears_nothing(caller: Caller, path: str) -> None:
    """A form needs no permission of the browser's to be sent anywhere; `_HttpMethod` must not make it a DELETE."""
    caller.org.faults.add(Fault(route="limits", status=503))

    form = caller.post(f"{path}?_HttpMethod=DELETE", data={"a": "b"})
    assert form.status_code in (405, 415)
    for headers in SITES:
        for method in ("GET", "DELETE"):
            answer = caller.call(method, path, headers=headers)
            assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "ADMIN_FROM_OTHER_SITE")
    assert len(caller.org.faults.all()) == 1
    assert caller.get("/limits").status_code == 503, "the session is alive"
    assert caller.get(path, headers={"Origin": caller.server.url, "Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_clients_that_cannot_send_patch_still_send_post(serve: Serve) -> None:
    """REST API guide, "Update a Record": `?_HttpMethod=PATCH`."""
    caller = serve(own_rows={"User": 2, "Account": 1})
    account = caller.query("SELECT Id FROM Account", "queryAll").json()["records"][0]["Id"]

    assert caller.post(f"/sobjects/Account/{account}?_HttpMethod=PATCH", json={"Name": "x"}).status_code == 204


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("192.0.2.7:8711", 200),
        ("local-org:8711", 200),
        ("evil.example:8711", 403),
        ("[::1]:8711", 200),
    ],
)
def test_open_admin_pages_answer_to_names_that_were_given(serve: Serve, host: str, status: int) -> None:
    """A name of somebody else's that leads here would let their page read everything (DNS rebinding)."""
    caller = serve(admin_from_anywhere=True, my_domain=("local-org",))

    answer = caller.get("/_org/sessions", headers={"Host": host})
    assert answer.status_code == status
    if status == 403:
        assert "--my-domain" in answer.json()[0]["message"]
