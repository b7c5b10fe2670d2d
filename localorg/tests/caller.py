"""A plain caller of the org for tests: `requests`, a bearer token, and the few sequences that many tests share."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer

VERSION = "67.0"
SECONDS = 20
ROWS = {"Account": 450, "Contact": 300, "Opportunity": 50, "Lead": 0, "Invoice__c": 60}
PAGE_ROWS = 60


def csv_rows(text: str) -> list[list[str]]:
    """The rows of CSV text. Python's own reader refuses NUL before Python 3.11, so another character stands in for it."""
    sign = next(each for each in map(chr, range(0xE000, 0xF900)) if each not in text)
    found = csv.reader(io.StringIO(text.replace("\0", sign), newline=""))
    return [[value.replace(sign, "\0") for value in row] for row in found]


@dataclass(frozen=True)
class Page:
    """One page of Bulk results: rows as lists of texts, header first, and the locator header."""

    rows: list[list[str]]
    locator: str
    claimed: int


class Caller:
    """Paths that begin with `/services` or `/_org` are taken as they are, others below `/services/data/v67.0`."""

    def __init__(self, server: OrgServer) -> None:
        self.server = server
        self.org: LocalOrg = server.org
        self.session = requests.Session()
        self.session.trust_env = False  # neither a proxy nor a CA bundle of this machine has a say here
        if server.ca_file is not None:
            self.session.verify = str(server.ca_file)

    def log_in(self, **changed: str | None) -> requests.Response:
        """Ask for a token with the right credentials, unless `changed` says otherwise, and use it from now on."""
        credentials = self.server.credentials
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.consumer_key,
            "client_secret": credentials.consumer_secret,
            **changed,
        }
        sent = {name: value for name, value in form.items() if value is not None}
        answer = self.session.post(f"{self.server.url}/services/oauth2/token", data=sent, timeout=SECONDS)
        if answer.status_code == 200:
            self.use(answer.json()["access_token"])
        return answer

    def use(self, token: str) -> None:
        self.session.headers["Authorization"] = f"Bearer {token}"

    def url(self, path: str) -> str:
        absolute = path == "/" or path.startswith(("/services", "/_org", "/id/", "/lightning/"))
        return self.server.url + (path if absolute else f"/services/data/v{VERSION}{path}")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url(path), timeout=SECONDS, allow_redirects=False, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.call("POST", path, **options)

    def query(self, soql: str, resource: str = "query", **options: Any) -> requests.Response:
        return self.get(f"/{resource}", params={"q": soql}, **options)

    def create_job(self, soql: str, **settings: Any) -> requests.Response:
        return self.post("/jobs/query", json={"operation": "query", "query": soql, **settings})

    def finished_job(self, soql: str, **settings: Any) -> dict[str, Any]:
        """Create a job and poll it to its end; the last poll's answer."""
        created = self.create_job(soql, **settings)
        assert created.status_code == 200, created.text
        return self.wait(created.json()["id"])

    def wait(self, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            status: dict[str, Any] = self.get(f"/jobs/query/{job_id}").json()
            if status["state"] in ("JobComplete", "Failed", "Aborted"):
                return status
            time.sleep(0.02)
        raise AssertionError(f"Job {job_id} did not finish within {SECONDS} seconds.")

    def page(self, job_id: str, **params: Any) -> Page:
        answer = self.get(f"/jobs/query/{job_id}/results", params=params)
        assert answer.status_code == 200, answer.text
        rows = csv_rows(answer.content.decode("utf-8"))
        return Page(rows, answer.headers["Sforce-Locator"], int(answer.headers["Sforce-NumberOfRecords"]))

    def pages(self, job_id: str, **params: Any) -> list[Page]:
        """All pages by following Sforce-Locator."""
        found = [self.page(job_id, **params)]
        while found[-1].locator != "null":
            found.append(self.page(job_id, locator=found[-1].locator, **params))
        return found


Serve = Callable[..., Caller]
