"""REST: versions, headers, query pages, describe, limits, records, batches."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from caller import ROWS, Caller, Serve

SOQL = "SELECT Id, Name FROM Account ORDER BY Id"


def read_all(caller: Caller, soql: str, resource: str = "query", **options: Any) -> list[dict[str, Any]]:
    """The pages of a query, by following nextRecordsUrl."""
    pages = [caller.query(soql, resource, **options).json()]
    while not pages[-1]["done"]:
        pages.append(caller.get(pages[-1]["nextRecordsUrl"]).json())
    assert "nextRecordsUrl" not in pages[-1]
    return pages


def ids_of(pages: list[dict[str, Any]]) -> list[str]:
    return [record["Id"] for page in pages for record in page["records"]]


def test_versions_need_no_token_and_cost_nothing(anonymous: Caller) -> None:
    answer = anonymous.get("/services/data")

    versions = answer.json()
    assert versions[0] == {"label": "Summer '14", "url": "/services/data/v31.0", "version": "31.0"}
    assert versions[-2:] == [
        {"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"},
        {"label": "Winter '27", "url": "/services/data/v68.0", "version": "68.0"},
    ]
    assert "Sforce-Limit-Info" not in answer.headers


def test_resources_of_a_version(caller: Caller) -> None:
    assert caller.get("").json()["query"] == "/services/data/v67.0/query"


@pytest.mark.parametrize("version", ["69.0", "1.0", "67", "67.1", "x", "0067.0", "99999.0"])
def test_unknown_versions(caller: Caller, version: str) -> None:
    answer = caller.get(f"/services/data/v{version}/limits")

    assert answer.status_code == 404
    assert answer.json() == [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}]


def test_retired_and_deprecated_versions(caller: Caller, serve: Serve) -> None:
    """REST API end-of-life policy: 31.0 to 40.0 are supported until Summer '27 deprecates them."""
    assert caller.get("/services/data/v30.0/limits").status_code == 410
    assert "Warning" not in caller.get("/services/data/v31.0/limits").headers
    later = serve(oldest_version=41)
    assert later.get("/services/data/v31.0/limits").headers["Warning"].startswith("299 - ")
    assert "Warning" not in later.get("/limits").headers


def test_resources_younger_than_the_version_do_not_exist(caller: Caller) -> None:
    assert caller.get("/services/data/v46.0/jobs/query").status_code == 404
    assert caller.get("/services/data/v47.0/jobs/query").status_code == 200


def test_instance_urls_that_end_with_a_slash(caller: Caller) -> None:
    """The Salesforce CLI keeps them so, and calls `//services/data/…` then."""
    path = f"{caller.server.url}//services/data/v67.0/limits"

    answer = caller.session.get(path, timeout=20)
    assert answer.status_code == 200
    assert "Sforce-Limit-Info" in answer.headers


def test_wrong_method(caller: Caller) -> None:
    answer = caller.post("/query")

    assert answer.status_code == 405
    assert answer.json()[0]["errorCode"] == "METHOD_NOT_ALLOWED"


def test_usage_header_counts_every_call(serve: Serve) -> None:
    caller = serve(daily_api_requests=5000)

    used = [caller.get("/limits").headers["Sforce-Limit-Info"] for _ in range(3)]
    assert used == ["api-usage=1/5000", "api-usage=2/5000", "api-usage=3/5000"]
    refused = caller.query("SELECT")
    assert (refused.status_code, refused.headers["Sforce-Limit-Info"]) == (400, "api-usage=4/5000")


def test_usage_header_of_apps(serve: Serve) -> None:
    caller = serve(daily_api_requests=5000, limit_info_app="Nightly")

    header = caller.get("/limits").headers["Sforce-Limit-Info"]
    assert header == "api-usage=1/5000; per-app-api-usage=1/5000(appName=Nightly)"


