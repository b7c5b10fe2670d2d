"""Where other clients' test suites and recordings of real orgs showed that the local org was kinder than Salesforce, or other.

Sources are named line by line: jsforce 3.10.18 and django-salesforce 6.0 (their integration tests run against real orgs),
cassettes of CumulusCI v62 and restforce-db, the query tests of salesforcer, Salesforce's own documents.
"""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller, Serve

from salesforce_localorg.clock import Clock
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import Records
from salesforce_localorg.wire.answers import java_double

UNKNOWN_CONTACT = "003000000000000AAA"


@pytest.fixture
def own(serve: Serve) -> Caller:
    """A caller on an org whose records a test may change."""
    counts = {"User": 3, "Account": 6, "Contact": 6, "Opportunity": 4, "Lead": 4, "Case": 4, "Task": 40, "Event": 30}
    return serve(own_rows=counts)


def error(answer: Any) -> tuple[int, str, str]:
    told = answer.json()[0]
    return answer.status_code, told["errorCode"], told["message"]


def create(caller: Caller, sobject: str, values: dict[str, Any]) -> str:
    answer = caller.post(f"/sobjects/{sobject}", json=values)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def read(caller: Caller, sobject: str, record_id: str) -> dict[str, Any]:
    found: dict[str, Any] = caller.get(f"/sobjects/{sobject}/{record_id}").json()
    return found


# Queries


@pytest.mark.parametrize("function", ["toLabel(Account.Industry)", "FORMAT(Account.AnnualRevenue)"])
def test_functions_of_a_parents_field_are_nested_below_the_parent(caller: Caller, function: str) -> None:
    """SOQL reference, "toLabel()": the result stands where the field stands."""
    name = function.rpartition(".")[2].rstrip(")")
    rows = caller.query(f"SELECT Id, Account.Name, {function} FROM Contact WHERE AccountId != null LIMIT 20").json()[
        "records"
    ]

    assert all(list(row) == ["attributes", "Id", "Account"] for row in rows)
    assert all(set(row["Account"]) == {"attributes", "Name", name} for row in rows)


def test_function_of_a_parents_field_alone_has_the_parent_too(caller: Caller) -> None:
    rows = caller.query("SELECT convertCurrency(Account.AnnualRevenue) FROM Contact LIMIT 5").json()["records"]

    assert all(list(row) == ["attributes", "Account"] for row in rows)


def test_every_text_is_more_than_the_empty_one(caller: Caller) -> None:
    """django-salesforce: `test_bulk_delete_all` (Id > ''), `test_group_by_compile` (Account.Name > '')."""

    def count(where: str) -> int:
        return int(caller.query(f"SELECT COUNT() FROM Contact WHERE {where}").json()["totalSize"])

    assert count("Id > ''") == count("Id != null") > 0
    assert count("Account.Name > ''") == count("Account.Name != null") > 0
    assert count("Account.Name <= ''") == count("Account.Name = null")
    assert count("Account.Name < ''") == 0


@pytest.mark.parametrize(
    "where", ["Name = 'a' AND NOT (Name = 'b')", "NOT Name = 'a' AND Name = 'b'", "NOT NOT Name = 'a'"]
)
def test_not_wants_parentheses_beside_other_conditions(caller: Caller, where: str) -> None:
    """The grammar of Salesforce's own soql-language-server: NOT stands alone in its expression."""
    status, code, message = error(caller.query(f"SELECT Id FROM Account WHERE {where}"))

    assert (status, code) == (400, "MALFORMED_QUERY")
    assert "unexpected token" in message
    assert caller.query("SELECT Id FROM Account WHERE Name = 'a' AND (NOT (Name = 'b'))").status_code == 200


