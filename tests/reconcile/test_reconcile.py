"""Reconciling finds what is wrong with a destination or table, heals exactly that, and takes nothing else for wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from airflow_sfcc.errors import QueryError, StateError, TableError
from airflow_sfcc.extract import latest_state
from airflow_sfcc.extract.manifests import read_manifests
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import Mode
from airflow_sfcc.reconcile import heal, search
from airflow_sfcc.reconcile.org_side import OrgSide
from airflow_sfcc.reconcile.source import compared_of
from airflow_sfcc.timestamps import iso
from tests.reconcile.broken import (
    DAY,
    Place,
    empty_place,
    forget_deletion,
    lose,
    make_stale,
    make_up_deletion,
    place_of,
    wrong,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_of(tmp_path, 400) as place:
        yield place


def purged(place: Place) -> str:
    """A record that the org deleted for good, and of which the extracts know it."""
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT Id FROM '{place.lake}/extract=*/deleted-*.parquet'").fetchall()
    return str(found[0][0])


def test_what_is_right_is_proven_right_and_says_what_was_not_seen(place: Place) -> None:
    result = place.compare()
    assert result["is_right"] and wrong(result) == {} and result["unresolved"] == [] and result["healed"] == []
    assert result["compared"] == ["SystemModstamp", "CreatedDate"] and result["rows"] == len(place.ids)
    watermark = latest_state(place.lake_path).watermark
    assert result["api_calls"] <= 8 and watermark is not None and result["until"] == iso(watermark)
    assert any("while SystemModstamp stays" in each for each in result["not_seen"])


@pytest.mark.parametrize("kind", ["lost", "stale", "not_deleted", "wrongly_deleted"])
def test_one_wrong_record_is_found_and_healed_with_few_calls(place: Place, kind: str) -> None:
    record_id = place.ids[200]
    if kind == "lost":
        lose(place, record_id)
    elif kind == "stale":
        make_stale(place, record_id, 30 * HOUR)
    elif kind == "wrongly_deleted":
        make_up_deletion(place, record_id, place.now - HOUR)
    else:
        record_id = purged(place)
        forget_deletion(place, record_id)
    found = place.compare()
    assert wrong(found) == {kind: [record_id]} and not found["is_right"]
    assert found["api_calls"] <= 30 and found["unresolved"] == []
    before = latest_state(place.lake_path).watermark
    healed = place.compare(heal=True)
    assert len(healed["healed"]) == 1 and latest_state(place.lake_path).watermark == before
    assert place.here() == place.there() and place.compare()["is_right"]


def test_several_wrong_records_are_found_at_once(place: Place) -> None:
    lost, stale, bogus, *_ = place.ids[100:]
    gone = purged(place)
    lose(place, lost)
    make_stale(place, stale, 400 * DAY)
    make_up_deletion(place, bogus, place.now - HOUR)
    forget_deletion(place, gone)
    expected = {"lost": [lost], "stale": [stale], "not_deleted": [gone], "wrongly_deleted": [bogus]}
    assert wrong(place.compare(heal=True)) == expected
    assert place.here() == place.there()


def test_records_of_one_hour_are_halved_until_they_can_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a mass load: one lost, and one whose last change within that hour is missing, of the newest stamp there."""
    monkeypatch.setattr(search, "FEW", 16)
    with empty_place(tmp_path, 20) as place:
        ids = [place.records.insert("Account", {"Name": f"of one hour {number}"}) for number in range(400)]
        place.wait(timedelta(minutes=20))
        place.records.update("Account", ids[300], {"Name": "changed within the hour"})
        place.extract()
        lose(place, ids[133])
        found = place.compare()
        assert wrong(found) == {"lost": [ids[133]]} and found["api_calls"] <= 30
        make_stale(place, ids[300], timedelta(minutes=20))
        found = place.compare(heal=True)
        assert wrong(found) == {"lost": [ids[133]], "stale": [ids[300]]} and found["api_calls"] <= 45
        assert place.here() == place.there()


def test_a_record_that_was_healed_changes_and_goes_like_any_other(place: Place) -> None:
    bogus = place.ids[200]
    make_up_deletion(place, bogus, place.now - timedelta(minutes=1))
    place.compare(heal=True)
    assert place.here() == place.there()
    place.records.update("Account", bogus, {"Name": "after it was healed"})
    place.extract()
    assert place.here() == place.there()
    place.records.hard_delete("Account", bogus)
    place.extract()
    assert place.here() == place.there() and place.compare()["is_right"]


