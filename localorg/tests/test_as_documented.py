"""What the documents say of resources, headers and clauses that clients use, beyond queries and their jobs.

Each test names its document. jsforce, simple-salesforce, salesforce-bulk, CumulusCI and the Salesforce CLI meet these.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from caller import Caller, Serve

from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

UNKNOWN = "001000000000001AAA"


@pytest.fixture(scope="module")
def own() -> Iterator[Caller]:
    """A caller on an org whose records tests may change; each goes by names of its own."""
    counts = {"User": 3, "Account": 12, "Contact": 12, "Opportunity": 4, "Lead": 30, "Case": 1, "Invoice__c": 3}
    with LocalOrg(OrgConfig(counts=counts)) as org, OrgServer(org) as server:
        org.generate()
        org.add_field("Account", {"name": "Key__c", "type": "string", "externalId": True, "idLookup": True})
        caller = Caller(server)
        caller.log_in()
        yield caller


def error(answer: Any) -> tuple[int, str, str]:
    told = answer.json()[0]
    return answer.status_code, told["errorCode"], told["message"]


def create(caller: Caller, sobject: str, **values: Any) -> str:
    answer = caller.post(f"/sobjects/{sobject}", json=values)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def rows_of(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


# Requests


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("GZIP", gzip.compress),
    ],
)
def test_requests_may_be_compressed(own: Caller, coding: str, pack: Any) -> None:
    """REST API Developer Guide, "Compression Headers"."""
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    made = own.post("/sobjects/Account", data=pack(b'{"Name": "packed"}'), headers=headers)
    assert made.status_code == 201, made.text

    inner = {"method": "POST", "url": "v67.0/sobjects/Account", "richInput": {"Name": "within"}}
    batch = own.post("/composite/batch", data=pack(json.dumps({"batchRequests": [inner]}).encode()), headers=headers)
    assert batch.json()["results"][0]["statusCode"] == 201


@pytest.mark.parametrize(("coding", "status"), [("gzip", 400), ("deflate", 400), ("br", 415)])
def test_requests_that_are_not_compressed_as_they_say(caller: Caller, coding: str, status: int) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}

    assert caller.post("/sobjects/Account", data=b'{"Name": "x"}', headers=headers).status_code == status


def test_request_without_a_body(caller: Caller) -> None:
    """Salesforce Scheduler developer guide, "JSON_PARSER_ERROR"; the same text in other clients' tests."""
    told = "The HTTP entity body is required, but this request has no entity body."

    assert error(caller.post("/sobjects/Account")) == (400, "JSON_PARSER_ERROR", told)
    assert error(caller.post("/jobs/query", headers={"Content-Type": "application/json"}))[2] == told


