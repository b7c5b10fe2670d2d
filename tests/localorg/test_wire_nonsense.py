"""Nonsense of any kind gets an answer below 500, quickly."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .caller import Caller

FUZZ = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