def test_exhausted_requests_come_back_after_a_day(serve: Serve) -> None:
    caller = serve(daily_api_requests=2, session_idle_seconds=1e6)
    assert [caller.get("/sobjects").status_code for _ in range(3)] == [200, 200, 403]

    answer = caller.get("/sobjects")
    assert answer.json() == [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
    caller.org.clock.advance(timedelta(hours=24, minutes=1))
    assert caller.get("/sobjects").status_code == 200


def test_limits_go_down(serve: Serve) -> None:
    caller = serve(daily_api_requests=1000)
    caller.finished_job("SELECT Id FROM Account")

    before = caller.org.usage.api_requests.total()
    limits = caller.get("/limits").json()
    assert limits["DailyApiRequests"] == {"Max": 1000, "Remaining": 1000 - before - 1}
    assert limits["DailyBulkV2QueryJobs"] == {"Max": 10_000, "Remaining": 9_999}
    assert limits["DailyBulkV2QueryFileStorageMB"]["Max"] == 976_562


def test_limit_of_bulk_batches_had_another_name(caller: Caller) -> None:
    assert "DailyBulkApiBatches" in caller.get("/services/data/v49.0/limits").json()
    assert "DailyBulkApiRequests" in caller.get("/services/data/v48.0/limits").json()


def test_limits_need_a_permission(serve: Serve) -> None:
    caller = serve(can_view_setup=False)

    assert caller.get("/limits").status_code == 403
    assert caller.get("/limits/recordCount").status_code == 403
    assert caller.query(SOQL).status_code == 200


def test_record_counts(caller: Caller) -> None:
    counts = caller.get("/limits/recordCount", params={"sObjects": "Account,lead,Nonsense__c"}).json()["sObjects"]

    live = caller.query("SELECT COUNT() FROM Account").json()["totalSize"]
    assert counts == [{"count": live, "name": "Account"}, {"count": 0, "name": "Lead"}]
    every = caller.get("/limits/recordCount").json()["sObjects"]
    assert {"count": live, "name": "Account"} in every


def test_query_pages_follow_the_locator(caller: Caller) -> None:
    pages = read_all(caller, SOQL, headers={"Sforce-Query-Options": "batchSize=200"})

    total = pages[0]["totalSize"]
    assert list(pages[0]) == ["totalSize", "done", "nextRecordsUrl", "records"]
    assert [len(page["records"]) for page in pages] == [200, 200, total - 400]
    assert pages[0]["nextRecordsUrl"].startswith("/services/data/v67.0/query/0r8")
    assert pages[0]["nextRecordsUrl"].endswith("-200")
    assert len(pages[0]["nextRecordsUrl"].rpartition("/")[2]) == 18 + len("-200")
    assert ids_of(pages) == sorted(set(ids_of(pages)))
    record = pages[0]["records"][0]
    assert record["attributes"] == {"type": "Account", "url": f"/services/data/v67.0/sobjects/Account/{record['Id']}"}


def test_page_can_be_read_again(caller: Caller) -> None:
    first = caller.query(SOQL, headers={"Sforce-Query-Options": "batchSize=200"}).json()

    assert caller.get(first["nextRecordsUrl"]).json() == caller.get(first["nextRecordsUrl"]).json()


def test_small_results_come_whole(caller: Caller) -> None:
    body = caller.query(SOQL).json()

    assert body["done"] is True
    assert "nextRecordsUrl" not in body
    assert len(body["records"]) == body["totalSize"]


@pytest.mark.parametrize(("asked", "granted"), [("1", 200), ("200", 200), ("250", 250)])
def test_batch_size_has_a_lower_bound(caller: Caller, asked: str, granted: int) -> None:
    body = caller.query(SOQL, headers={"Sforce-Query-Options": f"batchSize={asked}"}).json()

    assert len(body["records"]) == granted


def test_uneven_pages_hold_all_rows(serve: Serve) -> None:
    caller = serve(uneven_pages=True, query_batch=200)
    pages = read_all(caller, SOQL)

    assert len({len(page["records"]) for page in pages}) > 1
    assert len(set(ids_of(pages))) == pages[0]["totalSize"]
    assert all(page["records"] for page in pages)


def test_query_all_shows_deleted_rows_and_continues_below_query(caller: Caller) -> None:
    pages = read_all(caller, SOQL, "queryAll", headers={"Sforce-Query-Options": "batchSize=200"})

    assert pages[0]["totalSize"] == ROWS["Account"]
    assert caller.query(SOQL).json()["totalSize"] < ROWS["Account"]
    assert "/query/0r8" in pages[0]["nextRecordsUrl"]
    through_query_all = pages[0]["nextRecordsUrl"].replace("/query/", "/queryAll/")
    assert caller.get(through_query_all).json() == pages[1]


def test_locator_lives_two_days(serve: Serve) -> None:
    caller = serve(session_idle_seconds=1e7)
    more = caller.query(SOQL, headers={"Sforce-Query-Options": "batchSize=200"}).json()["nextRecordsUrl"]

    caller.org.clock.advance(timedelta(hours=47))
    assert caller.get(more).status_code == 200
    caller.org.clock.advance(timedelta(hours=2))
    answer = caller.get(more)
    assert answer.status_code == 400
    assert answer.json() == [{"message": "invalid query locator", "errorCode": "INVALID_QUERY_LOCATOR"}]


@pytest.mark.parametrize(
    "locator", ["x", "0r8AAAAAAAAAAAAAAA-200", "0r8-1", "01gAAAAAAAAAAAAAAA-200", "%00", "0r8" + "A" * 15 + "-9" * 5]
)
def test_unknown_locators(caller: Caller, locator: str) -> None:
    answer = caller.get(f"/query/{locator}")

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")


def test_locator_past_the_end(caller: Caller) -> None:
    more = caller.query(SOQL, headers={"Sforce-Query-Options": "batchSize=200"}).json()["nextRecordsUrl"]

    assert caller.get(more.rpartition("-")[0] + "-99999").status_code == 400


def test_count_has_no_records(caller: Caller) -> None:
    body = caller.query("SELECT COUNT() FROM Account").json()

    assert body["done"] is True
    assert body["records"] == []
    assert 0 < body["totalSize"] <= ROWS["Account"]


def test_children_count_toward_the_batch(caller: Caller) -> None:
    soql = "SELECT Id, (SELECT Id FROM Contacts) FROM Account ORDER BY Id"
    pages = read_all(caller, soql, headers={"Sforce-Query-Options": "batchSize=200"})

    def weight(record: dict[str, Any]) -> int:
        return 1 + len((record["Contacts"] or {"records": []})["records"])

    assert all(sum(map(weight, page["records"])) <= 200 for page in pages)
    assert len(set(ids_of(pages))) == pages[0]["totalSize"]
    assert sum(weight(record) - 1 for page in pages for record in page["records"]) > 0


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Id FORM Account", "MALFORMED_QUERY"),
        ("SELECT Foo FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Foo__c", "INVALID_TYPE"),
        ("", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = :x", "MALFORMED_QUERY"),
    ],
)
def test_wrong_queries(caller: Caller, soql: str, code: str) -> None:
    answer = caller.query(soql)

    assert answer.status_code == 400
    assert [sorted(each) for each in answer.json()] == [["errorCode", "message"]]
    assert answer.json()[0]["errorCode"] == code