def test_key_of_a_record_is_not_among_its_values(own: Caller) -> None:
    """REST API Developer Guide, "Create a Record" and "Upsert Records Using sObject Rows by External ID"."""
    account = create(own, "Account", Name="x")
    told = (400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")

    assert error(own.post("/sobjects/Account", json={"id": account, "Name": "y"})) == told
    assert error(own.call("PATCH", f"/sobjects/Account/{account}", json={"Id": account, "Name": "y"})) == told
    upserted = own.call("PATCH", "/sobjects/Invoice__c/External_Id__c/e-1", json={"External_Id__c": "e-1"})
    assert error(upserted)[2] == "The External_Id__c field should not be specified in the sobject data."
    assert own.call("PATCH", "/sobjects/Invoice__c/External_Id__c/e-1", json={}).status_code == 201


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("field", ["Nonsense__c", "Industry"])
def test_field_that_is_no_external_id_is_not_found(caller: Caller, method: str, field: str) -> None:
    """Bulk API 2.0 Developer Guide, "Upsert Records": "If the external ID field doesn't exist" it is NOT_FOUND."""
    answer = caller.call(method, f"/sobjects/Account/{field}/1", json={"Name": "x"})

    assert error(answer)[:2] == (404, "NOT_FOUND")


def test_post_to_id_creates(own: Caller) -> None:
    """Bulk API 2.0 Developer Guide, "Inserting New Records Using Id as the External ID"; `created` since v46.0."""
    made = own.post("/sobjects/Account/Id", json={"Name": "by null"})
    old = own.post("/services/data/v45.0/sobjects/Account/Id", json={"Name": "by null"})

    assert (made.status_code, made.json()["created"]) == (201, True)
    assert (old.status_code, "created" in old.json()) == (201, False)


def test_parents_are_named_by_their_external_id(own: Caller) -> None:
    """REST API Developer Guide, upserting "and Associating with an External ID"; the error from clients' logs."""
    account = create(own, "Account", Name="parent", Key__c="k-1")
    contact = create(own, "Contact", LastName="child", Account={"Key__c": "k-1"})
    (collected,) = own.post(
        "/composite/sobjects",
        json={"records": [{"attributes": {"type": "Contact"}, "LastName": "x", "Account": {"Key__c": "k-1"}}]},
    ).json()

    for each in (contact, collected["id"]):
        assert own.get(f"/sobjects/Contact/{each}").json()["AccountId"] == account
    unknown = own.post("/sobjects/Contact", json={"LastName": "child", "Account": {"Key__c": "k-2"}})
    told = "Foreign key external ID: k-2 not found for field Key__c in entity Account"
    assert error(unknown) == (400, "INVALID_FIELD", told)
    assert error(own.post("/sobjects/Contact", json={"LastName": "x", "Account": {}}))[1] == "INVALID_FIELD"


def test_restricted_picklists_hold_their_own_values_only(own: Caller) -> None:
    """Object Reference, restricted picklists; status code INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST of the SOAP API guide."""
    answer = own.post("/sobjects/Account", json={"Name": "x", "CleanStatus": "Spotless"})

    told = answer.json()[0]
    assert error(answer)[:2] == (400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST")
    assert told["message"].endswith("bad value for restricted picklist field: Spotless")
    assert told["fields"] == ["CleanStatus"]
    assert own.post("/sobjects/Account", json={"Name": "x", "CleanStatus": "Pending"}).status_code == 201
    assert own.post("/sobjects/Account", json={"Name": "x", "Industry": "Of our own"}).status_code == 201


def test_email_without_an_at_sign(own: Caller) -> None:
    """REST API Developer Guide, "sObject Tree Response Body", the example of a failure."""
    told = {"message": "Email: invalid email address: 123", "errorCode": "INVALID_EMAIL_ADDRESS", "fields": ["Email"]}

    answer = own.post("/sobjects/Contact", json={"LastName": "x", "Email": "123"})
    assert (answer.status_code, answer.json()) == (400, [told])


def test_records_that_others_hold_on_to_are_not_deleted(own: Caller) -> None:
    """Describe's restrictedDelete; the message as jsforce-era clients recorded it."""
    account = create(own, "Account", Name="Acme")
    case = create(own, "Case", AccountId=account, Subject="x")
    number = own.get(f"/sobjects/Case/{case}").json()["CaseNumber"]
    told = (
        "Your attempt to delete Acme could not be completed because it is associated with the following cases.: "
        f"{number}\n"
    )

    assert error(own.call("DELETE", f"/sobjects/Account/{account}")) == (400, "DELETE_FAILED", told)
    (collected,) = own.call("DELETE", "/composite/sobjects", params={"ids": account}).json()
    assert collected["errors"] == [{"statusCode": "DELETE_FAILED", "message": told, "fields": []}]
    assert run_job(own, f"Id\n{account}\n", "delete")["numberRecordsFailed"] == 1
    own.call("DELETE", f"/sobjects/Case/{case}")
    assert own.call("DELETE", f"/sobjects/Account/{account}").status_code == 204


# Conditions on records


def test_records_are_read_when_they_changed(own: Caller) -> None:
    """REST API Developer Guide, "Conditional Request Headers": sObject Rows; entity tags for accounts only."""
    account, contact = create(own, "Account", Name="x"), create(own, "Contact", LastName="x")

    for path, has_tag in ((f"/sobjects/Account/{account}", True), (f"/sobjects/Contact/{contact}", False)):
        first = own.get(path)
        assert ("ETag" in first.headers) is has_tag
        again = own.get(path, headers={"If-Modified-Since": first.headers["Last-Modified"]})
        assert (again.status_code, again.content) == (304, b"")
        assert own.get(path, headers={"If-Modified-Since": "Tue, 10 Aug 2015 00:00:00 GMT"}).status_code == 200
        assert own.get(path, headers={"If-Unmodified-Since": "Tue, 10 Aug 2015 00:00:00 GMT"}).status_code == 412
        known = {"If-None-Match": first.headers.get("ETag", '"x"')}
        assert own.get(path, headers=known).status_code == (304 if has_tag else 200)
        assert own.get(path, headers={"If-Match": '"other"'}).status_code == (412 if has_tag else 200)


def test_records_are_changed_unless_somebody_else_did(own: Caller) -> None:
    path = f"/sobjects/Account/{create(own, 'Account', Name='x')}"
    first = own.get(path)
    tag, stamp = first.headers["ETag"], first.headers["Last-Modified"]

    def patch(**headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return own.call("PATCH", path, json={"Site": "here"}, headers=named)

    assert patch(If_None_Match=tag).status_code == 412
    assert patch(If_Unmodified_Since="no date").status_code == 400
    changed = patch(If_Match=tag, If_Unmodified_Since=stamp)
    assert (changed.status_code, changed.headers["ETag"] != tag) == (204, True)
    assert changed.headers["ETag"] == own.get(path).headers["ETag"]
    assert patch(If_Match=tag).status_code == 412
    own.org.clock.advance(timedelta(minutes=1))
    assert patch().status_code == 204
    assert patch(If_Unmodified_Since=stamp).status_code == 412


def test_describe_may_be_asked_for_only_as_it_was(caller: Caller) -> None:
    headers = {"If-Unmodified-Since": "Tue, 10 Aug 2015 00:00:00 GMT"}

    assert [caller.get(path, headers=headers).status_code for path in ("/sobjects", "/sobjects/Account/describe")] == [
        412,
        412,
    ]


# Below a record


def test_content_of_a_file(own: Caller) -> None:
    """REST API Developer Guide, "sObject Blob Get"."""
    account = create(own, "Account", Name="x")
    body = base64.b64encode(b"\x00\xffcontent").decode()
    attachment = create(own, "Attachment", Name="a.bin", ParentId=account, Body=body, ContentType="image/png")

    told = own.get(f"/sobjects/Attachment/{attachment}").json()["Body"]
    answer = own.get(told)
    assert (answer.content, answer.headers["Content-Type"]) == (b"\x00\xffcontent", "image/png")
    assert error(own.get("/sobjects/Attachment/00P000000000001AAA/Body"))[:2] == (404, "NOT_FOUND")


def test_relationships_are_followed_by_their_names(own: Caller) -> None:
    """REST API Developer Guide, "sObject Relationships"."""
    account = create(own, "Account", Name="parent", Site="s")
    contacts = {create(own, "Contact", LastName=name, AccountId=account) for name in "ab"}
    orphan = create(own, "Contact", LastName="c")
    first = sorted(contacts)[0]

    parent = own.get(f"/sobjects/Contact/{first}/Account", params={"fields": "Name,Site"}).json()
    assert (parent["Name"], parent["Site"], parent["attributes"]["type"]) == ("parent", "s", "Account")
    children = own.get(f"/sobjects/Account/{account}/Contacts", params={"fields": "LastName"}).json()
    assert {each["LastName"] for each in children["records"]} == {"a", "b"}
    assert (children["totalSize"], children["done"]) == (2, True)
    assert own.get(f"/sobjects/Contact/{first}/Account/Owner").json()["attributes"]["type"] == "User"
    for path in (f"{orphan}/Account", f"{first}/Nonsense", f"{UNKNOWN.replace('001', '003')}/Account"):
        assert error(own.get(f"/sobjects/Contact/{path}"))[:2] == (404, "NOT_FOUND")


# Queries


def test_rollup_and_cube_add_totals(own: Caller) -> None:
    """SOQL reference, "GROUP BY ROLLUP", "GROUP BY CUBE" and "GROUPING(fieldName)"."""

    def read(select: str, group: str, more: str = "") -> list[dict[str, Any]]:
        answer = own.query(f"SELECT {select} FROM Lead GROUP BY {group}{more}")
        assert answer.status_code == 200, answer.text
        return [{k: v for k, v in each.items() if k != "attributes"} for each in answer.json()["records"]]

    total = own.query("SELECT COUNT() FROM Lead").json()["totalSize"]
    by_source = {each["LeadSource"]: each["c"] for each in read("LeadSource, COUNT(Id) c", "LeadSource")}
    rolled = read("LeadSource, GROUPING(LeadSource) g, COUNT(Id) c", "ROLLUP(LeadSource)")
    assert {each["LeadSource"]: each["c"] for each in rolled if each["g"] == 0} == by_source
    assert [(each["LeadSource"], each["c"]) for each in rolled if each["g"] == 1] == [(None, total)]

    pairs = "LeadSource, Status"
    rolled = read(f"{pairs}, GROUPING(LeadSource), GROUPING(Status), COUNT(Id) c", f"ROLLUP({pairs})")
    cubed = read(f"{pairs}, GROUPING(LeadSource), GROUPING(Status), COUNT(Id) c", f"CUBE({pairs})")
    assert {(each["expr0"], each["expr1"]) for each in rolled} == {(0, 0), (0, 1), (1, 1)}
    assert {(each["expr0"], each["expr1"]) for each in cubed} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    sums: dict[tuple[int, int], int] = {}
    for each in cubed:
        key = each["expr0"], each["expr1"]
        sums[key] = sums.get(key, 0) + each["c"]
    assert set(sums.values()) == {total}
    totals = read("COUNT(Id) c", "ROLLUP(LeadSource)", " HAVING GROUPING(LeadSource) = 1 ORDER BY GROUPING(LeadSource)")
    assert totals == [{"c": total}]


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("ROLLUP(Type), Industry", "can not be combined"),
        ("CUBE(Type, Industry, Rating, Ownership)", "takes one to 3 fields"),
        ("CUBE('x')", "takes fields"),
    ],
)
def test_what_rollup_and_cube_do_not_take(caller: Caller, group: str, told: str) -> None:
    _, code, message = error(caller.query(f"SELECT COUNT(Id) FROM Account GROUP BY {group}"))

    assert code == "MALFORMED_QUERY"
    assert told in message


def test_distances_between_places(own: Caller) -> None:
    """SOQL reference, "Location-Based SOQL Queries": haversine, in miles or kilometres, within (<) or beyond (>)."""
    places = {"Berlin": (52.52, 13.405), "Paris": (48.8566, 2.3522), "Sydney": (-33.8688, 151.2093)}
    for city, (latitude, longitude) in places.items():
        create(own, "Account", Name=city, BillingLatitude=latitude, BillingLongitude=longitude)
    there = "DISTANCE(BillingAddress, GEOLOCATION(52.52, 13.405), '{unit}')"
    named = "Name IN ('Berlin', 'Paris', 'Sydney')"

    def read(unit: str, more: str = "") -> dict[str, float]:
        distance = there.format(unit=unit)
        soql = f"SELECT Name, {distance} far FROM Account WHERE {named} {more} ORDER BY {distance} DESC"
        return {each["Name"]: each["far"] for each in own.query(soql).json()["records"]}

    assert list(read("km")) == ["Sydney", "Paris", "Berlin"]
    assert read("km") == pytest.approx({"Berlin": 0, "Paris": 877.5, "Sydney": 16091}, abs=5)
    assert read("mi")["Paris"] == pytest.approx(545.2, abs=3)
    assert list(read("km", f"AND {there.format(unit='km')} < 1000")) == ["Paris", "Berlin"]
    assert list(read("km", f"AND {there.format(unit='km')} > 1000")) == ["Sydney"]
    unnamed = own.query(f"SELECT {there.format(unit='km')} FROM Account WHERE Name = 'Berlin'").json()["records"][0]
    assert unnamed["expr0"] == 0.0


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("DISTANCE(BillingAddress, GEOLOCATION(1, 2), 'mi') = 5", "invalid operator"),
        ("DISTANCE(BillingAddress, GEOLOCATION(1, 2), 'ft') < 5", "takes 'mi' or 'km'"),
        ("DISTANCE(Name, GEOLOCATION(1, 2), 'mi') < 5", "which Name is not"),
        ("DISTANCE(BillingAddress, 5, 'mi') < 5", "takes a location field"),
        ("GEOLOCATION(1, 2) < 5", "Invalid function"),
    ],
)
def test_what_distances_do_not_take(caller: Caller, where: str, told: str) -> None:
    status, _, message = error(caller.query(f"SELECT Id FROM Account WHERE {where}"))

    assert status == 400
    assert told in message


