"""Faults as a caller meets them, and the admin endpoints that set them."""

from __future__ import annotations

import gzip
import re
import socket
import time
from typing import Any

import pytest
import requests
from caller import SECONDS, Caller

from salesforce_localorg.faults import Fault

SOQL = "SELECT Id, Name FROM Account"
PLAIN = {"Accept-Encoding": "identity"}


def add(caller: Caller, **settings: Any) -> Any:
    return caller.org.faults.add(Fault(**settings))


def test_fault_hits_as_often_as_told_after_skipping(caller: Caller) -> None:
    active = add(caller, route="query", status=503, times=2, skip=1)

    assert [caller.query(SOQL).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert (active.matched, active.hits, active.spent) == (5, 2, True)


def test_fault_without_end(caller: Caller) -> None:
    add(caller, route="query", status=500, times=None)

    assert {caller.query(SOQL).status_code for _ in range(4)} == {500}
    caller.org.faults.clear()
    assert caller.query(SOQL).status_code == 200


def test_fault_matches_route_method_and_path(caller: Caller) -> None:
    add(caller, route="describe", path="/Contact/", status=406)
    add(caller, route="job_.*", method="post", status=420)

    assert caller.get("/sobjects/Account/describe").status_code == 200
    assert caller.get("/sobjects/Contact/describe").status_code == 406
    assert caller.get("/jobs/query").status_code == 200
    assert caller.create_job(SOQL).status_code == 420


def test_statuses_with_html_and_json_bodies(caller: Caller) -> None:
    add(caller, route="query", status=503, body="<html><body>Maintenance</body></html>", headers={"Retry-After": "7"})
    html = caller.query(SOQL)
    assert (html.status_code, html.headers["Retry-After"]) == (503, "7")
    assert html.headers["Content-Type"].startswith("text/html")
    assert html.text == "<html><body>Maintenance</body></html>"

    add(caller, route="query", status=429, body=[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}])
    answer = caller.query(SOQL)
    assert (answer.status_code, answer.json()[0]["message"]) == (429, "slow down")

    add(caller, route="query", status=406)
    bare = caller.query(SOQL)
    assert (bare.status_code, bare.content) == (406, b"")


def test_token_endpoint_takes_faults_too(anonymous: Caller) -> None:
    add(anonymous, route="token", status=500, body={"error": "server_error"})

    assert anonymous.log_in().status_code == 500
    assert anonymous.log_in().status_code == 200


def test_reset_before_the_answer(caller: Caller) -> None:
    add(caller, route="query", reset=True)

    with pytest.raises(requests.ConnectionError) as refused:
        caller.query(SOQL)
    assert "reset" in str(refused.value).lower()
    assert caller.org.calls.of("query")[0].status == 0
    assert caller.query(SOQL).status_code == 200


def test_reset_in_the_middle_of_a_body(caller: Caller) -> None:
    add(caller, route="query", cut_after=1000, cut="reset")

    with caller.query(SOQL, headers=PLAIN, stream=True) as answer:
        assert answer.status_code == 200
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)) as broken:
            answer.raw.read(50, decode_content=False)
            _ = answer.content
    assert "reset" in str(broken.value).lower()


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_closed_connection_leaves_an_unfinished_page(caller: Caller, encoding: str) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    add(caller, route="job_results", cut_after=200, cut="close")

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        caller.get(f"/jobs/query/{job_id}/results", headers={"Accept-Encoding": encoding})