def test_query_without_parameter(caller: Caller) -> None:
    assert caller.get("/query").json()[0]["errorCode"] == "MALFORMED_QUERY"


def test_gzip_only_when_asked(caller: Caller) -> None:
    plain = caller.query(SOQL, headers={"Accept-Encoding": "identity"})
    packed = caller.query(SOQL, headers={"Accept-Encoding": "gzip"})
    refused = caller.query(SOQL, headers={"Accept-Encoding": "gzip;q=0"})

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in refused.headers
    assert plain.json() == packed.json() == refused.json()


def test_pretty_print(caller: Caller) -> None:
    answer = caller.get("/limits", headers={"X-PrettyPrint": "1"})

    assert answer.text.startswith('{\n  "ActiveScratchOrgs" : {')


@pytest.mark.parametrize(("length", "status"), [(15_000, 400), (16_300, 431), (16_400, 414), (70_000, 414)])
def test_long_heads(caller: Caller, length: int, status: int) -> None:
    path = "/query?q="
    filling = "x" * (length - len(f"/services/data/v67.0{path}"))

    assert caller.get(path + filling).status_code == status


def test_references_name_objects_that_can_be_described(caller: Caller) -> None:
    """Clients that write out parents describe each of them (sfdump)."""
    names = {each["name"] for each in caller.get("/sobjects").json()["sobjects"]}

    fields = caller.get("/sobjects/Opportunity/describe").json()["fields"]
    targets = {target for field in fields for target in field["referenceTo"]}
    assert {"Account", "User"} <= targets <= names


