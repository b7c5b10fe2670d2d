"""Whose time counts: the org's, as its answers tell it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from airflow_sfcc.salesforce.org_clock import OrgClock
from tests.conftest import RunningOrg


def test_the_org_that_is_days_ahead_is_noticed_with_its_first_answer(org: RunningOrg) -> None:
    client = org.client()
    assert client.ahead == timedelta(0)
    org.org.clock.advance(timedelta(days=40))
    client.describe("Account")
    assert timedelta(days=40) - client.ahead < timedelta(seconds=5)
    assert client.new_session().clock is client.session.clock


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
    clock.observe({"Date": format_datetime(datetime.now(timezone.utc) - timedelta(hours=3), usegmt=True)})
    before = clock.ahead
    clock.observe(headers)
    assert clock.ahead == before < timedelta(hours=-2)
