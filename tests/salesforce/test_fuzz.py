"""Whatever a server sends, and whatever a connection says: data, or an error of ours, and never a hang.

`FUZZ_EXAMPLES` is the number of examples of each test (`make fuzz`); 60 without it.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_sfcc import redaction
from airflow_sfcc._airflow.connection import EXTRAS, client_for
from airflow_sfcc.errors import SfccError
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.bulk import BulkJob, next_locator, reported_rows
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import KEY, SECRET
from tests.raw_server import raw_server

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def forgotten_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are made up here, host names among them; the messages of other tests are to be whole."""
    monkeypatch.setattr(redaction, "_forms", redaction._forms.copy())


JOB = "750R0000000zxr8IAA"
TOKEN = {"access_token": "00D!token", "id": "https://x/id/00D/005"}

ODD_NUMBERS = ["Infinity", "-Infinity", "NaN", "1e999", "9" * 5000, "-1", "1.5", "1e15", "0", "true"]
KEYS = [
    *(
        "access_token",
        "instance_url",
        "id",
        "error",
        "error_description",
        "errorCode",
        "message",
        "fields",
        "name",
        "type",
    ),
    *(
        "totalSize",
        "done",
        "nextRecordsUrl",
        "records",
        "attributes",
        "state",
        "object",
        "apiVersion",
        "version",
        "sObjects",
    ),
    *(
        "numberRecordsProcessed",
        "resultPages",
        "resultUrl",
        "resultChunks",
        "resultLink",
        "count",
        "errorMessage",
        "results",
    ),
]
LINKS = [
    "/services/data/v67.0/query/01g-1",
    "//evil.example/x",
    "https://evil.example",
    "/x/../..",
    "\x00",
    "http://[::1",
    "?",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*LINKS, JOB, "Account"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)


def text_of(value: Any) -> bytes:
    return json.dumps(value).encode(errors="replace")


BODIES = (
    st.binary(max_size=300)
    | JSON.map(text_of)
    | st.tuples(JSON.map(text_of), st.integers(0, 200)).map(lambda cut: cut[0][: cut[1]])
    | st.tuples(JSON.map(text_of), st.sampled_from(ODD_NUMBERS)).map(lambda odd: odd[0].replace(b"0", odd[1].encode()))
    | st.integers(1, 100_000).map(lambda depth: b'{"fields":' * depth)
)
STATUSES = st.sampled_from(
    [200, 201, 204, 206, 300, 302, 304, 400, 401, 403, 404, 406, 409, 410, 412, 414, 429, 431, 500, 503]
)
HEADER_NAMES = st.sampled_from(
    "Sforce-Limit-Info Sforce-Locator Sforce-NumberOfRecords Date Retry-After Content-Encoding Location Content-Type "
    "Set-Cookie Content-Length Transfer-Encoding Connection WWW-Authenticate".split()
)
HEADER_VALUES = st.sampled_from(
    [
        *ODD_NUMBERS,
        "null",
        "gzip",
        "x-gzip",
        "br",
        "chunked",
        "close",
        "api-usage=1/2",
        "api-usage=1/0",
        "Fri, 99 Dec 1999",
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
HEADERS = st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6)


class Sender:
    """Answers each request with what the example says; a token when it says nothing of logins."""

    def __init__(self) -> None:
        self.url = ""
        self.all = b""
        self.token: bytes | None = None

    def __call__(self, line: str) -> Iterable[bytes]:
        if "/oauth2/token" in line:
            return [self.token or message(200, text_of({**TOKEN, "instance_url": self.url}), [])]
        return [self.all]

    def client(self) -> SalesforceClient:
        quick = TransportOptions(request_timeout=0.5, response_timeout=0.5, max_retries=0)
        return connect(self.url, KEY, SECRET, api_version="67.0", transport=quick)


def message(status: int, body: bytes, headers: list[tuple[str, str]], packed: bool = False) -> bytes:
    if packed:
        body, headers = gzip.compress(body), [*headers, ("Content-Encoding", "gzip")]
    framing = [] if any(name == "Content-Length" for name, _ in headers) else [("Content-Length", str(len(body)))]
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in (*framing, *headers)), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    sends = Sender()
    with raw_server(sends) as server:
        sends.url = server.url
        yield sends


def job() -> BulkJob:
    return BulkJob(JOB, "JobComplete", "Account", "query", "67.0", "", records_processed=3)


