"""Answers that are JSON, and not what Salesforce documents: each is told as that, with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sfcc.errors import UnexpectedResponseError
from airflow_sfcc.salesforce.error_tables import meaning_of
from tests.conftest import RunningOrg


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"name": "Account"},
        {"name": "Account", "fields": {}},
        {"name": "Account", "fields": [5]},
        {"name": "Account", "fields": [{"name": "Id"}]},
    ],
)
def test_a_describe_that_is_none(org: RunningOrg, body: Any) -> None:
    org.fail("describe", status=200, body=body)
    with pytest.raises(UnexpectedResponseError, match="My Domain"):
        org.client().describe("Account")


@pytest.mark.parametrize(
    "counts", [None, 5, [], ["Account"], [{"name": "Account"}], [{"name": "Account", "count": "many"}]]
)
def test_a_record_count_that_is_none(org: RunningOrg, counts: Any) -> None:
    org.fail("record_count", status=200, body={"sObjects": counts})
    with pytest.raises(UnexpectedResponseError, match="no record count for Account: count its records"):
        org.client().record_count("Account")


def test_a_record_count(org: RunningOrg) -> None:
    assert org.client().record_count("account") == org.org.records.count("Account")


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (400, "EXCEEDED_ID_LIMIT", "add LIMIT or a narrower WHERE"),
        (409, "API_VERSION_MISMATCH", "made with another API version: clear the task"),
        (409, "", "made with another API version: clear the task"),
    ],
)
def test_refusals_that_are_rare_say_what_to_do(status: int, code: str, advice: str) -> None:
    _, sentence, _ = meaning_of(status, code)
    assert advice in sentence