def test_parents_of_polymorphic_references_are_of_type_name(own: Caller) -> None:
    """Recorded query responses: `"Owner":{"attributes":{"type":"Name",…`; TYPEOF names the object itself."""
    lead = own.query("SELECT Owner.Name FROM Lead WHERE Owner.Type = 'User' LIMIT 1").json()["records"][0]["Owner"]
    typed = own.query(
        "SELECT TYPEOF Owner WHEN User THEN Username END FROM Lead WHERE Owner.Type = 'User' LIMIT 1"
    ).json()["records"][0]["Owner"]
    account = own.query("SELECT Owner.Name FROM Account LIMIT 1").json()["records"][0]["Owner"]

    assert lead["attributes"]["type"] == "Name"
    assert lead["attributes"]["url"].rpartition("/")[0].endswith("/sobjects/User")
    assert typed["attributes"]["type"] == account["attributes"]["type"] == "User"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (9999999.0, "9999999.0"),
        (12345678.0, "1.2345678E7"),
        (1e20, "1.0E20"),
        (-90000000.5, "-9.00000005E7"),
        (0.0, "0.0"),
    ],
)
def test_numbers_from_ten_million_on_have_an_exponent(own: Caller, value: float, written: str) -> None:
    """CumulusCI's cassettes and forcedotcom/cli#3367: doubles as Java prints them, in queries, records and aggregates."""
    account = create(own, "Account", {"Name": "rich", "AnnualRevenue": value})
    create(own, "Contact", {"LastName": "of rich", "AccountId": account})
    where = f"FROM Account WHERE Id = '{account}'"

    assert java_double(value) == written
    assert f'"AnnualRevenue":{written}}}' in own.query(f"SELECT AnnualRevenue {where}").text
    assert f'"AnnualRevenue":{written},' in own.query(f"SELECT AnnualRevenue, (SELECT Id FROM Contacts) {where}").text
    assert f'"expr0":{written}}}' in own.query(f"SELECT MAX(AnnualRevenue) {where}").text
    assert f'"AnnualRevenue":{written}' in own.get(f"/sobjects/Account/{account}").text


def test_unknown_object_is_quoted_with_what_stands_before_it(caller: Caller) -> None:
    """django-salesforce and CumulusCI quote the line, not the name alone."""
    _, code, message = error(caller.query("SELECT Id FROM Nonsense"))

    assert code == "INVALID_TYPE"
    assert message.startswith("\nSELECT Id FROM Nonsense\n               ^\nERROR at Row:1:Column:16\n")


@pytest.mark.parametrize(
    ("soql", "what", "column"),
    [
        ("SELECT Id FROM Account USING SCOPE team", "USING SCOPE team", 36),
        ("SELECT Id FROM Account WHERE AnnualRevenue > USD5000", "The currency literal USD5000", 46),
        ("SELECT Id FROM Account WHERE AnnualRevenue > USD5000.50", "The currency literal USD5000.50", 46),
    ],
)
def test_what_the_local_org_lacks_is_refused_by_name_at_its_place(
    caller: Caller, soql: str, what: str, column: int
) -> None:
    _, code, message = error(caller.query(soql))

    assert code == "MALFORMED_QUERY"
    assert message.endswith(f"ERROR at Row:1:Column:{column}\n{what} is not supported by the local org")


def test_scope_mine_finds_what_the_user_owns(own: Caller) -> None:
    """SOQL reference, "USING SCOPE"."""
    mine = create(own, "Account", {"Name": "mine"})
    found = own.query("SELECT Id, OwnerId FROM Account USING SCOPE mine").json()["records"]

    assert mine in {each["Id"] for each in found}
    assert {each["OwnerId"] for each in found} == {own.org.run_as_user_id}


def test_archived_activities_are_in_query_all_only(own: Caller) -> None:
    """REST API Developer Guide, "QueryAll"; Help, "Archived Activities"."""
    for sobject in ("Task", "Event"):
        every = own.query(f"SELECT Id, IsArchived, IsDeleted FROM {sobject}", "queryAll").json()["records"]
        live = own.query(f"SELECT Id FROM {sobject}").json()["records"]
        archived = {each["Id"] for each in every if each["IsArchived"] and not each["IsDeleted"]}
        assert archived
        assert {each["Id"] for each in live} == {
            each["Id"] for each in every if not (each["IsArchived"] or each["IsDeleted"])
        }
        counted = own.get("/limits/recordCount", params={"sObjects": sobject}).json()["sObjects"][0]["count"]
        assert counted == len(live)
        found = own.query(f"SELECT Id FROM {sobject} WHERE IsArchived = true", "queryAll").json()["totalSize"]
        assert found >= len(archived)


