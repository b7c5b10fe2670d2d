"""A run that is cleared: Airflow keeps what its tasks said before, and deals the objects to other tasks than before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import SyncError
from airflow_sfcc.extract.manifests import read_manifests
from airflow_sfcc.sync_group import SyncOperator, SyncReportOperator
from tests.conftest import RunningOrg
from tests.extract.runs import NIGHT
from tests.surface.conftest import connect, connected_org

__all__ = ["connect", "connected_org"]  # fixtures

RETRIES = 2
WANTED = {"mode": "incremental", "deletes": "ignore"}


@dataclass
class Run:
    """A DAG run of the sync `org`, of which a test runs the tasks one by one. What they say stays until they run again."""

    lake: Path
    clear_number: int = 0
    said: dict[tuple[str, int, str], Any] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    max_tries: dict[int, int] = field(default_factory=dict)

    def clear(self) -> None:
        self.clear_number += 1
        self.max_tries = {index: tries + RETRIES for index, tries in self.tries.items()}

    def plan(self, *batches: tuple[str, ...], planned_at: str) -> None:
        dealt = [
            {
                "label": "some",
                "planned_at": planned_at,
                "objects": [{"name": name, **WANTED} for name in names],
            }
            for names in batches
        ]
        plan = {"batches": dealt, "settled": [], "api_calls": 0, "planned_at": planned_at}
        self.said[("org.plan", -1, "sync_plan")] = plan

    def sync(self, index: int) -> Mapping[str, int]:
        """The next try of one of the mapped tasks."""
        self.tries[index] = self.tries.get(index, 0) + 1
        self.said = {key: value for key, value in self.said.items() if key[:2] != ("org.sync", index)}
        operator = SyncOperator(
            task_id="org.sync",
            batch=self.said[("org.plan", -1, "sync_plan")]["batches"][index],
            extract={},
            where={},
            table_mode="current",
            retries=RETRIES,
            **self._place,
        )
        return operator.execute(self._context("org.sync", index, outlet_events=None))

    def report(self) -> Mapping[str, Any]:
        return SyncReportOperator(task_id="org.report", **self._place).execute(
            self._context("org.report", -1, outlet_events=None)
        )

    @property
    def _place(self) -> dict[str, Any]:
        return {
            "destination": f"file://{self.lake}/{{sobject}}",
            "table": None,
            "salesforce_conn_id": "sfcc_default",
        }

    def _context(self, task_id: str, index: int, **more: Any) -> Any:
        def push(key: str, value: Any) -> None:
            self.said[(task_id, index, key)] = value

        def pull(task_ids: str | list[str], key: str) -> Any:
            wanted = task_ids if isinstance(task_ids, str) else task_ids[0]
            found = [self.said[each] for each in sorted(self.said) if each[0] == wanted and each[2] == key]
            return (found[0] if found else None) if isinstance(task_ids, str) else found

        ti = SimpleNamespace(
            dag_id="whole_org",
            task_id=task_id,
            run_id="scheduled__2026-11-23",
            map_index=index,
            try_number=self.tries.get(index, 1),
            max_tries=self.max_tries.get(index, RETRIES),
            xcom_push=push,
            xcom_pull=pull,
        )
        run = SimpleNamespace(logical_date=NIGHT, run_after=NIGHT, clear_number=self.clear_number)
        return {"ti": ti, "dag_run": run, **more}


@pytest.fixture
def run(connected_org: RunningOrg, tmp_path: Path) -> Run:
    return Run(tmp_path / "lake")


def versions(run: Run, name: str) -> int:
    (manifest,) = read_manifests(UPath(run.lake) / name)
    return int(manifest["version"])


def test_a_cleared_run_reads_again_what_another_task_of_it_had_read(run: Run) -> None:
    run.plan(("CaseStatus", "User"), planned_at="2026-11-23T02:00:00Z")
    run.sync(0)
    run.clear()
    run.plan(("CaseStatus",), ("User",), planned_at="2026-11-24T02:00:00Z")
    run.sync(0)
    run.sync(1)
    assert (versions(run, "CaseStatus"), versions(run, "User")) == (2, 2)


def test_a_run_that_was_deleted_and_made_again_reads_all_again(run: Run) -> None:
    """So does `airflow dags test` of a date that was tried before: tries and clearings are counted from the beginning."""
    run.plan(("CaseStatus",), planned_at="2026-11-23T02:00:00Z")
    run.sync(0)
    again = Run(run.lake)
    again.plan(("CaseStatus",), planned_at=datetime.now(timezone.utc).isoformat())
    again.sync(0)
    assert versions(run, "CaseStatus") == 2


def test_a_retry_does_not_read_again_what_is_complete(run: Run, connected_org: RunningOrg) -> None:
    run.plan(("CaseStatus", "User"), planned_at="2026-11-23T02:00:00Z")
    connected_org.fail("query", path="SELECT(?!.*COUNT).*FROM(%20|\\+)User", status=400)
    with pytest.raises(Exception, match="User"):
        run.sync(0)
    run.sync(0)
    assert (versions(run, "CaseStatus"), versions(run, "User")) == (1, 1)


def test_the_text_of_errors_that_are_not_the_packages_own_stays_in_the_log(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may hold values that are to be hashed or dropped."""

    def failing(*arguments: object, **options: object) -> None:
        raise ValueError("cannot write plain@example.com")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter", failing)
    run.plan(("CaseStatus", "User"), planned_at="2026-11-23T02:00:00Z")
    with pytest.raises(SyncError, match="User: ValueError: see the task's log"):
        run.sync(0)
    report = run.report()
    assert report["failed"].keys() == {"CaseStatus", "User"}
    told = str(run.said) + str(report) + "".join(path.read_text() for path in run.lake.rglob("_sync/*/*.json"))
    assert "plain@example.com" not in told and "plain@example.com" in capsys.readouterr().out


def test_a_report_leaves_out_what_tasks_said_before_the_run_was_cleared(run: Run, connected_org: RunningOrg) -> None:
    run.plan(("CaseStatus",), ("User",), planned_at="2026-11-23T02:00:00Z")
    run.sync(0)
    connected_org.fail("query", path="SELECT(?!.*COUNT).*FROM(%20|\\+)User", status=400)
    with pytest.raises(Exception, match="Salesforce refused"):
        run.sync(1)
    assert run.report()["failed"].keys() == {"User"}
    run.clear()
    run.plan(("CaseStatus", "User"), planned_at="2026-11-24T02:00:00Z")
    run.sync(0)
    report = run.report()
    assert report["failed"] == {} and report["changed"] == ["CaseStatus", "User"]
    run.clear()
    run.plan(("CaseStatus", "User"), planned_at="2026-11-25T02:00:00Z")
    assert run.report()["failed"].keys() == {"CaseStatus", "User"}, "no task has said anything of this plan"
