"""A second server counts what reaches it: nothing may, however an answer points there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airflow_sfcc.errors import UntrustedHostError
from tests.conftest import RunningOrg
from tests.extract.runs import extract


class Elsewhere:
    """A server that answers everything with 200 and keeps what it was sent."""

    def __init__(self) -> None:
        seen: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(f"{self.command} {self.path} {self.headers}")
                self.send_response(200)
                self.end_headers()

            do_POST = do_PATCH = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.seen = seen
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    yield server
    server.close()


def nothing_landed(destination: Path) -> bool:
    return not [path for path in destination.rglob("*") if path.is_file()]


@pytest.mark.parametrize("route", ["token", "describe", "query", "versions"])
def test_redirects_are_not_followed(org: RunningOrg, elsewhere: Elsewhere, tmp_path: Path, route: str) -> None:
    org.fail(route, redirect_to=f"{elsewhere.url}/services/data")
    with pytest.raises(UntrustedHostError, match="never followed"):
        extract(org, tmp_path, sobject="Contact", api="rest")
    assert elsewhere.seen == [] and nothing_landed(tmp_path)


@pytest.mark.parametrize(
    "link", ["{url}/services/data/v68.0/query/0r8-2000", "//{host}/services/data/x", "http://localhost:1/x"]
)
def test_next_records_elsewhere(org: RunningOrg, elsewhere: Elsewhere, tmp_path: Path, link: str) -> None:
    link = link.format(url=elsewhere.url, host=elsewhere.url.removeprefix("http://"))
    org.fail("query", path="LastName", set_json={"/nextRecordsUrl": link, "/done": False})
    with pytest.raises(UntrustedHostError, match="nothing was landed"):
        extract(org, tmp_path, sobject="Contact", api="rest")
    assert elsewhere.seen == [] and nothing_landed(tmp_path)


@pytest.mark.parametrize("shape", ["documented", "observed"])
def test_result_links_elsewhere(org: RunningOrg, elsewhere: Elsewhere, tmp_path: Path, shape: str) -> None:
    link = f"{elsewhere.url}/services/data/v68.0/jobs/query/x/results"
    body = {"documented": {"resultPages": [{"resultUrl": link}]}, "observed": {"resultChunks": [{"resultLink": link}]}}[
        shape
    ]
    org.fail("job_result_pages", status=200, body={**body, "done": True})
    with pytest.raises(UntrustedHostError, match="nothing was landed"):
        extract(org, tmp_path, sobject="Contact", api="bulk")
    assert elsewhere.seen == [] and nothing_landed(tmp_path)


def test_a_listing_that_continues_elsewhere(org: RunningOrg, elsewhere: Elsewhere, tmp_path: Path) -> None:
    org.fail("job_result_pages", set_json={"/nextRecordsUrl": f"{elsewhere.url}/x", "/done": False})
    with pytest.raises(UntrustedHostError, match="nothing was landed"):
        extract(org, tmp_path, sobject="Contact", api="bulk")
    assert elsewhere.seen == [] and nothing_landed(tmp_path)


def test_a_result_page_that_redirects(org: RunningOrg, elsewhere: Elsewhere, tmp_path: Path) -> None:
    org.fail("job_results", redirect_to=elsewhere.url)
    with pytest.raises(UntrustedHostError, match="never followed"):
        extract(org, tmp_path, sobject="Contact", api="bulk")
    assert elsewhere.seen == [] and nothing_landed(tmp_path)


def test_a_signed_session_refuses_other_hosts(org: RunningOrg, elsewhere: Elsewhere) -> None:
    with pytest.raises(UntrustedHostError):
        org.client().session.get(f"{elsewhere.url}/services/data")
    assert elsewhere.seen == []
