"""What a server may send is bounded: time, size, depth, digits and numbers of pages; beyond each bound is a sentence."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_sfcc.errors import (
    IncompleteResultError,
    SalesforceError,
    UnavailableError,
    UnexpectedResponseError,
    UntrustedHostError,
)
from airflow_sfcc.salesforce import SalesforceClient, connect, query
from airflow_sfcc.salesforce.bulk import BulkJob
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import KEY, SECRET, RunningOrg
from tests.raw_server import RawServer, raw_server, response

DATA = "/services/data/v67.0"
MB = 1024 * 1024
JOB = {"id": "750R0000000zxr8IAA", "state": "JobComplete", "object": "Account", "numberRecordsProcessed": 3}


def client_of(server: RawServer, **options: Any) -> SalesforceClient:
    settings = {"request_timeout": 2, "response_timeout": 2, "max_retries": 0, **options}
    return connect(server.url, KEY, SECRET, api_version="67.0", transport=TransportOptions(**settings))


def answering(others: Callable[[str], Iterable[bytes]]) -> Callable[[str], Iterable[bytes]]:
    """Gives out a token, and leaves all else to `others`."""
    port: list[str] = []

    def responses(line: str) -> Iterable[bytes]:
        if "/oauth2/token" in line:
            body = json.dumps({"access_token": "00D!token", "instance_url": f"http://127.0.0.1:{port[0]}"})
            return [response(body.encode())]
        return others(line)

    responses.port = port  # type: ignore[attr-defined]
    return responses


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    from contextlib import ExitStack

    with ExitStack() as running:

        def start(others: Callable[[str], Iterable[bytes]]) -> RawServer:
            responses = answering(others)
            server = running.enter_context(raw_server(responses))
            responses.port.append(server.url.rpartition(":")[2])  # type: ignore[attr-defined]
            return server

        yield start


def drip(text: bytes) -> Iterator[bytes]:
    for index in range(len(text)):
        yield text[index : index + 1]
        time.sleep(0.05)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: drip(response(b" " * 10_000)),
        lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"], drip(b" " * 10_000)),
        lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], drip(b"1;" + b"x" * 9_000)),
        lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], drip(b"X-Long: " + b"x" * 9_000)),
    ],
    ids=["every byte", "body", "chunk size", "100 Continue without end", "header"],
)
def test_a_response_has_a_deadline(serve: Callable[..., RawServer], pieces: Callable[[], Iterable[bytes]]) -> None:
    client = client_of(serve(lambda _: pieces()), request_timeout=1, response_timeout=1)
    with pytest.raises(UnavailableError, match="stopped responding, or took too long"):
        client.limits()


def test_a_drip_of_the_token_endpoint_has_a_deadline() -> None:
    with (
        raw_server(lambda _: drip(response(b" " * 10_000))) as server,
        pytest.raises(UnavailableError, match="took too long"),
    ):
        client_of(server, request_timeout=1, response_timeout=1).limits()


def bomb(megabytes: int) -> bytes:
    return gzip.compress(b'{"a":"' + b" " * megabytes * MB + b'"}')


@pytest.mark.parametrize(
    ("kind", "status", "megabytes", "call"),
    [
        ("describe", "200 OK", 70, lambda client: client.describe("Account")),
        ("error", "400 Bad Request", 8, lambda client: client.describe("Account")),
        ("error", "503 Busy", 8, lambda client: client.limits()),
        ("count", "200 OK", 8, lambda client: client.count("SELECT COUNT() FROM Account")),
        ("Bulk job or page list", "200 OK", 20, lambda client: client.bulk.get(JOB["id"])),
        ("other", "200 OK", 70, lambda client: client.limits()),
    ],
)
def test_unpacked_responses_have_a_largest_size(
    serve: Callable[..., RawServer], kind: str, status: str, megabytes: int, call: Callable[[SalesforceClient], Any]
) -> None:
    packed = response(bomb(megabytes), "Content-Encoding: gzip", status=status)
    client = client_of(serve(lambda _: [packed]), request_timeout=30, response_timeout=30)
    with pytest.raises(UnexpectedResponseError, match=rf"more than [\d,]+ MB, the limit .*'{kind}'"):
        call(client)


def test_a_small_bomb_takes_no_memory_in_the_token_response() -> None:
    packed = response(bomb(500), "Content-Encoding: gzip")
    with raw_server(lambda _: [packed]) as server:
        tracemalloc.start()
        try:
            with pytest.raises(UnexpectedResponseError, match="'token'"):
                client_of(server, request_timeout=30).limits()
            assert tracemalloc.get_traced_memory()[1] < 20 * MB
        finally:
            tracemalloc.stop()


def test_a_body_without_end_is_not_read_on(serve: Callable[..., RawServer]) -> None:
    def endless(_: str) -> Iterator[bytes]:
        yield b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        while True:
            yield b" " * MB

    with pytest.raises(UnexpectedResponseError, match="'error'"):
        client_of(serve(endless), request_timeout=30, response_timeout=30).limits()


def test_an_error_response_of_a_result_page_is_bounded_too(serve: Callable[..., RawServer]) -> None:
    packed = response(bomb(8), "Content-Encoding: gzip", status="400 Bad Request")
    client = client_of(serve(lambda _: [packed]), request_timeout=30)
    job = BulkJob.from_wire(JOB, requested_with="67.0")
    with pytest.raises(UnexpectedResponseError, match="'error'"):
        client.bulk.open_page(client.bulk.page_at(job, 0, None, 10))


NINES = "9" * 5000


@pytest.mark.parametrize("status", ["503 Busy", "200 OK"])
def test_headers_of_five_thousand_digits(serve: Callable[..., RawServer], status: str) -> None:
    names = ("Retry-After", "Sforce-NumberOfRecords", "Date", "Age")
    more = [f"{name}: {NINES}" for name in names] + [f"Sforce-Limit-Info: api-usage={NINES}/{NINES}"]
    client = client_of(serve(lambda _: [response(b"[]", *more, status=status)]))
    with pytest.raises(SalesforceError):
        client.limits()
    assert client.usage.used is None


def test_a_header_that_is_too_long_or_one_of_too_many(serve: Callable[..., RawServer]) -> None:
    for more in (["X: " + "x" * 70_000], [f"X-{number}: x" for number in range(200)]):
        client = client_of(serve(lambda _, more=more: [response(b"{}", *more)]))
        with pytest.raises(UnavailableError, match="the connection broke"):
            client.limits()


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_json_that_is_nested_deeply(serve: Callable[..., RawServer], status: str) -> None:
    client = client_of(serve(lambda _: [response(DEEP.encode(), status=status)]))
    with pytest.raises(SalesforceError, match=r"not JSON|no explanation"):
        client.limits()


def test_a_token_response_that_is_nested_deeply() -> None:
    with raw_server(lambda _: [response(DEEP.encode())]) as server, pytest.raises(SalesforceError, match="My Domain"):
        client_of(server).limits()


@pytest.mark.parametrize(
    "number", ["Infinity", "1e999", "NaN", "-1e400", NINES, "1.5", '"many"', '"' + NINES + '"', "true"]
)
def test_numbers_of_rows_that_are_none(serve: Callable[..., RawServer], number: str) -> None:
    job = json.dumps(JOB).replace("3}", number + "}").encode()
    query = f'{{"totalSize":{number},"done":true,"records":[]}}'.encode()
    count = f'{{"sObjects":[{{"name":"Account","count":{number}}}]}}'.encode()

    def others(line: str) -> Iterable[bytes]:
        body = job if "/jobs/" in line else count if "recordCount" in line else query
        return [response(body)]

    client = client_of(serve(others))
    for call in (
        lambda: client.bulk.get(str(JOB["id"])),
        lambda: client.count("SELECT COUNT() FROM Account"),
        lambda: list(client.query("SELECT Id FROM Account")),
        lambda: client.record_count("Account"),
    ):
        with pytest.raises((UnexpectedResponseError, IncompleteResultError)):
            call()


def test_listings_of_result_pages_that_do_not_end(serve: Callable[..., RawServer]) -> None:
    numbers = itertools.count()

    def others(line: str) -> Iterable[bytes]:
        body = {
            "resultPages": [{"resultUrl": f"{DATA}/jobs/query/x/results?locator={next(numbers)}"} for _ in range(5)],
            "nextRecordsUrl": f"{DATA}/jobs/query/x/resultPages?n={next(numbers)}",
        }
        return [response(json.dumps(body).encode())]

    client = client_of(serve(others))
    pages = client.bulk.result_pages(BulkJob.from_wire(JOB, requested_with="67.0"))
    assert pages is not None
    with pytest.raises(UnexpectedResponseError, match=r"more result pages than its 3 rows"):
        list(pages)


@pytest.mark.parametrize(("total", "error"), [(5, IncompleteResultError), (-1, UnexpectedResponseError)])
def test_query_pages_that_do_not_end(serve: Callable[..., RawServer], total: int, error: type[Exception]) -> None:
    numbers = itertools.count(1)
    records = [{"Id": "1"}, {"Id": "2"}] if total > 0 else []

    def others(line: str) -> Iterable[bytes]:
        link = f"{DATA}/query/01gx-{next(numbers)}"
        return [response(json.dumps({"totalSize": total, "records": records, "nextRecordsUrl": link}).encode())]

    server = serve(others)
    with pytest.raises(error):
        list(client_of(server).query("SELECT Id FROM Account"))
    assert len(server.heads) < 150


def test_child_records_that_do_not_end(serve: Callable[..., RawServer]) -> None:
    numbers = itertools.count(1)

    def others(line: str) -> Iterable[bytes]:
        link = f"{DATA}/query/01gx-{next(numbers)}"
        children = {"totalSize": 3, "done": False, "records": [{"Id": "c"}], "nextRecordsUrl": link}
        body = children if "01gx-" in line else {"totalSize": 1, "done": True, "records": [{"Contacts": children}]}
        return [response(json.dumps(body).encode())]

    server = serve(others)
    with pytest.raises(IncompleteResultError, match="reported 3 rows for a query and sent 4"):
        list(client_of(server).query("SELECT Id, (SELECT Id FROM Contacts) FROM Account"))
    assert len(server.heads) < 20


@pytest.mark.parametrize("value", [b"[],", b"0,", b'"",', b"[{}],"])
def test_a_body_within_its_size_that_is_a_bomb_of_small_values(serve: Callable[..., RawServer], value: bytes) -> None:
    """Parsed, it would take a hundred times its size of memory."""
    packed = gzip.compress(b'{"a":[' + value * (40 * MB // len(value)) + b"0]}", 1)
    client = client_of(serve(lambda _: [response(packed, "Content-Encoding: gzip")]), request_timeout=30)
    with pytest.raises(
        UnexpectedResponseError, match=r"was answered with 1\d,\d{3},\d{3} values|was answered with 2\d,"
    ):
        client.limits()


@pytest.mark.parametrize("text", [r"a, b, c, [1], {2} ", r"\"k\": {\"a\": [1, 2, 3]}, \\", r"\\\", ", "x" * 16])
def test_a_large_body_of_texts_is_no_bomb(serve: Callable[..., RawServer], text: str) -> None:
    body = ('{"a":["' + text * (33 * MB // len(text)) + '","",0]}').encode()
    client = client_of(serve(lambda _: [response(body)]), request_timeout=30)
    assert len(client.limits()["a"]) == 3


def test_child_records_within_child_records_that_do_not_end(serve: Callable[..., RawServer]) -> None:
    """Each page is as its parent announced it, and has a child whose children are on yet another page."""
    numbers = itertools.count(1)

    def others(line: str) -> Iterable[bytes]:
        link = f"{DATA}/query/01gx-{next(numbers)}"
        record = {"Kids__r": {"totalSize": 1, "done": False, "records": [], "nextRecordsUrl": link}}
        return [response(json.dumps({"totalSize": 1, "done": True, "records": [record]}).encode())]

    server = serve(others)
    with pytest.raises(UnexpectedResponseError, match="child records within child records"):
        list(client_of(server).query("SELECT Id, (SELECT Id FROM Kids__r) FROM Account"))
    assert len(server.heads) < 50


def test_more_child_records_than_memory_is_to_hold(
    serve: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "MOST_CHILDREN", 50)
    numbers = itertools.count(1)

    def others(line: str) -> Iterable[bytes]:
        link = f"{DATA}/query/01gx-{next(numbers)}"
        children = {"totalSize": 10**15, "done": False, "records": [{"Id": "c"}] * 20, "nextRecordsUrl": link}
        body = children if "01gx-" in line else {"totalSize": 1, "done": True, "records": [{"Contacts": children}]}
        return [response(json.dumps(body).encode())]

    server = serve(others)
    with pytest.raises(UnexpectedResponseError, match="more than 50 child records"):
        list(client_of(server).query("SELECT Id, (SELECT Id FROM Contacts) FROM Account"))
    assert len(server.heads) < 10


def test_links_of_megabytes_are_not_kept(serve: Callable[..., RawServer]) -> None:
    """Each link is remembered, so that none is followed twice; these would take a worker's memory within minutes."""
    link = f"{DATA}/query/01gx-" + "x" * MB
    job = BulkJob.from_wire(JOB, requested_with="67.0")
    listing = {"resultPages": [{"resultUrl": link}], "done": True}

    def others(line: str) -> Iterable[bytes]:
        body = listing if "resultPages" in line else {"totalSize": 2, "records": [{"Id": "1"}], "nextRecordsUrl": link}
        return [response(json.dumps(body).encode())]

    client = client_of(serve(others))
    for read in (
        lambda: list(client.query("SELECT Id FROM Account")),
        lambda: list(client.bulk.result_pages(job) or ()),
    ):
        with pytest.raises(UnexpectedResponseError, match="a link of 1,048,"):
            read()


