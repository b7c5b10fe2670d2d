"""The REST API as its developer guide, recorded answers and other people's captures show it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from caller import Caller

from documented.exchange import JSON, PRESENT, RECORD_ID, STAMP, Each, Exchange, Headers, Some
from salesforce_localorg.org import LocalOrg

GUIDE = "REST API guide"
LIMIT_INFO: Headers = {
    "Content-Type": JSON,
    "Sforce-Limit-Info": re.compile(r"api-usage=\d+/100000"),
}
LOCATOR = re.compile(r"/services/data/v67\.0/query/0r8[A-Za-z0-9]{15}-200")
ATTRIBUTES = {"type": "Account", "url": re.compile(r"/services/data/v67\.0/sobjects/Account/001[A-Za-z0-9]{15}")}
ACCOUNT = {"attributes": ATTRIBUTES, "Id": re.compile("001[A-Za-z0-9]{15}")}
BATCH = {"Sforce-Query-Options": "batchSize=200"}
DAYS = "%Y-%m-%dT%H:%M:%S+00:00"


def error(code: str, message: str | re.Pattern[str], **more: Any) -> list[dict[str, Any]]:
    return [{"message": message, "errorCode": code, **more}]


def query(source: str, soql: str, body: Any, *, resource: str = "query", **more: Any) -> Exchange:
    return Exchange(source, f"GET /{resource}", body=body, params={"q": soql}, **{"headers": LIMIT_INFO, **more})


def refused(source: str, soql: str, code: str, message: str, **more: Any) -> Exchange:
    """`message` is a pattern, in which `~` stands for anything."""
    pattern = re.compile("(?s)" + re.escape(message).replace(re.escape("~"), ".*"))
    return query(source, soql, error(code, pattern), status=400, **more)


def records(item: Any, total: Any = int, **more: Any) -> dict[str, Any]:
    return {"totalSize": total, "done": True, "records": item, **more}


def next_page(caller: Caller) -> dict[str, str]:
    first = caller.query("SELECT Id FROM Account", headers=BATCH).json()
    return {"next": first["nextRecordsUrl"], "all": first["nextRecordsUrl"].replace("/query/", "/queryAll/")}


def last_page(caller: Caller) -> dict[str, str]:
    names = next_page(caller)
    more = caller.get(names["next"]).json()
    return {"next": more["nextRecordsUrl"]}


def new_account(caller: Caller) -> dict[str, str]:
    return {"id": caller.post("/sobjects/Account", json={"Name": "Acme", "Site": "Main"}).json()["id"]}


def deleted_account(caller: Caller) -> dict[str, str]:
    names = new_account(caller)
    assert caller.call("DELETE", f"/sobjects/Account/{names['id']}").status_code == 204
    return {**names, **window(caller)}


def without_view_setup(org: LocalOrg) -> None:
    org.permissions.discard("ViewSetup")


def short_id(caller: Caller) -> dict[str, str]:
    names = new_account(caller)
    return {**names, "short": names["id"][:15]}


def updated_account(caller: Caller) -> dict[str, str]:
    return {**new_account(caller), **window(caller)}


def window(caller: Caller) -> dict[str, str]:
    now = caller.org.clock.now()
    moments = {
        "start": now - timedelta(days=1),
        "end": now + timedelta(minutes=2),
        "long_ago": now - timedelta(days=16),
        "longer_ago": now - timedelta(days=31),
    }
    return {name: moment.strftime(DAYS) for name, moment in moments.items()}


def replication(name: str, start: str, end: str, status: int, body: Any, prepare: Any = window) -> Exchange:
    source = f"{GUIDE}, sObject Get {name.title()}, salesforce-protocol.md#limits-and-counts"
    params = {"start": start, "end": end}
    return Exchange(source, f"GET /sobjects/Account/{name}/", status, body, params=params, prepare=prepare)


NOT_FOUND = error("NOT_FOUND", "The requested resource does not exist")
NO_COLUMN = (
    "\nSELECT Id, Foo FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo' on entity 'Account'. If you "
    "are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your "
    "WSDL or the describe call for the appropriate names."
)
NO_TYPE = (
    "~^\nERROR at Row:1:Column:16\nsObject type 'Foo__c' is not supported. If you are attempting to use a custom object, be "
    "sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate "
    "names."
)
RECORDED_OBJECT_KEYS = (
    "name label custom keyPrefix labelPlural layoutable activateable updateable urls searchable createable customSetting "
    "deletable deprecatedAndHidden feedEnabled mergeable queryable replicateable retrieveable undeletable triggerable"
)
RECORDED_FIELD_KEYS = (
    "length name type defaultValue label updateable calculated controllerName nillable unique precision scale caseSensitive "
    "byteLength inlineHelpText nameField externalId idLookup filterable soapType createable deprecatedAndHidden autoNumber "
    "calculatedFormula defaultValueFormula defaultedOnCreate digits groupable picklistValues referenceTo relationshipName "
    "relationshipOrder restrictedPicklist"
)
ANY: Any = Some({})


def keys(names: str, item: Any = None) -> Some:
    """An object that has at least the keys named, whatever they hold."""
    return Some({**dict.fromkeys(names.split(), PRESENT), **(item or {})})


EXCHANGES = [
    Exchange(
        f"{GUIDE}, recorded expired_session_response",
        "GET /query?q=SELECT+Id+FROM+Account",
        401,
        error("INVALID_SESSION_ID", "Session expired or invalid"),
        headers={"Content-Type": JSON, "Sforce-Limit-Info": None},
        anonymous=True,
    ),
    Exchange(
        "salesforce-protocol.md#rest-conventions, OAuth scheme",
        "GET /limits",
        headers=LIMIT_INFO,
        given={"Authorization": "OAuth {token}"},
        anonymous=True,
        prepare=lambda caller: {"token": str(caller.session.headers["Authorization"]).removeprefix("Bearer ")},
    ),
    Exchange(
        f"{GUIDE}, Versions, salesforce-protocol.md#api-versions",
        "GET /services/data",
        body=Each(
            {"label": re.compile(r"(Winter|Spring|Summer) '\d\d"), "url": str, "version": re.compile(r"\d\d\.0")}
        ),
        headers={"Content-Type": JSON, "Sforce-Limit-Info": None},
        anonymous=True,
    ),
    Exchange(
        f"{GUIDE}, Resources by Version",
        "GET /services/data/v67.0/",
        body=Some({"query": "/services/data/v67.0/query", "sobjects": "/services/data/v67.0/sobjects"}),
        headers=LIMIT_INFO,
    ),
    Exchange("salesforce-protocol.md#rest-conventions", "GET /services/data/v99.0/limits", 404, NOT_FOUND),
    Exchange(
        "salesforce-protocol.md#rest-conventions", "GET /nonsense", 404, NOT_FOUND, headers={"Content-Type": JSON}
    ),
    Exchange("API end of life, salesforce-protocol.md#rest-conventions", "GET /services/data/v20.0/limits", 410),
    Exchange(
        "Bulk API guide, Warning header, salesforce-protocol.md#rest-conventions",
        "GET /services/data/v35.0/limits",
        headers={"Warning": re.compile('299 - "This API is deprecated.*"')},
        settings={"oldest_version": 41},
    ),
    query(
        f"{GUIDE}, Query, salesforce-protocol.md#rest-queries",
        "SELECT Id FROM Account",
        {"totalSize": int, "done": False, "nextRecordsUrl": LOCATOR, "records": Each(ACCOUNT)},
        given=BATCH,
    ),
    Exchange(
        f"{GUIDE}, Query More, salesforce-protocol.md#rest-queries",
        "GET {next}",
        body={
            "totalSize": int,
            "done": False,
            "nextRecordsUrl": re.compile(LOCATOR.pattern.replace("200", "400")),
            "records": Each(ACCOUNT),
        },
        headers=LIMIT_INFO,
        prepare=next_page,
    ),
    Exchange(
        "salesforce-protocol.md#rest-queries, last page", "GET {next}", body=records(Each(ACCOUNT)), prepare=last_page
    ),
    Exchange(
        "salesforce-protocol.md#rest-queries, queryAll continues either way",
        "GET {all}",
        body=Some({"done": False}),
        prepare=next_page,
    ),
    query(
        f"{GUIDE}, QueryAll, salesforce-protocol.md#rest-queries",
        "SELECT Id FROM Account",
        Some({"done": False, "nextRecordsUrl": LOCATOR}),
        resource="queryAll",
        given=BATCH,
    ),
    query("recorded query_empty_response", "SELECT Id FROM Lead", records([], total=0)),
    query("salesforce-protocol.md#rest-queries, COUNT()", "SELECT COUNT() FROM Account", records([])),
    query(
        "recorded query_aggregate_success_response",
        "SELECT Industry, COUNT(Id) FROM Account GROUP BY Industry",
        records(Each({"attributes": {"type": "AggregateResult"}, "Industry": PRESENT, "expr0": int})),
    ),
    query(
        "salesforce-protocol.md#rest-queries, keys are the schema's names",
        "select id, ISDELETED from account limit 1",
        records([{**ACCOUNT, "IsDeleted": False}], total=1),
    ),
    query(
        "recorded query_success_response, parents and children",
        "SELECT Id, Name, CreatedDate, Account.Name, (SELECT Id FROM Cases) FROM Contact WHERE AccountId != null LIMIT 1",
        records(
            [
                {
                    "attributes": Some({"type": "Contact"}),
                    "Id": RECORD_ID,
                    "Name": str,
                    "CreatedDate": STAMP,
                    "Account": {"attributes": ATTRIBUTES, "Name": PRESENT},
                    "Cases": None,
                }
            ],
            total=1,
        ),
    ),
    query(
        "salesforce-protocol.md#rest-queries, missing parents",
        "SELECT AccountId, Account.Name FROM Contact WHERE AccountId = null LIMIT 1",
        records([{"attributes": ANY, "AccountId": None, "Account": None}], total=1),
    ),
    query(
        "recorded org_query_response",
        "SELECT Id FROM Organization",
        records([{"attributes": Some({"type": "Organization"}), "Id": re.compile("00D[A-Za-z0-9]{15}")}], total=1),
    ),
    query(
        f"{GUIDE}, X-PrettyPrint",
        "SELECT Id FROM Lead",
        re.compile(r'\{\n +"totalSize" : 0,\n(?s:.*)\n\}\n?'),
        given={"X-PrettyPrint": "1"},
    ),
    query(
        f"{GUIDE}, Compression, salesforce-protocol.md#rest-conventions",
        "SELECT Id FROM Account LIMIT 200",
        Some({"totalSize": 200}),
        headers={"Content-Encoding": "gzip"},
        given={"Accept-Encoding": "gzip"},
    ),
    query(
        f"{GUIDE}, Compression, not asked for",
        "SELECT Id FROM Account LIMIT 200",
        Some({"totalSize": 200}),
        headers={"Content-Encoding": None},
        given={"Accept-Encoding": "identity"},
    ),
    query(
        "simple-salesforce api.py, salesforce-protocol.md#rest-conventions",
        "SELECT Id FROM Lead",
        ANY,
        headers={"Sforce-Limit-Info": re.compile(r"api-usage=\d+/5000; per-app-api-usage=\d+/5000\(appName=Nightly\)")},
        settings={"daily_api_requests": 5000, "limit_info_app": "Nightly"},
    ),
    query("Bulk API guide, Sforce-Call-Options", "SELECT Id FROM Lead", ANY, given={"Sforce-Call-Options": "client=x"}),
    refused(
        "salesforce-protocol.md#query-errors", "SELECT Id FORM Account", "MALFORMED_QUERY", "~unexpected token: 'FORM'~"
    ),
    refused(
        "ForceCLI issue 531, salesforce-protocol.md#query-errors",
        "SELECT Id, Foo FROM Account",
        "INVALID_FIELD",
        NO_COLUMN,
    ),
    refused("salesforce-protocol.md#query-errors", "SELECT Id FROM Foo__c", "INVALID_TYPE", NO_TYPE),
    refused(
        "app limits, salesforce-protocol.md#rest-queries",
        "SELECT Id FROM Account OFFSET 2001",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "~",
    ),
    refused("SOQL reference, FIELDS()", "SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY", "~"),
    refused(
        "SOQL reference, statement length",
        f"SELECT Id FROM Account WHERE Name = '{'x' * 4100}'",
        "MALFORMED_QUERY",
        "~",
    ),
    Exchange(
        "salesforce-protocol.md#query-errors",
        "GET /query/0r8AAAAAAAAAAAAAAA-2000",
        400,
        error("INVALID_QUERY_LOCATOR", "invalid query locator"),
    ),
    query(
        "salesforce-protocol.md#query-errors, recorded by its author",
        "SELECT Id FROM Account",
        error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        status=403,
        headers={"Content-Type": JSON},
        settings={"daily_api_requests": 0},
    ),
    Exchange(f"{GUIDE}, Status Codes, 414", f"GET /query?q=SELECT+Id+FROM+Account&x={'x' * 16_400}", 414),
    Exchange(f"{GUIDE}, Status Codes, 431", "GET /limits", 431, given={"X-Padding": "x" * 16_400}),
    Exchange(
        "recorded list_sobjects_success_response",
        "GET /sobjects",
        body={"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": Each(keys(RECORDED_OBJECT_KEYS))},
        headers=LIMIT_INFO,
    ),
    Exchange(
        "recorded sobject_describe_success_response",
        "GET /sobjects/Account/describe",
        body=Some({"name": "Account", "fields": Each(keys(RECORDED_FIELD_KEYS))}),
        headers=LIMIT_INFO,
    ),
    Exchange("recorded sobject_describe_error_response", "GET /sobjects/Foo__c/describe", 404, NOT_FOUND),
    Exchange(
        f"{GUIDE}, If-Modified-Since, salesforce-protocol.md#describe",
        "GET /sobjects/Account/describe",
        304,
        "",
        given={"If-Modified-Since": "Wed, 01 Jan 2098 00:00:00 GMT"},
    ),
    Exchange(
        f"{GUIDE}, sObject Basic Information",
        "GET /sobjects/Account",
        body={"objectDescribe": Some({"name": "Account"}), "recentItems": list},
    ),
    Exchange(
        f"{GUIDE}, Limits, salesforce-protocol.md#limits-and-counts",
        "GET /limits",
        body=Some(
            {
                "DailyApiRequests": {"Max": 100_000, "Remaining": int},
                "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": int},
                "DailyBulkV2QueryFileStorageMB": {"Max": 976_562, "Remaining": int},
            }
        ),
    ),
    Exchange(f"{GUIDE}, Limits, permission", "GET /limits", 403, condition=without_view_setup),
    Exchange(
        f"{GUIDE}, Record Count, salesforce-protocol.md#limits-and-counts",
        "GET /limits/recordCount",
        body={"sObjects": Each({"count": int, "name": str})},
        params={"sObjects": "Account,Contact"},
    ),
    replication(
        "updated",
        "{start}",
        "{end}",
        200,
        {"ids": Each(RECORD_ID), "latestDateCovered": STAMP},
        prepare=updated_account,
    ),
    replication(
        "deleted",
        "{start}",
        "{end}",
        200,
        {
            "deletedRecords": Each({"id": RECORD_ID, "deletedDate": STAMP}),
            "earliestDateAvailable": STAMP,
            "latestDateCovered": STAMP,
        },
        prepare=deleted_account,
    ),
    replication("deleted", "{end}", "{start}", 400, error("INVALID_REPLICATION_DATE", re.compile(".+"))),
    replication("deleted", "{long_ago}", "{end}", 400, error("INVALID_REPLICATION_DATE", re.compile(".+"))),
    replication("updated", "{longer_ago}", "{end}", 400, error("INVALID_REPLICATION_DATE", re.compile(".+"))),
    Exchange(
        "recorded create_success_response",
        "POST /sobjects/Account",
        201,
        {"id": RECORD_ID, "success": True, "errors": []},
        headers={"Location": re.compile(r".*/services/data/v67\.0/sobjects/Account/001.*"), **LIMIT_INFO},
        json={"Name": "Acme"},
    ),
    Exchange(
        f"{GUIDE}, required fields",
        "POST /sobjects/Account",
        400,
        error("REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]", fields=["Name"]),
        json={"Site": "x"},
    ),
    Exchange(
        "recorded write_error_response",
        "POST /sobjects/Account",
        400,
        error("INVALID_FIELD", "No such column 'foo' on sobject of type Account"),
        json={"Name": "x", "foo": 1},
    ),
    Exchange(
        "recorded sobject_find_success_response",
        "GET /sobjects/Account/{id}",
        body=Some({**ACCOUNT, "IsDeleted": False, "Name": "Acme", "CreatedDate": STAMP, "CreatedById": RECORD_ID}),
        prepare=new_account,
    ),
    Exchange(
        "recorded sobject_select_success_response",
        "GET /sobjects/Account/{id}?fields=Site",
        body={"attributes": ATTRIBUTES, "Site": "Main", "Id": "{id}"},
        prepare=new_account,
    ),
    Exchange(
        "recorded sobject_find_error_response",
        "GET /sobjects/Account/23foo",
        404,
        error("NOT_FOUND", "Provided external ID field does not exist or is not accessible: 23foo"),
    ),
    Exchange(
        f"{GUIDE}, Update a Record", "PATCH /sobjects/Account/{id}", 204, "", json={"Site": "y"}, prepare=new_account
    ),
    Exchange(
        f"{GUIDE}, Update a Record, _HttpMethod",
        "POST /sobjects/Account/{id}?_HttpMethod=PATCH",
        204,
        "",
        json={"Site": "y"},
        prepare=new_account,
    ),
    Exchange(f"{GUIDE}, Methods, HEAD", "HEAD /limits", 200, "", headers=LIMIT_INFO),
    Exchange(
        f"{GUIDE}, Status Codes, 405",
        "PUT /sobjects/Account/{id}",
        405,
        error("METHOD_NOT_ALLOWED", "HTTP Method 'PUT' not allowed. Allowed are HEAD,GET,PATCH,DELETE"),
        json={"Site": "y"},
        prepare=new_account,
    ),
    Exchange(
        f"{GUIDE}, Status Codes, 415",
        "POST /sobjects/Account",
        415,
        error(
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Type header specified in HTTP request is not supported: application/x-www-form-urlencoded",
        ),
        form={"Name": "x"},
    ),
    Exchange(
        "salesforce-protocol.md#rest-queries, explain",
        "GET /query",
        body={
            "plans": Each(
                {
                    "cardinality": int,
                    "fields": list,
                    "leadingOperationType": "TableScan",
                    "notes": list,
                    "relativeCost": float,
                    "sobjectCardinality": int,
                    "sobjectType": "Account",
                }
            ),
            "sourceQuery": "SELECT Id FROM Account",
        },
        params={"explain": "SELECT Id FROM Account"},
    ),
    Exchange(
        "record ids of 15 characters",
        "GET /sobjects/Account/{short}?fields=Site",
        body={"attributes": ATTRIBUTES, "Site": "Main", "Id": "{id}"},
        prepare=short_id,
    ),
    Exchange(f"{GUIDE}, Delete a Record", "DELETE /sobjects/Account/{id}", 204, "", prepare=new_account),
    Exchange(
        "recorded delete_error_response",
        "DELETE /sobjects/Account/rid",
        404,
        error("NOT_FOUND", "Provided external ID field does not exist or is not accessible: rid"),
    ),
    Exchange(
        f"{GUIDE}, Composite Batch, salesforce-protocol.md#long-queries",
        "POST /composite/batch",
        body={
            "hasErrors": True,
            "results": [
                {"statusCode": 200, "result": Some({"name": "Account"})},
                {"statusCode": 404, "result": NOT_FOUND},
            ],
        },
        json={
            "batchRequests": [
                {"method": "GET", "url": "v67.0/sobjects/Account/describe"},
                {"method": "GET", "url": "v67.0/sobjects/Foo__c/describe"},
            ]
        },
    ),
]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_documented_exchange(documented_org: Caller, exchange: Exchange) -> None:
    exchange.perform(documented_org)
