"""What the states of nights mean, by examples, and that whatever Airflow holds makes a page."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sfcc._airflow.event_facts import ExtractFacts, LoadFacts, SchemaChange, Warned
from airflow_sfcc.page import model
from airflow_sfcc.page.building import overview
from airflow_sfcc.page.model import (
    Attempt,
    Dag,
    Landed,
    Loaded,
    Overview,
    Run,
    State,
    Stored,
    TaskKey,
    hours,
)
from airflow_sfcc.page.presenting import Links, OverviewPage, Shown

NOW = datetime(2026, 11, 28, 6, 0, tzinfo=timezone.utc)
INSTANCE = "https://acme.my.salesforce.com"
DAG = "nightly"


def due(ago: int) -> datetime:
    """When the run of the night `ago` was due; 0 is this morning's."""
    return datetime(2026, 11, 28, 2, 0, tzinfo=timezone.utc) - timedelta(days=ago)


def key(ago: int, index: int = 0, task: str = "extract") -> TaskKey:
    return TaskKey(DAG, f"run-{ago}", task, index)


def landed(ago: int, sobject: str = "Account", index: int = 0, *, after: float = 10, **facts: Any) -> Landed:
    """An extract that landed so many minutes after it was due."""
    known: dict[str, Any] = {
        "rows": 1000,
        "bytes": 10_000,
        "manifest": "m",
        "instance": INSTANCE,
        "seconds": 5.0,
        "mode": "full",
        **facts,
    }
    return model.landed(
        key(ago, index),
        due(ago) + timedelta(minutes=after),
        f"s3://lake/{sobject}",
        ExtractFacts(sobject=sobject, **known),
    )


def attempt(ago: int, state: str | None, index: int = 0, **known: Any) -> Attempt:
    values: dict[str, Any] = {
        "label": "Account",
        "ran": True,
        "ended": due(ago) + timedelta(minutes=3),
        "try_number": 1,
        **known,
    }
    return Attempt(key(ago, index), state, **values)


def page(*entries: Landed | Attempt | Loaded, nights: int = 5, now: datetime = NOW, **known: Any) -> Overview:
    """The page of a DAG that was due at 02:00 in each of the nights."""
    stored = Stored(
        landed=[each for each in entries if isinstance(each, Landed)],
        loaded=[each for each in entries if isinstance(each, Loaded)],
        attempts=[each for each in entries if isinstance(each, Attempt)],
        runs={(DAG, f"run-{ago}"): Run(due(ago), True, known.get("deadline")) for ago in range(nights)},
        dags={DAG: Dag(False, "0 2 * * *", due(-1), tuple(due(ago) for ago in reversed(range(nights))))},
        tasks={(DAG, "extract"): "SalesforceExtractOperator", **known.get("tasks", {})},
    )
    return overview(stored, now, zone=timezone.utc, nights=nights)


def states(found: Overview, name: str = "Account") -> list[State]:
    (line,) = [line for org in found.orgs for line in org.objects if line.name == name]
    return [line.nights[night].state if night in line.nights else State.NONE for night in found.nights]


def sentence(found: Overview) -> str:
    (org,) = found.orgs
    return org.sentence("02:10")


def test_all_complete() -> None:
    found = page(*(landed(ago) for ago in range(5)), *(landed(ago, "Case", 1) for ago in range(5)))
    assert states(found) == [State.COMPLETE] * 5
    assert sentence(found) == "All 2 objects complete as of 02:10."
    assert found.orgs[0].verdict == "good" and found.orgs[0].name == "acme.my.salesforce.com"


def test_failed_last_night_and_late_since_the_night_before() -> None:
    found = page(
        *(landed(ago) for ago in range(5)),
        *(landed(ago, "Case", 1) for ago in (4, 3, 2)),
        *(attempt(ago, "failed", 1, label="Case") for ago in (0, 1)),
    )
    assert states(found, "Case") == [State.COMPLETE] * 3 + [State.FAILED] * 2
    assert sentence(found) == "1 of 2 objects complete as of 02:10; Case failed and is 28 h late."
    assert found.orgs[0].verdict == "bad"


def test_a_night_without_a_run_is_not_run() -> None:
    found = page(*(landed(ago) for ago in (4, 3, 1, 0)))
    assert states(found) == [State.COMPLETE, State.COMPLETE, State.NOT_RUN, State.COMPLETE, State.COMPLETE]


def test_nothing_since_is_late_though_nothing_failed() -> None:
    found = page(*(landed(ago) for ago in (4, 3, 2)))
    assert states(found)[-2:] == [State.NOT_RUN] * 2
    assert sentence(found) == "0 of 1 object complete; Account is 28 h late."


def test_a_run_that_is_just_due_is_waited_for() -> None:
    found = page(*(landed(ago) for ago in (4, 3, 2, 1)), now=due(0) + timedelta(minutes=30))
    assert states(found)[-1] is State.NONE and found.orgs[0].verdict == "good"