@pytest.mark.parametrize("coding", ["deflate", "gzip, gzip", "deflate, gzip", "br", "zstd"])
def test_a_coding_that_nobody_asked_for_is_not_unpacked(serve: Callable[..., RawServer], coding: str) -> None:
    """Releases of urllib3 before 2.6 unpack all that a piece holds at once, however much that is."""
    plain = b" " * 100 * MB
    packed = zlib.compress(plain, 1) if coding.startswith("deflate") else gzip.compress(plain, 1)
    twice = gzip.compress(packed) if "," in coding else packed
    del plain
    client = client_of(serve(lambda _: [response(twice, f"Content-Encoding: {coding}")]), request_timeout=30)
    _ = client.instance
    tracemalloc.start()
    try:
        with pytest.raises(UnexpectedResponseError, match="not JSON"):
            client.limits()
        assert tracemalloc.get_traced_memory()[1] < 20 * MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_no_redirect_is_followed(serve: Callable[..., RawServer], status: str) -> None:
    server = serve(lambda line: [response(b"", f"Location: {line}", status=status)])
    with pytest.raises(UntrustedHostError, match="redirect"):
        client_of(server).limits()
    assert sum("/limits" in head for head in server.heads) == 1


@pytest.mark.parametrize("location", [b"\xff\xfe", b"http://[::1", b"http://[v1.x]/", b"\xe2\x84\x80.example", b""])
@pytest.mark.parametrize("route", ["token", "limits"])
def test_a_redirect_to_what_is_no_url(serve: Callable[..., RawServer], route: str, location: bytes) -> None:
    redirect = response(b"", "Location: HERE", status="302 Found").replace(b"HERE", location)
    if route == "limits":
        with pytest.raises(UntrustedHostError, match="redirect"):
            client_of(serve(lambda _: [redirect])).limits()
    else:
        with raw_server(lambda _: [redirect]) as server, pytest.raises(UntrustedHostError, match="redirect"):
            client_of(server).limits()


