"""An org of as many objects as are asked for: of every kind, the same each time, and served like the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from caller import Caller
from click.testing import CliRunner

from salesforce_localorg.command import org as command
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.schema import Schema
from salesforce_localorg.schema.generated import generated_counts
from salesforce_localorg.server import OrgServer

OBJECTS = 60
KINDS = ("__c", "__mdt", "__b", "__x", "__e", "__History", "__Share")


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.sized(OBJECTS)


@pytest.fixture(scope="module")
def counts(schema: Schema) -> dict[str, int]:
    return generated_counts(schema)


@pytest.fixture(scope="module")
def sized(schema: Schema, counts: dict[str, int]) -> Iterator[Caller]:
    config = OrgConfig(counts={"Account": 20, "User": 3, **counts})
    with LocalOrg(config, schema=schema) as org, OrgServer(org) as server:
        org.generate()
        caller = Caller(server)
        caller.log_in()
        yield caller


def test_the_org_has_that_many_objects_of_every_kind(sized: Caller) -> None:
    listed = sized.get("/sobjects").json()["sobjects"]
    names = [each["name"] for each in listed]
    assert len(names) == len(set(names)) == OBJECTS
    assert all(any(name.endswith(kind) for name in names) for kind in KINDS)
    assert any(name.startswith("npsp__") for name in names), "packages bring their namespaces"
    assert "Invoice__c" in names
    assert {each["queryable"] for each in listed if each["name"].endswith("__e")} == {False}


def test_every_object_is_described_and_its_rows_are_all_there(sized: Caller, counts: dict[str, int]) -> None:
    for name, rows in counts.items():
        described = sized.get(f"/sobjects/{name}/describe").json()
        assert described["name"] == name
        if described["queryable"]:
            fields = ", ".join(field["name"] for field in described["fields"])
            records = sized.query(f"SELECT {fields} FROM {name}", "queryAll").json()["records"]
            assert len({record["Id"] for record in records}) == len(records) == rows


def test_only_generated_objects_have_generated_counts(counts: dict[str, int]) -> None:
    assert len(counts) == OBJECTS - len(Schema.standard()) - 1, "EntityDefinition has no rows of its own"


def test_entity_definition_lists_objects_that_are_hidden_and_none_that_are_gone(sized: Caller) -> None:
    own = {
        **sized.get("/sobjects/Case/describe").json(),
        "name": "Passing__c",
        "keyPrefix": "zz8",
        "childRelationships": [],
    }
    sized.org.add_object(own)
    sized.org.hidden_objects.add("Passing__c")
    listing = (
        "SELECT QualifiedApiName FROM EntityDefinition WHERE QualifiedApiName IN ('Case', 'Passing__c', 'Nothing__c')"
    )
    names = [record["QualifiedApiName"] for record in sized.query(listing).json()["records"]]
    assert sorted(names) == ["Case", "Passing__c"]
    sized.org.drop_object("Passing__c")
    sized.org.hidden_objects.clear()
    assert [record["QualifiedApiName"] for record in sized.query(listing).json()["records"]] == ["Case"]


def test_references_name_records_that_are_there(sized: Caller, counts: dict[str, int]) -> None:
    name = next(name for name, rows in counts.items() if name.endswith("__c") and rows > 10)
    parents = {record["Id"] for record in sized.query("SELECT Id FROM Account").json()["records"]}
    records = sized.query(f"SELECT Account__c FROM {name}").json()["records"]
    named = {record["Account__c"] for record in records} - {None}
    assert named and named <= parents


def test_deletions_of_histories_with_equal_ids_are_all_told(sized: Caller, counts: dict[str, int]) -> None:
    """Histories have one key prefix, and generated ids are unique within their object."""
    deleted: dict[str, set[str]] = {}
    for history in [name for name in counts if name.endswith("__History")]:
        rows = sized.query(f"SELECT Id, ParentId FROM {history} ORDER BY Id").json()["records"]
        if rows:
            parent = rows[0]["ParentId"]
            sized.org.records.delete(history.replace("__History", "__c"), parent)
            deleted[history] = {row["Id"] for row in rows if row["ParentId"] == parent}
    assert len(set.intersection(*deleted.values())) > 0 and len(deleted) > 1, "else it shows nothing"
    now = sized.org.clock.now()
    window = "&".join(
        f"{name}={when:%Y-%m-%dT%H:%M:%SZ}"
        for name, when in (("start", now - timedelta(minutes=5)), ("end", now + timedelta(minutes=1)))
    )
    for history, ids in deleted.items():
        told = sized.get(f"/sobjects/{history}/deleted/?{window}").json()["deletedRecords"]
        assert {each["id"] for each in told} == ids


def test_the_same_number_makes_the_same_objects() -> None:
    smaller, larger = list(Schema.sized(40)), list(Schema.sized(50))
    assert [each.name for each in smaller] == [each.name for each in larger][:40]
    for one, other in zip(smaller, larger):
        assert one.to_describe("67.0")["fields"] == other.to_describe("67.0")["fields"]


def test_fewer_than_the_standard_objects_are_too_few(tmp_path: Path) -> None:
    answer = CliRunner().invoke(command, ["--objects", "3", "--port", "0", "--ready-file", str(tmp_path / "ready")])
    assert answer.exit_code != 0
    assert "3 are too few" in answer.output
