"""Nonsense of any kind gets an answer below 500, quickly. `make fuzz` runs many more examples (FUZZ_EXAMPLES)."""

from __future__ import annotations

import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from caller import Caller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TOKENS = st.sampled_from(
    "SELECT FROM WHERE AND OR NOT IN LIKE LIMIT OFFSET ORDER BY GROUP HAVING COUNT() Id Name Account Contacts Owner.Name "
    "( ) , = != < > 'x' '%' ' \\ : :x 5 -5 1e400 9999999999999999999999 2026-01-01 2026-99-99T00:00:00Z TODAY "
    "LAST_N_DAYS:7 LAST_N_DAYS:99999999999 FIELDS(ALL) TYPEOF null true AnnualRevenue CreatedDate SUM(AnnualRevenue) DESC".split()
)
SOQL = st.one_of(
    st.lists(TOKENS, max_size=14).map(" ".join),
    st.lists(TOKENS, max_size=10).map(lambda rest: "SELECT Id FROM Account " + " ".join(rest)),
    st.text(max_size=60),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "operation",
        "query",
        "columnDelimiter",
        "lineEnding",
        "contentType",
        "state",
        "batchRequests",
        "method",
        "url",
        "richInput",
    ]
)
PATHS = st.sampled_from(
    [
        "/jobs/query",
        "/composite/batch",
        "/sobjects/Account",
        "/jobs/query/7508c0000000001AAA",
        "/_org/faults",
        "/_org/clock",
        "/_org/settings",
    ]
)


@FUZZ
@given(soql=SOQL, resource=st.sampled_from(["query", "queryAll"]))
def test_queries(caller: Caller, soql: str, resource: str) -> None:
    assert caller.query(soql, resource).status_code < 500


@FUZZ
@given(soql=SOQL)
def test_job_queries(caller: Caller, soql: str) -> None:
    assert caller.create_job(soql).status_code < 500


@FUZZ
@given(
    path=PATHS,
    method=st.sampled_from(["POST", "PATCH"]),
    body=st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=4) | JSON,
)
def test_bodies(caller: Caller, path: str, method: str, body: Any) -> None:
    answer = caller.call(method, path, data=json.dumps(body), headers={"Content-Type": "application/json"})

    caller.org.faults.clear()
    assert answer.status_code < 500


@FUZZ
@given(
    path=st.sampled_from(
        [
            "/query/{}",
            "/jobs/query/{}",
            "/jobs/query/{}/results",
            "/sobjects/{}/describe",
            "/sobjects/Account/{}",
            "/sobjects/{}/updated",
            "/{}",
        ]
    ),
    part=st.text(min_size=1, max_size=30),
    query=st.dictionaries(
        st.sampled_from(["q", "locator", "maxRecords", "start", "end", "fields", "sObjects", "queryLocator"]),
        st.text(max_size=20),
        max_size=3,
    ),
)
def test_paths_and_parameters(caller: Caller, path: str, part: str, query: dict[str, str]) -> None:
    assert caller.get(path.format(part), params=query).status_code < 500


@FUZZ
@given(
    name=st.sampled_from(
        [
            "Authorization",
            "Accept-Encoding",
            "Sforce-Query-Options",
            "If-Modified-Since",
            "X-PrettyPrint",
            "Content-Type",
        ]
    ),
    value=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
)
def test_headers(caller: Caller, name: str, value: str) -> None:
    for path in ("/sobjects", "/query?q=SELECT+Id+FROM+Account+LIMIT+1"):
        assert caller.get(path, headers={name: value}).status_code < 500


# Bytes on the socket: what no HTTP library would send.

RAW_PATHS = st.sampled_from(
    [
        b"/services/data",
        b"/services/data/v67.0/query?q=SELECT+Id+FROM+Account+LIMIT+1",
        b"/services/oauth2/token",
        b"/",
        b"*",
    ]
) | st.binary(max_size=60).map(lambda noise: b"/services/data/v67.0/" + noise.translate(None, b"\r\n "))
RAW_HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"Content-Type: \xff\xfe",
            b"Content-Type: multipart/form-data; boundary=",
            b"Content-Encoding: gzip",
            b"Accept-Encoding: gzip;q=x, *;q=\xc3",
            b"Expect: 100-continue",
            b"Range: bytes=5-1",
            b"Sforce-Query-Options: batchSize=99999999999999999999",
            b"If-Modified-Since: Thu, 99 Foo 99999 99:99:99 GMT",
            b"X-Long: " + b"a" * 20_000,
            b"Authorization: Basic \x00\xff",
            b"Cookie: \xf0\x9f\x98",
            b"no colon here",
        ]
    )
    | st.binary(max_size=30),
    max_size=4,
)
RAW_BODIES = st.sampled_from(
    [
        b"",
        b"\x00" * 100,
        b"\xff\xfe{}",
        b"{" * 5000,
        b'{"query": "' + b"a" * 200_000 + b'"}',
        b"grant_type=%zz&client_id=%ff",
    ]
) | st.binary(max_size=80)


@FUZZ
@given(
    method=st.sampled_from([b"GET", b"POST", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"BREW", b"\xff"]),
    path=RAW_PATHS,
    headers=RAW_HEADERS,
    body=RAW_BODIES,
    framing=st.sampled_from(["length", "chunked", "broken chunks", "wrong length", "none"]),
)
def test_bytes_on_the_socket(
    caller: Caller, method: bytes, path: bytes, headers: list[bytes], body: bytes, framing: str
) -> None:
    token = str(caller.session.headers["Authorization"]).encode()
    framed = {
        "length": (b"Content-Length: %d" % len(body), body),
        "chunked": (
            b"Transfer-Encoding: chunked",
            (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n",
        ),
        "broken chunks": (b"Transfer-Encoding: chunked", b"zz\r\n" + body),
        "wrong length": (b"Content-Length: -1", body),
        "none": (b"X-None: 1", body),
    }[framing]
    head = [method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Authorization: " + token, *headers, framed[0]]
    status = raw_status(caller, b"\r\n".join([*head, b"Connection: close", b"", framed[1]]))
    caller.org.faults.clear()
    assert status is None or status < 500


def raw_status(caller: Caller, request: bytes) -> int | None:
    """The status that comes back; None where the server closes the connection without a word. A hang is a timeout."""
    where = urlsplit(caller.server.url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=60) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(64)
        except TimeoutError:
            raise
        except OSError:
            return None  # closed, or reset, while we were still writing
    parts = answer.split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None