def test_nobody_waits_for_a_login_longer_than_for_a_request_of_their_own() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow_token(_: str) -> Iterable[bytes]:
        asked.set()
        go_on.wait(60)
        return [response(b'{"error":"invalid_client_id","error_description":"x"}', status="400 Bad Request")]

    with raw_server(slow_token) as server, ThreadPoolExecutor(1) as pool:
        client = client_of(server, request_timeout=60, response_timeout=60)
        patient = pool.submit(client.limits)
        assert asked.wait(60)
        with pytest.raises(UnavailableError, match="did not finish a login within"):
            client.with_options(timeout=0.2).limits()
        assert not patient.done() and len(server.heads) == 1
        go_on.set()
        with pytest.raises(SalesforceError, match="no app with this consumer key"):
            patient.result(60)


def test_a_stopped_login_is_not_the_end_of_the_others(org: RunningOrg) -> None:
    from airflow_sfcc.salesforce.stopping import Stop

    org.fail("token", stall_seconds=60)
    client, stop = org.client(transport=TransportOptions(request_timeout=60, max_retries=0)), Stop()
    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(client.with_options(stop=stop).limits)
        while org.calls("token") == 0:
            time.sleep(0.01)
        waiting = pool.submit(client.limits)
        time.sleep(0.2)
        stop.set()
        assert waiting.result(60)
        with pytest.raises(SalesforceError, match="stopped"):
            stopped.result(60)


