"""Airflow's UI as a person uses it: found by the words it shows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

WAIT = 30_000
"""Milliseconds a person would wait for a page on a busy machine."""


class AirflowUi:
    """One browser page, signed in.

    :param page: a page of Playwright.
    :param screenshots: where the pictures go, numbered in their order.
    """

    def __init__(self, page: Any, url: str, screenshots: Path) -> None:
        self.page = page
        self.url = url
        self._screenshots = screenshots
        self._taken = 0
        page.set_default_timeout(WAIT)

    def sign_in(self, username: str, password: str) -> None:
        self.page.goto(self.url)
        self.page.get_by_label("Username").fill(username)
        self.page.locator("input[type=password]").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/auth/" not in url)

    def picture(self, name: str) -> None:
        """Keep what the page shows, messages that still slide in at their place."""
        self._taken += 1
        self.page.screenshot(path=self._screenshots / f"{self._taken:02}-{name}.png", animations="disabled")

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def open_task(self, dag_id: str, run_id: str, task_id: str, *, map_index: int, tab: str = "") -> None:
        self.open(f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/{task_id}/mapped/{map_index}{tab}")

    def shows(self, text: str | re.Pattern[str], *, timeout: int = WAIT) -> None:
        """Wait until the text can be seen; a person's eyes skip what is hidden."""
        self.page.get_by_text(text).filter(visible=True).first.wait_for(timeout=timeout)

    def text(self) -> str:
        """All that can be read on the page, values of fields too."""
        values = self.page.locator("input, textarea").evaluate_all("fields => fields.map(field => field.value)")
        return "\n".join([self.page.locator("body").inner_text(), *values])

    def until(self, holds: Callable[[], bool], *, seconds: float = 240.0) -> None:
        """Wait for something that the page does not show; the browser goes on meanwhile."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not happen in time"
            self.page.wait_for_timeout(500)

    def save(self) -> None:
        self.page.get_by_role("button", name="Save", exact=True).click()

    def unpause(self, dag_id: str) -> None:
        self.open(f"/dags/{dag_id}")
        self.page.get_by_role("heading", name=dag_id).first.wait_for()
        switch = self.page.locator("label:has(input[type=checkbox])").first
        if not self.page.locator("input[type=checkbox]").first.is_checked():
            with self.page.expect_response(lambda response: response.request.method == "PATCH"):
                switch.click()

    def unfold(self) -> None:
        """Open the first piece of JSON that the page shows as three dots."""
        self.page.locator(".codicon-folding-collapsed").first.click(force=True)
