"""What a run of a sync plans for an object whose destination is there already."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from upath import UPath

from airflow_sfcc.errors import OptionError, UnexpectedResponseError
from airflow_sfcc.extract.model import RunIdentity
from airflow_sfcc.salesforce.org_clock import OrgClock
from airflow_sfcc.sync.model import Outcome, Report, SyncPlan
from airflow_sfcc.sync.planning import SyncRequest, plan_sync
from airflow_sfcc.sync.report import summary, table
from tests.conftest import RunningOrg
from tests.extract.runs import NIGHT, extract, run_identity


def planned(org: RunningOrg, folder: Path, where: str | None) -> SyncPlan:
    request = SyncRequest(objects=["Account"], where={"account": where} if where else {})
    return plan_sync(org.client(), request, run_identity("later"), lambda name: UPath(folder) / name, None)


@pytest.mark.parametrize(
    ("where", "is_unchanged"),
    [
        ("Name != null", True),
        ("  Name != null ", True),
        ("Name = 'another'", False),
        ("Name = ", False),
        (None, False),
    ],
)
def test_an_object_of_another_condition_is_not_unchanged(
    org: RunningOrg, tmp_path: Path, where: str | None, is_unchanged: bool
) -> None:
    """Its extract tells that the destination holds rows of another condition, however many of the new one changed."""
    extract(org, tmp_path / "Account", sobject="Account", mode="incremental", where="Name != null")
    plan = planned(org, tmp_path, where)
    assert [outcome.result for outcome in plan.settled] == (["unchanged"] if is_unchanged else [])
    assert [wanted.name for batch in plan.batches for wanted in batch.objects] == ([] if is_unchanged else ["Account"])


def of_sync(run_id: str) -> RunIdentity:
    return RunIdentity("whole_org", "org.sync", run_id, -1, NIGHT)


def plan_for(org: RunningOrg, folder: Path, last: Report | None = None, **request: Any) -> SyncPlan:
    """The plan of the sync's next run."""
    return plan_sync(org.client(), SyncRequest(**request), of_sync("tonight"), lambda name: UPath(folder) / name, last)


def to_extract(plan: SyncPlan) -> list[str]:
    return [wanted.name for batch in plan.batches for wanted in batch.objects]


def reported(*names: str, run_id: str = "last night", **report: Any) -> Report:
    outcomes = tuple(Outcome(name, "changed") for name in names)
    return Report(run_id, NIGHT, outcomes, **{"planned_at": datetime.now(timezone.utc), **report})


def test_what_others_landed_since_the_last_run_is_loaded(org: RunningOrg, tmp_path: Path) -> None:
    """A reconciliation that heals, or a night from before that was cleared: nothing in the org tells of them."""
    table = "duckdb:///lake/org.duckdb/{sobject}"
    request: dict[str, Any] = {"sobject": "Account", "fields": ["Id", "SystemModstamp"], "mode": "incremental"}
    started = datetime.now(timezone.utc)
    extract(org, tmp_path / "Account", run=of_sync("last night"), **request)
    last = reported("Account", table=table, planned_at=started)
    assert to_extract(plan_for(org, tmp_path, last, objects=["Account"], table=table)) == []
    assert to_extract(plan_for(org, tmp_path, last, objects=["Account"])) == ["Account"], "tables were loaded then"
    extract(org, tmp_path / "Account", run=of_sync("a night before, cleared"), **request)
    assert to_extract(plan_for(org, tmp_path, last, objects=["Account"], table=table)) == ["Account"]
    files_only = reported("Account", planned_at=started)
    assert to_extract(plan_for(org, tmp_path, files_only, objects=["Account"])) == []


def test_calculated_fields_are_read_again_after_a_full_extract_too(
    start_org: Callable[..., RunningOrg], tmp_path: Path
) -> None:
    org = start_org()
    formulas: dict[str, Any] = {"soql": "SELECT Id, SystemModstamp, Owner.Name FROM Account", "mode": "full"}
    manifest = extract(org, tmp_path / "Account", **formulas)
    assert manifest["stale_fields"] == ["Owner.Name"]
    assert to_extract(plan_for(org, tmp_path, objects=["Account"], calculated="refresh")) == ["Account"]
    assert to_extract(plan_for(org, tmp_path, objects=["Account"])) == []


