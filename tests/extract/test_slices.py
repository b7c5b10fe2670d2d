"""A query cut at moments of CreatedDate: every record is in exactly one slice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from tests.conftest import RunningOrg
from tests.extract.runs import run_identity
from tests.wire_server import SOBJECT, Wire, described

FIELDS: list[dict[str, Any]] = []
MOMENT = datetime(2025, 1, 1, tzinfo=timezone.utc)


def slices(org: RunningOrg, *moments: datetime, **request: Any) -> tuple[str, ...]:
    asked = Request(api="bulk", slice_at=moments, **(request or {"sobject": "Contact", "fields": ["Id"]}))
    return make_plan(org.client(), asked, run_identity()).slices


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.datetimes(datetime(2015, 1, 1), datetime(2027, 1, 1)), min_size=1, max_size=6, unique=True))
def test_every_record_is_in_exactly_one_slice(org: RunningOrg, naive: list[datetime]) -> None:
    moments = [each.replace(microsecond=0, tzinfo=timezone.utc) for each in naive]
    if len(set(moments)) < len(moments):
        return
    found = [[row["Id"] for row in org.client().query(soql)] for soql in slices(org, *moments)]
    ids = [each for one in found for each in one]
    assert len(found) == len(moments) + 1
    assert len(ids) == len(set(ids)) == org.org.records.count("Contact")


def test_the_query_keeps_its_own_conditions(org: RunningOrg) -> None:
    first, second = slices(org, MOMENT, soql="SELECT c.Id FROM Contact c WHERE c.LastName != 'x' OR c.Email = null")
    assert first.endswith("WHERE (c.LastName != 'x' OR c.Email = null) AND c.CreatedDate < 2025-01-01T00:00:00Z")
    assert second.endswith("WHERE (c.LastName != 'x' OR c.Email = null) AND c.CreatedDate >= 2025-01-01T00:00:00Z")


def test_what_cannot_be_cut_is_refused(org: RunningOrg) -> None:
    with pytest.raises(QueryError, match="LIMIT"):
        slices(org, MOMENT, soql="SELECT Id FROM Contact LIMIT 5")
    with pytest.raises(QueryError, match="twice"):
        slices(org, MOMENT, MOMENT.astimezone(timezone(timedelta(hours=2))))
    with pytest.raises(QueryError, match="time zone"):
        slices(org, datetime(2025, 1, 1))


def test_an_object_whose_records_may_have_no_date_of_creation_is_not_cut(said: Wire) -> None:
    said.fields = [described("Id", "id"), described("CreatedDate", "datetime", filterable=True)]
    with pytest.raises(QueryError, match="can be empty"):
        make_plan(said.client(), Request(sobject=SOBJECT, api="bulk", slice_at=[MOMENT]), run_identity())
