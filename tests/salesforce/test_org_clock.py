"""Whose time counts: the org's, by its responses."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.salesforce.org_clock import LARGEST_DIFFERENCE, OrgClock
from tests.conftest import RunningOrg


def test_an_org_that_is_days_ahead_is_noticed_by_its_first_responses(org: RunningOrg) -> None:
    client = org.client()
    assert client.ahead == timedelta(0)
    org.org.clock.advance(timedelta(days=40))
    client.describe("Account")
    assert timedelta(days=40) - client.ahead < timedelta(seconds=5)
    assert client.with_options(timeout=1).session.clock is client.session.clock


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_second_is_no_difference(seconds: int) -> None:
    clock = OrgClock()
    told = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    clock.observe({"Date": format_datetime(told, usegmt=True)})
    assert clock.ahead == timedelta(0)


@pytest.mark.parametrize(
    "headers", [{}, {"Date": ""}, {"Date": "yesterday"}, {"Date": "Mon, 23 Nov 2026 02:00:00 -0000"}]
)
def test_what_is_no_date_changes_nothing(headers: dict[str, str]) -> None:
    clock = OrgClock()
    clock.observe({"Date": format_datetime(datetime.now(timezone.utc) - timedelta(minutes=30), usegmt=True)})
    before = clock.ahead
    clock.observe(headers)
    assert clock.ahead == before < timedelta(minutes=-29)


def dated(ahead: timedelta) -> dict[str, str]:
    return {"Date": format_datetime(datetime.now(timezone.utc) + ahead, usegmt=True)}


def test_one_absurd_date_among_others_moves_nothing(org: RunningOrg, caplog: pytest.LogCaptureFixture) -> None:
    client = org.client()
    client.describe("Contact")
    org.fail("describe", headers=dated(timedelta(days=365)))
    client.describe("Account")
    assert client.ahead == timedelta(0)
    client.describe("Case")
    assert client.ahead == timedelta(0)


def test_an_absurd_date_in_the_first_response_moves_nothing(org: RunningOrg) -> None:
    org.fail("token", headers=dated(timedelta(days=365)))
    client = org.client()
    assert client.instance and client.ahead == timedelta(0)


def test_a_difference_beyond_the_bound_is_never_believed_of_a_real_org(caplog: pytest.LogCaptureFixture) -> None:
    clock = OrgClock()
    for _ in range(20):
        clock.observe(dated(LARGEST_DIFFERENCE + timedelta(minutes=1)))
    assert clock.ahead == timedelta(0)
    assert [record.message.count("this machine's clock") for record in caplog.records] == [1]
    for _ in range(2):
        clock.observe(dated(LARGEST_DIFFERENCE - timedelta(minutes=1)))
    assert clock.ahead > timedelta(minutes=58)


@given(dates=st.lists(st.one_of(st.text(max_size=60), st.datetimes().map(str)), max_size=5))
def test_no_date_header_raises(dates: list[str]) -> None:
    clock = OrgClock()
    for date in dates:
        clock.observe({"Date": date})
    assert abs(clock.ahead) <= LARGEST_DIFFERENCE