def test_activities_of_an_account_are_a_history_and_open_ones(own: Caller) -> None:
    """jsforce: `Account.find().include("ActivityHistories")`; the recorded describe of Account."""
    account = own.query("SELECT Id FROM Account LIMIT 1").json()["records"][0]["Id"]
    ids = {}
    for status in ("Completed", "Not Started"):
        ids[status] = own.org.records.insert("Task", {"Subject": status, "Status": status, "AccountId": account})
    past = {"StartDateTime": "2020-01-01T10:00:00Z", "DurationInMinutes": 30, "AccountId": account}
    past_event = own.org.records.insert("Event", {"Subject": "past", **past})

    def of(name: str) -> set[str]:
        children = f"(SELECT Id, Subject, ActivityDate, IsClosed, Owner.Id, What.Name FROM {name})"
        found = own.query(f"SELECT Id, {children} FROM Account WHERE Id = '{account}'").json()["records"][0][name]
        return {each["Id"] for each in (found["records"] if found else [])}

    assert {ids["Completed"], past_event} <= of("ActivityHistories")
    assert ids["Not Started"] in of("OpenActivities")
    assert not of("ActivityHistories") & of("OpenActivities")
    assert error(own.query("SELECT Id FROM ActivityHistory"))[1:] == (
        "INVALID_TYPE_FOR_OPERATION",
        "entity type ActivityHistory does not support query",
    )
    own.org.add_field("Task", {"name": "Room__c", "type": "string"})
    own.org.drop_object("Event")
    assert of("ActivityHistories") >= {ids["Completed"]}


# Writing


def test_ids_of_fifteen_characters_become_eighteen_in_references(own: Caller) -> None:
    account = create(own, "Account", {"Name": "parent"})
    contact = create(own, "Contact", {"LastName": "child", "AccountId": account[:15]})

    assert read(own, "Contact", contact)["AccountId"] == account
    found = own.query(f"SELECT Account.Name FROM Contact WHERE Id = '{contact}'").json()["records"][0]
    assert found["Account"]["Name"] == "parent"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("INVALID_OWNER", "MALFORMED_ID"),
        (UNKNOWN_CONTACT, "MALFORMED_ID"),
        ("005000000000000AAA", "INVALID_CROSS_REFERENCE_KEY"),
        (True, "JSON_PARSER_ERROR"),
    ],
)
def test_references_lead_to_a_record_of_their_kind(own: Caller, value: Any, code: str) -> None:
    """jsforce: "upsert 5 records … with allOrNone=true and one invalid record"."""
    assert error(own.post("/sobjects/Account", json={"Name": "x", "OwnerId": value}))[:2] == (400, code)


def test_reference_to_a_deleted_record(own: Caller) -> None:
    account = create(own, "Account", {"Name": "gone"})
    own.call("DELETE", f"/sobjects/Account/{account}")

    answer = own.post("/sobjects/Contact", json={"LastName": "child", "AccountId": account})
    assert error(answer) == (400, "ENTITY_IS_DELETED", "entity is deleted")


def test_nameless_record_of_a_custom_object_is_called_by_its_id(own: Caller) -> None:
    """restforce-db's cassettes: `"Id":"a001a000002zhZKAAY",…,"Name":"a001a000002zhZK"`."""
    name = {"name": "Name", "type": "string", "nameField": True}
    own.org.add_object({"name": "Thing__c", "keyPrefix": "a0Z", "fields": [{"name": "Id", "type": "id"}, name]})
    nameless, named = create(own, "Thing__c", {}), create(own, "Thing__c", {"Name": "called"})

    assert read(own, "Thing__c", nameless)["Name"] == nameless[:15]
    assert read(own, "Thing__c", named)["Name"] == "called"


def test_datetimes_hold_whole_seconds(own: Caller) -> None:
    """django-salesforce drops microseconds before it compares; SOAP API guide, "dateTime"."""
    contact = create(own, "Contact", {"LastName": "x", "EmailBouncedDate": "2026-03-01T10:20:30.987Z"})

    assert read(own, "Contact", contact)["EmailBouncedDate"] == "2026-03-01T10:20:30.000+0000"


