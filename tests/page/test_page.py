"""The page over HTTP: who may see it, what it says, and that nothing in it is taken for HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

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
        r"3 of 5 objects complete as of \S.*; Case failed and is \d+ h late; Quote lost 2 columns\.", sentence
    )
    assert re.findall(r'data-name="(\w+)"', html) == ["Account", "Asset", "Case", "Contact", "Quote"]
    assert html.count('<td class="complete">') > 200
    assert 'class="failed">F' in html and 'class="schema">S' in html


def test_a_calm_night_is_all_complete(page: Any, nights: Callable[..., None]) -> None:
    nights(nights=1, objects=3, is_calm=True)
    (sentence,) = sentences(page.get("/sfcc/").text)
    assert sentence.startswith("All 3 objects complete as of ")


def test_a_newcomer_reads_what_to_do_first(page: Any) -> None:
    html = page.get("/sfcc/").text
    assert "Nothing from Salesforce has landed yet" in html and "SalesforceExtractOperator" in html
    assert 'href="/connections"' in html


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