def part_is(status: int, body: Any) -> Callable[[Any], Any]:
    """Changes the response to the first request of a composite one."""

    def changed(response: Any) -> Any:
        first, *others = response["compositeResponse"]
        return {"compositeResponse": [{**first, "httpStatusCode": status, "body": body}, *others]}

    return changed


def test_a_describe_that_fails_for_a_while_leaves_no_object_out(
    start_org: Callable[..., RunningOrg], tmp_path: Path
) -> None:
    org = start_org()
    listed = org.client().describe_global()["sobjects"]
    unsure = [str(each["name"]) for each in listed if each["queryable"] and not each["replicateable"]][:1]
    error = [{"errorCode": "SERVER_UNAVAILABLE", "message": "Please try again later."}]
    org.fail("composite", mutate=part_is(503, error))
    plan = plan_for(org, tmp_path, objects=unsure)
    assert unsure[0] in to_extract(plan), [each for each in plan.settled if each.name == unsure[0]]


def test_a_destination_that_cannot_be_read_does_not_end_the_sync_of_others(org: RunningOrg, tmp_path: Path) -> None:
    broken = tmp_path / "Account" / "extract=1" / "_manifest.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{}")
    assert sorted(to_extract(plan_for(org, tmp_path, objects=["Account", "Contact"]))) == ["Account", "Contact"]


def test_an_object_of_another_org_is_not_unchanged(
    org: RunningOrg, start_org: Callable[..., RunningOrg], tmp_path: Path
) -> None:
    """As when the connection was changed to a sandbox, in which nothing changes."""
    extract(org, tmp_path / "Account", sobject="Account", mode="incremental")
    other = start_org(org_id="00D000000000002AAA")
    assert to_extract(plan_for(org, tmp_path, objects=["Account"])) == []
    assert to_extract(plan_for(other, tmp_path, objects=["Account"])) == ["Account"]


