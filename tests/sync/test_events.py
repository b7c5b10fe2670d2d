"""What a sync tells Airflow of each object: the events, warnings, metrics and notes of an extract in a task of its own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from shutil import rmtree
from typing import Any

import msgspec
import pytest
from airflow.sdk import DAG

from airflow_sfcc._airflow.event_facts import ExtractFacts, LoadFacts
from airflow_sfcc.notifications import WhenWarned
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.taskgroups import salesforce_sync
from airflow_sfcc.testing import RunDag, StartOrg
from tests.page.test_warnings import Stats

FIRST = datetime(2026, 11, 20, 2, 0, tzinfo=timezone.utc)
NAMES = ["Account", "Contact", "Case", "Lead"]


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    stats = Stats()
    monkeypatch.setattr("airflow_sfcc._airflow.metrics._stats", lambda: stats)
    return stats


def sync_dag(dag_id: str, destination: str, **sync: Any) -> DAG:
    settings: dict[str, Any] = {"shared_tasks": 1, "default_args": {"retries": 0}, **sync}
    with DAG(dag_id, schedule=None, start_date=FIRST) as dag:
        salesforce_sync("org", destination=destination, **settings)
    return dag


def events(dag_id: str, uri: str) -> list[tuple[str, dict[str, Any]]]:
    """The asset's events of a DAG, oldest first: the task that announced each, and its extra."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    found = (
        select(AssetEvent.source_task_id, AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetEvent.source_dag_id == dag_id, AssetModel.uri == uri)
        .order_by(AssetEvent.id)
    )
    with create_session() as session:
        return [(str(task), dict(extra)) for task, extra in session.execute(found)]


def test_an_object_of_a_sync_is_announced_as_by_the_operators(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, stats: Stats
) -> None:
    start_sfcc_org(rows={"Account": 9, "Contact": 8})
    table = f"duckdb://{tmp_path}/org.duckdb/{{sobject}}"
    dag = sync_dag("synced", f"file://{tmp_path}/sync/{{sobject}}", objects=["Account", "Contact"], table=table)
    assert run_dag(dag).state == "success"
    with DAG("extracted", schedule=None, start_date=FIRST) as dag:
        SalesforceExtractOperator(
            task_id="extract", sobject="Account", mode="incremental", destination=f"file://{tmp_path}/own/{{sobject}}"
        )
    assert run_dag(dag).state == "success"
    ((_, expected),) = events("extracted", f"file://{tmp_path}/own/Account")
    ((task, extra),) = events("synced", f"file://{tmp_path}/sync/Account")
    assert task == "org.sync" and extra.keys() == expected.keys()
    facts = msgspec.convert(extra, ExtractFacts)
    assert (facts.sobject, facts.rows, facts.mode, facts.files) == ("Account", 9, "incremental", 1)
    assert facts.api_reason == expected["api_reason"] and facts.instance == expected["instance"]
    assert facts.api_calls and facts.api_used and facts.api_limit and facts.seconds is not None
    ((_, extra),) = events("synced", f"duckdb:{tmp_path}/org.duckdb/Contact")
    loaded = msgspec.convert(extra, LoadFacts)
    assert (loaded.sobject, loaded.source, loaded.rows) == ("Contact", f"file://{tmp_path}/sync/Contact", 8)
    assert loaded.extracts == 1 and loaded.seconds is not None
    assert [tags["sobject"] for _, tags in stats.of("sfcc.rows")] == ["Account", "Contact", "Account"]


def test_rows_that_fell_are_told(start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, stats: Stats) -> None:
    org = start_sfcc_org(rows={"Contact": 8})
    ids = org.insert("Account", *({"Name": f"Account {number}"} for number in range(200)))
    told: list[list[str]] = []
    dag = sync_dag(
        "fallen",
        f"file://{tmp_path}/{{sobject}}",
        objects=["Account", "Contact"],
        mode="full",
        on_success_callback=WhenWarned(lambda context: told.append(context["salesforce_warnings"])),
    )
    for night in range(3):
        assert run_dag(dag, logical_date=FIRST + timedelta(days=night)).state == "success"
    assert told == []
    for record_id in ids[:150]:
        org.delete("Account", record_id)
    result = run_dag(dag, logical_date=FIRST + timedelta(days=3))
    ((sentence,),) = result.xcom("org.sync", "salesforce_warnings")
    assert sentence.startswith("Account has 50 rows, 75% fewer than the usual 200.") and told == [[sentence]]
    _, extra = events("fallen", f"file://{tmp_path}/Account")[-1]
    assert [each["kind"] for each in extra["warnings"]] == ["rows_fell"]
    ((_, tags),) = stats.of("sfcc.warning")
    assert (tags["sobject"], tags["kind"]) == ("Account", "rows_fell")


