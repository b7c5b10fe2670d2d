"""When an extract that landed is worth a look."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from airflow_sfcc._airflow.event_facts import Extracted, ExtractFacts, Warned, facts_of_extract
from airflow_sfcc._airflow.warning_signs import Thresholds, warnings_of

NOW = datetime(2026, 11, 28, 2, 0, tzinfo=timezone.utc)
LOST = {"column": "A__c", "change": "removed", "from": {"type": "string", "salesforce_type": "string"}}
UNSELECTED = {**LOST, "change": "unselected"}


def plan(mode: str = "full", *changes: dict[str, Any]) -> Any:
    increment = SimpleNamespace(mode=mode, schema_changes=changes)
    known = {"org_id": "00D", "instance": "https://acme.my.salesforce.com", "api_reason": "the object is small"}
    return SimpleNamespace(sobject="Account", increment=increment, **known)


def usage(used: int | None = 10, limit: int | None = 100, budget: float | None = None) -> Any:
    return SimpleNamespace(used=used, limit=limit, budget_percent=budget)


def before(*rows: int, mode: str = "full") -> list[tuple[datetime, ExtractFacts]]:
    """What landed in the nights before, newest first."""
    facts = [ExtractFacts(rows=each, bytes=1, manifest="m", mode=mode) for each in rows]
    return [(NOW - timedelta(days=ago), each) for ago, each in enumerate(facts, 1)]


def sentences(plan: Any, rows: int, earlier: Any = (), calls: Any = None, **thresholds: float) -> list[str]:
    result = {"rows": rows, "deleted_rows": 0}
    found = warnings_of(Extracted.of_plan(plan), result, calls or usage(), earlier, Thresholds(**thresholds), NOW)
    return [f"{each.kind}: {each.sentence}" for each in found]


def test_rows_fell() -> None:
    (told,) = sentences(plan(), 50, before(200, 200, 210))
    assert told.startswith("rows_fell: Account has 50 rows, 75% fewer than the usual 200.")


@pytest.mark.parametrize(
    ("rows", "earlier", "thresholds"),
    [
        (150, before(200, 200, 200), {}),  # a quarter less
        (50, before(200, 200), {}),  # too few nights to know what is usual
        (5, before(90, 90, 90), {}),  # too small an object
        (50, before(200, 200, 200), {"rows_fell_percent": 0.0}),  # turned off
        (50, before(200, 200, 200, mode="incremental"), {}),
    ],
)
def test_rows_that_did_not_fall(rows: int, earlier: Any, thresholds: dict[str, float]) -> None:
    assert sentences(plan(), rows, earlier, **thresholds) == []


def test_nothing_new() -> None:
    (told,) = sentences(plan("incremental"), 0, before(*[0] * 8, 5, mode="incremental"))
    assert told.startswith("nothing_new: Account has brought nothing new since 2026-11-19.")
    (told,) = sentences(plan("incremental"), 0, before(*[0] * 8, mode="incremental"))
    assert "in the 8 days that Airflow remembers" in told
    assert sentences(plan("incremental"), 0, before(0, 0, 5, mode="incremental")) == []
    assert sentences(plan("incremental"), 1, before(*[0] * 20, mode="incremental")) == []
    assert sentences(plan("incremental"), 0) == []


def test_schema_change() -> None:
    (told,) = sentences(plan("full", LOST, UNSELECTED), 5)
    assert told == "schema_change: Account has other columns: A__c was removed (or hidden from the Run As user)."
    assert sentences(plan("full", UNSELECTED), 5) == []


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        (usage(81), "81% of the org's limit of 100"),
        (usage(70, budget=80.0), "88% of the connection's budget of 80"),
        (usage(79), None),
        (usage(60, budget=80.0), None),
        (usage(None, None), None),
    ],
)
def test_budget(calls: Any, words: str | None) -> None:
    told = sentences(plan(), 5, calls=calls)
    assert [words in each for each in told if words] == ([True] if words else []) and len(told) == bool(words)


def test_what_is_no_number_in_the_configuration_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__SFCC__ROWS_FELL_PERCENT", "30")
    monkeypatch.setenv("AIRFLOW__SFCC__BUDGET_PERCENT", "lots")
    assert Thresholds.configured() == Thresholds(rows_fell_percent=30.0)
    assert "budget_percent = lots" in caplog.text


def test_an_event_is_read_as_it_was_written() -> None:
    counts = {
        "rows": 3,
        "bytes": 10,
        "deleted_rows": 0,
        "seconds": 1.5,
        "api_calls": 4,
        "files": ["part-00000.parquet"],
    }
    window = {"start": None, "end": "2026-11-28T02:00:00.000Z"}
    result = {**counts, "watermark": None, "manifest": "m", "api": "bulk", "job_id": "750", "window": window}
    extracted, warnings = Extracted.of_plan(plan("full", LOST)), [Warned("budget", "Few calls left.")]
    extra = facts_of_extract(extracted, result, usage(), "sfcc_default", warnings)
    facts = msgspec.convert(extra, ExtractFacts)
    assert (facts.rows, facts.files, facts.job_id, facts.api_used, facts.conn_id) == (3, 1, "750", 10, "sfcc_default")
    assert facts.schema_changes[0].column == "A__c" and facts.warnings[0].kind == "budget"