def test_describe_global_lists_objects(caller: Caller) -> None:
    body = caller.get("/sobjects").json()

    assert body["encoding"] == "UTF-8"
    assert body["maxBatchSize"] == 200
    names = {each["name"] for each in body["sobjects"]}
    assert {"Account", "Contact", "Opportunity", "Case", "Invoice__c"} <= names


def test_describe_names_fields_and_links_of_its_version(caller: Caller) -> None:
    body = caller.get("/services/data/v60.0/sobjects/account/describe").json()

    assert body["name"] == "Account"
    assert body["urls"]["describe"] == "/services/data/v60.0/sobjects/Account/describe"
    assert "SystemModstamp" in {field["name"] for field in body["fields"]}


@pytest.mark.parametrize("path", ["/sobjects", "/sobjects/Account/describe"])
def test_describe_unchanged(caller: Caller, path: str) -> None:
    stamp = caller.get(path).headers["Last-Modified"]

    unchanged = caller.get(path, headers={"If-Modified-Since": stamp})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    old = caller.get(path, headers={"If-Modified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"})
    assert old.status_code == 200
    garbage = caller.get(path, headers={"If-Modified-Since": "yesterday, about noon"})
    assert garbage.status_code == 200


def test_hidden_things_do_not_exist(caller: Caller) -> None:
    caller.org.hidden_fields.add(("Account", "Phone"))
    caller.org.hidden_objects.add("Lead")

    fields = {field["name"] for field in caller.get("/sobjects/Account/describe").json()["fields"]}
    assert "Phone" not in fields
    assert "Fax" in fields
    assert caller.query("SELECT Phone FROM Account").json()[0]["errorCode"] == "INVALID_FIELD"
    assert caller.get("/sobjects/Lead/describe").status_code == 404
    assert "Lead" not in {each["name"] for each in caller.get("/sobjects").json()["sobjects"]}
    assert caller.query("SELECT Id FROM Lead").json()[0]["errorCode"] == "INVALID_TYPE"


def test_basic_information(caller: Caller) -> None:
    assert caller.get("/sobjects/Account").json()["objectDescribe"]["name"] == "Account"
    assert caller.get("/sobjects/Nothing__c").status_code == 404


def test_batch_performs_and_counts_each_call(serve: Serve) -> None:
    caller = serve()
    before = caller.org.usage.api_requests.total()

    requests = [
        {"method": "GET", "url": "v67.0/limits"},
        {"method": "GET", "url": "/services/data/v67.0/query?q=SELECT+COUNT()+FROM+Account"},
        {"method": "GET", "url": "v67.0/sobjects/Nothing__c/describe"},
    ]
    body = caller.post("/composite/batch", json={"batchRequests": requests}).json()

    assert body["hasErrors"] is True
    assert [each["statusCode"] for each in body["results"]] == [200, 200, 404]
    assert body["results"][1]["result"]["totalSize"] > 0
    assert body["results"][2]["result"][0]["errorCode"] == "NOT_FOUND"
    assert caller.org.usage.api_requests.total() - before == 3


