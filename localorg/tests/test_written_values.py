"""What fields take from callers: Python reads more than Salesforce does, and JSON has no NaN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from caller import Caller

from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

DEAL = {"Name": "x", "StageName": "Prospecting", "CloseDate": "2026-01-31"}


@pytest.fixture(scope="module")
def own() -> Iterator[Caller]:
    with LocalOrg(OrgConfig(counts={"User": 1})) as org, OrgServer(org) as server:
        org.generate()
        org.add_field("Opportunity", {"name": "At__c", "type": "time"})
        org.add_field("Opportunity", {"name": "Seen__c", "type": "datetime"})
        org.add_field("Opportunity", {"name": "Count__c", "type": "int"})
        caller = Caller(server)
        caller.log_in()
        yield caller


def written(caller: Caller, field: str, value: Any) -> Any:
    """The value as it is read back, or the error's code."""
    made = caller.post("/sobjects/Opportunity", json={**DEAL, field: value})
    if made.status_code != 201:
        assert made.status_code == 400, made.text
        return made.json()[0]["errorCode"]
    return caller.get(f"/sobjects/Opportunity/{made.json()['id']}", params={"fields": field}).json()[field]


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("Amount", "12.5", 12.5),
        ("Amount", "-1e3", -1000.0),
        ("Amount", 7, 7.0),
        ("Count__c", "12", 12),
        ("Count__c", 5.0, 5),
        ("Count__c", "9007199254", "JSON_PARSER_ERROR"),
        ("CloseDate", "2024-02-29", "2024-02-29"),
        ("At__c", "12:30:00.000Z", "12:30:00.000Z"),
        ("Seen__c", "2026-03-01T10:20:30.5+0200", "2026-03-01T08:20:30.000+0000"),
        ("Seen__c", "2026-03-01T10:20:30Z", "2026-03-01T10:20:30.000+0000"),
    ],
)
def test_values_that_fit(own: Caller, field: str, value: Any, kept: Any) -> None:
    assert written(own, field, value) == kept


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("Amount", value) for value in ("nan", "inf", "-Infinity", "1_000", " 12 ", "12,5", "1e400", "\u0661", True)),
        *(("Count__c", value) for value in ("1_0", 5.5, "5.5", True, "nan")),
        *(("CloseDate", value) for value in ("20240101", "2024-W01-1", 20240101, "2024-02-30")),
        *(("Seen__c", value) for value in ("2024-01-01 10:00:00", "20240101T100000Z", 170000000)),
        *(("At__c", value) for value in ("T12", "1230", "25:00:00")),
    ],
)
def test_values_that_do_not(own: Caller, field: str, value: Any) -> None:
    assert written(own, field, value) == "JSON_PARSER_ERROR"