def test_many_problems_are_told_by_number() -> None:
    good = [landed(ago, f"O{index}", index) for ago in (2, 1) for index in range(6)]
    failed = [attempt(0, "failed", index, label=f"O{index}") for index in range(4)]
    good.append(landed(0, "O4", 4))
    quote = [landed(0, "O5", 5, schema_changes=(SchemaChange("F__c", "removed"),))]
    found = page(*good, *failed, *quote, now=due(0) + timedelta(minutes=50))
    assert sentence(found) == "1 of 6 objects complete as of 02:10; 4 failed; O5 lost 1 column."


def test_still_running_is_no_problem_until_it_takes_too_long() -> None:
    entries: list[Landed | Attempt] = [*(landed(ago) for ago in (4, 3, 2, 1)), attempt(0, "deferred", ended=None)]
    early = page(*entries, now=due(0) + timedelta(minutes=30))
    assert states(early)[-1] is State.RUNNING and early.orgs[0].verdict == "wait"
    assert sentence(early) == "0 of 1 object complete; 1 still running."
    assert states(page(*entries))[-1] is State.LATE
    assert sentence(page(*entries)) == "0 of 1 object complete; Account is 4 h late."


def test_a_deadline_of_the_dag_counts_instead_of_the_usual_time() -> None:
    at_five = due(0) + timedelta(hours=5)
    found = page(*(landed(ago) for ago in (4, 3, 2, 1)), attempt(0, "deferred", ended=None), deadline=at_five)
    assert states(found)[-1] is State.RUNNING


def test_landed_late() -> None:
    found = page(*(landed(ago) for ago in (4, 3, 2)), landed(1, after=300), landed(0))
    assert states(found) == [State.COMPLETE] * 3 + [State.LATE, State.COMPLETE]
    found = page(*(landed(ago) for ago in (4, 3, 2, 1)), landed(0, after=200))
    assert states(found)[-1] is State.LATE and sentence(found) == "The object is complete as of 02:10."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["removed", "access_lost"], "Quote lost 2 columns"),
        (["added", "removed"], "Quote lost 1 column and gained 1 column"),
        (["retyped"], "Quote changed the type of 1 column"),
    ],
)
def test_schema_changes(changes: list[str], words: str) -> None:
    listed = tuple(SchemaChange(f"F{index}__c", change) for index, change in enumerate(changes))
    found = page(landed(0), landed(0, "Quote", 1, schema_changes=listed))
    assert states(found, "Quote")[-1] is State.SCHEMA
    assert sentence(found) == f"1 of 2 objects complete as of 02:10; {words}."


def test_a_column_no_longer_selected_is_no_schema_change() -> None:
    found = page(landed(0, schema_changes=(SchemaChange("F__c", "unselected"),)))
    assert states(found)[-1] is State.COMPLETE


def test_far_fewer_rows_than_usual_are_incomplete() -> None:
    found = page(landed(1), landed(0, rows=10, warnings=(Warned("rows_fell", "far fewer"),)))
    assert states(found)[-1] is State.INCOMPLETE
    assert "Account has far fewer rows than usual" in sentence(found)


def test_a_part_of_the_nights_runs_failed() -> None:
    later = Attempt(TaskKey(DAG, "run-late", "extract", 0), "failed", "Account", True, NOW, 1)
    stored = Stored(
        landed=[landed(0)],
        attempts=[later],
        runs={(DAG, "run-0"): Run(due(0), True), (DAG, "run-late"): Run(due(0) + timedelta(hours=2), True)},
        tasks={(DAG, "extract"): "SalesforceExtractOperator"},
    )
    found = overview(stored, NOW, zone=timezone.utc, nights=3)
    assert states(found)[-1] is State.INCOMPLETE


def test_an_object_that_was_taken_out_of_the_dag_is_no_problem() -> None:
    found = page(*(landed(ago) for ago in range(5)), landed(4, "Lead", 1), landed(3, "Lead", 1))
    assert states(found, "Lead") == [State.COMPLETE] * 2 + [State.NONE] * 3
    assert sentence(found) == "The object is complete as of 02:10."


def test_nothing_to_land_is_complete() -> None:
    found = page(landed(1), attempt(0, "skipped"))
    assert states(found)[-1] is State.COMPLETE and found.orgs[0].verdict == "good"


def test_a_task_that_was_never_mapped_is_all_its_objects() -> None:
    whole = Attempt(key(0, -1), "failed", None, True, NOW, 1)
    found = page(landed(1), landed(1, "Case", 1), whole)
    assert states(found)[-1] is State.FAILED and states(found, "Case")[-1] is State.FAILED


def test_the_tasks_of_a_task_group_are_one_line() -> None:
    tasks = {(DAG, f"big.{name}"): f"{name.title()}Operator" for name in ("plan", "download", "commit")}
    facts = landed(1, "Contact").facts
    commit = model.landed(TaskKey(DAG, "run-1", "big.commit", -1), due(1), "s3://lake/Contact", facts)
    plan = Attempt(
        TaskKey(DAG, "run-0", "big.plan", -1), "failed", None, True, NOW, 1, {"error": "No.", "sobject": "Contact"}
    )
    found = page(commit, plan, tasks=tasks)
    assert states(found, "Contact")[-2:] == [State.COMPLETE, State.FAILED]
    assert len(found.orgs[0].objects) == 1


