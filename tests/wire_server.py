"""A throw-away server that answers with the texts a test gives it, in the shapes of the documents' examples.

It knows nothing of SOQL or of rows: `pages` are the bodies of Bulk result pages, `records` are the JSON texts of REST
records, `fields` the describe. What it sends is written by the test, byte for byte.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.transport import TransportOptions

SOBJECT = "Thing__c"
JOB_ID = "750R0000000zxr8IAA"
VERSION = "67.0"


@dataclass
class Wire:
    """What is answered. `pages` are pairs of a CSV body and its number of records; `requests` what was asked.

    `job_version` is the job's apiVersion (None: not told), `counts` whether numbers of rows are told, `listed` whether
    there is a list of result pages. `early_count` is the number of rows that the job tells when it is first seen complete,
    `failure` why it failed. `packing` is the Content-Encoding of packed pages.

    `total_size` is told of a query instead of the number of its records, `cut_short` leaves its second page out. Not
    `framed`, an answer ends with its connection, and that many pages of records are `torn` then. `pack` makes gzip data of
    them. A server that `breaks_down` has no second page of them; with `answers_after`, it answers nothing for that page until
    this is set. `text` is the answer to any query, whatever it is. In both, `\\udc80` to `\\udcff` stand for single bytes.
    `texts` are the answers to one query request after another. `endless_pages` makes the page of any index, and `total_rows` is
    told of the job then. `page_headers` replaces headers of pages, `raw_job_keys` is JSON that is put into a complete job.
    `kind` is the Content-Type of JSON, `job_keys` replaces keys of the job. Result pages are answered when as many are asked
    for as `side_by_side` waits for.
    """

    url: str = ""
    fields: Sequence[dict[str, Any]] = ()
    pages: Sequence[tuple[bytes, int]] = ()
    packed: bool = True
    packing: str = "gzip"
    early_count: int | None = None
    failure: str | None = None
    job_version: float | str | None = float(VERSION)
    counts: bool = True
    listed: bool = True
    records: Sequence[str] = ()
    batch: int = 2000
    total_size: int | None = None
    cut_short: bool = False
    framed: bool = True
    torn: int = 0
    pack: Callable[[bytes], bytes] | None = None
    breaks_down: bool = False
    answers_after: threading.Event | None = None
    side_by_side: threading.Barrier | None = None
    text: str | None = None
    texts: Iterator[str] | None = None
    endless_pages: Callable[[int], tuple[bytes, int]] | None = None
    total_rows: int | None = None
    page_headers: Mapping[str, str] = field(default_factory=dict)
    raw_job_keys: str = ""
    kind: str = "application/json;charset=UTF-8"
    job_keys: Mapping[str, Any] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def client(self) -> SalesforceClient:
        transport = TransportOptions(request_timeout=60, max_retries=2)
        return connect(self.url, "key", "secret", api_version=VERSION, transport=transport)


def described(name: str, kind: str, **more: Any) -> dict[str, Any]:
    """A field as describe shows it, as far as an extract looks at it."""
    return {"name": name, "type": kind, "nillable": True, "relationshipName": None, "referenceTo": [], **more}


@contextmanager
def wire() -> Iterator[Wire]:
    """Serve on a free port of the loopback interface."""
    said = Wire()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(said))
    said.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(said: Wire) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        wire = said

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: Wire

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(urlsplit(self.path).path, {}, body)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._answer(parts.path, parse_qs(parts.query), b"")

    def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        self.wire.requests.append(f"{self.command} {self.path}")
        data = f"/services/data/v{VERSION}"
        if path == "/services/oauth2/token":
            self._json({"access_token": "00D!token", "instance_url": self.wire.url, "issued_at": "1735689600000"})
        elif path == f"{data}/sobjects/{SOBJECT}/describe":
            self._json({"name": SOBJECT, "queryable": True, "fields": list(self.wire.fields)})
        elif path == f"{data}/jobs/query" and body:
            self._json(self._job("UploadComplete"))
        elif path == f"{data}/jobs/query/{JOB_ID}":
            text = json.dumps(self._job_now(), ensure_ascii=False)
            if self.wire.raw_job_keys:
                text = f"{text[:-1]},{self.wire.raw_job_keys}}}"
            self._send(text.encode(), self.wire.kind, {})
        elif path == f"{data}/jobs/query/{JOB_ID}/resultPages" and self.wire.listed and self.wire.endless_pages:
            first = int(query.get("locator", ["0"])[0])
            links = [f"{data}/jobs/query/{JOB_ID}/results?locator={index}" for index in range(first, first + 5)]
            following = f"{data}/jobs/query/{JOB_ID}/resultPages?locator={first + 5}"
            listing = {
                "resultPages": [{"resultUrl": link} for link in links],
                "nextRecordsUrl": following,
                "done": False,
            }
            self._json(listing)
        elif path == f"{data}/jobs/query/{JOB_ID}/resultPages" and self.wire.listed:
            links = [f"{data}/jobs/query/{JOB_ID}/results?locator={index}" for index in range(len(self.wire.pages))]
            self._json({"resultPages": [{"resultUrl": link} for link in links], "done": True})
        elif path == f"{data}/jobs/query/{JOB_ID}/results":
            self._page(int(query.get("locator", ["0"])[0]))
        elif self.wire.texts is not None and path.startswith(f"{data}/query"):
            self._send(next(self.wire.texts).encode(), self.wire.kind, {})
        elif self.wire.text is not None and path.startswith((f"{data}/query", f"{data}/composite/batch")):
            self._send(self.wire.text.encode(errors="surrogateescape"), self.wire.kind, {})
        elif path.startswith(f"{data}/query"):
            self._records(int(path.rpartition("-")[2]) if "-" in path else 0)
        else:
            self.send_error(404)

    def _job(self, state: str) -> dict[str, Any]:
        version = {"apiVersion": self.wire.job_version} if self.wire.job_version is not None else {}
        return {
            "id": JOB_ID,
            "operation": "query",
            "object": SOBJECT,
            "createdDate": "2018-12-17T21:00:17.000+0000",
            "state": state,
            **version,
            **self.wire.job_keys,
        }

    def _job_now(self) -> dict[str, Any]:
        if self.wire.failure is not None:
            return {**self._job("Failed"), "errorMessage": self.wire.failure}
        rows = sum(rows for _, rows in self.wire.pages) if self.wire.total_rows is None else self.wire.total_rows
        if self.wire.early_count is not None:
            rows, self.wire.early_count = self.wire.early_count, None
        return {**self._job("JobComplete"), **({"numberRecordsProcessed": rows} if self.wire.counts else {})}

    def _page(self, index: int) -> None:
        if self.wire.side_by_side:
            self.wire.side_by_side.wait()
        body, rows = self.wire.endless_pages(index) if self.wire.endless_pages else self.wire.pages[index]
        is_last = index + 1 == len(self.wire.pages)
        more = {"Sforce-Locator": "null" if self.wire.listed or is_last else str(index + 1)}
        if self.wire.counts:
            more["Sforce-NumberOfRecords"] = str(rows)
        if self.wire.packed:
            body = gzip.compress(body, 1)
            more["Content-Encoding"] = self.wire.packing
        self._send(body, "text/csv; charset=UTF-8", {**more, **self.wire.page_headers})

    def _records(self, first: int) -> None:
        """Written as text, so that every digit of a number is the test's."""
        last = first + self.wire.batch
        done = last >= len(self.wire.records)
        is_end = done or self.wire.cut_short
        link = "" if is_end else f'"nextRecordsUrl":"/services/data/v{VERSION}/query/0r8RO0000016PIAYA2-{last}",'
        records = ",".join(self.wire.records[first:last])
        total_size = len(self.wire.records) if self.wire.total_size is None else self.wire.total_size
        text = f'{{"totalSize":{total_size},"done":{json.dumps(done)},{link}"records":[{records}]}}'
        body, packing = text.encode(errors="surrogateescape"), {}
        if self.wire.pack:
            body, packing = self.wire.pack(body), {"Content-Encoding": self.wire.packing}
        if self.wire.torn and first:
            self.wire.torn -= 1
            body = body[: len(body) // 2]
        if self.wire.answers_after and first:
            self.wire.answers_after.wait()
        if self.wire.breaks_down and first:
            self.send_error(503)
            return
        self._send(body, self.wire.kind, packing)

    def _json(self, payload: Any) -> None:
        self._send(json.dumps(payload, ensure_ascii=False).encode(), self.wire.kind, {})

    def _send(self, body: bytes, kind: str, more: dict[str, str]) -> None:
        self.send_response(200)
        self.close_connection = not self.wire.framed
        framing = {"Content-Length": str(len(body))} if self.wire.framed else {"Connection": "close"}
        for name, value in {"Content-Type": kind, **framing, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
