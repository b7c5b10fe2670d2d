"""Which window a run reads, from what the scheduler and the destination say."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.incremental.windows import covered_until, plan_window
from airflow_sfcc.extract.model import IncrementalOptions, RunTimes, Window
from airflow_sfcc.extract.plan.columns import column_of
from airflow_sfcc.extract.plan.cursor import choose_cursor, cursor_of_full
from airflow_sfcc.timestamps import iso, timestamp

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NIGHT = datetime(2026, 11, 23, 2, tzinfo=timezone.utc)
LATER = NIGHT + timedelta(hours=1)
ORDINARY = {"lag": 5 * MINUTE, "lookback": 10 * MINUTE}
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(timezone.utc))


def test_a_night_begins_before_the_watermark_and_ends_at_its_own_moment() -> None:
    planned = plan_window(RunTimes(NIGHT), NIGHT - DAY, now=LATER)
    assert planned.window == Window(NIGHT - DAY - 10 * MINUTE, NIGHT) and planned.from_watermark


def test_no_window_ends_later_than_the_present_minus_the_lag() -> None:
    now = NIGHT + timedelta(seconds=3, milliseconds=7)
    assert plan_window(RunTimes(NIGHT), None, now=now).window.end == NIGHT + timedelta(seconds=3) - 5 * MINUTE


def test_the_first_run_begins_at_the_beginning_or_where_it_is_told_to() -> None:
    assert plan_window(RunTimes(NIGHT), None, now=LATER).window == Window(None, NIGHT)
    first = plan_window(RunTimes(NIGHT), None, now=LATER, initial_start=NIGHT - 3 * DAY)
    assert first.window == Window(NIGHT - 3 * DAY, NIGHT)
    assert plan_window(RunTimes(NIGHT), None, now=LATER, initial_start=NIGHT + DAY).window == Window(NIGHT, NIGHT)


def test_nights_that_failed_or_never_ran_are_made_up_for_with_and_without_intervals() -> None:
    week_ago = NIGHT - 7 * DAY
    for times in (RunTimes(NIGHT), RunTimes(NIGHT - DAY, (NIGHT - DAY, NIGHT))):
        assert plan_window(times, week_ago, now=LATER).window == Window(week_ago - 10 * MINUTE, NIGHT)


def test_an_interval_that_is_known_already_is_read_by_itself_and_depends_on_no_watermark() -> None:
    planned = plan_window(RunTimes(NIGHT - DAY, (NIGHT - DAY, NIGHT)), NIGHT + DAY, now=LATER + DAY)
    assert planned.window == Window(NIGHT - DAY - 10 * MINUTE, NIGHT) and not planned.from_watermark


def test_a_backfill_reads_its_interval_whatever_the_destination_holds() -> None:
    times = RunTimes(NIGHT - DAY, (NIGHT - DAY, NIGHT), is_backfill=True)
    for watermark in (None, NIGHT - 9 * DAY, NIGHT + DAY):
        planned = plan_window(times, watermark, now=LATER + DAY)
        assert planned.window == Window(NIGHT - DAY - 10 * MINUTE, NIGHT) and not planned.from_watermark


def test_a_run_behind_the_watermark_reads_its_last_stretch_again() -> None:
    planned = plan_window(RunTimes(NIGHT), NIGHT + DAY, now=LATER + DAY)
    assert planned.window == Window(NIGHT - 10 * MINUTE, NIGHT) and not planned.from_watermark


@given(st.lists(MOMENTS, min_size=1, max_size=12, unique=True), st.data())
def test_runs_in_any_order_leave_no_hole(dues: list[datetime], data: st.DataObject) -> None:
    """Whatever runs, whenever: what the windows cover together reaches from the beginning to the latest end."""
    windows: list[Window] = []
    for due in data.draw(st.permutations(dues)):
        watermark = covered_until(windows, None)
        window = plan_window(RunTimes(due), watermark, now=due + timedelta(hours=data.draw(st.integers(0, 900)))).window
        assert window.start is None or window.start <= window.end
        windows.append(window)
        assert covered_until(windows, None) == max(each.end for each in windows)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=10), st.integers(0, 60))
def test_coverage_is_what_counting_minutes_says(spans: list[tuple[int, int]], base: int) -> None:
    windows = [Window(NIGHT + min(span) * MINUTE, NIGHT + max(span) * MINUTE) for span in spans]
    minutes = {minute for span in spans for minute in range(min(span), max(span))}
    reached = base
    while reached in minutes:
        reached += 1
    expected = NIGHT + reached * MINUTE if reached > base else None
    assert covered_until(windows, NIGHT + base * MINUTE) == expected
    assert covered_until(windows, None) is None


@given(st.lists(MOMENTS, min_size=2, max_size=8, unique=True))
def test_windows_of_nights_in_order_touch_when_there_is_no_lookback(dues: list[datetime]) -> None:
    windows: list[Window] = []
    for due in sorted(dues):
        planned = plan_window(RunTimes(due), covered_until(windows, None), now=due + DAY, lookback=timedelta(0))
        windows.append(planned.window)
    assert all(after.start == before.end for before, after in pairwise(windows))


def field(name: str, **changes: object) -> dict[str, object]:
    return {"name": name, "type": "datetime", "filterable": True, "nillable": False, **changes}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([field("CreatedDate"), field("LastModifiedDate"), field("SystemModstamp")], "SystemModstamp"),
        ([field("CreatedDate"), field("LastModifiedDate")], "LastModifiedDate"),
        ([field("LoginTime"), field("CreatedDate")], "CreatedDate"),
        ([field("LoginTime")], "LoginTime"),
        ([field("SystemModstamp", filterable=False), field("CreatedDate")], "CreatedDate"),
    ],
)
def test_the_best_cursor_is_chosen(fields: list[dict[str, object]], expected: str) -> None:
    fields = [*fields, field("Id", type="id")]
    described = {"name": "X", "fields": fields}
    assert choose_cursor(described, None) == expected
    columns = [column_of(each, "float") for each in fields]
    assert cursor_of_full(described, columns, IncrementalOptions(), is_whole=True) == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (None, "mode='full'"),
        ("Nope", "hidden from the Run As user"),
        ("Day__c", "is of type date"),
        ("Seen__c", "would never be extracted"),
        ("Raw__c", "cannot be filtered"),
    ],
)
def test_no_usable_cursor_says_what_to_do(asked: str | None, words: str) -> None:
    fields = [
        field("Day__c", type="date"),
        field("Seen__c", nillable=True),
        field("Raw__c", filterable=False),
    ]
    with pytest.raises(QueryError, match=words.replace("(", r"\(")):
        choose_cursor({"name": "X", "fields": fields}, asked)
    assert choose_cursor({"name": "X", "fields": [field("Touched__c")]}, "touched__C") == "Touched__c"


def test_moments_are_read_as_salesforce_and_people_write_them() -> None:
    for text in ("2026-11-23T02:00:00Z", "2026-11-23T02:00:00.000+0000", "2026-11-23T04:00:00+02:00"):
        assert timestamp(text) == NIGHT
    assert iso(NIGHT) == "2026-11-23T02:00:00.000Z" and timestamp(iso(NIGHT)) == NIGHT
    for wrong in ("yesterday", "2026-11-23T02:00:00"):
        with pytest.raises(QueryError, match="write it like"):
            timestamp(wrong)