def test_empty_text_for_a_picklist_takes_its_default(own: Caller) -> None:
    """django-salesforce saves leads with `Status=''`."""
    lead = create(own, "Lead", {"LastName": "x", "Company": "y", "Status": ""})

    assert read(own, "Lead", lead)["Status"] == "Open - Not Contacted"
    assert error(own.post("/sobjects/Lead", json={"LastName": "", "Company": "y"}))[1] == "REQUIRED_FIELD_MISSING"


def test_emails_are_in_lower_case(own: Caller) -> None:
    """django-salesforce's lead tests query addresses back as they are stored."""
    lead = create(own, "Lead", {"LastName": "x", "Company": "y", "Email": "Ann.Lee@Example.COM"})

    assert read(own, "Lead", lead)["Email"] == "ann.lee@example.com"


def test_probability_can_be_set_and_follows_the_stage_otherwise(own: Caller) -> None:
    """django-salesforce: `test_double_save_default`; Object Reference, Opportunity, "Probability"."""
    values = {"Name": "deal", "CloseDate": "2026-12-31", "Amount": 100}
    given = create(own, "Opportunity", {**values, "StageName": "Prospecting", "Probability": 25})
    default = create(own, "Opportunity", {**values, "StageName": "Prospecting"})

    def probability(record_id: str, **changes: Any) -> float:
        if changes:
            assert own.call("PATCH", f"/sobjects/Opportunity/{record_id}", json=changes).status_code == 204
        return float(read(own, "Opportunity", record_id)["Probability"])

    assert (probability(given), probability(default)) == (25, 10)
    assert probability(given, Name="renamed") == 25
    assert probability(given, StageName="Closed Won") == 100
    assert probability(given, Probability=40) == 40
    assert read(own, "Opportunity", given)["ExpectedRevenue"] == 40


