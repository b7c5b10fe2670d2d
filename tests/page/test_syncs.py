"""Objects that a sync reads: what its events and its report say of each night."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_sfcc._airflow.event_facts import ExtractFacts, LoadFacts, SyncFacts
from airflow_sfcc.page import model
from airflow_sfcc.page.building import overview
from airflow_sfcc.page.model import (
    Attempt,
    Dag,
    Landed,
    Loaded,
    ObjectLine,
    Overview,
    Reported,
    Run,
    State,
    Stored,
    TaskKey,
)
from tests.page.test_model import DAG, INSTANCE, NOW, due, sentence, states

OPERATORS = {"plan": "PlanSyncOperator", "sync": "SyncOperator", "report": "SyncReportOperator"}


def key(ago: int, task: str, index: int = -1) -> TaskKey:
    return TaskKey(DAG, f"run-{ago}", f"org.{task}", index)


def extracted(ago: int, sobject: str, index: int = 0, task: str = "sync", **facts: Any) -> Landed:
    known: dict[str, Any] = {"rows": 5, "bytes": 10, "manifest": "m", "mode": "incremental", **facts}
    facts_of = ExtractFacts(sobject=sobject, instance=INSTANCE, **known)
    return model.landed(key(ago, task, index), due(ago) + timedelta(minutes=20), f"s3://lake/{sobject}", facts_of)


def report(ago: int, *, minutes: float = 25, **names: Any) -> Reported:
    known: dict[str, Any] = {"destination": "s3://lake/{sobject}", "instance": INSTANCE, "report": "r", **names}
    return Reported(key(ago, "report"), due(ago) + timedelta(minutes=minutes), SyncFacts(**known))


def attempt(ago: int, task: str, state: str | None, index: int = -1, **known: Any) -> Attempt:
    values: dict[str, Any] = {"label": None, "ran": True, "ended": due(ago), "try_number": 1, **known}
    return Attempt(key(ago, task, index), state, **values)


def page(*entries: Landed | Attempt | Loaded | Reported, nights: int = 3, now: datetime = NOW) -> Overview:
    def of(kind: type) -> list[Any]:
        return [each for each in entries if isinstance(each, kind)]

    stored = Stored(
        landed=of(Landed),
        loaded=of(Loaded),
        reports=of(Reported),
        attempts=of(Attempt),
        runs={(DAG, f"run-{ago}"): Run(due(ago), True) for ago in range(nights)},
        dags={DAG: Dag(False, "0 2 * * *", due(-1), tuple(due(ago) for ago in reversed(range(nights))))},
        tasks={(DAG, f"org.{name}"): operator for name, operator in OPERATORS.items()},
    )
    return overview(stored, now, zone=timezone.utc, nights=nights)


def line(found: Overview, name: str) -> ObjectLine:
    (line,) = [line for org in found.orgs for line in org.objects if line.name == name]
    return line


def test_objects_of_one_task_are_lines_of_their_own() -> None:
    found = page(
        *(extracted(2, name) for name in ("Account", "Case")),
        report(2, read=("Account", "Case")),
        extracted(1, "Account"),
        report(1, read=("Account",), unchanged=("Case",)),
        report(0, unchanged=("Account", "Case")),
    )
    assert [each.name for each in found.orgs[0].objects] == ["Account", "Case"]
    assert states(found, "Account") == states(found, "Case") == [State.COMPLETE] * 3
    assert sentence(found) == "All 2 objects complete as of 02:10." and found.orgs[0].verdict == "good"
    assert found.orgs[0].as_of == due(0) + timedelta(minutes=25), "unchanged tonight is fresh tonight"
    assert line(found, "Case").newest == extracted(2, "Case")


def test_an_object_that_never_changed_is_known_by_the_report() -> None:
    found = page(*(report(ago, unchanged=("Account",)) for ago in (2, 1, 0)))
    assert states(found) == [State.COMPLETE] * 3 and line(found, "Account").key.uri == "s3://lake/Account"


def test_an_unchanged_object_may_take_as_long_as_the_sync_usually_does() -> None:
    nights = [report(ago, unchanged=("Account",), minutes=170) for ago in (2, 1)]
    found = page(*nights, now=due(0) + timedelta(hours=3))
    assert states(found)[-1] is State.NONE and found.orgs[0].verdict == "good"


def test_what_failed_shows_its_own_error() -> None:
    note = {"error": "No such column.", "sobject": "Case", "instance": INSTANCE}
    found = page(
        *(extracted(1, name) for name in ("Account", "Case", "Lead")),
        report(1, read=("Account", "Case", "Lead")),
        attempt(0, "sync", "failed", 0, label="3 objects", note=note),
        extracted(0, "Account", -1, "report"),
        report(0, read=("Account",), failed=("Case", "Lead")),
    )
    assert states(found)[-1] is State.COMPLETE
    assert states(found, "Case")[-1] is states(found, "Lead")[-1] is State.FAILED
    (case,) = [line(found, "Case").last_night]
    assert case is not None and case.error == "No such column." and len(case.attempts) == 1
    assert (
        sentence(found)
        == "1 of 3 objects complete as of 02:10; Case failed and is 4 h late; Lead failed and is 4 h late."
    )


def test_a_table_that_was_not_loaded_is_a_failure_of_the_object() -> None:
    note = {"error": "The table is locked.", "sobject": "Account"}
    found = page(
        extracted(0, "Account", -1, "report"),
        attempt(0, "sync", "failed", 0, note=note),
        report(0, failed=("Account",)),
    )
    assert states(found)[-1] is State.FAILED and "Account failed" in sentence(found)


def test_what_the_budget_kept_back_is_late() -> None:
    before = report(1, unchanged=("Account", "Case"))
    found = page(before, report(0, unchanged=("Account",), late=("Case",)), now=due(0) + timedelta(minutes=40))
    assert states(found, "Case")[-1] is State.LATE
    assert sentence(found) == "1 of 2 objects complete as of 02:10; Case is late."
    found = page(before, report(0, unchanged=("Account",), late=("Case",)))
    assert sentence(found) == "1 of 2 objects complete as of 02:10; Case is 4 h late."
    found = page(report(1, late=("Case",)), report(0, read=("Case",)), extracted(0, "Case"))
    assert states(found, "Case") == [State.NONE, State.LATE, State.COMPLETE] and found.orgs[0].verdict == "good"


def test_complete_though_the_task_that_read_it_lost_its_events() -> None:
    found = page(report(0, read=("Account",)))
    assert states(found)[-1] is State.COMPLETE


@pytest.mark.parametrize("state", ["running", None])
def test_objects_without_an_event_are_running_until_the_report(state: str | None) -> None:
    found = page(
        report(1, unchanged=("Account", "Case")),
        extracted(0, "Account"),
        attempt(0, "sync", "running", 1, label="9 objects"),
        attempt(0, "report", state),
        now=due(0) + timedelta(minutes=30),
    )
    assert states(found)[-1] is State.COMPLETE and states(found, "Case")[-1] is State.RUNNING
    assert sentence(found) == "1 of 2 objects complete as of 02:10; 1 still running."


def test_a_plan_that_failed_is_all_objects_that_are_still_read() -> None:
    found = page(
        report(2, unchanged=("Account", "Gone__c")),
        report(1, unchanged=("Account",)),
        attempt(0, "plan", "failed", note={"error": "No Run As user."}),
        attempt(0, "sync", "upstream_failed", ran=False),
        attempt(0, "report", "failed", note={"error": "There is nothing to report."}),
    )
    assert states(found)[-1] is State.FAILED and states(found, "Gone__c") == [State.COMPLETE, State.NONE, State.NONE]
    night = line(found, "Account").last_night
    assert night is not None and night.error == "No Run As user."
    assert sentence(found) == "0 of 1 object complete; Account failed and is 4 h late."


def test_a_report_that_failed_is_told_where_nothing_else_is_known() -> None:
    found = page(
        report(1, unchanged=("Account", "Case")),
        extracted(0, "Account"),
        attempt(0, "report", "failed", note={"error": "The storage failed."}),
    )
    assert states(found)[-1] is State.COMPLETE and states(found, "Case")[-1] is State.FAILED


def test_an_object_that_left_the_org_is_no_problem() -> None:
    found = page(report(2, unchanged=("Account", "Gone__c")), *(report(ago, unchanged=("Account",)) for ago in (1, 0)))
    assert line(found, "Gone__c").is_retired and sentence(found) == "The object is complete as of 02:10."


def test_a_cleared_run_counts_once() -> None:
    again = report(0, minutes=90, read=("Account",))
    found = page(report(0, failed=("Account",)), again, extracted(0, "Account", 0), extracted(0, "Account", 3))
    assert states(found)[-1] is State.COMPLETE
    night = line(found, "Account").last_night
    assert night is not None and night.rows == 5


def test_a_table_is_loaded_by_the_task_that_landed() -> None:
    landed = extracted(0, "Account")
    facts = LoadFacts(table="t", rows=5, source="s3://lake/Account")
    load = Loaded(landed.key, landed.at - timedelta(milliseconds=1), "postgres://h/d/crm/account", facts)
    (table,) = page(landed, load).orgs[0].tables
    assert table.behind == 0


def test_the_calls_of_plans_are_counted() -> None:
    usage: dict[str, Any] = {"api_used": 2_000, "api_limit": 5_000, "plan_calls": 160}
    api = page(*(report(ago, unchanged=("Account",), **usage) for ago in (2, 1, 0))).orgs[0].api
    assert api is not None and (api.used, api.limit, api.tonight, api.used_by_others) == (2_000, 5_000, 160, 1_840)
