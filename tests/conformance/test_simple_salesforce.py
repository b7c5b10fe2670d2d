"""simple-salesforce: client credentials over TLS, reads of a whole object over REST and both Bulk APIs, a record's life."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.conformance.conftest import ROWS, ForeignOrg
from tests.conformance.rows import assert_read_whole

SCRIPT = "use_simple_salesforce.py"
ACCOUNT = {
    "Name": 'She said "hello",\n\U0001f600',
    "NumberOfEmployees": 5,
    "AnnualRevenue": 1.5,
    "BillingCity": "NA",
}


def perform(foreign_org: ForeignOrg, do: str, sobject: str = "Account", **more: Any) -> dict[str, Any]:
    return foreign_org.perform(sys.executable, SCRIPT, foreign_org.task(do, sobject, **more))


def without_nul(text: str) -> str | None:
    """simple-salesforce strips NUL from results of Bulk API 2.0 (its `filter_null_bytes`)."""
    return text.replace("\0", "") or None


@pytest.fixture(scope="module")
def accounts(foreign_org: ForeignOrg) -> dict[str, Any]:
    return perform(foreign_org, "read", max_records=700)


@pytest.mark.parametrize(
    ("way", "include_deleted", "as_csv"),
    [
        ("query_all", False, False),
        ("query_all_iter", False, False),
        ("query_all_with_deleted", True, False),
        ("bulk2_query", False, True),
        ("bulk2_query_all", True, True),
        ("bulk2_download", False, True),
        ("bulk1_query", False, False),
        ("bulk1_query_all", True, False),
    ],
)
def test_whole_account_is_read(
    foreign_org: ForeignOrg, accounts: dict[str, Any], way: str, include_deleted: bool, as_csv: bool
) -> None:
    damage = without_nul if as_csv else None

    assert_read_whole(foreign_org.org, "Account", accounts[way], include_deleted=include_deleted, damage=damage)
    assert len(accounts[way]) > ROWS["Account"] * 0.95
    assert accounts["bulk2_pages"] == -(-len(accounts["bulk2_download"]) // 700)


def test_custom_objects_and_delimiters_of_numbers(foreign_org: ForeignOrg) -> None:
    read = perform(foreign_org, "read", "Invoice__c", max_records=50_000)

    assert_read_whole(foreign_org.org, "Invoice__c", read["query_all"])
    assert_read_whole(foreign_org.org, "Invoice__c", read["bulk2_query"], damage=without_nul)


def test_refused_logins(foreign_org: ForeignOrg) -> None:
    answers = perform(foreign_org, "log_in")

    assert answers["wrong_key"] == ["invalid_client_id", "client identifier invalid"]
    assert answers["wrong_secret"] == ["invalid_client", "invalid client credentials"]
    assert answers["right"] == []


def test_life_of_a_record(foreign_org: ForeignOrg) -> None:
    life = perform(foreign_org, "edit", values=ACCOUNT, changes={"NumberOfEmployees": None, "BillingCity": "null"})

    record_id = life["created"]["id"]
    assert life["created"] == {"id": record_id, "success": True, "errors": []}
    assert {name: life["first"][name] for name in ACCOUNT} == ACCOUNT
    assert (life["updated"], life["deleted"]) == (204, 204)
    assert (life["second"]["NumberOfEmployees"], life["second"]["BillingCity"]) == (None, "null")
    assert life["second"]["SystemModstamp"] >= life["first"]["SystemModstamp"]
    assert record_id in life["updated_ids"]
    assert record_id in [each["id"] for each in life["deleted_records"]]
    assert life["gone"]["status"] == 404
    assert life["found_after"] == 0
    assert life["unknown_field"]["content"] == [
        {"message": "No such column 'Nonsense__c' on sobject of type Account", "errorCode": "INVALID_FIELD"}
    ]


def test_what_the_org_says_of_itself(foreign_org: ForeignOrg) -> None:
    seen = perform(foreign_org, "look_around")

    account = foreign_org.org.schema.sobject("Account")
    assert account is not None
    assert seen["sobjects"] == [each.name for each in foreign_org.org.schema]
    assert seen["fields"] == [field.name for field in account.fields]
    assert seen["metadata"] == "Account"
    assert seen["usage"] == [seen["limits"]["Max"] - seen["limits"]["Remaining"], seen["limits"]["Max"]]
    assert seen["is_sandbox"] is False
    assert seen["bad_query"]["status"] == 400
    assert seen["bad_query"]["content"][0]["errorCode"] == "INVALID_FIELD"
    assert seen["expired"]["content"] == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]