def test_subqueries_reach_five_levels(own: Caller) -> None:
    """SOQL reference, "Understanding Relationship Query Limitations": parents to children over five levels."""
    root = create(own, "Account", Name="1")
    below = root
    for name in ("2", "3", "4"):
        below = create(own, "Account", Name=name, ParentId=below)
    contacts = {create(own, "Contact", LastName=name, AccountId=below) for name in ("a", "b")}
    soql = "(SELECT Id FROM Contacts)"
    for _ in range(3):
        soql = f"(SELECT Name, {soql} FROM ChildAccounts)"
    record = own.query(f"SELECT Name, {soql} FROM Account WHERE Id = '{root}'").json()["records"][0]

    names = []
    for _ in range(3):
        (record,) = record["ChildAccounts"]["records"]
        names.append(record["Name"])
    assert names == ["2", "3", "4"]
    assert {each["Id"] for each in record["Contacts"]["records"]} == contacts
    leaf = own.query(f"SELECT Id, {soql} FROM Account WHERE Id = '{below}'").json()["records"][0]
    assert leaf["ChildAccounts"] is None


# Describes and lists


def test_urls_of_an_object_are_those_of_what_it_has(caller: Caller) -> None:
    """Recorded describes: pages in an object's own describe only; objects without layouts have three URLs."""
    listed = {each["name"]: each["urls"] for each in caller.get("/sobjects").json()["sobjects"]}
    described = caller.get("/sobjects/Account/describe").json()["urls"]

    assert set(listed["Organization"]) == {"rowTemplate", "describe", "sobject"}
    pages = {name: url for name, url in described.items() if name not in listed["Account"]}
    base = caller.server.url
    assert pages == {
        "uiDetailTemplate": f"{base}/{{ID}}",
        "uiEditTemplate": f"{base}/{{ID}}/e",
        "uiNewRecord": f"{base}/001/e",
    }