def test_the_budget_is_told_once_for_a_task(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SFCC__BUDGET_PERCENT", "0.001")
    start_sfcc_org(rows={"Account": 9, "Contact": 8})
    result = run_dag(sync_dag("budget", f"file://{tmp_path}/{{sobject}}", objects=["Account", "Contact"]))
    ((sentence,),) = result.xcom("org.sync", "salesforce_warnings")
    assert "API calls were made" in sentence
    for name in ("Account", "Contact"):
        ((_, extra),) = events("budget", f"file://{tmp_path}/{name}")
        assert [each["kind"] for each in extra["warnings"]] == ["budget"]


def test_an_object_that_fails_keeps_its_sentence_and_the_others_are_announced(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, stats: Stats
) -> None:
    start_sfcc_org(rows=dict.fromkeys(NAMES, 5))
    where = {"Contact": "Nope__c = 1"}
    dag = sync_dag("failing", f"file://{tmp_path}/{{sobject}}", objects=NAMES, where=where)
    result = run_dag(dag)
    assert result.state == "failed"
    (note,) = result.xcom("org.sync", "salesforce_failure.Contact")
    assert note["sobject"] == "Contact" and "Nope__c" in note["error"] and note["instance"].startswith("http")
    assert stats.of("sfcc.failure") == [(1, {"sobject": "Contact", "error": "QueryError"})]
    for name in NAMES:
        told = [task for task, _ in events("failing", f"file://{tmp_path}/{name}")]
        assert told == ([] if name == "Contact" else ["org.report"]), name


def test_a_retry_announces_what_the_attempt_before_it_committed(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path
) -> None:
    org = start_sfcc_org(rows=dict.fromkeys(NAMES, 5))
    retries = {"retries": 1, "retry_delay": timedelta(0)}
    dag = sync_dag("retried", f"file://{tmp_path}/{{sobject}}", objects=NAMES, default_args=retries)
    org.fail("query", path="SELECT(?!.*COUNT).*FROM(%20|\\+)Contact", status=400)
    assert run_dag(dag).state == "success"
    for name in NAMES:
        ((task, extra),) = events("retried", f"file://{tmp_path}/{name}")
        facts = msgspec.convert(extra, ExtractFacts)
        assert task == "org.sync" and (facts.sobject, facts.rows, facts.files) == (name, 5, 1)


def test_a_login_that_fails_is_noted_once(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, stats: Stats
) -> None:
    org = start_sfcc_org(rows={"Account": 3})
    org.local_org.run_as = None
    result = run_dag(sync_dag("no_login", f"file://{tmp_path}/{{sobject}}", objects=["Account"]))
    assert "Run As user" in result.xcom("org.plan", "salesforce_failure")["error"]
    assert {tags["sobject"] for _, tags in stats.of("sfcc.failure")} == {"unknown"}


def test_that_nothing_changed_in_an_object_is_no_warning(
    start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync asks the org itself; here it has lost its report, so each object is extracted once more."""
    monkeypatch.setenv("AIRFLOW__SFCC__NOTHING_NEW_DAYS", "0.0000001")
    org = start_sfcc_org(rows={"Account": 9})
    table = f"duckdb://{tmp_path}/org.duckdb/{{sobject}}"
    dag = sync_dag("quiet", f"file://{tmp_path}/lake/{{sobject}}", objects=["Account"], table=table)
    for _ in range(2):
        org.local_org.clock.advance(timedelta(hours=1))
        result = run_dag(dag, logical_date=org.local_org.clock.now())
        assert result.state == "success"
        rmtree(tmp_path / "lake" / "_sync")
    (_, first), (_, second) = events("quiet", f"file://{tmp_path}/lake/Account")
    assert (first["rows"], second["rows"], second["warnings"]) == (9, 0, [])
