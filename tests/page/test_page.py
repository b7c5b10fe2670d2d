"""The page over HTTP: who may see it, what it says, and that nothing in it is taken for HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import update

from airflow_sfcc.page import stored
from dev.page_nights import Nights
from tests.page.conftest import Permissions

ROUTES = (
    "/sfcc/",
    "/sfcc/summary",
    "/sfcc/object?id=0123456789abcdef",
    "/sfcc/night?id=0123456789abcdef&night=2026-11-27",
    "/sfcc/static/page.js",
    "/sfcc/static/nothing",
)


def sentences(html: str) -> list[str]:
    return re.findall(r'<span class="sentence">(.*?)</span>', html)


def test_the_sentence_and_the_grid(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=60, objects=["Account", "Asset", "Case", "Contact", "Quote"])
    html = page.get("/sfcc/").text
    (sentence,) = sentences(html)
    assert re.fullmatch(
        r"3 of 5 objects complete as of \S.*; Case failed and is \d+ h late; Quote lost 2 columns; "
        r"table crm/asset is \d+ h behind\.",
        sentence,
    )
    assert re.findall(r'data-name="(\w+)"', html) == ["Account", "Asset", "Case", "Contact", "Quote"]
    assert html.count('<td class="complete">') > 200
    assert 'class="failed">F' in html and 'class="schema">S' in html and 'class="not-run">–' in html


def test_a_calm_night_is_all_complete(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=1, objects=3, is_calm=True)
    (sentence,) = sentences(page.get("/sfcc/").text)
    assert sentence.startswith("All 3 objects complete as of ")


def test_a_newcomer_reads_what_to_do_first(page: Any) -> None:
    html = page.get("/sfcc/").text
    assert "Nothing from Salesforce has landed yet" in html and "SalesforceExtractOperator" in html
    assert 'href="/connections"' in html


def test_a_dag_that_has_not_run_yet_is_named(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=0, objects=["Account"], dag_id="still_paused")
    html = page.get("/sfcc/").text
    assert "There is a DAG that will" in html and 'href="/dags/still_paused"' in html


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_protected(page: Any, permissions: Permissions, route: str) -> None:
    permissions.assets = False
    assert page.get(route).status_code == 403
    permissions.assets, permissions.task_instances = True, False
    assert page.get(route).status_code == 403
    del page.headers["Authorization"]
    assert page.get(route).status_code == 401


def test_only_dags_that_the_user_may_read(page: Any, nights: Callable[..., None], permissions: Permissions) -> None:
    nights(nights=3, objects=["Account"], dag_id="open_dag")
    nights(nights=3, objects=["Secret_Project__c"], dag_id="closed_dag", instance="https://other.my.salesforce.com")
    permissions.dags = {"open_dag"}
    html = page.get("/sfcc/").text
    assert "Account" in html and "Secret" not in html and "closed_dag" not in html and "other.my" not in html
    assert [each["org"] for each in page.get("/sfcc/summary").json()["orgs"]] == ["acme.my.salesforce.com"]


HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


def test_nothing_hostile_is_taken_for_html(page: Any, nights: Callable[..., None]) -> None:
    """Names, errors, addresses and notes are whatever DAG authors, orgs and API clients put there."""
    nights(nights=3, objects=[HOSTILE, "Case"], dag_id="hostile", with_loads=False)
    spoil_events(instance='javascript:alert(1)//"', api_reason=HOSTILE, job_id='"><script>', manifest=HOSTILE)
    spoil_notes(error=HOSTILE, instance="javascript:alert(1)", job_id=HOSTILE, sobject="Case")
    html = page.get("/sfcc/").text
    for url in page_addresses(html):
        html += page.get(url).text
    assert "&lt;img" in html and "<img" not in html and "alert(1)&gt;" in html
    assert "<script>" not in html and 'href="javascript' not in html
    unknown = re.search(
        r"<(?!/script>|/?(html|head|body|main|meta|title|link|script src|div|a |a>|span|p>|p |section|h\d|form|input|"
        r"select|option|noscript|button|table|caption|thead|tbody|tr|th|td|i |aside|dl|dt|dd|dialog|article|"
        r"i>|figure|figcaption|svg|line|text|rect|title|ul|li|small|code|!doctype))",
        html,
    )
    assert unknown is None, html[unknown.start() : unknown.start() + 80]


def page_addresses(html: str) -> list[str]:
    """The object pages of the grid, and the details of each object's newest nights."""
    ids = re.findall(r'data-id="(\w+)"', html)
    newest = re.findall(r'data-night="([\d-]+)"', html)[-3:]
    assert ids and newest
    nights = [f"/sfcc/night?id={line}&night={night}" for line in ids for night in newest]
    return [f"/sfcc/object?id={line}" for line in ids] + nights