def test_proper_end_of_a_plain_page_that_is_too_short(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    path = f"/jobs/query/{job_id}/results"
    whole = caller.get(path, headers=PLAIN)
    add(caller, route="job_results", cut_after=500, cut="end")

    short = caller.get(path, headers=PLAIN)
    assert short.content == whole.content[:500]
    assert short.headers["Sforce-NumberOfRecords"] == whole.headers["Sforce-NumberOfRecords"]


def test_proper_end_of_a_packed_page_that_is_too_short(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    add(caller, route="job_results", cut_after=300, cut="end")

    with caller.get(f"/jobs/query/{job_id}/results", headers={"Accept-Encoding": "gzip"}, stream=True) as answer:
        raw = answer.raw.read(decode_content=False)
    assert len(raw) == 300
    with pytest.raises(EOFError):
        gzip.decompress(raw)


def test_short_json_is_hidden_from_the_length_header(caller: Caller) -> None:
    add(caller, route="query", cut_after=100, cut="end")

    answer = caller.query(SOQL, headers=PLAIN)
    assert len(answer.content) == 100
    assert "Content-Length" not in answer.headers


def test_cut_at_the_first_byte(caller: Caller) -> None:
    add(caller, route="query", cut_after=0, cut="close")

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        caller.query(SOQL)


def test_latency_comes_before_the_answer(caller: Caller) -> None:
    add(caller, route="query", latency=0.3)

    with caller.query(SOQL, stream=True) as answer:
        assert answer.elapsed.total_seconds() >= 0.3


def test_stall_in_the_middle_of_a_body(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    add(caller, route="job_results", stall_after=500, stall_seconds=0.4)

    began = time.monotonic()
    with caller.get(f"/jobs/query/{job_id}/results", headers=PLAIN, stream=True) as answer:
        first = answer.raw.read(100)
        assert time.monotonic() - began < 0.3
        rest = answer.raw.read()
    assert time.monotonic() - began >= 0.4
    assert (first + rest).endswith(b'"\n')


def test_endless_stall_ends_with_the_caller(caller: Caller) -> None:
    add(caller, route="query", stall_seconds=3600)

    with pytest.raises(requests.exceptions.RequestException):
        caller.session.get(caller.url("/query"), params={"q": SOQL}, timeout=0.3)
    assert caller.query(SOQL).status_code == 200


def test_slow_stream_holds_its_rate(caller: Caller) -> None:
    whole = len(caller.query(SOQL, headers=PLAIN).content)
    add(caller, route="query", bytes_per_second=whole * 2)

    began = time.monotonic()
    assert len(caller.query(SOQL, headers=PLAIN).content) == whole
    assert 0.4 < time.monotonic() - began < 2


def test_token_dies_before_the_call(caller: Caller) -> None:
    add(caller, route="query", kill_session="before")

    assert caller.query(SOQL).status_code == 401
    assert caller.query(SOQL).status_code == 401
    caller.log_in()
    assert caller.query(SOQL).status_code == 200


def test_token_dies_after_the_answer_began(caller: Caller) -> None:
    add(caller, route="query", kill_session="after")

    assert caller.query(SOQL).status_code == 200
    assert caller.query(SOQL).status_code == 401


def test_wrong_number_of_records(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    add(caller, route="job_results", number_of_records=7)

    assert caller.get(f"/jobs/query/{job_id}/results").headers["Sforce-NumberOfRecords"] == "7"


@pytest.mark.parametrize(
    ("message", "shown"), [("InternalServerError : Retried more than fifteen times", True), ("", False)]
)
def test_job_fails_with_and_without_message(caller: Caller, message: str, shown: bool) -> None:
    add(caller, route="job_create", job_error=message)

    status = caller.finished_job(SOQL)
    assert status["state"] == "Failed"
    assert status.get("errorMessage") == (message if shown else None)
    assert caller.get(f"/jobs/query/{status['id']}/results").status_code == 412


def test_redirect(caller: Caller) -> None:
    add(caller, route="query", redirect_to="http://elsewhere.example/x")
    answer = caller.query(SOQL)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://elsewhere.example/x")

    add(caller, route="query", redirect_to="http://elsewhere.example/x", status=307)
    assert caller.query(SOQL).status_code == 307


def test_headers_of_the_own_answer_change(caller: Caller) -> None:
    job_id = caller.finished_job(SOQL)["id"]
    add(caller, route="job_results", headers={"sforce-locator": None, "X-Extra": "1"})

    answer = caller.get(f"/jobs/query/{job_id}/results")
    assert "Sforce-Locator" not in answer.headers
    assert answer.headers["X-Extra"] == "1"


def test_json_of_the_own_answer_changes(anonymous: Caller) -> None:
    add(anonymous, route="token", set_json={"/instance_url": "http://elsewhere.example", "/not/there": 1})
    body = anonymous.log_in().json()
    assert body["instance_url"] == "http://elsewhere.example"
    assert "not" not in body

    job_id = anonymous.finished_job(SOQL)["id"]
    add(anonymous, route="job_result_pages", set_json={"/resultPages/0/resultUrl": "http://elsewhere.example/x"})
    pages = anonymous.get(f"/jobs/query/{job_id}/resultPages").json()["resultPages"]
    assert pages[0]["resultUrl"] == "http://elsewhere.example/x"
    assert pages[1]["resultUrl"].startswith("/services/data/")

    add(anonymous, route="query", mutate=lambda body: {**body, "totalSize": body["totalSize"] + 1})
    assert anonymous.query(SOQL).json()["totalSize"] == anonymous.query(SOQL).json()["totalSize"] + 1


def test_mutation_does_not_reach_the_org_itself(caller: Caller) -> None:
    add(caller, route="describe", set_json={"/fields": []})

    assert caller.get("/sobjects/Account/describe").json()["fields"] == []
    assert caller.get("/sobjects/Account/describe").json()["fields"]


def test_several_faults_add_up(caller: Caller) -> None:
    add(caller, route="query", latency=0.2)
    add(caller, route="query", status=502)

    answer = caller.query(SOQL)
    assert answer.status_code == 502
    assert answer.elapsed.total_seconds() >= 0.2


def test_faults_over_http(caller: Caller) -> None:
    made = caller.post("/_org/faults", json={"route": "query", "status": 503, "times": None, "body": {"a": 1}})
    assert made.status_code == 201
    assert caller.query(SOQL).json() == {"a": 1}
    listed = caller.get("/_org/faults").json()["faults"]
    assert [(each["id"], each["hits"], each["route"], each["times"]) for each in listed] == [
        (made.json()["id"], 1, "query", None)
    ]
    assert caller.call("DELETE", f"/_org/faults?id={made.json()['id']}").status_code == 204
    assert caller.query(SOQL).status_code == 200
    assert caller.call("DELETE", "/_org/faults").status_code == 204
    assert caller.get("/_org/faults").json() == {"faults": []}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"route": "("}, "regular expression"),
        ({"status": 999}, "200 and 599"),
        ({"status": "503"}, "status"),
        ({"times": 1.5}, "times"),
        ({"reset": 1}, "reset"),
        ({"cut": "off"}, "cut"),
        ({"latency": -1}, "negative"),
        ({"bytes_per_second": 0}, "bytes_per_second"),
        ({"kill_session": "now"}, "kill_session"),
        ({"mutate": "x"}, "mutate"),
        ({"headers": []}, "headers"),
        ({"headers": {"a": 1}}, "headers"),
        ({"headers": {"a\nb": "c"}}, "headers"),
        ({"status": None, "route": None}, "route"),
    ],
)
def test_faults_that_cannot_be_are_refused_by_name(caller: Caller, settings: dict[str, Any], named: str) -> None:
    answer = caller.post("/_org/faults", json=settings)

    assert answer.status_code == 400
    assert named in answer.json()[0]["message"]
    assert caller.get("/_org/faults").json() == {"faults": []}