def test_listed_jobs_tell_their_format(caller: Caller) -> None:
    """Bulk API 2.0 Developer Guide, "Get Information About All Query Jobs", the example."""
    job = caller.finished_job("SELECT Id FROM Account", columnDelimiter="TAB", lineEnding="CRLF")
    listed = {each["id"]: each for each in caller.get("/jobs/query").json()["records"]}[job["id"]]

    assert (listed["columnDelimiter"], listed["lineEnding"], listed["jobType"]) == ("TAB", "CRLF", "V2Query")


# Trees


def test_tree_of_records(own: Caller) -> None:
    """REST API Developer Guide, "sObject Tree", the example."""
    children = {"records": [{"attributes": {"type": "Contact", "referenceId": "ref2"}, "LastName": "Smith"}]}
    tree = {"attributes": {"type": "Account", "referenceId": "ref1"}, "Name": "SampleAccount", "Contacts": children}
    answer = own.post("/composite/tree/Account/", json={"records": [tree]})

    assert (answer.status_code, answer.json()["hasErrors"]) == (201, False)
    ids = {each["referenceId"]: each["id"] for each in answer.json()["results"]}
    assert own.get(f"/sobjects/Contact/{ids['ref2']}").json()["AccountId"] == ids["ref1"]


def test_tree_is_saved_whole_or_not_at_all(own: Caller) -> None:
    """REST API Developer Guide, "sObject Tree Response Body", the example of a failure."""
    contact = {"attributes": {"type": "Contact", "referenceId": "ref2"}, "LastName": "Smith", "Email": "123"}
    tree = {
        "attributes": {"type": "Account", "referenceId": "ref1"},
        "Name": "Half",
        "Contacts": {"records": [contact]},
    }
    answer = own.post("/composite/tree/Account", json={"records": [tree]})

    failure = {
        "statusCode": "INVALID_EMAIL_ADDRESS",
        "message": "Email: invalid email address: 123",
        "fields": ["Email"],
    }
    assert answer.status_code == 400
    assert answer.json() == {"hasErrors": True, "results": [{"referenceId": "ref2", "errors": [failure]}]}
    assert own.query("SELECT COUNT() FROM Account WHERE Name = 'Half'").json()["totalSize"] == 0


