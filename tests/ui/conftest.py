"""`make up` on folders of its own, and a headless Chromium that is signed in to its Airflow.

Both carry the mark of the test's folder, so that a watchdog ends them whatever ends pytest (dev/processes.py).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.paths import ROOT
from dev.ports import free_port
from dev.processes import MARK, ProcessGroup, tail
from tests.ui.airflow_ui import AirflowUi
from tests.ui.stack import Stack

SCREENSHOTS = Path(__file__).parent / "screenshots"
START_SECONDS = 300.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One test's clicks build on those of the test before it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="session")
def processes(home: Path) -> Iterator[ProcessGroup]:
    group = ProcessGroup(home, home / "logs")
    yield group
    group.end(grace=30.0)


@pytest.fixture(scope="session")
def stack(home: Path, processes: ProcessGroup) -> Stack:
    """The ready file of `make up`; `UI_STACK` names the ready file of one that runs already."""
    if running := os.environ.get("UI_STACK"):
        return Stack(home=Path(running).parent, **json.loads(Path(running).read_text()))
    ready = home / "ready.json"
    command = [sys.executable, "-m", "dev.up", "--home", str(home), "--ready-file", str(ready)]
    command += ["--airflow-port", str(free_port()), "--org-port", str(free_port())]
    processes.start("up", command, {**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        processes.raise_if_any_ended()
        assert time.monotonic() < deadline, tail(processes.log_file("up"))
        time.sleep(0.5)
    return Stack(home=home, **json.loads(ready.read_text()))


@pytest.fixture(scope="session")
def har(home: Path) -> Path:
    """Every request and response of the browser, written when it closes."""
    return home / "browser.har"


@pytest.fixture(scope="session")
def browser(processes: ProcessGroup) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    environment: dict[str, Any] = {**os.environ, MARK: str(processes.home)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
            env=environment,
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser_context(browser: Any, har: Path) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": 1440, "height": 1000},
        locale="en-US",
        record_har_path=har,
        record_har_content="embed",
    )
    yield context
    context.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder for pictures, without those of an earlier run."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir()
    return SCREENSHOTS


@pytest.fixture(scope="session")
def ui(stack: Stack, browser_context: Any, screenshots: Path) -> AirflowUi:
    """Airflow's UI, signed in."""
    ui = AirflowUi(browser_context.new_page(), stack.url, screenshots)
    ui.sign_in(stack.username, stack.password)
    return ui


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test leaves a picture of what the browser showed."""
    report = yield
    ui = getattr(item, "funcargs", {}).get("ui")
    if report.when == "call" and report.failed and isinstance(ui, AirflowUi):
        ui.picture(f"failed-{item.name}")
    return report
