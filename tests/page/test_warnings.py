"""What an extract warns of, through real runs against the local org, and who is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow.sdk import DAG

from airflow_sfcc._airflow.event_facts import ExtractFacts
from airflow_sfcc.notifications import WhenWarned
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.testing import RunDag, SalesforceOrg

FIRST = datetime(2026, 11, 20, 2, 0, tzinfo=timezone.utc)


class Stats:
    """Stands in for Airflow's statistics, which are sent over the network."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any, dict[str, str]]] = []

    def _keep(self, name: str, value: Any = 1, *, tags: dict[str, str]) -> None:
        self.sent.append((name, value, tags))

    gauge = timing = incr = _keep

    def of(self, name: str) -> list[tuple[Any, dict[str, str]]]:
        return [(value, tags) for sent, value, tags in self.sent if sent == name]


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    stats = Stats()
    monkeypatch.setattr("airflow_sfcc._airflow.metrics._stats", lambda: stats)
    return stats


@pytest.fixture
def told() -> list[list[str]]:
    return []


@pytest.fixture
def dag(tmp_path: Path, told: list[list[str]]) -> Iterator[DAG]:
    with DAG("warned", schedule=None, start_date=FIRST) as dag:
        SalesforceExtractOperator(
            task_id="extract",
            sobject="Account",
            destination=f"file://{tmp_path}/Account",
            on_success_callback=WhenWarned(lambda context: told.append(context["salesforce_warnings"])),
        )
    yield dag


def last_extra() -> dict[str, Any]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        event = session.scalars(select(AssetEvent).order_by(AssetEvent.id.desc()).limit(1)).one()
        return dict(event.extra)


def test_rows_that_fell_are_told(
    dag: DAG, run_dag: RunDag, sfcc_org: SalesforceOrg, stats: Stats, told: list[list[str]]
) -> None:
    ids = sfcc_org.insert("Account", *({"Name": f"Account {number}"} for number in range(200)))
    for night in range(3):
        assert run_dag(dag, logical_date=FIRST + timedelta(days=night)).state == "success"
    assert told == [] and last_extra()["warnings"] == []
    for record_id in ids[:150]:
        sfcc_org.delete("Account", record_id)
    result = run_dag(dag, logical_date=FIRST + timedelta(days=3))
    (sentence,) = result.xcom("extract", "salesforce_warnings")
    assert sentence.startswith("Account has 50 rows, 75% fewer than the usual 200.")
    assert told == [[sentence]]
    extra = last_extra()
    assert [each["kind"] for each in extra["warnings"]] == ["rows_fell"]
    assert (extra["sobject"], extra["mode"], extra["api"]) == ("Account", "full", "rest")
    assert msgspec.convert(extra, ExtractFacts).rows == 50  # the page reads what tasks write
    assert extra["api_reason"] and 0 < extra["api_used"] < extra["api_limit"] and extra["seconds"] >= 0
    assert [value for value, _ in stats.of("sfcc.rows")] == [200, 200, 200, 50]
    ((_, tags),) = stats.of("sfcc.warning")
    assert (tags["sobject"], tags["kind"]) == ("Account", "rows_fell")


def test_a_failure_keeps_its_sentence(tmp_path: Path, run_dag: RunDag, sfcc_org: SalesforceOrg, stats: Stats) -> None:
    with DAG("failing", schedule=None, start_date=FIRST) as dag:
        SalesforceExtractOperator(
            task_id="extract", sobject="Account", where="Nope__c = 1", destination=f"file://{tmp_path}/Account"
        )
    result = run_dag(dag)
    assert result.state == "failed"
    note = result.xcom("extract", "salesforce_failure")
    assert (
        note["sobject"] == "Account" and note["error"] in str(result.errors["extract"]) and "Nope__c" in note["error"]
    )
    ((_, tags),) = stats.of("sfcc.failure")
    assert tags == {"sobject": "Account", "error": "QueryError"}


def test_the_documented_mail_is_no_html_of_an_orgs_administrator() -> None:
    """Names of columns are the org's; Airflow renders a notifier's templates without escaping."""
    texts = [
        (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8"),
        str(WhenWarned.__doc__),
    ]
    for text in texts:
        (template,) = re.findall(r"\"(\{\{ salesforce_warnings [^\"]*<br>[^\"]*\}\})\"", text)
        mail = (
            DAG("mail", schedule=None)
            .get_template_env()
            .from_string(template)
            .render(salesforce_warnings=["<img src=x>", "Quote & more"])
        )
        assert mail == "&lt;img src=x&gt;<br>Quote &amp; more"
