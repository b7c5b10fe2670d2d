"""Nights of extracts and loads as Airflow stores them, made through Airflow's own models: for tests and pictures of the page
"Salesforce", and for its benchmark. Nothing runs, and no org is called.

    python -m dev.page_nights --nights 60 --objects 200     into the database of the Airflow that is configured
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

STANDARD = (
    "Account", "AccountContactRelation", "Asset", "Campaign", "CampaignMember", "Case", "CaseComment", "CaseHistory", "Contact",
    "ContentVersion", "Contract", "EmailMessage", "Event", "Lead", "LeadHistory", "Opportunity", "OpportunityHistory",
    "OpportunityLineItem", "Order", "OrderItem", "Pricebook2", "PricebookEntry", "Product2", "Quote", "QuoteLineItem", "Task",
    "User",
)  # fmt: skip
CUSTOM = (
    "Invoice",
    "Shipment",
    "Subscription",
    "Site_Visit",
    "Work_Package",
    "Meter",
    "Usage",
    "Claim",
    "Policy",
    "Warranty",
)
TASK = "extract"
SYNC_TASK, REPORT_TASK = "org.sync", "org.report"
LOAD_TASK = "load"
_OPERATORS = {
    TASK: "SalesforceExtractOperator",
    LOAD_TASK: "SalesforceLoadOperator",
    SYNC_TASK: "SyncOperator",
    REPORT_TASK: "SyncReportOperator",
}
BUNDLE = "page-nights"
DURATION = timedelta(minutes=14)


def names(number: int) -> list[str]:
    """Names of objects, standard ones first."""
    custom = [f"{CUSTOM[i % len(CUSTOM)]}_{i // len(CUSTOM) + 1}__c" for i in range(max(0, number - len(STANDARD)))]
    return sorted([*STANDARD[:number], *custom])


@dataclass(frozen=True)
class Nights:
    """What is made.

    The newest night was due at 02:00 before `now`. Unless `is_calm`, Case failed in the last two nights, Quote lost two
    columns in the last, and the weeks before have their failures, late landings, schema changes and a night that did not run.

    :param instance: the org's My Domain; another one makes another org.
    :param objects: their names, or how many.
    :param is_sync: a task group `salesforce_sync` reads them, and of ten objects nine are unchanged, which its report says.
    """

    nights: int = 60
    objects: int | Sequence[str] = 200
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    instance: str = "https://acme.my.salesforce.com"
    dag_id: str = "crm_nightly"
    conn_id: str = "sfcc_default"
    is_calm: bool = False
    with_loads: bool = True
    is_sync: bool = False
    seed: int = 1

    @property
    def sobjects(self) -> list[str]:
        return names(self.objects) if isinstance(self.objects, int) else list(self.objects)

    @property
    def due(self) -> list[datetime]:
        """When each night's run was due, oldest first."""
        last = self.now.replace(hour=2, minute=0, second=0, microsecond=0)
        last = last if last <= self.now else last - timedelta(days=1)
        return [last - timedelta(days=ago) for ago in reversed(range(self.nights))]


def seed(session: Session, wanted: Nights) -> None:
    """Write what is wanted into Airflow's database."""
    _Seeder(session, wanted).run()


