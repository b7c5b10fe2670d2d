"""curl through the proxy, the way a shell script would: token, query pages, describe, a Bulk job, gzip to the byte."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import API_VERSION, ForeignOrg
from tests.conformance.rows import assert_read_whole
from tests.extract.runs import csv_rows

DATA = f"/services/data/v{API_VERSION}"


class Curl:
    """curl with a token."""

    def __init__(self, foreign_org: ForeignOrg) -> None:
        self._foreign_org = foreign_org
        self._token: list[str] = []

    def text(self, path: str, *arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--max-time", "120", *self._token, *arguments]
        return self._foreign_org.run([*command, self._foreign_org.my_domain + path])

    def json(self, path: str, *arguments: str) -> Any:
        return json.loads(self.text(path, *arguments))

    def log_in(self, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.json(
            "/services/oauth2/token", "--data", "grant_type=client_credentials", *arguments
        )
        self._token = ["--oauth2-bearer", answer["access_token"]]
        return answer


@pytest.fixture
def curl(foreign_org: ForeignOrg) -> Curl:
    known = foreign_org.org.config
    curl = Curl(foreign_org)
    curl.log_in("--user", f"{known.consumer_key}:{known.consumer_secret}")
    return curl


def test_both_forms_of_credentials(foreign_org: ForeignOrg) -> None:
    known = foreign_org.org.config
    form = ("--data", f"client_id={known.consumer_key}", "--data", f"client_secret={known.consumer_secret}")

    answer = Curl(foreign_org).log_in(*form)
    assert answer["instance_url"] == foreign_org.my_domain
    assert Curl(foreign_org).log_in("--user", f"{known.consumer_key}:{known.consumer_secret}")["token_type"] == "Bearer"


def test_query_pages(foreign_org: ForeignOrg, curl: Curl) -> None:
    soql = foreign_org.task("read")["soql"]
    page = curl.json(f"{DATA}/query", "--get", "--data-urlencode", f"q={soql}", "--compressed")
    rows = list(page["records"])
    while not page["done"]:
        page = curl.json(page["nextRecordsUrl"], "--compressed")
        rows += page["records"]

    assert_read_whole(foreign_org.org, "Account", rows)


def test_bulk_job_from_start_to_end(foreign_org: ForeignOrg, curl: Curl, tmp_path: Path) -> None:
    soql = foreign_org.task("read")["soql"]
    job = curl.json(
        f"{DATA}/jobs/query", "--json", json.dumps({"operation": "query", "query": soql, "lineEnding": "CRLF"})
    )
    path = f"{DATA}/jobs/query/{job['id']}"
    deadline = time.monotonic() + 60
    while curl.json(path)["state"] != "JobComplete":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    rows: list[dict[str, str]] = []
    locator, pages = "", 0
    while locator != "null":
        body, head = tmp_path / f"{pages}.csv.gz", tmp_path / f"{pages}.txt"
        after = f"&locator={locator}" if locator else ""
        saving = ("--header", "Accept-Encoding: gzip", "--dump-header", str(head), "--output", str(body))
        curl.text(f"{path}/results?maxRecords=900{after}", *saving)
        # What is in front of the last empty line is the proxy's answer to CONNECT.
        headers = dict(line.split(": ", 1) for line in head.read_text().strip().split("\n") if ": " in line)
        names, *values = csv_rows(gzip.decompress(body.read_bytes()).decode())
        page = [dict(zip(names, row)) for row in values]
        assert len(page) == int(headers["Sforce-NumberOfRecords"])
        assert headers["Content-Encoding"] == "gzip"
        rows += page
        locator, pages = headers["Sforce-Locator"], pages + 1

    assert pages == 3
    assert_read_whole(foreign_org.org, "Account", rows)
    assert curl.text(path, "--request", "DELETE", "--write-out", "%{http_code}") == "204"


def test_a_record_by_hand(foreign_org: ForeignOrg, curl: Curl) -> None:
    record = curl.json(f"{DATA}/sobjects/Account", "--json", '{"Name": "by hand"}')
    path = f"{DATA}/sobjects/Account/{record['id']}"
    status = ("--write-out", "%{http_code}")

    assert curl.text(path, "--request", "PATCH", "--json", '{"Site": "here"}', *status) == "204"
    assert curl.json(f"{path}?fields=Name,Site")["Site"] == "here"
    assert curl.text(path, "--request", "DELETE", *status) == "204"
    assert curl.text(path, "--output", "/dev/null", *status) == "404"