def spoil_events(**extra: Any) -> None:
    """Change what all events say."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for event in session.scalars(select(AssetEvent)):
            event.extra = {**event.extra, **extra}


def spoil_notes(**note: Any) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        notes = list(session.scalars(select(XComModel)))
        assert notes
        for each in notes:
            each.value = json.dumps(note)


def test_events_of_another_shape_are_counted_and_left_out(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=2, objects=["Account"], is_calm=True, with_loads=False)
    spoil_events(rows="many")
    html = page.get("/sfcc/").text
    assert "2 asset events could not be read" in html


def test_the_browser_may_load_nothing_from_elsewhere(page: Any) -> None:
    response = page.get("/sfcc/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", response.text)
    static = page.get("/sfcc/static/page.css").text + page.get("/sfcc/static/page.js").text
    assert "http://" not in static and "https://" not in static


def test_a_night_opens(page: Any, nights: Callable[..., None], permissions: Permissions) -> None:
    nights(nights=3, objects=["Account", "Case"])
    grid = page.get("/sfcc/").text
    night = re.findall(r'data-night="([\d-]+)"', grid)
    ids = dict(re.findall(r'data-id="(\w+)" data-name="(\w+)"', grid))
    account, case = (line for name in ("Account", "Case") for line, known in ids.items() if known == name)
    newest = newest_night()
    assert newest in night
    details = page.get(f"/sfcc/night?id={account}&night={newest}").text
    for words in ("Rows", "Bulk API 2.0", "Why this API", "MB/s", "Watermark", "_manifest.json", "AsyncApiJobStatus"):
        assert words in details
    assert 'href="/dags/crm_nightly/runs/scheduled__' in details and "/tasks/extract/mapped/0" in details
    failed = page.get(f"/sfcc/night?id={case}&night={newest}").text
    assert "Index the fields of the condition" in failed
    permissions.xcoms = False
    hidden = page.get(f"/sfcc/night?id={case}&night={newest}").text
    assert "Index the fields" not in hidden and "See its log" in hidden


def newest_night() -> str:
    return Nights().due[-1].date().isoformat()


def test_an_object_has_charts_and_their_text(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=5, objects=["Account"], is_calm=True)
    line = re.findall(r'data-id="(\w+)"', page.get("/sfcc/").text)[0]
    html = page.get(f"/sfcc/object?id={line}").text
    assert html.count("<svg") == 3 and html.count('role="img" aria-label="') == 3
    assert len(re.findall(r'<th scope="row">', html)) == 5
    assert page.get("/sfcc/object?id=0000000000000000").status_code == 404


def test_search_filter_and_order_are_in_the_address(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=3, objects=["Account", "Case", "Contact", "Quote"])

    def names(address: str) -> list[str]:
        return re.findall(r'data-name="(\w+)"', page.get(address).text)

    assert names("/sfcc/?q=con") == ["Contact"]
    assert names("/sfcc/?show=problems") == ["Case", "Quote"]
    assert names("/sfcc/?sort=state")[:2] == ["Case", "Quote"]
    assert page.get("/sfcc/?sort=sideways").status_code == 422


def test_orgs_have_a_sentence_each_and_one_is_open(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=2, objects=["Account"], is_calm=True)
    nights(nights=2, objects=["Case"], dag_id="beta", instance="https://beta.my.salesforce.com")
    html = page.get("/sfcc/").text
    assert len(sentences(html)) == 2 and re.findall(r'data-name="(\w+)"', html) == ["Case"]  # the one that needs a look
    assert re.findall(r'data-name="(\w+)"', page.get("/sfcc/?org=acme.my.salesforce.com").text) == ["Account"]


def test_an_event_is_read_again_once_its_task_is_known_to_be_a_load(nights: Callable[..., None], page: Any) -> None:
    nights(nights=3, objects=["Account"])
    change_operator("SalesforceLoadOperator", "EmptyOperator")
    assert "No load has run in these nights." in page.get("/sfcc/").text
    change_operator("EmptyOperator", "SalesforceLoadOperator")
    assert "No load has run in these nights." not in page.get("/sfcc/").text


def test_other_readers_push_nothing_off_the_page(
    nights: Callable[..., None], page: Any, permissions: Permissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of other DAGs, whose events are newer, fill the memory of decoded events."""
    monkeypatch.setattr(stored, "MOST_EVENTS", 3)
    monkeypatch.setattr(stored, "_remembered", stored._Remembered())
    for sobject in ("Account", "Case", "Lead"):
        nights(nights=3, objects=[sobject], dag_id=f"dag_{sobject}", is_calm=True)
    for sobject in ("Lead", "Case", "Account", "Account"):
        permissions.dags = {f"dag_{sobject}"}
        assert re.findall(r'data-name="(\w+)"', page.get("/sfcc/").text) == [sobject]


def change_operator(before: str, after: str) -> None:
    with create_session() as session:
        session.execute(update(TaskInstance).where(TaskInstance.operator == before).values(operator=after))
