"""What describe said lies beside the extracts: once for each change, checked when it is read, removed when nothing names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract import described as room
from airflow_sfcc.extract import newest_extract, read_manifests
from airflow_sfcc.extract.described import describe_name, described_of, encoded
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.land.describe_file import describe_files, keep, name_of, read
from airflow_sfcc.extract.land.vacuum import vacuum
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from tests.conftest import RunningOrg
from tests.extract.runs import extract, run_identity, wait_for_job
from tests.storages import files_below, on_all_storages
from tests.wire_server import SOBJECT, Wire, wire
from tests.wire_server import described as field

STATUS = field(
    "Status__c",
    "picklist",
    label="Status",
    inlineHelpText="Where the invoice stands",
    picklistValues=[
        {"value": "Open", "label": "Open", "active": True},
        {"value": "Part", "label": "Partly paid", "active": False},
    ],
    restrictedPicklist=True,
)
OWNER = field("OwnerId", "reference", label="Owner ID", relationshipName="Owner", referenceTo=["Group", "User"])
TOTAL = field(
    "Total__c", "currency", label="Total", calculatedFormula="Net__c * 1.2", calculated=True, precision=18, scale=2
)
NOT_KEPT = (
    b"{",
    b"[]",
    b'{"sobject":"../x"}',
    b'{"sobject":1}',
    b'{"sobject":"A","fields":[{"name":"x"}]}',
    b"\xff",
    b"[" * 10_000,
)
PAGES = [(b'"Id","Status__c","OwnerId","Total__c"\n"001000000000001AAA","Open","005000000000001AAA","1.5"\n', 1)]


@pytest.fixture
def said() -> Iterator[Wire]:
    with wire() as server:
        server.fields = [field("Id", "id", label="Record ID", nillable=False), STATUS, OWNER, TOTAL]
        server.pages = PAGES
        yield server


def night(said: Wire, root: UPath, run_id: str) -> dict[str, Any]:
    return extract(said, root, sobject=SOBJECT, api="bulk", run_id=run_id)


@on_all_storages
def test_what_describe_says_is_kept_once_for_each_change(said: Wire, root: UPath) -> None:
    first, second = night(said, root, "1"), night(said, root, "2")
    assert first["describe"] == second["describe"]
    assert list(describe_files(root)) == [first["describe"]]
    said.fields = [*said.fields[:1], {**STATUS, "inlineHelpText": "Another text"}, *said.fields[2:]]
    third = night(said, root, "3")
    assert sorted(describe_files(root)) == sorted({first["describe"], third["describe"]})

    kept = read(root, first["describe"])
    assert kept is not None and kept.sobject == SOBJECT
    assert [each.name for each in kept.fields] == ["Id", "OwnerId", "Status__c", "Total__c"]
    status, owner, total = kept.field("Status__c"), kept.field("OwnerId"), kept.field("Total__c")
    assert status and owner and total
    assert (status.label, status.help, status.restricted) == ("Status", "Where the invoice stands", True)
    assert [(each.value, each.label, each.active) for each in status.values] == [
        ("Open", None, True),
        ("Part", "Partly paid", False),
    ]
    assert (owner.references, owner.relationship) == (("Group", "User"), "Owner")
    assert (total.formula, total.calculated, total.precision, total.scale) == ("Net__c * 1.2", True, 18, 2)


@on_all_storages
def test_readers_by_glob_and_by_manifest_see_no_more_than_before(said: Wire, root: UPath) -> None:
    manifest = night(said, root, "1")
    parts = [name for name in files_below(root) if not name.rpartition("/")[2].startswith("_")]
    assert [name.partition("/")[2] for name in parts] == [each["path"] for each in manifest["files"]]
    assert newest_extract(root).manifest["describe"] == manifest["describe"]


@on_all_storages
def test_vacuum_keeps_what_is_named_and_removes_what_no_longer_is(said: Wire, root: UPath) -> None:
    first = night(said, root, "1")
    said.fields = [*said.fields[:3], {**TOTAL, "label": "Grand total"}]
    second = night(said, root, "2")
    assert vacuum(root, older_than=timedelta(0)) == []
    assert vacuum(root, superseded=True, dry_run=True)[0].files > 0
    assert set(describe_files(root)) == {first["describe"], second["describe"]}, (
        "a dry run, and one of which it is too young"
    )
    gone = vacuum(root, superseded=True, older_than=timedelta(0))
    assert [leftover.path for leftover in gone if "_describe-" in leftover.path] == [(root / first["describe"]).path]
    assert list(describe_files(root)) == [second["describe"]]
    assert read(root, second["describe"]) is not None


def test_vacuum_leaves_what_an_extract_under_way_is_about_to_name(org: RunningOrg, root: UPath) -> None:
    client = org.client()
    plan = make_plan(client, Request(sobject="Contact", fields=["Id"], api="bulk"), run_identity(), root)
    keep(root, plan.described)
    extraction = Extraction(client, root, plan)
    extraction.start()
    orphan = described_of({"name": "Contact", "fields": []})
    keep(root, orphan)
    assert vacuum(root, older_than=timedelta(hours=1)) == []
    # The vacuum takes the staged plan too, when it is told that nothing is under way; what was named by it goes the next time.
    removed = [leftover.path for leftover in vacuum(root, older_than=timedelta(0), dry_run=True)]
    assert (root / str(name_of(orphan))).path in removed and (root / str(name_of(plan.described))).path not in removed
    wait_for_job(extraction)
    extraction.commit(extraction.land())
    assert read_manifests(root)[0]["describe"] == name_of(plan.described)


def test_an_attempt_in_another_process_names_what_the_plan_was_made_of(org: RunningOrg, root: UPath) -> None:
    client = org.client()
    plan = make_plan(client, Request(sobject="Contact", fields=["Id"], api="bulk"), run_identity(), root)
    first = Extraction(client, root, plan)
    first.start()
    first.leave()
    resumed = Extraction.resume(org.client(), root, plan.extract_id)
    before = org.calls("describe")
    wait_for_job(resumed)
    resumed.commit(resumed.land())
    assert read_manifests(root)[0]["describe"] == name_of(plan.described) and org.calls("describe") == before


def test_what_is_read_is_data(root: UPath) -> None:
    content = encoded(described_of({"name": "Account", "label": "Account", "fields": [field("Id", "id")]}))
    root.mkdir(parents=True, exist_ok=True)
    assert read(root, describe_name(b"nothing")) is None
    (root / describe_name(content)).write_bytes(content[:-1] + b" }")
    with pytest.raises(StateError, match="is not the hash of its content"):
        read(root, describe_name(content))
    for bad in NOT_KEPT:
        (root / describe_name(bad)).write_bytes(bad)
        with pytest.raises(StateError, match="is not what an extract wrote there"):
            read(root, describe_name(bad))


def test_a_file_that_is_too_large_is_neither_written_nor_read(
    said: Wire, root: UPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 100)
    manifest = night(said, root, "1")
    assert manifest["describe"] is None and describe_files(root) == {}
    assert "will have names and types only" in caplog.text


@pytest.mark.parametrize("name", ["../../etc/passwd", "_describe-x.json", "_describe-" + "0" * 32 + ".json/..", 5])
def test_a_manifest_cannot_name_another_file(said: Wire, root: UPath, name: object) -> None:
    manifest = night(said, root, "1")
    path = root / f"extract={manifest['extract_id']}" / "_manifest.json"
    path.write_text(json.dumps({**manifest, "describe": name}))
    with pytest.raises(StateError, match="is not a manifest"):
        read_manifests(root)


def test_extracts_of_before_are_read(said: Wire, root: UPath) -> None:
    manifest = night(said, root, "1")
    path = root / f"extract={manifest['extract_id']}" / "_manifest.json"
    path.write_text(json.dumps({key: value for key, value in manifest.items() if key != "describe"}))
    assert read_manifests(root)[0].get("describe") is None
    assert [leftover.path for leftover in vacuum(root, older_than=timedelta(0))] == [(root / manifest["describe"]).path]


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x, max_size=3)
)
odd_field = st.dictionaries(
    st.sampled_from(
        "label inlineHelpText referenceTo relationshipName picklistValues restrictedPicklist controllerName length".split()
    ),
    odd | st.lists(st.dictionaries(st.sampled_from(["value", "label", "active"]), odd, max_size=3), max_size=3),
)


@given(odd_field, odd)
def test_whatever_describe_says_is_read_as_it_was_kept(more: dict[str, Any], label: Any) -> None:
    described = described_of({"name": "Thing__c", "label": label, "fields": [{"name": "A", "type": "string", **more}]})
    import msgspec

    assert msgspec.json.decode(encoded(described), type=room.Described) == described
