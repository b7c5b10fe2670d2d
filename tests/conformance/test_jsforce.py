"""jsforce: client credentials, REST pages, describe, a record's life, and Bulk 2.0 as far as its own bug lets it."""

from __future__ import annotations

from typing import Any

import pytest
from salesforce_localorg.key_pairs import KeyPair

from tests.conformance.conftest import KEYS, ForeignOrg
from tests.conformance.environments import JSFORCE
from tests.conformance.rows import assert_read_whole

pytestmark = pytest.mark.conformance

ACCOUNT = {
    "Name": 'quote " and \u2028 and \U0001f600',
    "NumberOfEmployees": 7,
    "AnnualRevenue": 0.1,
    "BillingCity": "NA",
}


def perform(foreign_org: ForeignOrg, do: str, sobject: str = "Account", **more: Any) -> dict[str, Any]:
    modules = {"NODE_PATH": JSFORCE.path("node_modules")}
    return foreign_org.perform("node", "use_jsforce.cjs", foreign_org.task(do, sobject, **more), also=modules)


@pytest.mark.parametrize("sobject", ["Account", "Invoice__c"])
def test_whole_objects_are_read(foreign_org: ForeignOrg, sobject: str) -> None:
    """Bulk results come in one page here: with more, jsforce ends its stream after the first (its issue 1546)."""
    read = perform(foreign_org, "read", sobject)

    org = foreign_org.org
    assert_read_whole(org, sobject, read["query"])
    assert_read_whole(org, sobject, read["query_in_small_pages"])
    assert_read_whole(org, sobject, read["query_all"], include_deleted=True)
    assert_read_whole(org, sobject, read["bulk2_query"])
    assert read["total"] == org.records.count(sobject)


def test_life_of_a_record(foreign_org: ForeignOrg) -> None:
    life = perform(foreign_org, "edit", values=ACCOUNT, changes={"NumberOfEmployees": None, "BillingCity": "undefined"})

    record_id = life["created"]["id"]
    assert life["created"] == {"id": record_id, "success": True, "errors": []}
    assert {name: life["first"][name] for name in ACCOUNT} == ACCOUNT
    assert (life["second"]["NumberOfEmployees"], life["second"]["BillingCity"]) == (None, "undefined")
    assert life["updated"] == {"id": record_id, "success": True, "errors": []}
    assert life["deleted"] == {"id": record_id, "success": True, "errors": []}
    assert record_id in life["updated_ids"]
    assert record_id in [each["id"] for each in life["deleted_records"]]
    assert life["gone"]["errorCode"]
    assert life["unknown_field"]["errorCode"] == "INVALID_FIELD"
    assert life["unknown_field"]["message"] == "No such column 'Nonsense__c' on sobject of type Account"


def test_what_the_org_says_of_itself(foreign_org: ForeignOrg) -> None:
    seen = perform(foreign_org, "look_around")

    org = foreign_org.org
    account = org.schema.sobject("Account")
    assert account is not None
    assert seen["sobjects"] == [each.name for each in org.schema]
    assert seen["fields"] == [field.name for field in account.fields]
    assert seen["user"]["id"] == seen["identity"]["user_id"] == org.run_as_user_id
    assert seen["user"]["organizationId"] == seen["identity"]["organization_id"] == org.config.org_id
    assert seen["identity"]["username"] == org.run_as
    assert seen["usage"]["limit"] == seen["limits"]["Max"]
    assert all(number >= 1 for number in seen["children"])
    assert seen["found_one"] == ["attributes", "Id", "Name"]
    assert seen["bad_query"]["errorCode"] == "INVALID_FIELD"
    assert seen["bad_login"]["name"] == "invalid_client"
    assert seen["wrong_host"] == {"name": "invalid_grant", "message": "request not supported on this domain"}


def test_a_login_with_a_private_key(foreign_org: ForeignOrg) -> None:
    org = foreign_org.org
    keys = {"private_key": KEYS.private_key, "other_key": KeyPair.generate().private_key}
    seen = perform(foreign_org, "login_by_jwt", username=org.run_as, **keys)

    assert (seen["user"]["organizationId"], seen["user"]["id"]) == (org.config.org_id, org.run_as_user_id)
    assert seen["username"] == org.run_as and seen["total"] == org.records.count("Account")
    assert seen["wrong_key"]["message"] == "invalid assertion"