def test_nothing_is_unchanged_by_a_clock_that_is_wrong(
    org: RunningOrg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window would end before it begins, and in it nothing changed."""
    extract(org, tmp_path / "Account", sobject="Account", mode="incremental")
    monkeypatch.setattr("airflow_sfcc.salesforce.client.OrgClock", lambda **_: OrgClock())  # as of no loopback host
    org.org.clock.advance(timedelta(days=3))
    with pytest.raises(UnexpectedResponseError, match="no window of time can be cut"):
        plan_for(org, tmp_path, objects=["Account"])


def test_deletions_that_were_not_asked_for_are_not_none(org: RunningOrg, tmp_path: Path) -> None:
    """The calls of the day end between the question what changed and the question what was deleted."""
    extract(org, tmp_path / "Account", sobject="Account", mode="incremental", deletes="hard", run=recent())
    assert to_extract(plan_for(org, tmp_path, objects=["Account"], deletes="hard")) == []
    limit = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
    org.fail("composite", skip=1, status=403, body=limit, times=None)
    assert to_extract(plan_for(org, tmp_path, objects=["Account"], deletes="hard")) == ["Account"]


def test_a_log_of_deletions_that_was_cut_off_is_no_proof(org: RunningOrg, tmp_path: Path) -> None:
    """As after deletions so many that Salesforce purges its log early. The extract says that some can be missing."""
    extract(org, tmp_path / "Account", sobject="Account", mode="incremental", deletes="hard", run=recent())
    soon = (datetime.now(timezone.utc) + timedelta(minutes=1)).isoformat()
    log = {"deletedRecords": [], "earliestDateAvailable": soon, "latestDateCovered": soon}
    org.fail("composite", skip=1, mutate=part_is(200, log))
    assert to_extract(plan_for(org, tmp_path, objects=["Account"], deletes="hard")) == ["Account"]


def recent() -> RunIdentity:
    """A run whose deletions the org's log still has."""
    return RunIdentity("nightly", "extract", "recent", -1, datetime.now(timezone.utc))


def test_patterns_that_select_nothing_are_an_error(org: RunningOrg, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"selects nothing.*Did you mean Account"):
        plan_for(org, tmp_path, objects=["Acount"])
    last = reported("Acount")
    assert [each.result for each in plan_for(org, tmp_path, last, objects=["Acount"]).settled] == ["gone"]


def test_rules_and_conditions_for_no_object_of_the_sync_are_told(
    org: RunningOrg, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"Contcat.Email": "keep", "*.Phone": "drop", "contact.Fax": "drop", "Case.type:email": "keep"}
    plan = plan_for(org, tmp_path, objects=["Contact", "Acount"], columns=rules, where={"Account": "Name != null"})
    told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert (
        told
        == list(plan.remarks)
        == [
            "objects has 'Acount', and the org has none of that name. Did you mean Account or Contact or AccountHistory?",
            "where has 'Account', and objects does not select it.",
            "columns has a rule for Contcat.Email, and the org has no object of that name. Did you mean Contact?",
        ]
    )
    report = reported("Contact", remarks=plan.remarks)
    assert "; 3 warnings: objects has 'Acount', and" in summary(report) and not list(table(report))[-1].endswith("..")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("Contcat.Email", "the org has no object of that name that the Run As user may see. Did you mean Contact"),
        ("Contcat.type:email", "Did you mean Contact"),
        ("*.Phonee", r"no field of this sync's objects \(2\) has that name.* Did you mean Phone"),
        ("C*.Sitee", "Did you mean Site"),
        ("*.zzzzzzz", "Check the spelling"),
    ],
)
def test_a_rule_that_would_hide_columns_and_hides_none_is_an_error(
    org: RunningOrg, tmp_path: Path, rule: str, says: str
) -> None:
    """Spelt wrongly: the values that it is to hide would land."""
    with pytest.raises(OptionError, match=f"columns has a rule for .*{says}"):
        plan_for(org, tmp_path, objects=["Contact", "Account"], columns={rule: "drop", "*.Phone": "drop"})
    plan_for(org, tmp_path, objects=["Contact", "Account"], columns={"C*.Phone": "drop", "A*.Site": "drop"})


def test_rules_for_several_objects_are_looked_for_with_few_calls(org: RunningOrg, tmp_path: Path) -> None:
    rules = {"*.Department": "drop", "*.type:email": "drop", "*.*Secret*": "drop", "type:encryptedstring": "drop"}
    request: dict[str, Any] = {"objects": ["Contact", "Account"], "columns": rules}
    calls = org.calls("composite")
    first = plan_for(org, tmp_path, **request)
    assert {each.text: each.sobject for each in first.rules} == {
        "*.Department": "Contact", "*.type:email": "Contact", "*.*Secret*": "", "type:encryptedstring": "",
    }  # fmt: skip
    assert [each.split(",")[0] for each in first.remarks] == [
        "columns has a rule for *.*Secret*", "columns has a rule for type:encryptedstring",
    ]  # fmt: skip
    assert org.calls("composite") == calls + 1
    again = plan_for(org, tmp_path, reported("Contact", rules=first.rules), **request)
    assert again.remarks == first.remarks and [each.at for each in again.rules[2:]] == [
        each.at for each in first.rules[2:]
    ]
    old = [structs.replace(each, at=each.at - timedelta(days=8)) for each in first.rules]
    later = plan_for(org, tmp_path, reported("Contact", rules=tuple(old)), **request)
    assert all(each.at > first.rules[0].at for each in later.rules)


def test_whether_a_rule_matches_that_cannot_be_looked_up_is_told(
    start_org: Callable[..., RunningOrg], tmp_path: Path
) -> None:
    org = start_org()
    error = [{"errorCode": "SERVER_UNAVAILABLE", "message": "Please try again later."}]
    org.fail("composite", mutate=part_is(503, error))
    (remark,) = plan_for(org, tmp_path, objects=["Contact", "Account"], columns={"*.Departmentt": "drop"}).remarks
    assert "whether a field of this sync's objects is so is not known: " in remark