def test_deleting_an_unknown_id(own: Caller) -> None:
    """django-salesforce: `test_double_delete`; restforce-db's cassettes for the deleted one."""
    contact = create(own, "Contact", {"LastName": "x"})
    own.call("DELETE", f"/sobjects/Contact/{contact}")

    unknown = own.call("DELETE", f"/sobjects/Contact/{UNKNOWN_CONTACT}")
    assert error(unknown) == (404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    assert error(own.call("DELETE", f"/sobjects/Contact/{contact}"))[:2] == (404, "ENTITY_IS_DELETED")
    assert error(own.call("DELETE", "/sobjects/Contact/nonsense"))[:2] == (404, "NOT_FOUND")


def test_upsert_by_a_null_id_creates(own: Caller) -> None:
    records = [{"attributes": {"type": "Account"}, "Id": None, "Name": "new"}]
    result = own.call("PATCH", "/composite/sobjects/Account/Id", json={"records": records}).json()[0]

    assert (result["success"], result["created"]) == (True, True)
    assert read(own, "Account", result["id"])["Name"] == "new"


def test_failed_upserts_say_whether_they_would_have_created(own: Caller) -> None:
    """jsforce: "upsert 5 records … with allOrNone=true and one invalid record, expect rollback"."""

    def record(key: str, **values: Any) -> dict[str, Any]:
        return {"attributes": {"type": "Invoice__c"}, "External_Id__c": key, **values}

    first = {"records": [record("known")]}
    url = "/composite/sobjects/Invoice__c/External_Id__c"
    assert own.call("PATCH", url, json=first).json()[0]["created"] is True
    body = {"allOrNone": True, "records": [record("known"), record("a"), record("b", OwnerId="INVALID_OWNER")]}
    results = own.call("PATCH", url, json=body).json()

    assert [each["success"] for each in results] == [False] * 3
    assert [each["created"] for each in results] == [False, True, True]
    codes = [each["errors"][0]["statusCode"] for each in results]
    assert codes == ["ALL_OR_NONE_OPERATION_ROLLED_BACK"] * 2 + ["MALFORMED_ID"]


def test_boolean_for_a_text_is_no_json_of_that_field(own: Caller) -> None:
    """Found by the SOAP and REST guides' type tables: texts are not made of booleans."""
    status, code, message = error(own.post("/sobjects/Account", json={"Name": True}))

    assert (status, code) == (400, "JSON_PARSER_ERROR")
    assert message.startswith("Cannot deserialize instance of string from VALUE_TRUE value true")


def test_unique_values_are_held_once(own: Caller) -> None:
    """django-salesforce: `test_one_to_one_field` expects DUPLICATE_VALUE."""
    first = create(own, "Invoice__c", {"External_Id__c": "only"})
    answer = own.post("/sobjects/Invoice__c", json={"External_Id__c": "ONLY"})

    told = f"duplicate value found: External_Id__c duplicates value on record with id: {first[:15]}"
    assert error(answer) == (400, "DUPLICATE_VALUE", told)
    assert own.call("PATCH", f"/sobjects/Invoice__c/{first}", json={"External_Id__c": "only"}).status_code == 204


# Describes and limits


def test_describe_has_an_etag(caller: Caller) -> None:
    """restforce-db's cassettes: `Etag: "…-gzip"`; REST API Developer Guide, "Conditional Requests"."""
    plain = {"Accept-Encoding": "identity"}
    first = caller.get("/sobjects/Account/describe", headers=plain)
    packed = caller.get("/sobjects/Account/describe", headers={"Accept-Encoding": "gzip"})

    assert packed.headers["ETag"] == first.headers["ETag"][:-1] + '-gzip"'
    for tag in (first.headers["ETag"], packed.headers["ETag"], "*"):
        again = caller.get("/sobjects/Account/describe", headers={**plain, "If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
    assert caller.get("/sobjects/Account/describe", headers={"If-None-Match": '"other"'}).status_code == 200
    caller.org.hide_field("Account", "Fax")
    assert caller.get("/sobjects/Account/describe", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_composite_honours_conditions_of_its_requests(caller: Caller) -> None:
    """REST API Developer Guide, "Composite", `httpHeaders`."""
    url = "/services/data/v67.0/sobjects/Account/describe"

    def composite(**headers: str) -> dict[str, Any]:
        request = {"method": "GET", "url": url, "referenceId": "d", "httpHeaders": headers}
        found: dict[str, Any] = caller.post("/composite", json={"compositeRequest": [request]}).json()[
            "compositeResponse"
        ][0]
        return found

    first = composite()
    assert set(first["httpHeaders"]) == {"ETag", "Last-Modified"}
    for name, told in (("If-Modified-Since", "Last-Modified"), ("If-None-Match", "ETag")):
        again = composite(**{name: first["httpHeaders"][told]})
        assert (again["httpStatusCode"], again["body"]) == (304, None)


@pytest.mark.parametrize("what", ["layouts", "layouts/012000000000000AAA", "compactLayouts", "approvalLayouts"])
def test_layouts_are_not_found(caller: Caller, what: str) -> None:
    assert error(caller.get(f"/sobjects/Account/describe/{what}")) == (
        404,
        "NOT_FOUND",
        "The requested resource does not exist",
    )


def test_limits_have_all_entries(caller: Caller) -> None:
    """jsforce: `limits.DataStorageMB`, `limits.FileStorageMB`; REST API Developer Guide, "List Org Limits"."""
    limits = caller.get("/limits").json()

    for name in (
        "DataStorageMB",
        "FileStorageMB",
        "DailyApiRequests",
        "HourlyODataCallout",
        "SingleEmail",
        "MassEmail",
    ):
        assert limits[name]["Max"] >= limits[name]["Remaining"] > 0
    assert len(limits) > 40
    assert list(limits) == sorted(limits)


def test_events_become_history_by_the_clock_of_the_org() -> None:
    """Activities follow the org's own clock: an event of next week is history a month later."""
    clock = Clock()
    with LocalOrg(OrgConfig(counts={}), clock=clock) as org:
        records: Records = org.records
        account = records.insert("Account", {"Name": "x"})
        start = clock.now().isoformat()
        records.insert("Event", {"StartDateTime": start, "DurationInMinutes": 60, "AccountId": account})

        def history() -> int:
            soql = f"SELECT Id, (SELECT Id FROM ActivityHistories) FROM Account WHERE Id = '{account}'"
            cursor = records.open_cursor(soql, include_deleted=False, viewer=org.viewer)
            found = cursor.records(0, 1, "67.0")[0]["ActivityHistories"]
            cursor.close()
            return 0 if found is None else int(found["totalSize"])

        assert history() == 0
        clock.set(clock.now().replace(year=clock.now().year + 1))
        assert history() == 1