def test_admin_pages_ask_for_json(caller: Caller) -> None:
    answer = caller.post("/_org/faults", data='{"status": 503}', headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415


def test_admin_pages_ignore_faults_and_stay_out_of_the_log(caller: Caller) -> None:
    add(caller, status=500, times=None)

    assert caller.get("/_org/faults").status_code == 200
    assert caller.get("/").status_code == 200
    assert {call.route for call in caller.org.calls} == {"token"}


@pytest.mark.parametrize("path", ["/", "/_org/calls", "/_org/faults", "/_org/clock", "/_org/settings"])
def test_admin_pages_answer_loopback_names_only(caller: Caller, path: str) -> None:
    answer = caller.get(path, headers={"Host": "rebound.example"})

    assert answer.status_code == 403
    assert "--open-admin" in answer.json()[0]["message"]


def test_clock_over_http(caller: Caller) -> None:
    before = caller.org.clock.now()

    assert caller.post("/_org/clock", json={"advance_seconds": 3600}).status_code == 200
    assert 3600 <= (caller.org.clock.now() - before).total_seconds() < 3700
    caller.post("/_org/clock", json={"advance_seconds": -3600})
    refused: tuple[dict[str, Any], ...] = (
        {},
        {"set": "noon"},
        {"set": "2026-01-01"},
        {"set": "9999-12-31T23:59:59+00:00"},
        {"advance_seconds": "x"},
        {"advance_seconds": 1e300},
        {"set": 5},
    )
    for wrong in refused:
        assert caller.post("/_org/clock", json=wrong).status_code == 400, wrong
    assert abs((caller.org.clock.now() - before).total_seconds()) < 100


def test_calls_over_http(caller: Caller) -> None:
    caller.query(SOQL)

    body = caller.get("/_org/calls").json()
    assert body["counts"] == {"token": 1, "query": 1}
    assert [call["route"] for call in body["calls"]] == ["token", "query"]
    assert caller.call("DELETE", "/_org/calls").status_code == 204
    assert caller.get("/_org/calls").json() == {"counts": {}, "calls": []}


def test_sessions_over_http(caller: Caller) -> None:
    caller.query(SOQL)
    issued = caller.get("/_org/sessions").json()["issued"]
    assert caller.org.sessions.look_up(issued[-1])
    assert caller.call("DELETE", "/_org/sessions").json()["ended"] >= 1
    assert caller.query(SOQL).status_code == 401
    assert caller.get("/_org/sessions").json()["issued"] == issued, "ended ones are remembered"


def test_settings_over_http(caller: Caller) -> None:
    changed = caller.call("PATCH", "/_org/settings", json={"run_as": None, "hidden_fields": ["Account.Phone"]})
    assert changed.json()["run_as"] is None
    assert caller.log_in().json()["error_description"] == "no client credentials user enabled"
    assert caller.org.hidden_fields == {("Account", "Phone")}

    refused: tuple[dict[str, Any], ...] = (
        {"x": 1},
        {"run_as": 5},
        {"login_refusal": "no"},
        {"hidden_objects": "Lead"},
        {"login_refusal": []},
    )
    for wrong in refused:
        assert caller.call("PATCH", "/_org/settings", json=wrong).status_code == 400, wrong


def test_console_shows_what_happened_and_escapes_it(caller: Caller) -> None:
    caller.query("SELECT '<script>alert(1)</script>' FROM Account")
    add(caller, route="query", status=503, body="<script>x</script>")

    page = caller.get("/")
    assert page.headers["Content-Type"] == "text/html;charset=UTF-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    assert "Invoice__c" in page.text
    assert "/services/oauth2/token" in page.text
    assert "&lt;script&gt;" in page.text


def test_console_begins_with_objects_and_shortens_queries(caller: Caller) -> None:
    names = ", ".join(each.name for each in caller.org.schema.sobject("Account").fields if not each.is_compound)  # type: ignore[union-attr]
    caller.query(f"SELECT {names} FROM Account LIMIT 1")
    caller.finished_job(f"SELECT {names} FROM Account")

    page = caller.get("/").text
    titles = re.findall(r"<h2>([^<]+)</h2>", page)
    assert titles == ["Objects", "Calls per route", "Bulk query jobs", "Faults", "Recent calls"]
    assert max(len(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", page)) < 400


def test_links_to_salesforces_pages_end_in_a_small_page(caller: Caller) -> None:
    job = caller.finished_job("SELECT Id FROM Account")
    address = f"%2F{job['id']}"
    page = caller.get("/lightning/setup/AsyncApiJobStatus/page?address=" + address)
    listed = caller.get(
        "/lightning/o/Account/list", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    )

    assert page.headers["Content-Type"] == "text/html;charset=UTF-8"
    assert f"the job {job['id']}" in page.text
    assert f"the job is JobComplete, with {caller.org.records.count('Account')} records of Account" in page.text
    assert "the list of Account records" in listed.text
    assert "<script" not in caller.get("/lightning/o/<script>/list").text


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /services/data HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n",
        b"GET /services/data HTTP/1.0\r\n\r\n",
        b"POST /services/oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_raw_nonsense_does_not_end_the_org(caller: Caller, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", caller.server.port), timeout=SECONDS) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert not answer.startswith(b"HTTP/1.1 5")
    assert caller.query(SOQL).status_code == 200
