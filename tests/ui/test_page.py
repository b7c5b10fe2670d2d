"""The page "Salesforce" in a real browser: nobody's nights, one, and sixty of 200 objects, light and dark.

Its Airflow is an API server alone, over a database with made-up nights (dev/page_nights.py).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.local_airflow import LocalAirflow
from dev.paths import ROOT
from tests.ui.conftest import SCREENSHOTS

pytestmark = pytest.mark.ui

WAIT = 60_000


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, screenshots: Path) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("page")
    (home / "dags").mkdir()
    # scheduled: or else the policy of the tests' Airflow takes the schedule away from the DAG
    with LocalAirflow(home / "airflow", home / "dags", components=("api-server",), scheduled=True) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def nights(airflow: LocalAirflow) -> Callable[[int], None]:
    """Replaces what is in the database by so many nights of 200 objects."""

    def make(number: int) -> None:
        command = [sys.executable, "-m", "dev.page_nights", "--clear", "--nights", str(number)]
        subprocess.run(command, env={**airflow.env, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)

    return make


@pytest.fixture(scope="module")
def look(airflow: LocalAirflow, browser: Any) -> Callable[[str], Any]:
    """A signed-in browser page in a colour scheme, `light` or `dark`; the same one each time."""
    pages: dict[str, Any] = {}

    def page(scheme: str) -> Any:
        if scheme not in pages:
            context = browser.new_context(
                viewport={"width": 1440, "height": 900}, color_scheme=scheme, locale="en-US", device_scale_factor=1
            )
            found = pages[scheme] = context.new_page()
            found.set_default_timeout(WAIT)
            found.goto(airflow.url)
            found.get_by_label("Username").fill(airflow.username)
            found.locator("input[type=password]").fill(airflow.password)
            found.get_by_role("button", name="Sign in").click()
            found.wait_for_url(lambda url: "/auth/" not in url)
        return pages[scheme]

    return page


def picture(page: Any, name: str) -> None:
    page.screenshot(path=SCREENSHOTS / f"page-{name}.png", animations="disabled")


def first_paint(page: Any) -> float:
    """Milliseconds from the first byte of the page to its first paint."""
    script = """() => performance.getEntriesByType('paint')[0].startTime
                    - performance.getEntriesByType('navigation')[0].responseStart"""
    return float(page.evaluate(script))


SCHEMES = ("light", "dark")


def test_nothing_yet_and_what_to_do_first(
    airflow: LocalAirflow, nights: Callable[[int], None], look: Callable[[str], Any]
) -> None:
    nights(0)
    for scheme in SCHEMES:
        page = look(scheme)
        page.goto(f"{airflow.url}/sfcc/")
        page.get_by_role("heading", name="Nothing from Salesforce has landed yet").wait_for()
        picture(page, f"0-nights-{scheme}")


def test_one_night(airflow: LocalAirflow, nights: Callable[[int], None], look: Callable[[str], Any]) -> None:
    nights(1)
    for scheme in SCHEMES:
        page = look(scheme)
        page.goto(f"{airflow.url}/sfcc/")
        page.get_by_text(re.compile("of 200 objects complete as of")).wait_for()
        picture(page, f"1-night-{scheme}")


def test_sixty_nights(airflow: LocalAirflow, nights: Callable[[int], None], look: Callable[[str], Any]) -> None:
    nights(60)
    for scheme in SCHEMES:
        page = look(scheme)
        hosts: set[str] = set()
        page.on("request", lambda request, hosts=hosts: hosts.add(request.url.split("/")[2]))
        page.goto(f"{airflow.url}/sfcc/")
        page.get_by_text(
            re.compile("198 of 200 objects complete as of .*Case failed and is .* late; Quote lost 2")
        ).wait_for()
        assert page.locator("#grid tbody tr").count() == 200
        assert page.locator("#grid td.not-run").count() == 200  # the night in which the scheduler was down
        picture(page, f"60-nights-{scheme}")
        (SCREENSHOTS / f"page-first-paint-{scheme}.txt").write_text(f"{first_paint(page):.0f} ms\n")
        assert hosts == {airflow.url.split("/")[2]}


def test_a_cell_opens_and_its_address_leads_back(airflow: LocalAirflow, look: Callable[[str], Any]) -> None:
    for scheme in SCHEMES:
        page = look(scheme)
        page.goto(f"{airflow.url}/sfcc/")
        page.locator("tr[data-name=Case] td.failed").last.click()
        page.locator("dialog[open]").get_by_text("Index the fields of the condition").wait_for()
        picture(page, f"night-{scheme}")
    address = page.url
    assert "#id=" in address
    page.goto("about:blank")
    page.goto(address)
    page.locator("dialog[open]").get_by_text("Index the fields of the condition").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog:not([open])").wait_for(state="attached")


def test_the_keyboard_moves_through_the_grid(airflow: LocalAirflow, look: Callable[[str], Any]) -> None:
    page = look("light")
    page.goto(f"{airflow.url}/sfcc/")
    page.locator("#grid").focus()
    for key in ("ArrowLeft", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    assert re.fullmatch(r"AccountContactRelation, \d{4}-\d\d-\d\d: complete", page.locator("#status").inner_text())
    page.keyboard.press("Enter")
    page.locator("dialog[open]").get_by_text("AccountContactRelation,").wait_for()
    page.keyboard.press("Escape")


def test_searching_filtering_and_sorting(airflow: LocalAirflow, look: Callable[[str], Any]) -> None:
    page = look("light")
    page.goto(f"{airflow.url}/sfcc/")
    page.get_by_label("Find an object").fill("quote")
    assert page.locator("#grid tbody tr:visible").count() == 2 and "q=quote" in page.url
    page.get_by_label("Which objects").select_option("problems")
    page.wait_for_url(re.compile("show=problems"))
    assert page.locator("#grid tbody tr:visible").count() == 1
    page.goto(f"{airflow.url}/sfcc/?sort=state")
    assert page.locator("#grid tbody tr").first.get_attribute("data-name") == "Case"


def test_an_object_with_its_charts(airflow: LocalAirflow, look: Callable[[str], Any]) -> None:
    for scheme in SCHEMES:
        page = look(scheme)
        page.goto(f"{airflow.url}/sfcc/")
        page.locator("tr[data-name=Contract] th a").click()
        page.get_by_role("heading", name=re.compile("Contract")).wait_for()
        assert page.locator("svg.chart").count() == 3
        picture(page, f"object-{scheme}")


def test_within_airflow_it_follows_its_theme_and_links_lead_out(
    airflow: LocalAirflow, look: Callable[[str], Any]
) -> None:
    page = look("dark")
    page.goto(airflow.url)
    page.get_by_role("region", name="Salesforce").get_by_text(re.compile("198 of 200")).wait_for()
    picture(page, "dashboard-card")
    page.get_by_role("link", name="Salesforce", exact=True).first.click()
    frame = page.frame_locator("iframe")
    frame.get_by_text(re.compile("198 of 200 objects complete")).wait_for()
    picture(page, "within-airflow")
    frame.locator("tr[data-name=Case] td.failed").last.click()
    frame.locator("dialog").get_by_role("link", name=re.compile("^scheduled__")).click()
    page.wait_for_url(re.compile("/dags/crm_nightly/runs/scheduled__"))