def test_what_changes_meanwhile_is_not_wrong(place: Place) -> None:
    """Changed, deleted, purged and restored since the last extract, some of it committed late."""
    changed, deleted, gone, late, *_ = place.ids[50:]
    place.records.update("Account", changed, {"Name": "after the extract"})
    place.records.delete("Account", deleted)
    place.records.hard_delete("Account", gone)
    place.records.insert("Account", {"Name": "new"})
    place.wait(timedelta(minutes=30))
    place.records.update("Account", late, {"Name": "not committed yet"}, commit_after=timedelta(minutes=4))
    place.wait(timedelta(minutes=2))
    result = place.compare()
    assert result["is_right"], result
    assert result["in_flight"] >= 4 and any("changed since" in each for each in result["not_seen"])


def test_records_that_change_while_it_compares_are_not_wrong(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_sfcc.reconcile.org_side import OrgSide

    ids = place.ids
    busy = iter(ids[60:100])
    by_hour = OrgSide.by_hour

    def meanwhile(self: OrgSide, *arguments: object) -> object:
        if changed := next(busy, None):
            place.wait(timedelta(seconds=30))
            place.records.update("Account", changed, {"Name": "while it is compared"})
            place.records.hard_delete("Account", next(busy))
        return by_hour(self, *arguments)  # type: ignore[arg-type]

    lose(place, ids[200])
    monkeypatch.setattr(OrgSide, "by_hour", meanwhile)
    monkeypatch.setattr(search, "pause", place.wait)
    assert wrong(place.compare()) == {"lost": [ids[200]]}


def test_where_the_budget_ends_the_rest_is_named(place: Place) -> None:
    for record_id in place.ids[100:110]:
        lose(place, record_id)
    result = place.compare(max_calls=7)
    assert not result["is_right"] and result["unresolved"] != []


def test_a_condition_is_compared_as_it_was_extracted(tmp_path: Path) -> None:
    condition = {"where": "NumberOfEmployees > 100"}
    with place_of(tmp_path, 300, **condition) as place:
        lost, left, *_ = sorted(place.here().keys() & place.there().keys())
        place.records.update("Account", left, {"NumberOfEmployees": 1})
        place.extract(**condition)
        lose(place, lost)
        result = place.compare(heal=True)
        assert wrong(result) == {"lost": [lost]} and result["outside"] == 1
        assert lost in place.here()


@pytest.mark.parametrize("mode", ["current", "soft", "history"])
def test_a_table_is_compared_and_has_what_was_healed_after_its_next_load(
    place: Place, tmp_path: Path, mode: Mode
) -> None:
    target = DuckDBTable(tmp_path / "crm.duckdb", "accounts")
    with pytest.raises(TableError, match="load the extracts first"):
        place.compare(target=target)
    bogus, lost, doubled, *_ = place.ids[100:]
    make_up_deletion(place, bogus, place.now - HOUR)
    load(place.lake_path, target, LoadOptions(mode=mode))
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as database:
        database.execute(f"DELETE FROM accounts WHERE Id = '{lost}'")
        database.execute(f"INSERT INTO accounts SELECT * FROM accounts WHERE Id = '{doubled}'")
    found = place.compare(target=target, heal=True)
    assert wrong(found) == {"lost": [lost], "wrongly_deleted": [bogus], "doubled": [doubled]}
    with pytest.raises(TableError, match="has not loaded the extract"):
        place.compare(target=target)
    load(place.lake_path, target, LoadOptions(mode=mode))
    assert place.compare(target=target)["is_right"]
    assert place.here() == place.there()


def test_a_destination_without_a_current_table_is_refused(tmp_path: Path) -> None:
    with empty_place(tmp_path, 10) as place, pytest.raises(StateError, match="no extract that could be compared"):
        place.compare()


def test_an_id_that_landed_is_no_soql(place: Place) -> None:
    """Whoever can write to the destination does not have the org asked for other records."""
    compared = compared_of(place.lake_path, read_manifests(place.lake_path), place.now)
    org = OrgSide(place.client(), compared, True, True)
    with suppress(QueryError):
        assert org.look_up(["001000000000001AAA') OR (Id != '001000000000002AAA"]) == {}


def test_a_stale_record_that_meets_the_condition_is_stale(tmp_path: Path) -> None:
    """Though the org does not list it where its older version is here."""
    condition = {"where": "NumberOfEmployees > 100"}
    with place_of(tmp_path, 300, **condition) as place:
        stale, left, *_ = sorted(place.here().keys() & place.there().keys())
        place.records.update("Account", left, {"NumberOfEmployees": 1})
        place.extract(**condition)
        make_stale(place, stale, 30 * HOUR)
        result = place.compare(heal=True)
        assert wrong(result) == {"stale": [stale]} and result["outside"] == 1 and result["api_calls"] <= 30
        assert place.compare()["is_right"]


@pytest.mark.parametrize("kind", ["lost", "not_deleted"])
def test_extracts_that_begin_with_initial_start_are_compared_from_there(tmp_path: Path, kind: str) -> None:
    with empty_place(tmp_path, 200) as place:
        changed = place.ids[:20]
        begins = {"initial_start": place.now}
        place.wait(HOUR)
        for number, record_id in enumerate(changed):
            place.records.update("Account", record_id, {"Name": f"changed {number}"})
        place.extract(**begins)
        place.extract(**begins)
        if kind == "lost":
            lose(place, changed[7])
        else:
            place.records.hard_delete("Account", changed[7])
            place.extract(**begins)
            forget_deletion(place, changed[7])
        found = place.compare(heal=True)
        assert wrong(found) == {kind: [changed[7]]} and found["rows"] in (19, 20)
        assert place.compare()["is_right"] and place.here().keys() == place.there().keys() & set(changed)
        assert any("did not change since 2027-02-01T12:00:00" in each for each in found["not_seen"])


def test_more_records_than_calls_suffice_for_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a mass load, of which the extract has nothing: each record would be looked up."""
    monkeypatch.setattr(search, "REST_PAGE_ROWS", 100)
    monkeypatch.setattr(search, "IDS_AT_ONCE", 10)
    with empty_place(tmp_path, 20) as place:
        place.extract()
        ids = [place.records.insert("Account", {"Name": f"of one hour {number}"}) for number in range(300)]
        place.extract()
        lose(place, *ids)
        result = place.compare(max_calls=20)
        assert not result["is_right"] and result["unresolved"] != [] and result["api_calls"] <= 20 + 2
        assert place.compare(max_calls=100)["wrong"]["lost"] == len(ids)


def test_hashed_creation_is_not_compared(tmp_path: Path) -> None:
    with empty_place(tmp_path, 40) as place:
        rules = {"columns": {"*.CreatedDate": "hash"}, "hash_key": HashKey("a key of more than sixteen bytes")}
        place.extract(**rules)
        lose(place, place.ids[3])
        result = place.compare()
        assert wrong(result) == {"lost": [place.ids[3]]} and result["compared"] == ["SystemModstamp"]


def test_records_of_many_fields_are_healed_in_queries_that_are_not_too_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heal, "LONGEST_QUERY", 400)
    ids = place.ids[100:115]
    lose(place, *ids)
    result = place.compare(heal=True)
    assert wrong(result) == {"lost": ids} and len(result["healed"]) > 1
    queries = [each["soql"] for each in read_manifests(place.lake_path) if each["kind"] == "heal"]
    assert max(map(len, queries)) <= 400 and place.here() == place.there()


def test_what_went_for_good_without_a_log_is_found(tmp_path: Path) -> None:
    """No extract tells of it, so it is no change on its way."""
    with empty_place(tmp_path, 60) as place:
        place.running.fail("describe", set_json={"/replicateable": False}, times=None)
        place.extract(deletes="soft")
        gone, binned, *_ = place.ids[20:]
        place.records.hard_delete("Account", gone)
        place.records.delete("Account", binned)
        place.extract(deletes="soft")
        found = place.compare(heal=True)
        assert wrong(found) == {"not_deleted": [gone]} and found["in_flight"] == 0
        assert any("keeps no log of deletions for Account" in each for each in found["not_seen"])
        assert place.compare()["is_right"] and place.here() == place.there()


def test_what_changed_since_is_read_within_max_calls(tmp_path: Path) -> None:
    with empty_place(tmp_path, 4_200) as place:
        place.extract()
        place.wait(HOUR)
        stamp = f"TIMESTAMP '{place.now:%Y-%m-%d %H:%M:%S}'"
        changed = place.ids[:4_100]
        place.records.raw().execute(f'UPDATE "Account" SET "SystemModstamp" = {stamp} WHERE "Id" <= ?', [changed[-1]])
        place.wait(HOUR)
        result = place.compare(max_calls=1)
        assert not result["is_right"] and result["unresolved"] != [] and result["api_calls"] <= 1 + 2
        assert place.compare(max_calls=20)["in_flight"] >= len(changed)
