"""An org with the shape of answers that a real org gave: describes are equal to them, rows fit them, queries and jobs work.

The answers are no part of the project: SFCC_RECORDED names their folder, else the folder shared/recorded beside the checkout
is taken. Without them the tests of recorded answers are skipped; an object with every odd type is described here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from soql_judge.judge import judge
from soql_judge.queries import Generator
from soql_judge.world import open_world

from salesforce_localorg.clock import Clock
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Field, Schema, SObject
from salesforce_localorg.server import OrgServer

RECORDED = Path(os.environ.get("SFCC_RECORDED") or Path(__file__).parents[3] / "shared" / "recorded") / "describe"
OBJECTS = ["Account", "Case", "Contact", "Custom__c", "Event", "Lead", "Opportunity", "OpportunityContactRole"]
ROWS = {
    "Account": 150,
    "Case": 80,
    "Contact": 120,
    "Custom__c": 70,
    "Event": 80,
    "Lead": 80,
    "Opportunity": 90,
    "User": 9,
}
ROWS |= {"OpportunityContactRole": 60, "Odd__c": 90, "Task": 10, "Invoice__c": 20}
VERSION = "67.0"

# Every field type that salesforce-protocol.md#describe lists and common objects lack, and references of three kinds.
ODD = {
    "name": "Odd__c",
    "label": "Odd",
    "labelPlural": "Odds",
    "keyPrefix": "a77",
    "fields": [
        {"name": "Id", "type": "id"},
        {"name": "IsDeleted", "type": "boolean", "createable": False},
        {"name": "Name", "type": "string", "length": 80, "nameField": True, "nillable": False},
        {"name": "CreatedDate", "type": "datetime", "createable": False, "nillable": False},
        {"name": "SystemModstamp", "type": "datetime", "createable": False, "nillable": False},
        {"name": "Home__c", "type": "address"},
        {"name": "Home__City__s", "type": "string", "length": 40, "compoundFieldName": "Home__c"},
        {"name": "Spot__c", "type": "location"},
        {"name": "Spot__Latitude__s", "type": "double", "precision": 18, "scale": 15, "compoundFieldName": "Spot__c"},
        {"name": "Spot__Longitude__s", "type": "double", "precision": 18, "scale": 15, "compoundFieldName": "Spot__c"},
        {"name": "Secret__c", "type": "encryptedstring", "length": 20, "filterable": False, "sortable": False},
        {"name": "Anything__c", "type": "anyType"},
        {"name": "Complex__c", "type": "complexvalue", "filterable": False},
        {"name": "Json__c", "type": "json", "filterable": False},
        {"name": "Long__c", "type": "long", "digits": 18},
        {"name": "Time__c", "type": "time"},
        {"name": "Combo__c", "type": "combobox", "length": 60, "picklistValues": [
            {"active": True, "defaultValue": False, "label": "One", "validFor": None, "value": "1"}]},
        {"name": "Categories__c", "type": "datacategorygroupreference", "length": 80},
        {"name": "Tiny__c", "type": "double", "precision": 1, "scale": 0},
        {"name": "Exact__c", "type": "currency", "precision": 18, "scale": 18},
        {"name": "Letter__c", "type": "string", "length": 1},
        {"name": "Parent__c", "type": "reference", "referenceTo": ["Odd__c"], "relationshipName": "Parent__r"},
        {"name": "Account__c", "type": "reference", "referenceTo": ["Account"], "relationshipName": "Account__r",
         "nillable": False},
        {"name": "OwnerId", "type": "reference", "referenceTo": ["User", "Group"], "relationshipName": "Owner"},
    ],
    "childRelationships": [{"childSObject": "Odd__c", "field": "Parent__c", "relationshipName": "Odds__r"}],
}  # fmt: skip

recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded answers at {RECORDED}")


def described(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return answer


def answers() -> list[dict[str, Any]]:
    return [*(described(name) for name in OBJECTS if RECORDED.is_dir()), ODD]


@pytest.fixture(scope="module")
def schema() -> Schema:
    everything = [*answers(), *([described("Global")] if RECORDED.is_dir() else [])]
    return Schema.from_describes(everything, base=Schema.standard())


@pytest.fixture(scope="module")
def records(schema: Schema) -> Iterator[Records]:
    found = Records.open(schema, clock=Clock())
    found.generate({name: count for name, count in ROWS.items() if schema.sobject(name)}, seed=3)
    yield found
    found.close()


@pytest.fixture(scope="module")
def caller(schema: Schema, records: Records) -> Iterator[Caller]:
    with LocalOrg(OrgConfig(), schema=schema, records=records) as org, OrgServer(org) as server:
        found = Caller(server)
        found.log_in()
        yield found


def in_this_version(answer: Any) -> Any:
    """The recorded answer with the paths of the version that is asked: the one exception to equality."""
    text = json.dumps(answer)
    for version in ("xx", *map(str, range(40, 70))):
        text = text.replace(f"/services/data/v{version}.0/", f"/services/data/v{VERSION}/")
    return json.loads(text)


@recorded
@pytest.mark.parametrize("name", OBJECTS)
def test_describe_answers_are_the_recorded_ones(caller: Caller, name: str) -> None:
    answer = caller.get(f"/sobjects/{name}/describe").json()
    expected = in_this_version(described(name))
    assert {field["name"]: field for field in answer["fields"]} == {f["name"]: f for f in expected["fields"]}
    assert answer == expected
    assert list(answer) == list(expected) and [*answer["fields"][0]] == [*expected["fields"][0]]


@recorded
def test_describe_global_holds_the_recorded_objects(caller: Caller) -> None:
    """Objects described one by one show what their own describe says, which another org may have recorded."""
    answer = {each["name"]: each for each in caller.get("/sobjects").json()["sobjects"]}
    expected = [each for each in in_this_version(described("Global"))["sobjects"] if each["name"] not in OBJECTS]
    assert len(expected) > 100
    assert [answer[each["name"]] for each in expected] == expected


@pytest.mark.parametrize("name", [*OBJECTS, "Odd__c"])
def test_rows_fit_their_fields(schema: Schema, records: Records, name: str) -> None:
    sobject = schema.sobject(name)
    if sobject is None:
        pytest.skip("not recorded here")
    rows = records.raw().execute(f'SELECT * FROM "{name}"')
    columns = [column[0] for column in rows.description or ()]
    found = rows.fetchall()
    assert len(found) == ROWS[name]
    for row in found:
        for column, value in zip(columns, row):
            field = sobject.field(column)
            assert field is not None
            assert fits(records, field, value), f"{name}.{column} ({field.type}): {value!r}"


def fits(records: Records, field: Field, value: Any) -> bool:
    if value in (None, ""):
        return field.nillable or field.type == "boolean" or bool(field.default_value_formula)
    if field.type in ("double", "currency", "percent"):
        exact = Decimal(repr(value))
        whole = field.precision - field.scale
        return not field.precision or abs(exact) < Decimal(10) ** whole or (whole == 0 and abs(exact) < 1)
    if field.type in ("int", "long"):
        return isinstance(value, int) and (not field.digits or abs(value) < 10**field.digits)
    if field.type in ("id", "reference"):
        return len(value) == 18
    kinds: dict[str, type] = {"boolean": bool, "date": date, "datetime": datetime, "time": time}
    if field.type in kinds:
        return type(value) is kinds[field.type]
    if field.type == "picklist" and field.restricted_picklist:
        return value in [entry["value"] for entry in field.picklist_values]
    return not field.length or len(value.encode("utf-16-le")) // 2 <= field.length


@pytest.mark.parametrize("name", [*OBJECTS, "Odd__c"])
def test_every_field_can_be_read_by_rest_and_bulk(caller: Caller, schema: Schema, name: str) -> None:
    sobject = schema.sobject(name)
    if sobject is None:
        pytest.skip("not recorded here")
    live = caller.org.records.count(name)
    answer = caller.query(f"SELECT FIELDS(ALL) FROM {name} LIMIT 200").json()
    assert answer["totalSize"] == live and set(answer["records"][0]) == {
        "attributes",
        *(f.name for f in sobject.fields),
    }
    names = [field.name for field in sobject.fields if bulk_selectable(field)]
    job = caller.finished_job(f"SELECT {', '.join(names)} FROM {name}")
    assert job["state"] == "JobComplete", job
    pages = caller.pages(job["id"])
    assert pages[0].rows[0] == names and sum(page.claimed for page in pages) == live


def bulk_selectable(field: Field) -> bool:
    return field.soap_type not in (
        "xsd:base64Binary",
        "tns:json",
        "urn:address",
        "urn:location",
        "urn:JunctionIdListNames",
    )


def test_odd_values_on_the_wire(caller: Caller) -> None:
    soql = "SELECT Home__c, Spot__c, Time__c, Long__c, Parent__r.Account__r.Name, (SELECT Id FROM Odds__r) FROM Odd__c"
    rows = caller.query(soql).json()["records"]
    assert any(isinstance(row["Long__c"], int) for row in rows)
    assert any(row["Spot__c"] and set(row["Spot__c"]) == {"latitude", "longitude"} for row in rows)
    assert any(row["Odds__r"] for row in rows) and any(row["Parent__r"] for row in rows)
    refused = caller.query("SELECT Id FROM Odd__c WHERE Json__c = 'x'").json()
    assert refused[0]["errorCode"] == "INVALID_FIELD"


def test_generated_queries_over_the_schema(schema: Schema) -> None:
    names = {name: count for name, count in ROWS.items() if schema.sobject(name)}
    world = open_world(names, schema, seed=5)
    generator = Generator(world, 9, [name for name in (*OBJECTS, "Odd__c") if schema.sobject(name)])
    assert sum(judge(world, generator.case()) > 0 for _ in range(50)) > 20
    world.records.close()


def test_an_object_known_from_describe_global_alone() -> None:
    brief = {
        "name": "Vendor__c",
        "label": "Vendor",
        "labelPlural": "Vendors",
        "keyPrefix": "a99",
        "custom": True,
        "urls": {},
    }
    schema = Schema.from_describes([{"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [brief]}])
    vendor = schema.sobject("vendor__c")
    assert isinstance(vendor, SObject) and vendor.label_plural == "Vendors"
    assert {"Id", "Name", "SystemModstamp", "IsDeleted"} <= {field.name for field in vendor.fields}
