"""What an extract decides before it asks for a row, and the sentences for requests that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.errors import ConfigurationError, NotFoundError, QueryError, SalesforceError, StateError
from airflow_sfcc.extract import current_table_sql
from airflow_sfcc.extract.model import Column, Plan, Request, from_plain, plain
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.plan.quirks import has_ids, log_gaps
from airflow_sfcc.salesforce import SalesforceClient
from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows, run_identity
from tests.wire_server import SOBJECT, described, wire


def plan(client: SalesforceClient, **request: Any) -> Plan:
    return make_plan(client, Request(**request), run_identity())


def test_a_plan_is_plain_json(client: SalesforceClient) -> None:
    made = plan(client, sobject="account", exclude_fields=["description"], where="Name != :x", bind={"x": "O'Neil"})
    assert from_plain(json.loads(json.dumps(plain(made))), Plan, "The plan") == made
    assert made.sobject == "Account" and made.soql.endswith("FROM Account WHERE Name != 'O\\'Neil'")
    names = [column.name for column in made.columns]
    assert "BillingCity" in names and "BillingAddress" not in names and "Description" not in names


def test_types_come_from_describe(client: SalesforceClient) -> None:
    types = {column.name: column.type for column in plan(client, sobject="Invoice__c").columns}
    assert types["Amount__c"] == "float64" and types["Is_Paid__c"] == "boolean" and types["Due_Date__c"] == "date32"
    assert types["Paid_At__c"] == "timestamp[ms, UTC]" and types["Cutoff_Time__c"] == "time32[ms]"
    exact = {column.name: column.type for column in plan(client, sobject="Invoice__c", numbers="decimal").columns}
    assert exact["Amount__c"] == "decimal128(16, 2)"


def test_lists_of_ids_come_only_where_they_are_named(org: RunningOrg) -> None:
    def with_list(described: Any) -> Any:
        ids = {
            **described["fields"][0],
            "name": "ToIds",
            "type": "junctionIdList",
            "soapType": "urn:JunctionIdListNames",
        }
        return {**described, "fields": [*described["fields"], ids]}

    org.fail("describe", mutate=with_list, times=None)
    client = org.client()
    assert "ToIds" not in {column.name for column in plan(client, sobject="Contact").columns}
    (column,) = plan(client, sobject="Contact", fields=["ToIds"]).columns
    assert column.type == "string"


def test_the_same_task_instance_has_the_same_folder() -> None:
    assert run_identity().extract_id == run_identity().extract_id
    assert run_identity().extract_id.startswith("20261123T020000Z-")
    others = {run_identity(run_id="other").extract_id, run_identity(map_index=1).extract_id, run_identity().extract_id}
    assert len(others) == 3


@pytest.mark.parametrize(
    ("request_", "api", "why"),
    [
        ({"sobject": "Contact"}, "rest", "rows"),
        ({"sobject": "Contact", "api": "bulk"}, "bulk", "asked for"),
        ({"soql": "SELECT COUNT(Id) n FROM Contact"}, "rest", "aggregates"),
        ({"soql": "SELECT Id, (SELECT Id FROM Contacts) FROM Account"}, "rest", "child"),
        ({"sobject": "CaseStatus"}, "rest", "CaseStatus"),
    ],
)
def test_auto_picks_the_api(client: SalesforceClient, request_: dict[str, Any], api: str, why: str) -> None:
    made = plan(client, **request_)
    assert made.api == api and why in made.api_reason


def test_auto_takes_bulk_for_many_rows_and_long_queries(org: RunningOrg) -> None:
    org.fail("query", set_json={"/totalSize": 10_000})
    assert plan(org.client(), sobject="Contact").api == "bulk"
    ids = ", ".join(f"'{number:018d}'" for number in range(800))
    assert plan(org.client(), sobject="Contact", where=f"Id IN ({ids})").api == "bulk"


@pytest.mark.parametrize("option", ["fields", "exclude_fields"])
def test_a_text_in_the_place_of_a_list_of_fields(option: str) -> None:
    with pytest.raises(QueryError, match=rf"^{option} is the text 'Id, Name': give a list"):
        Request(sobject="Account", **{option: "Id, Name"})  # type: ignore[arg-type]


def test_an_unknown_object(client: SalesforceClient) -> None:
    with pytest.raises(NotFoundError, match=r"(?s)describe.*HTTP 404.*Run As user may see it.*object-and-field-access"):
        plan(client, sobject="Acount")


@pytest.mark.parametrize("name", ["Emial", "emaill"])
def test_a_field_typo_names_close_matches(client: SalesforceClient, name: str) -> None:
    with pytest.raises(QueryError, match=f"Contact has no field '{name}'.*Did you mean .*Email"):
        plan(client, sobject="Contact", fields=["Id", name])
    with pytest.raises(QueryError, match="no field"):
        plan(client, soql=f"SELECT Id, {name} FROM Contact")
    with pytest.raises(QueryError, match=r"no parent relationship 'Acount'.*Account"):
        plan(client, sobject="Contact", fields=["Acount.Name"])


def test_a_hidden_field_is_a_field_typo_to_us(org: RunningOrg) -> None:
    org.org.hidden_fields.add(("Contact", "Email"))
    with pytest.raises(QueryError, match="grant that user access"):
        plan(org.client(), sobject="Contact", fields=["Id", "Email"])
    assert "Email" not in [column.name for column in plan(org.client(), sobject="Contact").columns]


def test_a_compound_field_is_refused_with_its_parts_named(client: SalesforceClient) -> None:
    with pytest.raises(QueryError, match=r"BillingAddress is of type address.*parts instead"):
        plan(client, sobject="Account", fields=["BillingAddress"])


@pytest.mark.parametrize("api", ["auto", "rest", "bulk"])
@pytest.mark.parametrize(
    ("where", "says"),
    [("Name = = 'x'", "unexpected token"), ("Nmae = 'x'", "No such column 'Nmae'"), ("Name = :x", "bind is missing")],
)
def test_a_malformed_query_is_one_sentence(org: RunningOrg, tmp_path: Path, api: str, where: str, says: str) -> None:
    with pytest.raises(QueryError, match=says) as problem:
        extract(org, tmp_path, sobject="Contact", where=where, api=api)
    what_happened, *advice = str(problem.value).splitlines()
    assert what_happened.endswith(".") and len(advice) <= 2 and problem.value.permanent


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"sobject": "A", "soql": "SELECT Id FROM A"},
        {"soql": "SELECT Id FROM A", "where": "x"},
        {"soql": "SELECT Id FROM A", "fields": ["Id"]},
    ],
)
def test_requests_that_contradict_themselves(request_: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        Request(**request_)


def test_count_and_twice_named_columns_are_refused(client: SalesforceClient) -> None:
    with pytest.raises(QueryError, match="COUNT"):
        plan(client, soql="SELECT COUNT() FROM Account")
    with pytest.raises(QueryError, match="more than once"):
        plan(client, soql="SELECT Id, id FROM Account")


def test_habits_of_sql_are_told(client: SalesforceClient) -> None:
    with pytest.raises(QueryError, match=r"no SELECT \*: name the fields, or give sobject"):
        plan(client, soql="SELECT * FROM Account")
    with pytest.raises(QueryError, match="the condition alone, without the word WHERE"):
        plan(client, sobject="Account", where=" where Name != null")
    with pytest.raises(QueryError, match="Text stands in single quotes"):
        client.count('SELECT COUNT() FROM Account WHERE Name = "Acme"')
    with pytest.raises(QueryError, match="leave fields out for all"):
        plan(client, sobject="Account", fields=[])


def test_soql_of_every_kind_is_typed(org: RunningOrg, records: Records, tmp_path: Path) -> None:
    manifest = extract(
        org,
        tmp_path,
        soql="SELECT StageName, COUNT(Id) n, SUM(Amount), MAX(CloseDate) latest, CALENDAR_YEAR(CloseDate) FROM Opportunity "
        "GROUP BY StageName, CALENDAR_YEAR(CloseDate)",
    )
    types = {column["name"]: column["type"] for column in manifest["schema"]}
    assert types == {"StageName": "string", "n": "int64", "expr0": "float64", "latest": "date32", "expr1": "int64"}
    rows = read_rows(tmp_path / f"extract={manifest['extract_id']}", manifest)
    assert sum(row["n"] for row in rows) == records.count("Opportunity")


def test_children_land_as_json_text(org: RunningOrg, tmp_path: Path) -> None:
    manifest = extract(org, tmp_path, soql="SELECT Id, (SELECT Id, LastName FROM Contacts) FROM Account")
    rows = read_rows(tmp_path / f"extract={manifest['extract_id']}", manifest)
    children = [json.loads(row["Contacts"]) for row in rows if row["Contacts"]]
    assert children and set(children[0][0]) == {"Id", "LastName"}


def test_fields_function_is_written_out(client: SalesforceClient) -> None:
    made = plan(client, soql="SELECT FIELDS(CUSTOM) FROM Invoice__c LIMIT 5")
    assert "Amount__c" in made.soql and "FIELDS" not in made.soql and "Location__c" not in made.soql.split()


def test_an_unusable_object_name(client: SalesforceClient) -> None:
    with pytest.raises(SalesforceError, match="not the name of an object"):
        client.describe("Account/../x")


def test_a_field_that_a_polymorphic_parent_never_had_is_no_field_that_vanished(org: RunningOrg, tmp_path: Path) -> None:
    refusal = "No such column 'Nme' on entity 'Name'. If you are attempting to use a custom field, ..."
    org.fail("query", status=400, body=[{"errorCode": "INVALID_FIELD", "message": refusal}])
    with pytest.raises(QueryError, match="on entity 'Name'") as failure:
        extract(org, tmp_path, soql="SELECT Id, Owner.Nme FROM Case", api="rest")
    assert failure.value.permanent


def test_a_polymorphic_parent_of_many_objects_takes_few_calls(org: RunningOrg) -> None:
    def to_many(described: Any) -> Any:
        fields = [
            {**field, "referenceTo": [f"Hidden{number}__c" for number in range(80)]}
            if field.get("relationshipName") == "Owner"
            else field
            for field in described["fields"]
        ]
        return {**described, "fields": fields}

    org.fail("describe", path="Case", mutate=to_many, times=None)
    plan(org.client(), soql="SELECT Owner.Odd FROM Case")
    assert org.calls("describe") < 10


def test_an_api_version_that_the_org_does_not_offer(org: RunningOrg) -> None:
    with pytest.raises(ConfigurationError, match=r"does not offer API version 99\.0: set api_version"):
        plan(org.client(api_version="99.0"), sobject="Account")
    with pytest.raises(NotFoundError):
        plan(org.client(api_version="67.0"), sobject="Acount")


def test_an_unknown_object_is_told_even_where_versions_are_not(org: RunningOrg) -> None:
    org.fail("versions", status=403, times=None)
    with pytest.raises(NotFoundError, match="Did you mean Account"):
        plan(org.client(api_version="67.0"), sobject="Acount")
    assert org.calls("versions")


def without_ids(described: Any) -> Any:
    """As objects are described whose rows have another key."""
    return {
        **described,
        "fields": [*described["fields"], {**described["fields"][0], "name": "DurableId", "type": "string"}],
    }


@pytest.mark.parametrize("name", ["Clicks__b", "EntityDefinition", "FieldDefinition", "LoginEvent", "FileEventStore"])
def test_objects_whose_rows_have_no_ids_are_known(name: str) -> None:
    assert not has_ids({"name": name, "fields": [{"name": "Id"}]})
    assert has_ids({"name": "Account", "fields": [{"name": "Id"}]})


def test_rows_without_ids_of_their_own_are_extracted_whole_and_never_merged(
    org: RunningOrg, caplog: pytest.LogCaptureFixture
) -> None:
    org.fail("describe", mutate=without_ids, times=None)
    with pytest.raises(QueryError, match=r"cannot be extracted incrementally: .* Use mode='full'"):
        plan(org.client(), sobject="Contact", fields=["Id", "Name"], mode="incremental")
    made = plan(org.client(), sobject="Contact")
    assert made.increment.cursor_field is None and made.increment.watermark is None
    assert "no current table is made of it" in caplog.text


@pytest.mark.parametrize("api", ["rest", "bulk"])
@pytest.mark.parametrize("key", ["000000000000000AAA", ""])
def test_rows_that_turn_out_to_have_no_ids_are_not_merged(
    root: UPath, caplog: pytest.LogCaptureFixture, api: str, key: str
) -> None:
    with wire() as said:
        said.fields = [described("Id", "id"), described("SystemModstamp", "datetime", filterable=True)]
        stamp = "2026-11-01T00:00:00.000Z"
        said.pages = [(f'"Id","SystemModstamp"\n"{key}","{stamp}"\n"{key}","{stamp}"\n'.encode(), 2)]
        value = f'"{key}"' if key else "null"
        said.records = [f'{{"Id":{value},"SystemModstamp":"{stamp}"}}'] * 2
        with pytest.raises(QueryError, match=r"rows without an Id of their own .*mode='full'"):
            extract(said, root, sobject=SOBJECT, api=api, mode="incremental")
        for file_format in ("parquet", "csv", "jsonl"):
            caplog.clear()
            manifest = extract(said, root / file_format, sobject=SOBJECT, api=api, file_format=file_format)
            assert (manifest["rows"], manifest["watermark"], manifest["cursor_field"]) == (2, None, None)
            assert "no current table is made of it" in caplog.text
            with pytest.raises(StateError, match="no extract that a current table can be made of"):
                current_table_sql(root / file_format)


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({"mode": "incremental", "deletes": "soft"}, True),
        ({"mode": "incremental"}, False),
        ({"deletes": "soft"}, False),
    ],
)
def test_deletions_that_nothing_tells_of_are_told(
    client: SalesforceClient, caplog: pytest.LogCaptureFixture, options: dict[str, Any], is_told: bool
) -> None:
    plan(client, sobject="CaseStatus", **options)
    assert ("CaseStatus has no IsDeleted" in caplog.text) is is_told
    plan(client, sobject="Contact", mode="incremental", deletes="soft")
    assert "Contact has no IsDeleted" not in caplog.text


@pytest.mark.parametrize("sobject", ["Task", "Event"])
@pytest.mark.parametrize(("deletes", "is_told"), [("ignore", True), ("soft", False)])
def test_archived_activities_that_are_not_read_are_told(
    client: SalesforceClient, caplog: pytest.LogCaptureFixture, sobject: str, deletes: str, is_told: bool
) -> None:
    plan(client, sobject=sobject, deletes=deletes, api="bulk")
    assert ("archived" in caplog.text) is is_told
    plan(client, sobject="Contact", api="bulk")
    assert caplog.text.count("archived") == is_told


@pytest.mark.parametrize("deletes", ["soft", "hard"])
@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"soql": "SELECT Id, Name FROM Account"}, "select IsDeleted in the query"),
        ({"sobject": "Account", "exclude_fields": ["IsDeleted"]}, "take it out of exclude_fields"),
    ],
)
def test_rows_in_the_recycle_bin_must_be_told_from_others(
    client: SalesforceClient, request_: dict[str, Any], says: str, deletes: str
) -> None:
    """In a full extract too: the current table would have them as live records."""
    with pytest.raises(QueryError, match=rf"recycle bin.*{says}"):
        plan(client, deletes=deletes, **request_)
    plan(client, **request_)
    plan(client, deletes=deletes, soql="SELECT COUNT(Id) FROM Account")
    made = plan(client, deletes=deletes, sobject="Account", fields=["Name"])
    assert [column.name for column in made.columns] == ["Name", "IsDeleted"]


def test_a_full_extract_finds_the_cursor_however_it_is_spelt(client: SalesforceClient) -> None:
    """Where a template decides on the mode, cursor_field goes with both modes."""
    made = plan(client, sobject="Account", fields=["Id", "LastModifiedDate"], cursor_field="lastmodifieddate")
    assert made.increment.cursor_field == "LastModifiedDate" and made.increment.watermark


def test_only_the_object_s_own_fields_are_left_out(client: SalesforceClient) -> None:
    literal = plan(client, soql="SELECT Id FROM Account WHERE Name != 'FIELDS(ALL)'")
    child = plan(client, soql="SELECT Id, (SELECT FIELDS(STANDARD) FROM Contacts) FROM Account")
    assert literal.left_out == child.left_out == ()
    assert plan(client, soql="SELECT FIELDS( ALL ) FROM Account LIMIT 5").left_out


def test_children_and_typeof_are_named_as_values_that_can_be_stale(client: SalesforceClient) -> None:
    made = plan(
        client,
        soql="SELECT Id, SystemModstamp, (SELECT Id FROM Contacts) FROM Account",
        mode="incremental",
        api="rest",
    )
    assert made.increment.stale_fields == ("Contacts",)
    typeof = "SELECT Id, SystemModstamp, TYPEOF What WHEN Account THEN Phone END FROM Task"
    assert plan(client, soql=typeof, mode="incremental").increment.stale_fields == ("What",)


@pytest.mark.parametrize(
    ("sobject", "kind", "says"),
    [
        ("ContentVersion", "string", "unless that user has Query All Files"),
        ("Thing__c", "encryptedstring", "masked, unless the Run As user has View Encrypted Data: Secret__c"),
        ("EntityDefinition", "string", "What this extract has may be a part of it"),
        ("Thing__c", "string", None),
    ],
)
def test_what_the_org_leaves_out_or_masks_without_an_error_is_told(
    caplog: pytest.LogCaptureFixture, sobject: str, kind: str, says: str | None
) -> None:
    caplog.set_level("INFO")
    columns = [Column("Id", "id", "string", False), Column("Secret__c", kind, "string", True)]
    fields = [{"name": column.name, "type": column.salesforce_type} for column in columns]
    log_gaps({"name": sobject, "fields": fields}, columns, Request(sobject=sobject))
    assert says in caplog.text if says else not caplog.text
