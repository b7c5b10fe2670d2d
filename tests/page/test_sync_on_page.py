"""Nights of a real sync against the local org, as the page shows them over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_sfcc.taskgroups import salesforce_sync
from airflow_sfcc.testing import RunDag, SalesforceOrg, StartOrg
from tests.page.conftest import Permissions
from tests.page.test_page import sentences

REFUSED = [{"errorCode": "MALFORMED_QUERY", "message": "unexpected token: here"}]
NAMES = ["Account", "Contact", "Case", "Lead"]


def sync_dag(root: Path) -> DAG:
    with DAG("whole_org", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        salesforce_sync(
            "org",
            objects=NAMES,
            destination=f"file://{root}/{{sobject}}",
            table=f"duckdb://{root}/org.duckdb/{{sobject}}",
            shared_tasks=1,
            default_args={"retries": 0},
        )
    return dag


def night(org: SalesforceOrg, run_dag: RunDag, dag: DAG) -> datetime:
    org.local_org.clock.advance(timedelta(hours=1))
    when: datetime = org.local_org.clock.now()
    run_dag(dag, logical_date=when)
    return when


def test_a_sync_is_on_the_page(
    page: Any,
    nights: Callable[..., None],
    permissions: Permissions,
    start_sfcc_org: StartOrg,
    run_dag: RunDag,
    tmp_path: Path,
) -> None:
    org = start_sfcc_org(rows=dict.fromkeys(NAMES, 5))
    dag = sync_dag(tmp_path)
    night(org, run_dag, dag)
    html = page.get("/sfcc/").text
    assert re.findall(r'data-name="(\w+)"', html) == sorted(NAMES)
    assert sentences(html)[0].startswith("All 4 objects complete as of ")
    assert html.count("up to date") == 4 and "could not be read" not in html

    org.insert("Account", {"Name": "new"})
    org.insert("Contact", {"LastName": "new"})
    org.fail("query", path="SELECT(?!.*COUNT).*FROM(%20|\\+)Contact", status=400, body=REFUSED, times=None)
    when = night(org, run_dag, dag)
    html = page.get("/sfcc/").text
    assert re.fullmatch(r"3 of 4 objects complete as of \S+; Contact landed only in part\.", sentences(html)[0])
    ids = {name: line for line, name in re.findall(r'data-id="(\w+)" data-name="(\w+)"', html)}

    def details(name: str) -> str:
        return str(page.get(f"/sfcc/night?id={ids[name]}&night={when.date()}").text)

    account, contact, case = details("Account"), details("Contact"), details("Case")
    for words in (
        "Rows",
        "in 1 file",
        "Why this API",
        "API calls",
        "Org&#39;s calls",
        "Window",
        "Watermark",
        "_manifest.json",
    ):
        assert words in account, words
    assert "/tasks/org.report" in account, "the task failed because of another object, so the report announced it"
    assert "unexpected token: here" in contact and "/tasks/org.sync/mapped/0" in contact
    assert "unchanged: by the org" in case and "/tasks/org.report" in case
    permissions.xcoms = False
    hidden = details("Contact")
    assert "unexpected token" not in hidden and "not yours to read" in hidden
    assert sentences(page.get("/sfcc/").text)[0].endswith("; Contact landed only in part.")


def test_what_a_report_says_is_not_trusted(
    page: Any, nights: Callable[..., None], start_sfcc_org: StartOrg, run_dag: RunDag, tmp_path: Path
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    org = start_sfcc_org(rows=dict.fromkeys(NAMES, 5))
    dag = sync_dag(tmp_path)
    night(org, run_dag, dag)
    hostile = {
        "unchanged": ["<script>alert(1)</script>"],
        "late": ["\"'><img src=x>"],
        "failed": ["{{7*7}}"],
        "read": [],
    }
    with create_session() as session:
        report = session.scalars(select(AssetEvent).where(AssetEvent.source_task_id == "org.report")).one()
        report.extra = {**report.extra, **hostile, "instance": 'javascript:alert(1)//"', "destination": "<b>{sobject}"}
    html = page.get("/sfcc/").text
    for address in re.findall(r'data-id="(\w+)"', page.get("/sfcc/?org=javascript:alert(1)//%22").text):
        html += page.get(f"/sfcc/object?id={address}").text
    assert "&lt;script&gt;" in html and "<script>" not in html and "<img" not in html and 'href="javascript' not in html
    night(org, run_dag, dag)
    with create_session() as session:
        newest = session.scalars(select(AssetEvent).order_by(AssetEvent.id.desc()).limit(1)).one()
        newest.extra = {**newest.extra, "unchanged": ["x"] * 20_000}
    assert "1 asset event could not be read" in page.get("/sfcc/").text