@pytest.mark.parametrize(
    "records",
    [
        None,
        [],
        [1],
        [{"Name": "no reference id"}],
        [{"attributes": {"type": "Contact", "referenceId": "r"}}],
        [{"attributes": {"type": "Account", "referenceId": "r"}, "Name": "x"}] * 2,
        [{"attributes": {"type": "Account", "referenceId": f"r{n}"}, "Name": "x"} for n in range(201)],
    ],
)
def test_trees_that_are_none(caller: Caller, records: Any) -> None:
    assert caller.post("/composite/tree/Account", json={"records": records}).status_code == 400


# Search


def test_search_finds_words_in_the_fields_of_objects(own: Caller) -> None:
    """REST API Developer Guide, "Search"; SOSL reference, FIND, IN, RETURNING and LIMIT."""
    quux = create(own, "Account", Name="Quux Rockets", Site="North")
    create(own, "Account", Name="Quuxville", Site="South")
    contact = create(own, "Contact", LastName="Coyote", Description="buys at QUUX", Email="coyote@quux.example")

    def find(sosl: str, **more: Any) -> list[dict[str, Any]]:
        answer = own.get("/search/", params={"q": f"FIND {sosl}", **more})
        assert answer.status_code == 200, answer.text
        return [dict(each) for each in answer.json()["searchRecords"]]

    everywhere = find("{quux}")
    assert {each["Id"] for each in everywhere} == {quux, contact}
    assert everywhere[0]["attributes"]["url"].endswith(everywhere[0]["Id"])
    assert [each["Name"] for each in find("{Quux*} RETURNING Account(Name ORDER BY Name)")] == [
        "Quux Rockets",
        "Quuxville",
    ]
    assert [each["Id"] for each in find("{quux} IN EMAIL FIELDS RETURNING Contact, Account")] == [contact]
    assert [each["Id"] for each in find("{quux} IN NAME FIELDS")] == [quux]
    named = find("{quux OR quuxville} RETURNING Account(Id, Name WHERE Site = 'South' LIMIT 1), Contact(Id)")
    assert [each.get("Name") for each in named] == ["Quuxville", None]
    assert len(find("{quux OR quuxville} LIMIT 1")) == 1
    assert [each["Id"] for each in find('{"quux rockets"}')] == [quux]
    assert find("{quux AND NOT rockets} RETURNING Account") == []


@pytest.mark.parametrize(
    ("q", "code"),
    [
        ("", "MALFORMED_SEARCH"),
        ("FIND quux", "MALFORMED_SEARCH"),
        ("FIND {a}", "MALFORMED_SEARCH"),
        ("FIND {quux} IN ODD FIELDS", "MALFORMED_SEARCH"),
        ("FIND {quux} RETURNING", "MALFORMED_SEARCH"),
        ("FIND {quux} RETURNING Account(Id", "MALFORMED_SEARCH"),
        ("FIND {quux} LIMIT x", "MALFORMED_SEARCH"),
        ("FIND {quux} RETURNING Nonsense__c", "INVALID_TYPE"),
    ],
)
def test_searches_that_are_refused(caller: Caller, q: str, code: str) -> None:
    assert error(caller.get("/search", params={"q": q}))[:2] == (400, code)


def test_search_by_parameters(own: Caller) -> None:
    """REST API Developer Guide, "Search with Parameters"."""
    zorp = create(own, "Account", Name="Zorp", Site="North")
    create(own, "Contact", LastName="Zorp")
    params = {"q": "Zorp", "sobject": "Account", "Account.fields": "id,name", "Account.limit": "10"}
    body = {"q": "Zorp", "fields": ["Id", "Name"], "sobjects": [{"name": "Account", "where": "Site = 'North'"}]}

    for answer in (own.get("/parameterizedSearch", params=params), own.post("/parameterizedSearch", json=body)):
        assert [(each["Id"], each["Name"]) for each in answer.json()["searchRecords"]] == [(zorp, "Zorp")]
    assert len(own.get("/parameterizedSearch", params={"q": "Zorp"}).json()["searchRecords"]) == 2
    assert own.get("/parameterizedSearch").status_code == 400
    assert own.post("/parameterizedSearch", json={"q": "Zorp", "sobjects": [1]}).status_code == 400


