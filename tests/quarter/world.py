"""One org, one destination, and a clock that only the test moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
from salesforce_localorg.clock import Clock
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer
from upath import UPath

from airflow_sfcc.errors import ConcurrentRunError
from airflow_sfcc.extract import current_table_sql, latest_state, register_storage
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.manifests import MANIFEST
from airflow_sfcc.extract.model import Request, RunIdentity
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.reconcile.refresh import refresh
from airflow_sfcc.salesforce import SalesforceClient
from airflow_sfcc.salesforce.transport import TransportOptions
from airflow_sfcc.timestamps import timestamp
from tests.conftest import CONFIG, RunningOrg
from tests.extract.runs import wait_for_job
from tests.quarter.history import History, Row, Version, row_of

BEGINNING = datetime(2027, 2, 1, 12, tzinfo=timezone.utc)
"""After every stamp of the generated records."""

CALCULATED = {
    "Days__c": 'coalesce("NumberOfEmployees", 0) % 7',
    "Contacts__c": '(SELECT count(*) FROM "Contact" AS c WHERE c."AccountId" = "Account"."Id")',
}
"""A formula, and a roll-up, as SQL."""

LATEST_COMMIT = timedelta(minutes=4)
SECOND = timedelta(seconds=1)

Interlude = Callable[[str], None]
"""Called between the stages of a run, with what comes next: things happen in the org meanwhile."""


class WorkerDiedError(Exception):
    """The run ended in the middle, as if its worker had been shut off."""


@dataclass
class Night:
    """A run that committed: its identity, and the end of its window with when its rows were read."""

    run: RunIdentity
    end: datetime
    read_at: datetime


@dataclass
class World:
    """Records change by the methods; `run_night` extracts; `check` compares the current table with the org's history."""

    folder: Path | UPath
    rows: int = 60
    sobject: str = "Account"
    request: dict[str, Any] = field(default_factory=dict)
    nights: list[Night] = field(default_factory=list)
    table: dict[str, Row] = field(default_factory=dict)
    watermark: datetime | None = None
    checked: bool = True
    refreshes: bool = False
    """Whether there are fields whose values change without a stamp, and each run reads them again."""

    drifted: list[str] = field(default_factory=list)
    """Fields that came, were widened or went, once for each time."""

    refreshed: int = 0
    checks: int = 0
    in_flight: int = 0

    def __post_init__(self) -> None:
        self._closing = ExitStack()
        self.clock = Clock()
        self.clock.freeze(BEGINNING)
        counts = {"User": 5, self.sobject: self.rows, "Contact": 20}
        schema = Schema.standard()
        records = Records.open(schema, clock=self.clock)
        self._closing.callback(records.close)
        records.generate(counts, seed=7)
        self.records = records
        config = replace(CONFIG, counts=counts, bulk_timings=BulkTimings())
        self.org = self._closing.enter_context(LocalOrg(config, schema=schema, records=records, clock=self.clock))
        self.server = self._closing.enter_context(OrgServer(self.org))
        self.destination = UPath(self.folder)
        self._deleted_at: dict[str, datetime] = {}
        self._due: list[tuple[datetime, Sequence[str]]] = []
        self.history = History(records, self.sobject)
        if self.refreshes:
            for name, formula in CALCULATED.items():
                self.org.add_field(self.sobject, {"name": name, "type": "double", "calculated": True}, formula=formula)
        self.history.note(BEGINNING - timedelta(days=1), {})

    def close(self) -> None:
        self._closing.close()

    # What happens in the org

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def free(self) -> list[str]:
        """Live records that no uncommitted change holds locked."""
        return [record_id for record_id in self.history.live if record_id not in self._locked]

    @property
    def binned(self) -> list[str]:
        return [record_id for record_id in self.history.binned if record_id not in self._locked]

    @property
    def _locked(self) -> set[str]:
        return {record_id for _, ids in self._due for record_id in ids}

    def wait(self, delta: timedelta) -> None:
        """Let time pass; changes that were committed late become visible on the way."""
        end = self.now + delta
        for due, _ in sorted(self._due):
            if due <= end:
                self.clock.freeze(max(due, self.now))
                self._note()
        self.clock.freeze(end)
        self._due = [entry for entry in self._due if entry[0] > end]
        self._note()

    def _note(self) -> None:
        self.history.note(self.now, self._deleted_at)

    def _changed(self, ids: Sequence[str], late: timedelta) -> None:
        if late:
            self._due.append((self.now + late, ids))
        self._note()

    def insert(self, values: dict[str, Any], late: timedelta = timedelta(0)) -> str:
        record_id = self.records.insert(self.sobject, values, commit_after=late)
        self._changed([record_id], late)
        return record_id

    def update(self, record_id: str, values: dict[str, Any], late: timedelta = timedelta(0)) -> None:
        self.records.update(self.sobject, record_id, values, commit_after=late)
        self._changed([record_id], late)

    def delete(self, record_id: str, late: timedelta = timedelta(0)) -> None:
        self.records.delete(self.sobject, record_id, commit_after=late)
        self._changed([record_id], late)

    def undelete(self, record_id: str, late: timedelta = timedelta(0)) -> None:
        self.records.undelete(self.sobject, record_id, commit_after=late)
        self._changed([record_id], late)

    def hard_delete(self, record_id: str, late: timedelta = timedelta(0)) -> None:
        self._deleted_at[record_id] = self.now.replace(microsecond=0)
        self.records.hard_delete(self.sobject, record_id, commit_after=late)
        self._changed([record_id], late)

    def merge(self, master: str, loser: str, values: dict[str, Any], late: timedelta = timedelta(0)) -> None:
        self.records.merge(self.sobject, master, loser, values=values, commit_after=late)
        self._changed([master, loser], late)

    def recalculate(self, number: int) -> None:
        """Other contacts, and another value of the formula for a tenth of the records; no stamp of theirs moves. Deleted
        accounts take their contacts along."""
        live = 'SELECT "Id" FROM "Contact" WHERE NOT "IsDeleted" ORDER BY 1'
        contacts = [str(row[0]) for row in self.records.raw().execute(live).fetchall()]
        account = self.history.live[number % len(self.history.live)]
        if contacts:
            self.records.update("Contact", contacts[number % len(contacts)], {"AccountId": account})
        else:
            self.records.insert("Contact", {"LastName": "New", "AccountId": account})
        tenth = f'CASE WHEN hash("Id") % 10 = {number % 10} THEN {number} ELSE 0 END'
        self.org.change_formula(self.sobject, "Days__c", f'coalesce("NumberOfEmployees", 0) % 7 + {tenth}')
        self.org.change_formula(self.sobject, "Contacts__c", CALCULATED["Contacts__c"])
        self._note()

    # Runs

    def client(self) -> SalesforceClient:
        running = RunningOrg(self.org, self.server)
        return running.client(transport=TransportOptions(request_timeout=120, max_retries=3))

    def run(self, run: RunIdentity, between: Interlude = lambda stage: None, **changes: Any) -> dict[str, Any]:
        """One extract, stage by stage; returns its manifest. What it staged is removed when it fails, but not when its
        worker dies."""
        client = self.client()
        between("plan")
        request = {"sobject": self.sobject, "mode": "incremental", "deletes": "hard", "api": "rest", **self.request}
        plan = make_plan(client, Request(**{**request, **changes}), run, self.destination)
        extraction = Extraction(client, self.destination, plan)
        try:
            between("read")
            read_at = self.now
            extraction.start()
            wait_for_job(extraction)
            pages = extraction.land()
            between("commit")
            extraction.commit(pages)
        except WorkerDiedError:
            raise
        except BaseException:
            extraction.discard()
            raise
        manifest: dict[str, Any] = json.loads((extraction.landing.folder / MANIFEST).read_bytes())
        if self.refreshes:
            landed = refresh(client, self.destination, run, wait=wait_for_job)
            self.refreshed += landed["rows"] if landed else 0
        if self.checked:
            self._committed(run, manifest, read_at)
        return manifest

    def _committed(self, run: RunIdentity, manifest: dict[str, Any], read_at: datetime) -> None:
        table = self.current_table()
        end = timestamp(manifest["watermark"])
        if manifest["mode"] == "full":
            self._check_full(table, read_at)
        elif self.watermark is None or end > self.watermark:
            self._check_moved(table, end, read_at)
            self.nights.append(Night(run, end, read_at))
        else:
            assert self._stamped(table) == self._stamped(self.table), "a run that moved no watermark changed the table"
        self.table = table
        self.watermark = max(end, self.watermark or end)
        self.checks += 1
        assert latest_state(self.destination).watermark == self.watermark

    def current_table(self) -> dict[str, Row]:
        """The recipe's result, by Id."""
        with duckdb.connect() as connection:
            register_storage(connection, self.destination)
            cursor = connection.execute(current_table_sql(self.destination))
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
        found = {row[names.index("Id")]: row_of(dict(zip(names, row, strict=True))) for row in rows}
        assert len(found) == len(rows), "the current table holds a record twice"
        return found

    def _stamped(self, table: dict[str, Row]) -> dict[str, Row]:
        """The table without the values that change without a stamp, and without fields that come and go."""
        without = CALCULATED.keys() | set(self.drifted)
        return {key: {name: row[name] for name in row.keys() - without} for key, row in table.items()}

    def _check_moved(self, table: dict[str, Row], end: datetime, read_at: datetime) -> None:
        """Every record whose last change before the reading lies before the window's end is as the org had it then.

        One that changed between the window's end and the reading is in flight: Salesforce no longer tells what it was at
        the window's end. It may be as it was then, or as the table had it before, and the next window brings it. Of values that
        change without a stamp, which are read last, it may have those of any reading before it changed.
        """
        for record_id in self.history.versions:
            seen = self.history.visible(record_id, read_at)
            before = self._columns(self.history.as_of(record_id, end), table)
            if seen is None or seen.stamp < end:
                expected = [before if seen is not None else None]
            else:
                expected = [before, self._as_before(record_id, table)]
                self.in_flight += 1
            if self.refreshes and (now := self.history.visible(record_id, self.now)) and now.stamp >= end:
                expected += self._with_the_stamp_of(record_id, end, table)
            assert table.get(record_id) in expected, self._difference(record_id, table.get(record_id), expected, end)
        assert table.keys() <= self.history.versions.keys()

    def _with_the_stamp_of(self, record_id: str, end: datetime, table: dict[str, Row]) -> list[Row | None]:
        """The record as it was at `end`, with each value that its calculated fields had while its stamp stayed."""
        then = self.history.as_of(record_id, end)
        if then is None:
            return []
        return [self._columns(each, table) for each in self.history.versions[record_id] if each.stamp == then.stamp]

    def _check_full(self, table: dict[str, Row], read_at: datetime) -> None:
        for record_id in self.history.versions:
            expected = self._columns(self.history.visible(record_id, read_at), table)
            assert table.get(record_id) == expected, self._difference(
                record_id, table.get(record_id), [expected], read_at
            )

    def _columns(self, version: Version | None, table: dict[str, Row]) -> Row | None:
        if version is None or version.row is None:
            return None
        columns = next(iter(table.values()), version.row)
        return {name: value for name, value in version.row.items() if name in columns}

    def _as_before(self, record_id: str, table: dict[str, Row]) -> Row | None:
        """The record as the table had it before, in the columns that it has now."""
        row = self.table.get(record_id)
        return row and {name: row.get(name, _NULL) for name in next(iter(table.values()), row)}

    def _difference(self, record_id: str, found: Row | None, expected: list[Row | None], end: datetime) -> str:
        wanted = expected[0]
        if found is None or wanted is None:
            what = f"the table has {'no row' if found is None else 'a row'}"
        else:
            what = str({name: (found.get(name), value) for name, value in wanted.items() if found.get(name) != value})
        past = [f"{v.stamp:%d %H:%M:%S} seen {v.seen_from:%d %H:%M:%S} {'' if v.row else 'gone'}" for v in
                self.history.versions[record_id]]  # fmt: skip
        return f"{record_id} as of {end}: {what}; its versions: {past}"


_NULL = row_of({"": None})[""]


def run_of(number: int, due: datetime, **changes: Any) -> RunIdentity:
    """The run of night `number`, due at a moment."""
    return RunIdentity("quarter", "extract", f"scheduled__{number}", -1, due, **changes)


__all__ = ["BEGINNING", "LATEST_COMMIT", "SECOND", "ConcurrentRunError", "Night", "WorkerDiedError", "World", "run_of"]
