"""Records over time: what each change does to stamps, to the recycle bin, to getUpdated and getDeleted, and when it shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from caller import Caller, Serve

from salesforce_localorg.clock import Clock
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.schema import Schema

START = datetime(2026, 3, 1, 8, 0, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


class Org:
    """An org whose time stands still unless a test moves it."""

    def __init__(self, org: LocalOrg) -> None:
        self.org = org
        self.records = org.records
        self.viewer = org.viewer
        org.clock.freeze(START)

    def wait(self, delta: timedelta) -> None:
        self.org.clock.advance(delta)

    def rows(self, soql: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        cursor = self.records.open_cursor(soql, include_deleted=deleted, viewer=self.viewer)
        found = cursor.records(0, cursor.total_size, "67.0")
        cursor.close()
        return [{name: value for name, value in row.items() if name != "attributes"} for row in found]

    def record(self, record_id: str, sobject: str = "Account") -> dict[str, Any]:
        found = self.records.get(sobject, record_id, viewer=self.viewer)
        assert found is not None
        return found

    def deleted(self, sobject: str = "Account") -> list[str]:
        now = self.org.clock.now()
        return [each for each, _ in self.records.deleted_between(sobject, START - HOUR, now + HOUR)]

    def updated(self, sobject: str = "Account") -> list[str]:
        return self.records.updated_between(sobject, START - HOUR, self.org.clock.now() + HOUR)


@pytest.fixture(scope="module")
def running(org_schema: Schema) -> Iterator[LocalOrg]:
    config = OrgConfig(counts={"Account": 120, "Contact": 0, "Invoice__c": 3})
    with LocalOrg(config, schema=org_schema, clock=Clock()) as org:
        org.generate()
        yield org


@pytest.fixture
def org(running: LocalOrg) -> Org:
    for sobject in ("Account", "Contact"):
        added = running.records.raw().execute(f'SELECT "Id" FROM "{sobject}" WHERE "CreatedDate" >= \'2026-02-01\'')
        running.records.hard_delete(sobject, *[found for (found,) in added.fetchall()])
    running.records.raw().execute("DELETE FROM bookkeeping.delete_log WHERE deleted_at >= '2026-02-01'")
    return Org(running)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def test_new_record_is_stamped_and_defaulted(org: Org) -> None:
    record = org.record(org.records.insert("Account", {"Name": "Acme"}))

    for field in ("CreatedDate", "LastModifiedDate", "SystemModstamp"):
        assert record[field] == stamp(START)
    assert record["IsDeleted"] is False
    assert record["OwnerId"] == record["CreatedById"] == org.org.run_as_user_id


@pytest.mark.parametrize(
    ("stamps", "modified", "system"), [("user", True, True), ("system", False, True), ("none", False, False)]
)
def test_edits_move_the_stamps_they_should(org: Org, stamps: Any, modified: bool, system: bool) -> None:
    record_id = org.records.insert("Account", {"Name": "Acme"})
    org.wait(HOUR)
    org.records.update("Account", record_id, {"Name": "Acme Inc."}, stamps=stamps)

    record = org.record(record_id)
    assert record["Name"] == "Acme Inc."
    assert record["CreatedDate"] == stamp(START)
    assert record["LastModifiedDate"] == stamp(START + HOUR if modified else START)
    assert record["SystemModstamp"] == stamp(START + HOUR if system else START)


def test_values_of_many_records_change_at_once(org: Org) -> None:
    ids = org.records.insert_many(
        "Account", [{"Name": f"n{number}", "NumberOfEmployees": number} for number in range(50)]
    )
    org.records.update_many("Account", {ids[0]: {"Name": "a"}, ids[1]: {"Phone": "1"}, ids[2]: {"Name": "c"}})

    assert len(set(ids)) == 50
    names = [org.record(record_id)["Name"] for record_id in ids[:4]]
    assert names == ["a", "n1", "c", "n3"]
    assert org.record(ids[1])["Phone"] == "1"


def test_recycle_bin_from_deletion_to_purge(org: Org) -> None:
    record_id = org.records.insert("Account", {"Name": "Acme"})
    org.wait(HOUR)
    org.records.delete("Account", record_id)
    query = f"SELECT Id, IsDeleted, SystemModstamp FROM Account WHERE Id = '{record_id}'"

    assert org.rows(query) == []
    expected = {"Id": record_id, "IsDeleted": True, "SystemModstamp": stamp(START + HOUR)}
    assert org.rows(query, deleted=True) == [expected]
    assert org.deleted() == [record_id]
    assert record_id not in org.updated()
    org.wait(timedelta(days=15) - timedelta(seconds=1))
    assert org.rows(query, deleted=True) == [expected]
    org.wait(timedelta(seconds=1))
    assert org.rows(query, deleted=True) == []
    assert org.deleted() == [record_id]  # the log forgets by its own window, not when the bin does


def test_undeleted_record_is_as_if_edited(org: Org) -> None:
    record_id = org.records.insert("Account", {"Name": "Acme"})
    org.records.delete("Account", record_id)
    org.wait(HOUR)
    org.records.undelete("Account", record_id)

    record = org.record(record_id)
    assert (record["IsDeleted"], record["SystemModstamp"]) == (False, stamp(START + HOUR))
    assert org.deleted() == []
    assert org.updated() == [record_id]
    org.wait(timedelta(days=20))
    assert org.record(record_id)["Name"] == "Acme"


def test_hard_deleted_record_is_known_to_the_log_alone(org: Org) -> None:
    live, binned = org.records.insert_many("Account", [{"Name": "one"}, {"Name": "two"}])
    org.records.delete("Account", binned)
    org.wait(HOUR)
    org.records.hard_delete("Account", live, binned)

    assert org.rows(f"SELECT Id FROM Account WHERE Id IN ('{live}', '{binned}')", deleted=True) == []
    log = dict(org.records.deleted_between("Account", START - HOUR, START + 2 * HOUR))
    assert log == {binned: START, live: START + HOUR}
    assert org.records.insert("Account", {"Name": "three"}) not in (live, binned)  # ids are never given twice


def test_children_go_and_come_back_with_their_parent(org: Org) -> None:
    account = org.records.insert("Account", {"Name": "Acme"})
    with_it, alone = org.records.insert_many(
        "Contact", [{"LastName": "Kim", "AccountId": account}, {"LastName": "Park", "AccountId": account}]
    )
    org.records.delete("Contact", alone)
    org.wait(HOUR)
    org.records.delete("Account", account)

    assert org.record(with_it, "Contact")["IsDeleted"] is True
    assert org.deleted("Contact") == [alone, with_it]
    org.records.undelete("Account", account)
    assert org.record(with_it, "Contact")["IsDeleted"] is False
    assert org.record(alone, "Contact")["IsDeleted"] is True  # it was deleted for itself


def test_merge_leaves_losers_that_name_their_master(org: Org) -> None:
    master, first, second = org.records.insert_many("Account", [{"Name": name} for name in "abc"])
    contact = org.records.insert("Contact", {"LastName": "Kim", "AccountId": second})
    org.wait(HOUR)
    org.records.merge("Account", master, first, second, values={"Phone": "555"})

    losers = org.rows(f"SELECT Id, MasterRecordId FROM Account WHERE MasterRecordId = '{master}'", deleted=True)
    assert losers == [{"Id": first, "MasterRecordId": master}, {"Id": second, "MasterRecordId": master}]
    assert org.record(master)["Phone"] == "555"
    assert org.record(contact, "Contact")["AccountId"] == master
    assert org.record(contact, "Contact")["SystemModstamp"] == stamp(START + HOUR)
    assert org.deleted() == [first, second]


def test_upsert_finds_by_external_id(org: Org) -> None:
    known = org.rows("SELECT Id, External_Id__c FROM Invoice__c LIMIT 1")[0]

    changed = org.records.upsert("Invoice__c", "External_Id__c", known["External_Id__c"].lower(), {"Amount__c": 12})
    assert changed == (known["Id"], False)
    added, is_new = org.records.upsert("Invoice__c", "External_Id__c", "fresh", {"Amount__c": 12})
    assert is_new
    assert org.record(added, "Invoice__c")["External_Id__c"] == "fresh"
    with pytest.raises(ValueError, match="no external id"):
        org.records.upsert("Account", "Name", "Acme", {})


def test_late_commit_shows_rows_after_their_stamps_are_past(org: Org) -> None:
    record_id = org.records.insert("Account", {"Name": "late"}, commit_after=timedelta(seconds=90))
    query = "SELECT Id, SystemModstamp FROM Account WHERE Name = 'late'"

    org.wait(timedelta(seconds=89))
    assert org.rows(query) == []
    assert org.updated() == []
    assert org.records.earliest_uncommitted() == START
    org.wait(timedelta(seconds=1))
    assert org.rows(query) == [{"Id": record_id, "SystemModstamp": stamp(START)}]
    assert org.updated() == [record_id]
    assert org.records.earliest_uncommitted() is None


def test_late_deletion_shows_in_the_log_late(org: Org) -> None:
    record_id = org.records.insert("Account", {"Name": "Acme"})
    org.records.delete("Account", record_id, commit_after=HOUR)

    assert org.deleted() == []
    assert org.record(record_id)["IsDeleted"] is False
    org.wait(HOUR)
    assert org.records.deleted_between("Account", START - HOUR, START + HOUR) == [(record_id, START)]


def test_transaction_shows_whole_or_not_at_all(org: Org) -> None:
    with org.records.transaction() as change:
        first = change.insert("Account", {"Name": "one"})
        change.update("Account", first, {"Name": "one, edited"})
        second = change.insert("Account", {"Name": "two"})
        change.delete("Account", second)
        assert org.updated() == []
    assert org.updated() == [first]
    assert org.deleted() == [second]
    with pytest.raises(LookupError), org.records.transaction() as change:
        change.update("Account", first, {"Name": "never"})
        change.delete("Account", "001000000000000AAA")
    assert org.record(first)["Name"] == "one, edited"


def test_getupdated_covers_no_more_than_what_is_committed(serve: Serve) -> None:
    caller = serve(own_rows={"Account": 1})
    caller.org.clock.freeze(START)
    open_transaction = caller.org.records.transaction()
    record_id = open_transaction.insert("Account", {"Name": "slow"})
    caller.org.clock.advance(timedelta(minutes=10))

    def replicated() -> dict[str, Any]:
        window = {"start": "2026-03-01T07:00:00Z", "end": "2026-03-01T08:05:00Z"}
        answer: dict[str, Any] = caller.get("/sobjects/Account/updated", params=window).json()
        return answer

    assert replicated() == {"ids": [], "latestDateCovered": stamp(START)}
    open_transaction.commit()
    assert replicated() == {"ids": [record_id], "latestDateCovered": stamp(START + timedelta(minutes=5))}


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.update("Account", "001000000000000AAA", {"Name": "x"}),
        lambda records: records.delete("Account", "nonsense"),
        lambda records: records.undelete("Account", records.insert("Account", {"Name": "x"})),
        lambda records: records.merge("Account", records.insert("Account", {"Name": "x"}), "001000000000000AAA"),
    ],
)
def test_missing_records_are_lookup_errors(org: Org, change: Any) -> None:
    with pytest.raises(LookupError):
        change(org.records)


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.insert("Account", {"Nonsense": 1}),
        lambda records: records.insert("Account", {"AnnualRevenue": "much"}),
        lambda records: records.insert("Account", {"Name": "x", "NumberOfEmployees": 2**40}),
        lambda records: records.insert("Account", {"IsDeleted": True}),
        lambda records: records.insert("Nothing", {}),
        lambda records: records.merge("Invoice__c", "x"),
    ],
)
def test_values_that_cannot_be_are_value_errors(org: Org, change: Any) -> None:
    with pytest.raises(ValueError):
        change(org.records)


class TestOverHttp:
    """The same changes through `/_org/records`."""

    @pytest.fixture(scope="class")
    def own(self, org_schema: Schema) -> Iterator[Caller]:
        from salesforce_localorg.server import OrgServer

        config = OrgConfig(counts={"Account": 5})
        with LocalOrg(config, schema=org_schema) as org, OrgServer(org) as server:
            org.generate()
            caller = Caller(server)
            caller.log_in()
            yield caller

    def test_changes_of_every_kind(self, own: Caller) -> None:
        made = own.post(
            "/_org/records",
            json={"changes": [{"do": "insert", "object": "Account", "rows": [{"Name": name} for name in "abcd"]}]},
        )
        first, second, third, fourth = made.json()["results"][0]["ids"]
        done = own.post(
            "/_org/records",
            json={
                "changes": [
                    {"do": "update", "object": "Account", "id": first, "values": {"Name": "A"}, "stamps": "none"},
                    {"do": "merge", "object": "Account", "master": first, "losers": [second]},
                    {"do": "delete", "object": "Account", "ids": [third]},
                    {"do": "hard_delete", "object": "Account", "ids": [fourth]},
                    {"do": "upsert", "object": "Invoice__c", "field": "External_Id__c", "value": "E1"},
                ]
            },
        )
        assert done.status_code == 200, done.text
        assert done.json()["results"][4]["created"] is True
        ids = ", ".join(f"'{each}'" for each in (first, second, third, fourth))
        found = own.query(f"SELECT Id, Name, IsDeleted FROM Account WHERE Id IN ({ids}) ORDER BY Id", "queryAll").json()
        assert [(row["Id"], row["IsDeleted"]) for row in found["records"]] == [
            (first, False),
            (second, True),
            (third, True),
        ]
        undeleted = own.post(
            "/_org/records", json={"changes": [{"do": "undelete", "object": "Account", "ids": [third]}]}
        )
        assert undeleted.status_code == 200
        assert own.get(f"/sobjects/Account/{third}").status_code == 200

    def test_late_commit(self, own: Caller) -> None:
        late = {
            "changes": [{"do": "insert", "object": "Account", "values": {"Name": "late"}}],
            "commit_after_seconds": 60,
        }
        assert own.post("/_org/records", json=late).status_code == 200
        query = "SELECT COUNT() FROM Account WHERE Name = 'late'"
        assert own.query(query).json()["totalSize"] == 0
        own.org.clock.advance(timedelta(seconds=61))
        assert own.query(query).json()["totalSize"] == 1

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ({}, "changes"),
            ({"changes": [{"do": "explode"}]}, "hard_delete"),
            ({"changes": [{"do": "insert"}]}, "object"),
            ({"changes": [{"do": "delete", "object": "Account", "ids": "001"}]}, "list"),
            ({"changes": [{"do": "update", "object": "Account", "id": "x", "values": {}, "stamps": "all"}]}, "stamps"),
            ({"changes": [], "commit_after_seconds": -1}, "commit_after_seconds"),
            ({"changes": [{"do": "insert", "object": "Account", "values": [1]}]}, "Nothing was changed"),
        ],
    )
    def test_refusals_name_what_is_wrong(self, own: Caller, body: Any, named: str) -> None:
        answer = own.post("/_org/records", json=body)

        assert answer.status_code == 400
        assert named in answer.json()[0]["message"]