def test_batch_stops_when_told(caller: Caller) -> None:
    requests = [{"method": "GET", "url": "v67.0/nowhere"}, {"method": "GET", "url": "v67.0/limits"}]

    body = caller.post("/composite/batch", json={"batchRequests": requests, "haltOnError": True}).json()
    assert [each["statusCode"] for each in body["results"]] == [404, 412]


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET", "url": "http://elsewhere.example/"},
        {"method": "GET", "url": "/_org/calls"},
        {"method": "POST", "url": "v67.0/composite/batch", "richInput": {}},
        {"method": "GET"},
        "v67.0/limits",
        {"method": "GET", "url": "http://[::1"},
        {"method": 7, "url": "v67.0/limits"},
    ],
)
def test_batch_refuses_what_it_cannot_hold(caller: Caller, request_: Any) -> None:
    body = caller.post("/composite/batch", json={"batchRequests": [request_]}).json()

    assert body["hasErrors"] is True
    assert body["results"][0]["statusCode"] in (400, 404, 405)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"batchRequests": 5}', b'{"batchRequests": []}', b"\xff", b"[" * 5000]
)
def test_malformed_batches(caller: Caller, body: bytes) -> None:
    answer = caller.post("/composite/batch", data=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/sobjects/%00/describe",
        "/sobjects/Account/../../x",
        "/sobjects/Account/updated",
        "/sobjects/Account/deleted?start=x&end=y",
        "/sobjects/Account/deleted?start=2026-99-99T00:00:00Z&end=2026-99-99T00:00:00Z",
        "/sobjects/Account/updated?start=0001-01-01T00:00:00%2B23:59&end=9999-12-31T23:59:59-23:59",
        "/jobs/query/%F0%9F%98%80",
        "/jobs/query?queryLocator=%00",
        "/query?q=%00",
        "/query?q=%FF%FE",
        "/query?q=SELECT%20Id%20FROM%20Account%20WHERE%20Name%20=%20'%ED%A0%80'",
        "/limits/recordCount?sObjects=%00,,",
        "/sobjects/Account/" + "x" * 500,
        "/sobjects/Account/001?fields=%00",
        "//query",
        "/%2e%2e/%2e%2e",
    ],
)
def test_malformed_paths_and_parameters_are_no_server_errors(caller: Caller, path: str) -> None:
    assert caller.get(path).status_code < 500


def test_half_surrogates_come_back_as_text(caller: Caller) -> None:
    answer = caller.post("/jobs/query", data=b'{"operation": "\\ud800", "query": "x"}')

    assert answer.status_code == 400
    assert "operation" in answer.json()[0]["message"]