class _Seeder:
    def __init__(self, session: Session, wanted: Nights) -> None:
        self._session = session
        self._wanted = wanted
        self._random = random.Random(wanted.seed)  # noqa: S311
        self._calls = 0

    def run(self) -> None:
        from airflow.models.asset import AssetEvent
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from sqlalchemy import insert

        self._make_dag()
        assets = self._make_assets()
        instances: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        wanted_sync = self._wanted.is_sync
        for age, (due, run) in enumerate(reversed(list(self._make_runs()))):
            unchanged: list[str] = []
            for index, sobject in enumerate(self._wanted.sobjects):
                state = self._state(sobject, age)
                instances.append(self._instance(run, due, self._task, index, sobject, state))
                if wanted_sync and self._random.random() < 0.9 and state == "success":
                    unchanged.append(sobject)
                    continue
                if state == "failed":
                    errors.append(self._error(run, index, sobject))
                if state == "success":
                    events.append(self._event(run, due, index, sobject, age, assets[sobject]))
                    if (
                        self._wanted.with_loads
                        and index < 8
                        and (self._wanted.is_calm or sobject != "Asset" or age >= 2)
                    ):
                        instances.append(self._instance(run, due, LOAD_TASK, index, sobject, state))
                        events.append(self._load(run, due, index, sobject, assets[f"table {sobject}"], assets[sobject]))
            if wanted_sync:
                instances.append(self._instance(run, due, REPORT_TASK, -1, "", "success"))
                events.append(self._report(run, due, unchanged, assets["report"]))
        for model, rows in ((TaskInstance, instances), (AssetEvent, events), (XComModel, errors)):
            if rows:
                table: Any = model.__table__  # by the names of columns, in SQLAlchemy 1.4 (Airflow 3.1) too
                self._session.execute(insert(table), rows)
        self._session.commit()

    def _make_dag(self) -> None:
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel

        wanted = self._wanted
        if self._session.get(DagBundleModel, BUNDLE) is None:
            self._session.add(DagBundleModel(name=BUNDLE))
        self._session.commit()
        self._serialize()
        dag = self._session.get(DagModel, wanted.dag_id)
        assert dag is not None  # noqa: S101
        dag.is_paused, dag.is_stale = False, False
        dag.next_dagrun_create_after = wanted.due[-1] + timedelta(days=1) if wanted.nights else None
        self._session.commit()

    def _serialize(self) -> None:
        """Have the DAG in the database as the dag processor would, with its timetable."""
        from airflow.sdk import DAG

        from airflow_sfcc.operators import SalesforceExtractOperator
        from airflow_sfcc.taskgroups import salesforce_sync

        wanted = self._wanted
        start = wanted.now - timedelta(days=365)
        with DAG(wanted.dag_id, schedule="0 2 * * *", start_date=start, catchup=False) as dag:
            if wanted.is_sync:
                salesforce_sync("org", destination="s3://lake/{sobject}")
            else:
                SalesforceExtractOperator.partial(task_id=TASK, destination="s3://lake/{sobject}").expand(
                    sobject=wanted.sobjects
                )
        sync: Any
        try:
            from airflow.dag_processing import dagbag as sync
        except ImportError:  # Airflow 3.1
            from airflow.models import dagbag as sync
        with TemporaryDirectory() as nothing:
            bag = sync.DagBag(dag_folder=nothing)
        bag.bag_dag(dag)
        sync.sync_bag_to_db(bag, BUNDLE, None)

    def _uri(self, sobject: str) -> str:
        host = self._wanted.instance.partition("://")[2].partition(".")[0]
        return f"s3://lake/{host}/{self._wanted.dag_id}/{sobject}"

    def _make_assets(self) -> dict[str, Any]:
        """The assets' ids, by the object's name; `table NAME` for its table."""
        from airflow.models.asset import AssetModel

        uris = {sobject: self._uri(sobject) for sobject in self._wanted.sobjects}
        uris |= {
            f"table {sobject}": f"postgres://dwh:5432/dwh/crm/{sobject.lower()}"
            for sobject in self._wanted.sobjects[:8]
        }
        uris["report"] = self._uri("").rstrip("/")
        made = {name: AssetModel(uri, uri) for name, uri in uris.items()}
        self._session.add_all(made.values())
        self._session.flush()
        return {name: asset.id for name, asset in made.items()}

    def _make_runs(self) -> Iterator[tuple[datetime, Any]]:
        from airflow.models.dagrun import DagRun
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunType

        for age, due in reversed(list(enumerate(reversed(self._wanted.due)))):
            if age == 23 and not self._wanted.is_calm:
                continue  # the scheduler was down
            run = DagRun(
                dag_id=self._wanted.dag_id,
                run_id=f"scheduled__{due.isoformat()}",
                logical_date=due,
                run_after=due,
                run_type=DagRunType.SCHEDULED,
                state=DagRunState.FAILED if age < 2 else DagRunState.SUCCESS,
                start_date=due + timedelta(seconds=3),
            )
            self._session.add(run)
            self._session.flush()
            yield due, run

    def _state(self, sobject: str, age: int) -> str:
        if self._wanted.is_calm:
            return "success"
        if (sobject == "Case" and age < 2) or (sobject == "Lead" and age in (9, 10)) or (age == 37 and sobject < "D"):
            return "failed"
        return "failed" if self._random.random() < 0.0008 else "success"

    def _landed_at(self, due: datetime, index: int, age: int | None = None) -> datetime:
        delay = DURATION * (0.3 + 0.7 * index / max(1, len(self._wanted.sobjects)))
        return due + (delay + timedelta(hours=5) if age == 16 and not self._wanted.is_calm else delay)

    def _instance(self, run: Any, due: datetime, task: str, index: int, sobject: str, state: str) -> dict[str, Any]:
        import uuid6

        ended = self._landed_at(due, index)
        return {
            "id": uuid6.uuid7(),
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "task_id": task,
            "map_index": index,
            "state": state,
            "operator": _OPERATORS[task],
            "rendered_map_index": sobject,
            "hostname": "worker-1",
            "pool": "default_pool",
            "pool_slots": 1,
            "queue": "default",
            "try_number": 3 if state == "failed" else 1,
            "max_tries": 2,
            "start_date": due + timedelta(seconds=5),
            "end_date": ended,
            "duration": (ended - due).total_seconds(),
            "span_status": "not_started",
        }

    def _error(self, run: Any, index: int, sobject: str) -> dict[str, Any]:
        import json

        sentence = (
            f"Bulk job 750{index:015d} on {sobject} failed: {sobject} has more rows than the query may take 2 minutes to start "
            "with. Index the fields of the condition, or extract less at once."
        )
        note = {
            "error": sentence,
            "sobject": sobject,
            "conn_id": self._wanted.conn_id,
            "instance": self._wanted.instance,
        }
        note["job_id"] = f"750{index:015d}"
        return {
            "dag_run_id": run.id,
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "task_id": self._task,
            "map_index": index,
            "key": "salesforce_failure",
            "value": json.dumps(note),
            "timestamp": run.run_after + DURATION,
        }

    def _event(self, run: Any, due: datetime, index: int, sobject: str, age: int, asset_id: int) -> dict[str, Any]:
        at = self._landed_at(due, index, age)
        return {
            "asset_id": asset_id,
            "source_dag_id": run.dag_id,
            "source_run_id": run.run_id,
            "source_task_id": self._task,
            "source_map_index": index,
            "timestamp": at,
            "extra": self._extra(due, index, sobject, age),
        }

    def _extra(self, due: datetime, index: int, sobject: str, age: int) -> dict[str, Any]:
        is_bulk = index % 3 == 0
        growth = 1 + (self._wanted.nights - age) * (index % 7) * 0.002
        rows = int((50 + (index * 7919) % 200_000) * growth)
        changes = []
        if not self._wanted.is_calm and sobject == "Quote" and age == 0:
            changes = [{"column": f"{name}__c", "change": "removed"} for name in ("Discount_Reason", "Region")]
        if not self._wanted.is_calm and index % 41 == 5 and age == 12:
            changes = [{"column": "Tier__c", "change": "added"}]
        warnings = []
        if not self._wanted.is_calm and sobject == "Event" and age == 5:
            rows = rows // 10
            warnings = [
                {"kind": "rows_fell", "sentence": f"Event has {rows:,} rows, and usually has ten times as many."}
            ]
        calls = 12 if is_bulk else max(2, rows // 2000)
        self._calls += calls
        stamp = due.strftime("%Y%m%dT%H%M%SZ")
        return {
            "rows": rows,
            "bytes": rows * 180,
            "watermark": due.isoformat(),
            "manifest": f"{self._uri(sobject)}/extract={stamp}-3f9a1c2b/_manifest.json",
            "deleted_rows": 0,
            "api": "bulk" if is_bulk else "rest",
            "api_reason": f"the object has {rows:,} rows, and Bulk is used from 10,000 on",
            "job_id": f"750{index:015d}" if is_bulk else None,
            "window": {"start": None, "end": due.isoformat()},
            "seconds": round(2 + rows / 3000, 3),
            "api_calls": calls,
            "files": 1 + rows // 100_000,
            "sobject": sobject,
            "org_id": "00D000000000001AAA",
            "instance": self._wanted.instance,
            "conn_id": self._wanted.conn_id,
            "mode": "full",
            "api_used": 31_000 + index * 12,
            "api_limit": 100_000,
            "budget": 80.0,
            "schema_changes": changes,
            "warnings": warnings,
        }

    @property
    def _task(self) -> str:
        return SYNC_TASK if self._wanted.is_sync else TASK

    def _report(self, run: Any, due: datetime, unchanged: list[str], asset_id: int) -> dict[str, Any]:
        event = self._event(run, due, len(self._wanted.sobjects), "", 0, asset_id)
        extra = {
            "destination": self._uri("{sobject}"),
            "instance": self._wanted.instance,
            "report": "s3://lake/_sync/r.json",
        }
        event |= {"source_task_id": REPORT_TASK, "source_map_index": -1, "extra": {**extra, "unchanged": unchanged}}
        return event

    def _load(self, run: Any, due: datetime, index: int, sobject: str, table: int, source: int) -> dict[str, Any]:
        event = self._event(run, due, index, sobject, 0, table)
        event["source_task_id"] = LOAD_TASK
        event["timestamp"] += timedelta(seconds=40)
        rows = event["extra"]["rows"]
        event["extra"] = {
            "table": f"postgres://dwh/crm/{sobject.lower()}",
            "version": 1,
            "rows": rows,
            "inserted": rows // 50,
            "updated": rows // 20,
            "deleted": 0,
            "seconds": 4.2,
            "source": self._uri(sobject),
            "sobject": sobject,
            "extracts": 1,
        }
        return event


def clear(session: Session) -> None:
    """Remove all DAGs, runs, task instances, events and assets."""
    from airflow.models.asset import AssetEvent, AssetModel, TaskInletAssetReference
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import delete

    for model in (
        XComModel,
        AssetEvent,
        TaskInstance,
        DagRun,
        TaskInletAssetReference,
        AssetModel,
        DagVersion,
        DagModel,
    ):
        session.execute(delete(model))
    session.commit()


def main() -> None:
    from airflow.utils.session import create_session

    parser = argparse.ArgumentParser(prog="python -m dev.page_nights", description=__doc__)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--calm", action="store_true", help="all was complete")
    parser.add_argument("--clear", action="store_true", help="remove what is there first")
    options = parser.parse_args()
    with create_session() as session:
        if options.clear:
            clear(session)
        if options.nights:
            seed(session, Nights(options.nights, options.objects, is_calm=options.calm))


if __name__ == "__main__":
    main()
