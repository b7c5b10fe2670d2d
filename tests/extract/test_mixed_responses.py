"""A page's response is that of the page that was requested, or the page is requested again, or nothing lands."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from salesforce_localorg.result_pages import encode_locator
from upath import UPath

from airflow_sfcc.errors import IncompleteResultError, RowCountError
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import KEY, SECRET, RunningOrg
from tests.extract.mixing_proxy import Answer, MixingProxy, mixing_proxy, once
from tests.extract.runs import extract, read_rows, run_identity, wait_for_job
from tests.storages import files_below

FIELDS = ["Id", "Name"]


def client_of(proxy: MixingProxy) -> SalesforceClient:
    return connect(proxy.url, KEY, SECRET, transport=TransportOptions(request_timeout=20, max_retries=2))


def contacts(org: RunningOrg) -> set[str]:
    return {record["Id"] for record in org.client().query("SELECT Id FROM Contact")}


def landed_ids(proxy: MixingProxy, root: UPath, **request: Any) -> list[str]:
    manifest = extract(
        RunningProxy(proxy), root, sobject="Contact", api="bulk", **{"fields": FIELDS, "page_size": 200, **request}
    )
    return [row[next(iter(row))] for row in read_rows(root / f"extract={manifest['extract_id']}", manifest)]


class RunningProxy:
    def __init__(self, proxy: MixingProxy) -> None:
        self._proxy = proxy

    def client(self) -> SalesforceClient:
        return client_of(self._proxy)


def is_page(target: str) -> bool:
    return "/results?" in target


def another_page(proxy: MixingProxy, target: str) -> Answer | None:
    """A cache that has another page of the job under this key."""
    pages = [page for page in proxy.pages() if page.target != target]
    return pages[-1] if pages and is_page(target) and once(proxy, target) else None


def the_one_before(proxy: MixingProxy, target: str) -> Answer | None:
    """A connection that is one response behind."""
    with proxy.lock:
        before = proxy.answers[-1] if proxy.answers else None
    return before if before and before.status == 200 and is_page(target) and once(proxy, target) else None


def every_second_twice(proxy: MixingProxy, target: str) -> Answer | None:
    """Every second page's response is the one that came before it; where pages come in pairs, the fifth's is."""
    pages = proxy.pages()
    is_due = len(pages) % 2 or (len(pages) >= 4 and not proxy.mixed)
    return pages[-1] if is_page(target) and is_due and once(proxy, target) else None


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
@pytest.mark.parametrize("shape", ["documented", "observed", "absent"])
@pytest.mark.parametrize("mix", [another_page, the_one_before, every_second_twice])
def test_a_page_whose_response_is_another_ones_is_requested_again(
    start_org: Callable[..., RunningOrg],
    root: UPath,
    mix: Callable[[MixingProxy, str], Answer | None],
    shape: str,
    file_format: str,
) -> None:
    org = start_org(result_pages_shape=shape, result_page_rows=200)
    with mixing_proxy(org.url, mix) as proxy:
        ids = landed_ids(proxy, root, file_format=file_format)
        assert proxy.mixed
    assert len(ids) == len(set(ids)) and set(ids) == contacts(org)


def always_another(victim: int) -> Callable[[MixingProxy, str], Answer | None]:
    """For the page of this index, always the response of another page."""
    locator = encode_locator(victim * 200)

    def mix(proxy: MixingProxy, target: str) -> Answer | None:
        if not target.endswith(f"locator={locator}"):
            return None
        while not proxy.pages():
            time.sleep(0.01)
        return proxy.pages()[0]

    return mix


@pytest.mark.parametrize("columns", [FIELDS, ["Name"]])
@pytest.mark.parametrize("victim", [0, 1, 4])
def test_a_page_that_is_never_answered_with_its_own_response_lands_nothing(
    start_org: Callable[..., RunningOrg], root: UPath, victim: int, columns: list[str]
) -> None:
    """With Ids and without."""
    org = start_org(result_page_rows=200)
    with mixing_proxy(org.url, always_another(victim)) as proxy:
        with pytest.raises(IncompleteResultError, match=rf"Result page {victim} .*mixes up responses"):
            landed_ids(proxy, root, fields=columns)
        assert proxy.mixed
    assert files_below(root) == {}


def test_a_page_that_comes_twice_is_noticed_by_its_ids_where_locators_tell_nothing(
    start_org: Callable[..., RunningOrg], root: UPath
) -> None:
    org = start_org(result_page_rows=200)
    with mixing_proxy(org.url, another_page) as proxy:
        proxy.without_locators = True
        ids = landed_ids(proxy, root)
        assert proxy.mixed and len(ids) == len(set(ids)) and set(ids) == contacts(org)


@pytest.mark.parametrize("victim", [0, 1, 4])
def test_a_page_that_always_comes_twice_lands_nothing_even_where_locators_tell_nothing(
    start_org: Callable[..., RunningOrg], root: UPath, victim: int
) -> None:
    org = start_org(result_page_rows=200)
    with mixing_proxy(org.url, always_another(victim)) as proxy:
        proxy.without_locators = True
        with pytest.raises(
            RowCountError, match=r"has the record 003\w{15}, which another page had already|reported to hold"
        ):
            landed_ids(proxy, root)
        assert proxy.mixed
    assert files_below(root) == {}


@pytest.mark.parametrize("columns", [FIELDS, ["IsDeleted"]])
def test_pages_without_locators_or_with_equal_text_are_no_mistake(
    start_org: Callable[..., RunningOrg], root: UPath, columns: list[str]
) -> None:
    """An org that does not tie its listed pages to one another; and rows that are all alike."""
    org = start_org(result_page_rows=30)
    with mixing_proxy(org.url, lambda *_: None) as proxy:
        proxy.without_locators = True
        assert len(landed_ids(proxy, root, fields=columns)) == len(contacts(org))


def test_the_workers_of_a_split_extract_notice_it_too(start_org: Callable[..., RunningOrg], root: UPath) -> None:
    org = start_org(result_page_rows=200)
    with mixing_proxy(org.url, every_second_twice) as proxy:
        client = client_of(proxy)
        plan = make_plan(client, Request(sobject="Contact", api="bulk", fields=FIELDS), run_identity())
        extraction = Extraction(client, root, plan)
        extraction.start()
        wait_for_job(extraction)
        extraction.stage_plan()
        pages = extraction.pages()
        shares = [pages[::2], pages[1::2]]
        job_id = str(extraction.plan.job_id)
        workers = [Extraction.share(client_of(proxy), root, plan.extract_id, job_id) for _ in shares]
        landed = [worker.land_pages(share) for worker, share in zip(workers, shares)]
        result = extraction.commit(list(itertools.chain(*landed)))
        assert proxy.mixed
    assert result["rows"] == len(contacts(org))