class TestRecords:
    """Single records, on an org of their own."""

    @pytest.fixture
    def own(self, serve: Serve) -> Caller:
        return serve(own_rows={"Account": 5})

    def test_life_of_a_record(self, own: Caller) -> None:
        created = own.post("/sobjects/Account", json={"Name": "Acme"})
        assert created.status_code == 201
        record_id = created.json()["id"]
        assert created.json() == {"id": record_id, "success": True, "errors": []}
        assert len(record_id) == 18

        path = f"/sobjects/Account/{record_id}"
        changed = own.call("PATCH", path, json={"Name": "Acme Inc.", "Industry": "Energy"})
        assert (changed.status_code, changed.content) == (204, b"")
        record = own.get(path).json()
        assert (record["Name"], record["Industry"]) == ("Acme Inc.", "Energy")
        assert record["attributes"] == {"type": "Account", "url": f"/services/data/v67.0{path}"}
        assert set(own.get(path, params={"fields": "Name"}).json()) == {"attributes", "Name", "Id"}

        assert own.call("DELETE", path).status_code == 204
        gone = own.get(path)
        assert (gone.status_code, gone.json()[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")
        assert own.query(f"SELECT Id FROM Account WHERE Id = '{record_id}'").json()["totalSize"] == 0
        assert own.query(f"SELECT Id FROM Account WHERE Id = '{record_id}'", "queryAll").json()["totalSize"] == 1

    def test_short_ids_work_too(self, own: Caller) -> None:
        record_id = own.query("SELECT Id FROM Account LIMIT 1").json()["records"][0]["Id"]

        assert own.get(f"/sobjects/Account/{record_id[:15]}").json()["Id"] == record_id

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("GET", "/sobjects/Account/001000000000000AAA", None, 404),
            ("GET", "/sobjects/Account/nonsense", None, 404),
            ("PATCH", "/sobjects/Account/nonsense", {"Name": "x"}, 404),
            ("DELETE", "/sobjects/Account/nonsense", None, 404),
            ("POST", "/sobjects/Nothing__c", {"Name": "x"}, 404),
            ("POST", "/sobjects/Account", {"Nonsense": 1}, 400),
            ("POST", "/sobjects/Account", {}, 400),
            ("POST", "/sobjects/Account", {"Name": "x", "AnnualRevenue": "much"}, 400),
            ("POST", "/sobjects/Account", {"Name": ["x"]}, 400),
            ("POST", "/sobjects/Account", {"Name": "x" * 1000}, 400),
            ("POST", "/sobjects/Account", [], 400),
        ],
    )
    def test_refusals(self, caller: Caller, method: str, path: str, body: Any, status: int) -> None:
        answer = caller.call(method, path, json=body)

        assert answer.status_code == status
        assert set(answer.json()[0]) >= {"errorCode", "message"}

    def test_changes_show_in_replication(self, own: Caller) -> None:
        now = own.org.clock.now()
        own.org.clock.set(now.replace(second=30))
        first = own.post("/sobjects/Account", json={"Name": "one"}).json()["id"]
        second = own.post("/sobjects/Account", json={"Name": "two"}).json()["id"]
        own.call("DELETE", f"/sobjects/Account/{second}")
        own.org.clock.advance(timedelta(minutes=2))

        window = {"start": _text(now - timedelta(minutes=5)), "end": _text(now + timedelta(minutes=1, seconds=30))}
        updated = own.get("/sobjects/Account/updated/", params=window).json()
        assert first in updated["ids"]
        assert second not in updated["ids"]
        deleted = own.get("/sobjects/Account/deleted/", params=window).json()
        assert [each["id"] for each in deleted["deletedRecords"]] == [second]
        assert deleted["latestDateCovered"].endswith(":00.000+0000")
        assert set(deleted) == {"deletedRecords", "earliestDateAvailable", "latestDateCovered"}


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+00:00")


@pytest.mark.parametrize(
    ("resource", "days", "minutes", "status"),
    [
        ("updated", 29, 60, 200),
        ("updated", 31, 60, 400),
        ("deleted", 14, 60, 200),
        ("deleted", 16, 60, 400),
        ("deleted", 1, 0, 400),
        ("updated", 1, -5, 400),
    ],
)
def test_replication_windows(caller: Caller, resource: str, days: int, minutes: int, status: int) -> None:
    start = caller.org.clock.now() - timedelta(days=days)
    window = {"start": _text(start), "end": _text(start + timedelta(minutes=minutes))}

    answer = caller.get(f"/sobjects/Account/{resource}", params=window)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()[0]["errorCode"] == "INVALID_REPLICATION_DATE"


def test_unescaped_plus_in_a_window(caller: Caller) -> None:
    start = _text(caller.org.clock.now() - timedelta(days=1))
    end = _text(caller.org.clock.now())

    assert caller.get(f"/sobjects/Account/deleted?start={start}&end={end}").status_code == 200


def test_purged_delete_log_shows_in_earliest_date(serve: Serve) -> None:
    caller = serve(delete_log_days=2)
    now = caller.org.clock.now()
    window = {"start": _text(now - timedelta(days=5)), "end": _text(now)}

    earliest = caller.get("/sobjects/Account/deleted", params=window).json()["earliestDateAvailable"]
    assert earliest == (now - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:00.000+0000")


def test_calls_are_logged_with_route_status_and_user(caller: Caller) -> None:
    caller.query(SOQL)
    caller.get("/nowhere")

    calls = list(caller.org.calls)
    assert [(call.route, call.status) for call in calls] == [("token", 200), ("query", 200), ("unknown", 404)]
    assert calls[1].principal == caller.org.run_as
    assert calls[1].path.startswith("/services/data/v67.0/query?q=SELECT")
    assert caller.org.calls.counts == {"token": 1, "query": 1, "unknown": 1}
    assert json.dumps(calls[1].to_json())