# Bulk API 2.0, ingest


def open_job(caller: Caller, operation: str = "insert", sobject: str = "Account", **settings: Any) -> dict[str, Any]:
    answer = caller.post("/jobs/ingest", json={"operation": operation, "object": sobject, **settings})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def run_job(caller: Caller, text: str, operation: str = "insert", sobject: str = "Account", **settings: Any) -> Any:
    """Create a job, upload its data, close it and poll it once; its status then."""
    job = open_job(caller, operation, sobject, **settings)
    uploaded = caller.call("PUT", f"/{job['contentUrl']}", data=text.encode(), headers={"Content-Type": "text/csv"})
    assert (uploaded.status_code, uploaded.content) == (201, b"")
    closed = caller.call("PATCH", f"/jobs/ingest/{job['id']}", json={"state": "UploadComplete"})
    assert closed.status_code == 200, closed.text
    return caller.get(f"/jobs/ingest/{job['id']}").json()


def test_ingest_job_from_creation_to_results(own: Caller) -> None:
    """Bulk API 2.0 Developer Guide, "Step 3: Bulk Insert"."""
    made = open_job(own, contentType="CSV", lineEnding="LF")
    path = f"/jobs/ingest/{made['id']}"
    assert {name: made[name] for name in ("operation", "object", "state", "contentType", "apiVersion")} == {
        "operation": "insert",
        "object": "Account",
        "state": "Open",
        "contentType": "CSV",
        "apiVersion": 67.0,
    }
    assert made["contentUrl"] == f"services/data/v67.0{path}/batches"
    assert own.get(path).json()["contentUrl"] == made["contentUrl"]
    text = 'Name,Site,NumberOfEmployees\n"Acme, Inc.","two\nlines",12\nPosuere,#N/A,\n,nameless,1\n'
    headers = {"Content-Type": "text/csv", "Accept": "application/json"}
    assert own.call("PUT", f"{path}/batches/", data=text, headers=headers).status_code == 201
    closed = own.call("PATCH", f"{path}/", json={"state": "UploadComplete"}).json()
    assert closed["state"] == "UploadComplete" and "contentUrl" not in closed and "lineEnding" not in closed

    status = own.get(path).json()
    assert {name: status[name] for name in ("state", "jobType", "numberRecordsProcessed", "numberRecordsFailed")} == {
        "state": "JobComplete",
        "jobType": "V2Ingest",
        "numberRecordsProcessed": 3,
        "numberRecordsFailed": 1,
    }
    good = own.get(f"{path}/successfulResults/")
    assert good.text.splitlines()[0] == '"sf__Id","sf__Created",Name,Site,NumberOfEmployees'
    saved = rows_of(good)
    assert [(each["sf__Created"], each["Name"], each["Site"]) for each in saved] == [
        ("true", "Acme, Inc.", "two\nlines"),
        ("true", "Posuere", "#N/A"),
    ]
    assert own.get(f"/sobjects/Account/{saved[0]['sf__Id']}").json()["NumberOfEmployees"] == 12
    (bad,) = rows_of(own.get(f"{path}/failedResults"))
    assert bad["sf__Error"] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"
    assert (bad["sf__Id"], bad["Site"]) == ("", "nameless")
    assert rows_of(own.get(f"{path}/unprocessedrecords/")) == []
    assert own.call("DELETE", path).status_code == 204
    assert error(own.get(path)) == (404, "NOT_FOUND", "The requested resource does not exist")


def test_ingest_job_in_one_request(own: Caller) -> None:
    """Bulk API 2.0 Developer Guide, "Step 4: Bulk Insert with a Multipart Request"."""
    job = '{"object":"Contact","contentType":"CSV","operation":"insert","lineEnding":"LF"}'
    content = "FirstName,LastName\nAstro,Nomical\nHootie,McOwl\n"
    parts = [("job", "application/json", "", job), ("content", "text/csv", '; filename="content"', content)]
    body = "".join(
        f'--BOUNDARY\r\nContent-Type: {kind}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{text}\r\n'
        for name, kind, more, text in parts
    )
    headers = {"Content-Type": 'multipart/form-data; boundary="BOUNDARY"'}
    made = own.post("/jobs/ingest", data=body + "--BOUNDARY--\r\n", headers=headers)

    assert (made.status_code, made.json()["state"]) == (200, "UploadComplete")
    path = f"/jobs/ingest/{made.json()['id']}"
    assert own.get(path).json()["numberRecordsProcessed"] == 2
    assert [each["LastName"] for each in rows_of(own.get(f"{path}/successfulResults"))] == ["Nomical", "McOwl"]
    assert own.post("/jobs/ingest", data="--BOUNDARY--", headers=headers).status_code == 400


