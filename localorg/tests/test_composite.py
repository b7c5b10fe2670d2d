"""composite: REST API Developer Guide, "Composite"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from caller import Caller

from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

DATA = "/services/data/v67.0"


@pytest.fixture(scope="module")
def own() -> Iterator[Caller]:
    with LocalOrg(OrgConfig(counts={"Account": 3, "Contact": 3})) as org, OrgServer(org) as server:
        org.generate()
        caller = Caller(server)
        caller.log_in()
        yield caller


def part(reference_id: str, url: str, method: str = "GET", body: Any = None) -> dict[str, Any]:
    request = {"method": method, "url": DATA + url, "referenceId": reference_id}
    return request if body is None else {**request, "body": body}


def perform(caller: Caller, *parts: dict[str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
    answer = caller.post("/composite", json={"allOrNone": all_or_none, "compositeRequest": list(parts)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["compositeResponse"]
    return found


def halted(message: str) -> dict[str, Any]:
    return {"body": [{"errorCode": "PROCESSING_HALTED", "message": message}], "httpHeaders": {}, "httpStatusCode": 400}


def test_later_parts_use_what_earlier_ones_answered(own: Caller) -> None:
    made, child, owner, name = perform(
        own,
        part("newAccount", "/sobjects/Account", "POST", {"Name": "Acme"}),
        part(
            "child", "/sobjects/Contact", "POST", {"LastName": "Of @{newAccount.id}", "AccountId": "@{newAccount.id}"}
        ),
        part("owner", "/query?q=SELECT+OwnerId+FROM+Account+WHERE+Id='@{newAccount.id}'"),
        part("name", "/sobjects/User/@{owner.records[0].OwnerId}?fields=Username"),
    )

    account_id = made["body"]["id"]
    assert made == {
        "body": {"id": account_id, "success": True, "errors": []},
        "httpHeaders": {"Location": f"{DATA}/sobjects/Account/{account_id}"},
        "httpStatusCode": 201,
        "referenceId": "newAccount",
    }
    assert owner["body"]["totalSize"] == 1
    assert name["body"]["Username"] == own.org.run_as
    contact = own.get(f"/sobjects/Contact/{child['body']['id']}").json()
    assert (contact["AccountId"], contact["LastName"]) == (account_id, f"Of {account_id}")


def test_an_answer_without_body_and_a_list_of_records(own: Caller) -> None:
    made, changed, gone = perform(
        own,
        part("made", "/composite/sobjects", "POST", {"records": [{"attributes": {"type": "Account"}, "Name": "a"}]}),
        part("changed", "/sobjects/Account/@{made[0].id}", "PATCH", {"Site": "x"}),
        part("gone", "/composite/sobjects?ids=@{made[0].id}", "DELETE"),
    )

    assert made["body"][0]["success"]
    tag = changed.pop("httpHeaders")
    assert changed == {"body": None, "httpStatusCode": 204, "referenceId": "changed"}
    assert set(tag) == {"ETag"}  # "Update Records Using sObject Rows": the response about an account has one
    assert gone["body"] == made["body"]


def test_it_costs_one_request(own: Caller) -> None:
    before = own.org.usage.api_requests.total()

    perform(own, part("a", "/limits"), part("b", "/limits"), part("c", "/sobjects"))
    assert own.org.usage.api_requests.total() - before == 1


def test_a_failed_part_fails_those_that_refer_to_it(own: Caller) -> None:
    wrong, dependent, other = perform(
        own,
        part("wrong", "/sobjects/Account", "POST", {"Nonsense": 1}),
        part("dependent", "/sobjects/Account/@{wrong.id}"),
        part("other", "/limits"),
    )

    assert (wrong["httpStatusCode"], wrong["body"][0]["errorCode"]) == (400, "INVALID_FIELD")
    message = "Invalid reference specified. No value for wrong.id found in wrong"
    assert dependent == {**halted(message), "referenceId": "dependent"}
    assert other["httpStatusCode"] == 200


def test_all_or_none(own: Caller) -> None:
    before = own.org.records.count("Account")
    fine = part("fine", "/sobjects/Account", "POST", {"Name": "a"})
    contact = part("contact", "/sobjects/Contact", "POST", {"LastName": "b", "AccountId": "@{fine.id}"})

    made, child = perform(own, fine, contact, all_or_none=True)
    assert (made["httpStatusCode"], child["httpStatusCode"]) == (201, 201)
    assert own.get(f"/sobjects/Contact/{child['body']['id']}").json()["AccountId"] == made["body"]["id"]
    read, changed, wrong = perform(
        own,
        part("read", "/limits"),
        part("changed", f"/sobjects/Account/{made['body']['id']}", "PATCH", {"Name": "changed"}),
        part("wrong", "/sobjects/Account", "POST", {}),
        all_or_none=True,
    )
    message = "The transaction was rolled back since another operation in the same transaction failed."
    assert read == {**halted(message), "referenceId": "read"}
    assert changed == {**halted(message), "referenceId": "changed"}
    assert wrong["body"][0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    assert own.get(f"/sobjects/Account/{made['body']['id']}").json()["Name"] == "a"
    assert own.org.records.count("Account") == before + 1


def test_a_failed_record_of_a_collection_takes_all_back(own: Caller) -> None:
    before = own.org.records.count("Account")
    records = [{"attributes": {"type": "Account"}, "Name": "a"}, {"attributes": {"type": "Account"}}]
    collection = part("many", "/composite/sobjects", "POST", {"allOrNone": False, "records": records})

    one, many = perform(own, part("one", "/sobjects/Account", "POST", {"Name": "b"}), collection, all_or_none=True)
    assert one["body"][0]["errorCode"] == "PROCESSING_HALTED"
    codes = [each["errors"][0]["statusCode"] for each in many["body"]]
    assert codes == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]
    assert own.org.records.count("Account") == before


def family(name: str, last_name: str = "@{read.Name}") -> list[dict[str, Any]]:
    """The example of the guide: what was written is read, and used in what is written next."""
    return [
        part("made", "/sobjects/Account", "POST", {"Name": name}),
        part("read", "/sobjects/Account/@{made.id}?fields=Name"),
        part("child", "/sobjects/Contact", "POST", {"LastName": last_name, "AccountId": "@{read.Id}"}),
        part("found", "/query?q=SELECT+Account.Name+FROM+Contact+WHERE+AccountId='@{made.id}'"),
        part("changed", "/sobjects/Account/@{made.id}", "PATCH", {"Site": "there"}),
    ]


def named(caller: Caller, name: str) -> int:
    return int(caller.query(f"SELECT COUNT() FROM Account WHERE Name = '{name}'").json()["totalSize"])


def test_what_is_written_can_be_read_before_all_is_made(own: Caller) -> None:
    """REST API Developer Guide, "Composite", the example "Update an Account, Create a Contact, and Link Them"."""
    results = perform(own, *family("Read back"), all_or_none=True)
    assert [each["httpStatusCode"] for each in results] == [201, 200, 201, 200, 204]
    assert results[3]["body"]["records"][0]["Account"]["Name"] == "Read back"

    failed = perform(own, *family("Taken back", last_name=""), all_or_none=True)
    assert [each["body"][0]["errorCode"] for each in failed] == [
        "PROCESSING_HALTED",
        "PROCESSING_HALTED",
        "REQUIRED_FIELD_MISSING",
        "PROCESSING_HALTED",
        "PROCESSING_HALTED",
    ]
    assert (named(own, "Read back"), named(own, "Taken back")) == (1, 0)
    assert own.org.records.earliest_uncommitted() is None


def test_graphs_are_made_whole_or_not_at_all(own: Caller) -> None:
    """REST API Developer Guide, "Composite Graphs"."""
    graphs = [
        {"graphId": "good", "compositeRequest": family("Good graph")},
        {"graphId": "bad", "compositeRequest": family("Bad graph", last_name="")},
    ]
    answer = own.post("/composite/graph", json={"graphs": graphs})

    assert answer.status_code == 200
    good, bad = answer.json()["graphs"]
    assert (good["graphId"], good["isSuccessful"], bad["graphId"], bad["isSuccessful"]) == ("good", True, "bad", False)
    assert [each["httpStatusCode"] for each in good["graphResponse"]["compositeResponse"]] == [201, 200, 201, 200, 204]
    assert {each["httpStatusCode"] for each in bad["graphResponse"]["compositeResponse"]} == {400}
    assert (named(own, "Good graph"), named(own, "Bad graph")) == (1, 0)


@pytest.mark.parametrize(
    "graphs",
    [
        None,
        [],
        ["x"],
        [{"compositeRequest": [part("a", "/limits")]}],
        [{"graphId": "a", "compositeRequest": []}],
        [{"graphId": "a", "compositeRequest": [{"method": "GET", "url": f"{DATA}/limits"}]}],
        [{"graphId": "a", "compositeRequest": [part("a", "/limits")]}] * 2,
        [{"graphId": f"g{n}", "compositeRequest": [part(f"a{m}", "/limits") for m in range(101)]} for n in range(5)],
    ],
)
def test_graphs_that_are_none(own: Caller, graphs: Any) -> None:
    assert own.post("/composite/graph", json={"graphs": graphs}).status_code == 400


def test_composite_lists_what_is_below_it(own: Caller) -> None:
    assert own.get("/composite").json()["graph"] == f"{DATA}/composite/graph"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"compositeRequest": []},
        {"compositeRequest": ["x"]},
        {"compositeRequest": [{"method": "GET", "url": f"{DATA}/limits"}]},
        {"compositeRequest": [part("same", "/limits"), part("same", "/limits")]},
    ],
)
def test_malformed_requests(own: Caller, body: Any) -> None:
    assert own.post("/composite", json=body).status_code == 400


@pytest.mark.parametrize(
    ("url", "most"), [("/limits", 25), ("/query?q=SELECT+Id+FROM+Account", 5), ("/queryAll?q=SELECT+Id+FROM+Case", 5)]
)
def test_more_than_it_takes(own: Caller, url: str, most: int) -> None:
    parts = [part(f"n{number}", url) for number in range(most + 1)]
    assert len(perform(own, *parts[:most])) == most
    (refused,) = perform(own, *parts)
    assert (refused["httpStatusCode"], refused["referenceId"]) == (400, None)
    assert refused["body"][0]["errorCode"] == "LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET", "url": "/_org/calls", "referenceId": "a"},
        {"method": "GET", "url": "http://elsewhere.example/", "referenceId": "a"},
        {"method": "GET", "referenceId": "a"},
        part("a", "/composite", "POST", {"compositeRequest": []}),
        part("a", "/composite/batch", "POST", {"batchRequests": []}),
        part("a", "/limits?x=@{a.b}"),
        part("a", "/sobjects/Account", "POST", {"Name": ["[" * 10]}),
        {"method": 7, "url": f"{DATA}/limits", "referenceId": "a"},
    ],
)
def test_parts_that_are_refused(own: Caller, request_: Any) -> None:
    (only,) = perform(own, request_)

    assert only["httpStatusCode"] in (400, 405)


def test_bodies_that_are_nested_deeply(own: Caller) -> None:
    nested = '{"a":' * 900 + "1" + "}" * 900
    text = f'{{"compositeRequest":[{{"method":"POST","url":"{DATA}/sobjects/Account","referenceId":"a","body":{nested}}}]}}'

    answer = own.post("/composite", data=text, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)
