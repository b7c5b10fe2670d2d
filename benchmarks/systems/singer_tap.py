"""Singer's tap-salesforce over REST: its sync after login and discovery, its messages written to a file.

Its Bulk mode speaks Bulk API 1.0, in which there are no result pages.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import Task, main
from tap_salesforce import do_discover, do_sync
from tap_salesforce.salesforce import Salesforce


class Tap(Salesforce):
    """The tap's client, logged in already; it knows no LIMIT, so its query gets one."""

    def __init__(self, task: Task) -> None:
        super().__init__(api_type="REST", default_start_date="1970-01-01T00:00:00Z")
        self.access_token, self.instance_url = task["token"], task["url"]
        self._rows = task["rows"]

    def _build_query_string(self, *arguments: Any, **options: Any) -> str:
        return f"{super()._build_query_string(*arguments, **options)} LIMIT {self._rows}"


def prepare(task: Task) -> Callable[[], int]:
    logging.disable(logging.INFO)
    tap = Tap(task)
    catalog = discover(tap, list(task["types"]))
    for _ in tap.query(catalog["streams"][0], {}):
        pass  # so that the org keeps this query's responses
    target = Path(task["folder"]) / "messages.jsonl"

    def work() -> int:
        with target.open("w") as file, contextlib.redirect_stdout(file):
            do_sync(tap, catalog, {})
        with target.open("rb") as file:
            return sum(line.startswith(b'{"type": "RECORD"') for line in file)

    return work


def discover(tap: Tap, columns: list[str]) -> dict[str, Any]:
    """The tap's catalog, with these columns of Account selected."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        do_discover(tap)
    (stream,) = [each for each in json.loads(said.getvalue())["streams"] if each["stream"] == "Account"]
    for entry in stream["metadata"]:
        chosen = not entry["breadcrumb"] or entry["breadcrumb"][-1] in columns
        entry["metadata"]["selected"] = chosen
        if not chosen and entry["metadata"].get("inclusion") == "automatic":
            raise ValueError(f"The tap reads {entry['breadcrumb'][-1]} always; the other systems must read it too.")
    return {"streams": [stream]}


main(prepare)
