"""Field lists that do not fit a URI: Bulk takes them in its body, and REST asks through composite/batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from salesforce_localorg.clock import Clock
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer
from upath import UPath

from airflow_sfcc.errors import QueryError, UnavailableError
from airflow_sfcc.salesforce import SalesforceClient
from airflow_sfcc.salesforce.query import fits_uri
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import CONFIG, RunningOrg
from tests.extract.runs import extract, read_rows

WIDE, ROWS = 600, 2_050
COUNTS = {"User": 3, "Account": 5, "Contact": ROWS}


def wide(describe: dict[str, Any]) -> dict[str, Any]:
    """The object with 600 more custom fields, whose names are about as long as Salesforce allows."""
    model = next(field for field in describe["fields"] if field["name"] == "Title")
    added = [{**model, "name": f"A_rather_long_custom_field_{number:04d}__c", "custom": True} for number in range(WIDE)]
    return {**describe, "fields": [*describe["fields"], *added]}


@pytest.fixture(scope="module")
def wide_org() -> Iterator[RunningOrg]:
    standard = Schema.standard()
    contact = standard.sobject("Contact")
    assert contact is not None
    schema = Schema.from_describes([wide(contact.to_describe("68.0"))], base=standard)
    records = Records.open(schema, clock=Clock())
    records.generate(COUNTS, seed=3)
    with LocalOrg(replace(CONFIG, counts=COUNTS), schema=schema, records=records) as org, OrgServer(org) as server:
        yield RunningOrg(org, server)
    records.close()


def patient(org: RunningOrg) -> SalesforceClient:
    """A client that waits for wide rows on a slow machine."""
    return org.client(transport=TransportOptions(request_timeout=120))


def test_rest_and_bulk_land_the_same_600_custom_fields(wide_org: RunningOrg, root: UPath) -> None:
    landed = {}
    for api in ("rest", "bulk"):
        manifest = extract(wide_org, root / api, client=patient(wide_org), sobject="Contact", api=api)
        assert (
            not fits_uri(manifest["soql"])
            and len(manifest["schema"]) > WIDE
            and manifest["rows"] == wide_org.org.records.count("Contact")
        )
        landed[api] = {row["Id"]: row for row in read_rows(root / api / f"extract={manifest['extract_id']}", manifest)}
    assert landed["rest"] == landed["bulk"]
    assert wide_org.calls("query_more") == 1, "the pages after the first are asked for by their links"


def test_an_object_that_bulk_refuses(wide_org: RunningOrg, root: UPath) -> None:
    refusal = [{"errorCode": "INVALIDENTITY", "message": "Entity 'Contact' is not supported by the Bulk API."}]
    wide_org.fail("job_create", status=400, body=refusal)
    manifest = extract(wide_org, root, client=patient(wide_org), sobject="Contact")
    assert (manifest["api"], manifest["rows"]) == ("rest", wide_org.org.records.count("Contact"))


def test_a_refusal_within_the_batch_is_the_same_sentence(wide_org: RunningOrg, root: UPath) -> None:
    with pytest.raises(QueryError, match=r"refused GET /query \(HTTP 400, INVALID_FIELD: .*No such column 'Nmae'"):
        extract(wide_org, root, client=patient(wide_org), sobject="Contact", where="Nmae = 'x'", api="rest")


@pytest.mark.parametrize("status", [414, 431])
def test_a_uri_that_is_too_long_with_its_headers(wide_org: RunningOrg, status: int) -> None:
    """A token that is a JWT can be longer than any allowance made for it."""
    before = wide_org.calls("composite_batch")
    wide_org.fail("query", status=status, body="<h1>Bad Message</h1>", headers={"Content-Type": "text/html"})
    assert len(list(patient(wide_org).query("SELECT Id FROM Account"))) == COUNTS["Account"]
    assert wide_org.calls("composite_batch") == before + 1


def test_a_transient_error_within_the_batch_is_tried_again(wide_org: RunningOrg) -> None:
    long = f"SELECT Id FROM Contact WHERE Title != '{'x' * 3_900}' AND Department != '{'%' * 3_900}'"
    assert not fits_uri(long)
    client = wide_org.client(transport=TransportOptions(request_timeout=120, max_retries=1))
    unavailable = [{"errorCode": "SERVER_UNAVAILABLE", "message": "down for maintenance"}]
    part = {"/results/0/statusCode": 503, "/results/0/result": unavailable}
    wide_org.fail("composite_batch", set_json=part)
    assert len(list(client.query(long))) == wide_org.org.records.count("Contact")
    wide_org.fail("composite_batch", set_json=part, times=2)
    with pytest.raises(UnavailableError, match=r"GET /query \(HTTP 503, SERVER_UNAVAILABLE: down"):
        list(client.query(long))