def test_orgs_stand_apart() -> None:
    found = page(landed(0), landed(0, "Account", 1, instance="https://beta.my.salesforce.com"))
    assert [org.name for org in found.orgs] == ["acme.my.salesforce.com", "beta.my.salesforce.com"]


def test_a_table_that_is_behind() -> None:
    facts = LoadFacts(table="postgres://dwh/crm/account", rows=5, source="s3://lake/Account")
    load = Loaded(TaskKey(DAG, "run-2", "load", 0), due(2) + timedelta(minutes=20), "postgres://h/d/crm/account", facts)
    (table,) = page(*(landed(ago) for ago in range(5)), load).orgs[0].tables
    assert (table.name, table.behind, table.behind_since) == ("crm/account", 2, due(1) + timedelta(minutes=10))


def freshness(found: Overview) -> list[str]:
    shown = OverviewPage(found, Shown(), Links(""), timezone.utc)
    return [each.value for each in shown.tables]


def load(ago: int, sobject: str = "Account") -> Loaded:
    facts = LoadFacts(table=f"postgres://dwh/crm/{sobject.lower()}", rows=5, source=f"s3://lake/{sobject}")
    at = due(ago) + timedelta(minutes=20)
    return Loaded(TaskKey(DAG, f"run-{ago}", "load", 0), at, f"postgres://h/d/crm/{sobject.lower()}", facts)


def test_a_table_is_up_to_date_only_if_its_object_is() -> None:
    before: list[Any] = [landed(2), landed(1), load(1)]
    assert freshness(page(*before, landed(0), load(0))) == ["up to date"]
    assert freshness(page(*before, attempt(0, "failed"))) == ["as of Fri 02:10, 4 h late"]
    assert freshness(page(*before)) == ["as of Fri 02:10, 4 h late"], "the object was not run"
    in_time = page(*before, attempt(0, "failed"), now=due(0) + timedelta(minutes=40))
    assert freshness(in_time) == ["as of Fri 02:10"], "it failed, and is not late yet"
    assert freshness(page(*before, landed(0))) == ["3 h behind"]


def test_a_table_that_waits_for_longer_than_usual_is_in_the_sentence() -> None:
    found = page(*(landed(ago) for ago in range(5)), load(4), load(3), load(2))
    assert sentence(found) == "The object is complete as of 02:10; table crm/account is 27 h behind."
    assert found.orgs[0].verdict == "bad"
    found = page(*(landed(ago) for ago in range(5)), load(3), load(2), load(1), now=due(0) + timedelta(minutes=50))
    assert sentence(found) == "The object is complete as of 02:10." and found.orgs[0].verdict == "good", (
        "it may yet load"
    )
    every_other_night = [load(8), load(6), load(4), load(2)]
    found = page(*(landed(ago) for ago in range(9)), *every_other_night, nights=9)
    assert sentence(found) == "The object is complete as of 02:10.", "27 h are usual here"


def test_many_tables_that_are_behind_are_told_by_number() -> None:
    names = ["Account", "Case", "Lead", "Order"]
    landings = [landed(ago, name, index) for index, name in enumerate(names) for ago in (2, 1, 0)]
    loads = [load(2 if name == "Order" else 1, name) for name in names]
    assert sentence(page(*landings, *loads)).endswith("; 4 tables are behind, the longest crm/order by 27 h.")


def test_the_forecast_is_others_calls_and_a_usual_night() -> None:
    calls: dict[str, Any] = {"api_calls": 100, "api_used": 1_100, "api_limit": 5_000}
    api = page(*(landed(ago, **calls) for ago in range(5))).orgs[0].api
    assert api is not None and (api.used, api.tonight, api.forecast) == (1_100, 100, 1_100)


@pytest.mark.parametrize(("minutes", "words"), [(40, "40 min"), (26 * 60, "26 h"), (80 * 60, "3 days")])
def test_how_late(minutes: int, words: str) -> None:
    assert hours(timedelta(minutes=minutes)) == words


_states = st.sampled_from(["success", "failed", "upstream_failed", "skipped", "running", "deferred", "queued", None])
_entries = st.lists(
    st.one_of(
        st.builds(
            landed,
            st.integers(0, 8),
            st.sampled_from(["Account", "Case", "<b>"]),
            st.integers(-1, 3),
            after=st.floats(-60, 3000),
            rows=st.integers(0, 10**9),
            mode=st.sampled_from(["full", "incremental", None]),
            instance=st.sampled_from([INSTANCE, "", None, "javascript:alert(1)"]),
            api_limit=st.sampled_from([None, 0, 100]),
        ),
        st.builds(attempt, st.integers(0, 8), _states, st.integers(-1, 3), label=st.sampled_from([None, "Case", "x"])),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(_entries)
def test_whatever_airflow_holds_makes_a_page(entries: list[Any]) -> None:
    found = page(*entries)
    for org in found.orgs:
        assert len(org.complete) + len(org.running) + len(org.problems) <= len(org.current)
        assert org.sentence("").endswith(".")
        names = [line.id for line in org.objects]
        assert len(set(names)) == len(names)