def test_ingest_updates_upserts_and_deletes(own: Caller) -> None:
    """Bulk API 2.0 Developer Guide, "Step 5: Bulk Upsert"; parents by relationship columns, "Relationship Fields"."""
    account = create(own, "Account", Name="parent", Key__c="u-1")
    key = {"externalIdFieldName": "Key__c"}

    upserted = run_job(own, "Key__c;name\nu-1;renamed\nu-2;new\n", "upsert", columnDelimiter="SEMICOLON", **key)
    assert upserted["externalIdFieldName"] == "Key__c"
    results = own.get(f"/jobs/ingest/{upserted['id']}/successfulResults").text
    assert [each["sf__Created"] for each in csv.DictReader(io.StringIO(results), delimiter=";")] == ["false", "true"]
    assert own.get(f"/sobjects/Account/{account}").json()["Name"] == "renamed"

    linked = run_job(own, "LastName,Account.Key__c\nchild,u-1\nlost,u-9\n", sobject="Contact")
    assert linked["numberRecordsFailed"] == 1
    (child,) = rows_of(own.get(f"/jobs/ingest/{linked['id']}/successfulResults"))
    assert own.get(f"/sobjects/Contact/{child['sf__Id']}").json()["AccountId"] == account
    (lost,) = rows_of(own.get(f"/jobs/ingest/{linked['id']}/failedResults"))
    assert lost["sf__Error"].startswith("INVALID_FIELD:Foreign key external ID: u-9 not found")

    assert run_job(own, f"Id,Site\n{account},here\n{UNKNOWN},x\n", "update")["numberRecordsFailed"] == 1
    assert own.get(f"/sobjects/Account/{account}").json()["Site"] == "here"
    assert run_job(own, f"Id\n{child['sf__Id']}\n", "delete", "Contact")["numberRecordsFailed"] == 0
    assert own.get(f"/sobjects/Contact/{child['sf__Id']}").status_code == 404


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("Name,Nonsense\nx,y\n", {}, "InvalidBatch : Field name not found : Nonsense"),
        (
            "Name\r\nx\r\n",
            {},
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        (
            "Name\nx\n",
            {"lineEnding": "CRLF"},
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is CRLF",
        ),
    ],
)
def test_ingest_jobs_fail_as_a_whole(own: Caller, text: str, settings: dict[str, str], message: str) -> None:
    """Messages as other clients' logs have them; Bulk API 2.0 Developer Guide, "Get Job Unprocessed Record Results"."""
    status = run_job(own, text, **settings)

    assert (status["state"], status["errorMessage"], status["numberRecordsProcessed"]) == ("Failed", message, 0)
    assert own.get(f"/jobs/ingest/{status['id']}/unprocessedRecords").text == text
    assert own.get(f"/jobs/ingest/{status['id']}/successfulResults").text == ""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"operation": "hardDelete", "object": "Account"}, "FEATURENOTENABLED"),
        ({"operation": "upsert", "object": "Account"}, "INVALIDJOB"),
        ({"operation": "upsert", "object": "Account", "externalIdFieldName": "Website"}, "INVALIDJOB"),
        ({"operation": "insert", "object": "Nonsense__c"}, "INVALIDENTITY"),
        ({"operation": "query", "object": "Account"}, "INVALID_INPUT"),
        ({"operation": "insert", "object": "Account", "contentType": "JSON"}, "INVALID_INPUT"),
    ],
)
def test_ingest_jobs_that_are_refused(caller: Caller, body: dict[str, str], code: str) -> None:
    assert error(caller.post("/jobs/ingest", json=body))[:2] == (400, code)


def test_ingest_job_goes_through_its_states(serve: Serve) -> None:
    """Bulk API 2.0 Developer Guide, "Job States", "Delete a Job" and "Abort a Job"."""
    timings = BulkTimings(upload_seconds=10, in_progress_seconds=20)
    own = serve(own_rows={"Account": 1}, bulk_timings=timings)
    job = open_job(own)
    path = f"/jobs/ingest/{job['id']}"

    assert error(own.call("DELETE", path))[:2] == (400, "API_ERROR")
    assert error(own.get(f"{path}/successfulResults"))[:2] == (400, "INVALIDJOBSTATE")
    own.call("PUT", f"{path}/batches", data="Name\nx\n")
    assert "multiple contents" in error(own.call("PUT", f"{path}/batches", data="Name\nx\n"))[2]
    own.call("PATCH", path, json={"state": "UploadComplete"})
    assert error(own.call("PATCH", path, json={"state": "UploadComplete"}))[:2] == (400, "INVALIDJOBSTATE")
    assert error(own.call("PUT", f"{path}/batches", data="Name\nx\n"))[:2] == (400, "INVALIDJOBSTATE")
    seen = []
    for seconds in (0, 10, 20):
        own.org.clock.advance(timedelta(seconds=seconds))
        seen.append(own.get(path).json()["state"])
    assert seen == ["UploadComplete", "InProgress", "JobComplete"]
    assert error(own.call("PATCH", path, json={"state": "Aborted"}))[:2] == (400, "INVALIDJOBSTATE")

    other = open_job(own)
    own.call("PUT", f"/jobs/ingest/{other['id']}/batches", data="Name\nx\n")
    aborted = own.call("PATCH", f"/jobs/ingest/{other['id']}", json={"state": "Aborted"})
    assert (aborted.status_code, aborted.json()["state"]) == (200, "Aborted")
    assert [each["Name"] for each in rows_of(own.get(f"/jobs/ingest/{other['id']}/unprocessedrecords"))] == ["x"]
    listed = own.get("/jobs/ingest").json()
    assert (listed["done"], {each["id"] for each in listed["records"]}) == (True, {job["id"], other["id"]})
    assert own.get("/jobs/ingest", params={"jobType": "Classic"}).json()["records"] == []
    own.org.clock.advance(timedelta(days=8))
    own.log_in()
    assert own.get("/jobs/ingest").json()["records"] == []
    assert own.get(f"/jobs/query/{job['id']}").status_code == 404