def first_page(client: SalesforceClient) -> tuple[str | None, int | None]:
    with client.bulk.open_page(client.bulk.page_at(job(), 0, None, 10)) as response:
        return next_locator(response), reported_rows(response)


CALLS: dict[str, Callable[[SalesforceClient], Any]] = {
    "limits": lambda client: client.limits(),
    "versions": lambda client: client.versions(),
    "describe": lambda client: client.describe("Account"),
    "describe_global": lambda client: client.describe_global(),
    "query": lambda client: list(client.query("SELECT Id FROM Account")),
    "long query": lambda client: list(client.query(f"SELECT Id FROM Account WHERE Name != '{'x' * 16_000}'")),
    "count": lambda client: client.count("SELECT COUNT() FROM Account"),
    "record_count": lambda client: client.record_count("Account"),
    "user_info": lambda client: client.user_info(),
    "introduction": lambda client: client.introduction(),
    "create": lambda client: client.bulk.create("SELECT Id FROM Account"),
    "get": lambda client: client.bulk.get(JOB).require_complete(),
    "pages": lambda client: list(client.bulk.result_pages(job()) or ()),
    "page": first_page,
    "delete": lambda client: client.bulk.delete(JOB),
    "abort": lambda client: client.bulk.abort_all([JOB]),
}


def check(call: Callable[[SalesforceClient], Any], client: SalesforceClient) -> None:
    """Only errors of ours, each of which shows as text and survives another process."""
    try:
        call(client)
    except SfccError as problem:
        assert str(problem) and str(pickle.loads(pickle.dumps(problem))) == str(problem)  # noqa: S301
        assert all(character.isprintable() or character == "\n" for character in str(problem)), str(problem)
        assert SECRET not in str(problem)


@fuzzed
@given(name=st.sampled_from(sorted(CALLS)), status=STATUSES, body=BODIES, packed=st.booleans())
@example(name="count", status=200, body=b'{"totalSize":1e999,"records":[]}', packed=False)
def test_any_response_is_data_or_an_error_of_ours(
    sender: Sender, name: str, status: int, body: bytes, packed: bool
) -> None:
    sender.all, sender.token = message(status, body, [], packed), None
    check(CALLS[name], sender.client())


@fuzzed
@given(name=st.sampled_from(sorted(CALLS)), status=STATUSES, headers=HEADERS, body=JSON.map(text_of))
def test_any_headers_are_data_or_an_error_of_ours(
    sender: Sender, name: str, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    sender.all, sender.token = message(status, body, headers), None
    check(CALLS[name], sender.client())


@fuzzed
@given(status=STATUSES, headers=HEADERS, body=BODIES, packed=st.booleans())
def test_any_token_response_is_a_token_or_an_error_of_ours(
    sender: Sender, status: int, headers: list[tuple[str, str]], body: bytes, packed: bool
) -> None:
    sender.all, sender.token = message(200, b"{}", []), message(status, body, headers, packed)
    check(CALLS["limits"], sender.client())


@fuzzed
@given(junk=st.binary(min_size=1, max_size=400))
def test_any_bytes_in_place_of_http_are_an_error_of_ours(sender: Sender, junk: bytes) -> None:
    sender.all, sender.token = junk, None
    check(CALLS["limits"], sender.client())


FIELDS = (
    st.none()
    | st.text(max_size=30)
    | st.sampled_from(["acme.my.salesforce.com", "https://acme.my.salesforce.com/", "::1"])
)
EXTRA_VALUES = JSON | st.sampled_from(ODD_NUMBERS)


@fuzzed
@given(
    host=FIELDS,
    login=FIELDS,
    password=FIELDS,
    schema=FIELDS,
    port=st.none() | st.integers(-1, 100_000),
    extra=st.dictionaries(st.sampled_from(sorted(EXTRAS)) | st.text(max_size=10), EXTRA_VALUES, max_size=5),
)
def test_any_connection_is_a_client_or_an_error_of_ours(
    host: str | None,
    login: str | None,
    password: str | None,
    schema: str | None,
    port: int | None,
    extra: dict[str, Any],
) -> None:
    connection = Connection(
        conn_id="x", conn_type="sfcc", host=host, login=login, password=password, schema=schema, port=port
    )
    with suppress(SfccError):
        client_for(connection, extra)