def test_every_bound_is_in_the_table_of_the_docs() -> None:
    from pathlib import Path

    from airflow_sfcc.salesforce import auth, bulk, instance, org_clock, responses, transport

    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    table = page.partition("## Bounds")[2].partition("\n## ")[0]
    sizes = dict(re.findall(r"^\| size of a response, unpacked: (.+?) \| ([\d,]+) MB", table, re.M))
    assert {kind: int(size.replace(",", "")) * MB for kind, size in sizes.items()} == {
        "error": transport.LARGEST_ERROR,
        **{kind: most for kind, _, most in transport.LARGEST_BODIES},
    }
    for name, value in {
        "`request_timeout`": transport.DEFAULT_REQUEST_TIMEOUT,
        "connecting": transport.CONNECT_TIMEOUT,
        "one whole response": transport.RESPONSE_SECONDS,
        "one whole result page": transport.STREAM_SECONDS,
        "a login": auth.LOGIN_SECONDS,
        "difference of the org's clock": org_clock.LARGEST_DIFFERENCE.total_seconds(),
        "result pages of a job": bulk.MOST_PAGES,
        "empty pages of a query in a row": query.MOST_EMPTY_PAGES,
        "child records of one record": query.MOST_CHILDREN,
        "levels of child records": query.MOST_LEVELS,
        "characters of a link": instance.LONGEST_LINK,
        "values in the JSON of a response of 32 MB or more": responses.MOST_VALUES,
    }.items():
        assert re.search(rf"^\| {re.escape(name)}[^|]*\| {value:,.0f}\b".replace(",", ",?"), table, re.M), name