# Bulk API 1.0


def async_post(caller: Caller, path: str, body: Any, **headers: str) -> Any:
    token = str(caller.session.headers["Authorization"]).removeprefix("Bearer ")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"X-SFDC-Session": token, "Content-Type": "application/json", **named}
    data = body if isinstance(body, str) else json.dumps(body)
    return caller.post(f"/services/async/67.0/job{path}", data=data, headers=sent)


def test_hard_deletes_want_a_permission_of_their_own(caller: Caller) -> None:
    """Bulk API Developer Guide, "hardDelete"; the message from the source of the Data Loader."""
    refused = async_post(caller, "", {"operation": "hardDelete", "object": "Account", "contentType": "CSV"})

    assert (refused.status_code, refused.json()["exceptionCode"]) == (400, "FeatureNotEnabled")
    assert refused.json()["exceptionMessage"].startswith(
        "hardDelete operation requires special user profile permission"
    )


@pytest.mark.parametrize("version", ["30.0", "99.0", "x"])
def test_bulk_api_names_versions_that_are_gone(caller: Caller, version: str) -> None:
    """Help, API version retirement: "Bulk API returns 400: InvalidVersion"."""
    answer = caller.post(f"/services/async/{version}/job", json={"operation": "query", "object": "Account"})

    assert (answer.status_code, answer.json()["exceptionCode"]) == (400, "InvalidVersion")


def test_bulk_job_tells_its_key_and_its_failed_records(own: Caller) -> None:
    """Bulk API Developer Guide, "JobInfo": externalIdFieldName and numberRecordsFailed."""
    info = {
        "operation": "upsert",
        "object": "Invoice__c",
        "externalIdFieldName": "External_Id__c",
        "contentType": "JSON",
    }
    job = async_post(own, "", info).json()
    assert job["externalIdFieldName"] == "External_Id__c"
    async_post(own, f"/{job['id']}/batch", [{"External_Id__c": "a"}, {"External_Id__c": "b", "OwnerId": "x"}])

    told = own.get(f"/services/async/67.0/job/{job['id']}", headers={"Content-Type": "application/json"}).json()
    assert (told["numberRecordsProcessed"], told["numberRecordsFailed"]) == (2, 1)


def test_pk_chunking_reads_a_query_in_ranges_of_ids(caller: Caller) -> None:
    """Bulk API Developer Guide, "PK Chunking Header": the first batch is not processed, the others hold ranges."""
    info = {"operation": "query", "object": "Account", "contentType": "CSV"}
    job = async_post(caller, "", info, Sforce_Enable_PKChunking="chunkSize=200; parent=Account").json()
    soql = "SELECT Id FROM Account WHERE Name != null OR Name = null"
    first = async_post(caller, f"/{job['id']}/batch", soql, Content_Type="text/csv; charset=UTF-8")
    assert first.status_code == 201

    headers = {"Content-Type": "application/json"}
    listing = caller.get(f"/services/async/67.0/job/{job['id']}/batch", headers=headers).text
    root = ElementTree.fromstring(listing)  # noqa: S314  the local org wrote it
    space = "{http://www.force.com/2009/06/asyncapi/dataload}"
    states = {each.findtext(f"{space}id"): each.findtext(f"{space}state") for each in root.findall(f"{space}batchInfo")}
    assert list(states.values()) == ["NotProcessed", "Completed", "Completed", "Completed"]
    ids: list[str] = []
    for batch in list(states)[1:]:
        path = f"/services/async/67.0/job/{job['id']}/batch/{batch}"
        assert " AND Id >= '001" in caller.get(f"{path}/request").text
        for result in re.findall(r"<result>(\w+)<", caller.get(f"{path}/result").text):
            ids += [each["Id"] for each in rows_of(caller.get(f"{path}/result/{result}"))]
    every = caller.query("SELECT Id FROM Account").json()["records"]
    assert len(ids) == len(set(ids)) == len(every)
