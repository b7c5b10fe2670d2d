"""The local org that every system reads from, in a process of its own.

Result pages are written once and kept: a job whose query was exported before gets the pages that lie on disk. Responses
to REST queries are kept in memory. So no run waits for, or shares the machine with, the org's own work. Started as
`python -m benchmarks.org`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from salesforce_localorg import server as org_server
from salesforce_localorg.clock import Clock
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import CsvExport, CsvPage, Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer
from salesforce_localorg.wire import Gateway
from starlette.types import Message, Receive, Scope, Send

from benchmarks.workload import CONSUMER_KEY, CONSUMER_SECRET, PAGE_ROWS


class KeptExports(Records):
    """Records whose Bulk exports are kept in a folder."""

    exports: Path

    def export_csv(self, soql: str, *, directory: Path, **options: Any) -> CsvExport:
        key = hashlib.sha256(json.dumps([soql, repr(sorted(options.items(), key=str))]).encode()).hexdigest()[:16]
        kept = self.exports / key
        index = kept / "export.json"
        if not index.exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            export = super().export_csv(soql, directory=kept, **options)
            index.write_text(json.dumps(_to_json(export)))
        return _from_json(json.loads(index.read_text()), kept)


class KeptResponses(Gateway):
    """The org's application; a query page that was requested before gets the same bytes."""

    def __init__(self, org: LocalOrg) -> None:
        super().__init__(org)
        self._responses: dict[tuple[Any, ...], list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gzip = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
        # Clients spell the same query differently in the URI.
        key = (scope["path"].rstrip("/"), unquote_plus(scope["query_string"].decode()), gzip)
        if not re.search(r"/query(All)?(/|$)", scope["path"]) or "/jobs/" in scope["path"]:
            await super().__call__(scope, receive, send)
            return
        if key not in self._responses:
            messages: list[Message] = []

            async def keep(message: Message) -> None:
                messages.append(message)

            await super().__call__(scope, receive, keep)
            self._responses[key] = messages
        for message in self._responses[key]:
            await send(message)


def _to_json(export: CsvExport) -> dict[str, Any]:
    pages = [[page.path.name, page.rows, page.plain_bytes, page.gzip_bytes] for page in export.pages]
    return {"sobject": export.sobject, "rows": export.rows, "pages": pages, "header": export.header}


def _from_json(data: dict[str, Any], folder: Path) -> CsvExport:
    pages = tuple(CsvPage(folder / name, *numbers) for name, *numbers in data["pages"])
    return CsvExport(data["sobject"], data["rows"], pages, tuple(data["header"]))


def serve(folder: Path, rows: dict[str, int], page_rows: int, ready_file: Path) -> None:
    """Serve an org with these rows until the process is ended; `ready_file` gets its URL."""
    clock = Clock()
    schema = Schema.standard()
    KeptExports.exports = folder / "exports"
    records = KeptExports.open(schema, clock=clock, path=folder / "rows.duckdb")
    config = OrgConfig(
        counts=rows,
        consumer_key=CONSUMER_KEY,
        consumer_secret=CONSUMER_SECRET,
        result_page_rows=page_rows,
        daily_api_requests=10_000_000,
    )
    org_server.Gateway = KeptResponses  # type: ignore[attr-defined]
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        with LocalOrg(config, schema=schema, clock=clock, records=records) as org:
            if not (folder / "generated").exists():
                records.generate(rows, seed=config.seed)
                (folder / "generated").touch()
            with OrgServer(org) as server:
                _announce(ready_file, {"url": server.url})
                ended.wait()
    finally:
        records.close()


def _announce(ready_file: Path, data: dict[str, Any]) -> None:
    unfinished = ready_file.with_suffix(".part")
    unfinished.write_text(json.dumps(data))
    unfinished.replace(ready_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=json.loads, required=True, help="object -> number of records, as JSON")
    parser.add_argument("--page-rows", type=int, default=PAGE_ROWS)
    parser.add_argument("--ready-file", type=Path, required=True)
    options = parser.parse_args()
    serve(options.folder, options.rows, options.page_rows, options.ready_file)


if __name__ == "__main__":
    main()
