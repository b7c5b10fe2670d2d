"""The windows that the runs of Airflow's own timetables get, through the operator."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.timetables import trigger
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable
from upath import UPath

from airflow_sfcc.extract import latest_state
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.timestamps import iso
from tests.conftest import RunningOrg

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
DAY, LOOKBACK = timedelta(days=1), timedelta(minutes=10)


def runs_of(timetable: Any, number: int) -> list[DagRunInfo]:
    """The first runs that the scheduler would make with catchup."""
    found: list[DagRunInfo] = []
    for _ in range(number):
        last = found[-1] if found else None
        restriction = TimeRestriction(earliest=START, latest=None, catchup=True)  # type: ignore[arg-type]
        if hasattr(timetable, "next_dagrun_info_v2"):  # since Airflow 3.2
            found.append(timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction))
        else:
            interval = last.data_interval if last else None
            found.append(timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction))
    return found


def extract(url: str, info: DagRunInfo, **dag_run: Any) -> dict[str, Any]:
    """The window of one run, as its task returns it."""
    interval = info.data_interval
    run = SimpleNamespace(
        logical_date=info.logical_date if interval else None,
        run_after=info.run_after,
        data_interval_start=interval.start if interval else None,
        data_interval_end=interval.end if interval else None,
        **{"run_type": "scheduled", **dag_run},
    )
    run_id = f"{run.run_type}__{info.run_after.isoformat()}"
    ti = SimpleNamespace(dag_id="nightly", task_id="extract", run_id=run_id, map_index=-1)
    operator = SalesforceExtractOperator(
        task_id="extract",
        sobject="Contact",
        fields=["LastName"],
        destination=url,
        mode="incremental",
    )
    context: Any = {"ti": ti, "dag_run": run, "outlet_events": OutletEventAccessors()}
    window: dict[str, Any] = operator.execute(context)["window"]
    return window


def window(start: datetime | None, end: datetime) -> dict[str, str | None]:
    return {"start": iso(start - LOOKBACK) if start else None, "end": iso(end)}


def partitions() -> Any:
    timetable: Any = getattr(trigger, "CronPartitionTimetable", None)
    if not hasattr(timetable, "iter_partition_dagrun_infos"):
        pytest.skip("this Airflow has no partitioned timetables, or none that can be backfilled")
    return timetable("@daily", timezone="UTC", run_offset=-1)


@pytest.mark.parametrize("name", ["cron", "partitions"])
def test_runs_without_an_interval_go_on_from_the_watermark(connected_org: RunningOrg, root_url: str, name: str) -> None:
    timetable = CronTriggerTimetable("@daily", timezone="UTC") if name == "cron" else partitions()
    first, _, third = runs_of(timetable, 3)
    assert extract(root_url, first) == window(None, START)
    assert extract(root_url, third) == window(START, START + 2 * DAY), "the second never ran"


@pytest.mark.parametrize(
    "timetable", [CronDataIntervalTimetable("@daily", timezone="UTC"), DeltaDataIntervalTimetable(DAY)]
)
def test_runs_with_an_interval_reach_its_end(connected_org: RunningOrg, root_url: str, timetable: Any) -> None:
    first, _, third = runs_of(timetable, 3)
    assert extract(root_url, first) == window(None, START + DAY)
    assert extract(root_url, third) == window(START + DAY, START + 3 * DAY), "the second never ran"


def test_backfills_of_intervals_read_their_own_in_any_order(connected_org: RunningOrg, root_url: str) -> None:
    runs = runs_of(CronDataIntervalTimetable("@daily", timezone="UTC"), 3)
    for number in (2, 0, 1):
        start = START + number * DAY
        assert extract(root_url, runs[number], run_type="backfill") == window(start, start + DAY)


def test_a_backfilled_partition_moves_no_watermark_back(connected_org: RunningOrg, root: UPath, root_url: str) -> None:
    timetable = partitions()
    *_, newest = runs_of(timetable, 5)
    extract(root_url, newest)
    reached = latest_state(root).watermark
    for info in timetable.iter_partition_dagrun_infos(earliest=START, latest=START + DAY):
        assert info.data_interval is None and info.partition_date
        assert extract(root_url, info, run_type="backfill", partition_date=info.partition_date) == window(
            info.run_after, info.run_after
        )
    assert latest_state(root).watermark == reached == START + 4 * DAY
