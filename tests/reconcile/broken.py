"""A destination of an org that is known to be right, and ways to break it behind everybody's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from salesforce_localorg.clock import Clock
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer
from upath import UPath

from airflow_sfcc.extract import current_table_sql
from airflow_sfcc.extract.manifests import read_manifests
from airflow_sfcc.extract.model import RunIdentity
from airflow_sfcc.load.targets import Target
from airflow_sfcc.reconcile.reconciling import ReconcileOptions, reconcile
from airflow_sfcc.salesforce import SalesforceClient
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import CONFIG, RunningOrg
from tests.extract.runs import extract

BEGINNING = datetime(2027, 2, 1, 12, tzinfo=timezone.utc)
"""After every stamp of the generated records."""

DAY = timedelta(days=1)
FIELDS = ["Id", "Name", "NumberOfEmployees", "CreatedDate", "SystemModstamp"]


class Place:
    """An org of one object's records, whose clock only the test moves, and the destination that it is extracted to."""

    def __init__(self, running: RunningOrg, records: Records, clock: Clock, lake: Path, sobject: str) -> None:
        self.running = running
        self.records = records
        self.clock = clock
        self.lake = lake
        self.sobject = sobject
        self._runs = 0

    @property
    def lake_path(self) -> UPath:
        return UPath(self.lake)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def wait(self, delta: timedelta) -> None:
        self.clock.freeze(self.now + delta)

    def client(self) -> SalesforceClient:
        return self.running.client(transport=TransportOptions(request_timeout=600))

    def extract(self, **request: Any) -> dict[str, Any]:
        """The next night's extract, after a day."""
        self.wait(DAY)
        self._runs += 1
        run = RunIdentity("nightly", "extract", f"run {self._runs}", -1, self.now)
        options = {"sobject": self.sobject, "fields": FIELDS, "mode": "incremental", "deletes": "hard", **request}
        return extract(self.running, self.lake, client=self.client(), run=run, **options)

    def compare(
        self, *, heal: bool = False, target: Target | None = None, max_calls: int = 100, **options: Any
    ) -> dict[str, Any]:
        """What reconciling says now."""
        run = RunIdentity("nightly", "reconcile", "run", -1, BEGINNING)
        settings = ReconcileOptions(heal=heal, max_calls=max_calls, **options)
        return reconcile(self.client(), UPath(self.lake), run, settings, target=target)

    def there(self) -> dict[str, tuple[Any, ...]]:
        """Name and employees of the org's live records, by Id."""
        query = f'SELECT "Id", "Name", "NumberOfEmployees" FROM "{self.sobject}" WHERE NOT "IsDeleted"'
        return {str(row[0]): row[1:] for row in self.records.raw().execute(query).fetchall()}

    def here(self) -> dict[str, tuple[Any, ...]]:
        """The same of the current table."""
        with duckdb.connect() as connection:
            query = f'SELECT "Id", "Name", "NumberOfEmployees" FROM ({current_table_sql(self.lake_path)})'
            return {str(row[0]): row[1:] for row in connection.execute(query).fetchall()}

    @property
    def ids(self) -> list[str]:
        """Of the org's live records."""
        return sorted(self.there())


@contextmanager
def empty_place(folder: Path, rows: int, sobject: str = "Account") -> Iterator[Place]:
    """An org of that many records, of which nothing was extracted yet."""
    clock = Clock()
    clock.freeze(BEGINNING)
    records = Records.open(Schema.standard(), clock=clock)
    try:
        records.generate({"User": 5, **({} if sobject == "Account" else {"Account": 20}), sobject: rows}, seed=7)
        config = replace(CONFIG, counts={}, bulk_timings=BulkTimings())
        with LocalOrg(config, records=records, clock=clock) as org, OrgServer(org) as server:
            yield Place(RunningOrg(org, server), records, clock, folder / "lake", sobject)
    finally:
        records.close()


@contextmanager
def place_of(folder: Path, rows: int, **request: Any) -> Iterator[Place]:
    """The same, extracted three times, with changes and a deletion for good in between."""
    with empty_place(folder, rows) as place:
        place.extract(**request)
        for number in (1, 2):
            for record_id in place.ids[number * 10 : number * 10 + 5]:
                place.records.update(place.sobject, record_id, {"Name": f"changed {number}"})
                place.wait(timedelta(hours=1))
            place.records.hard_delete(place.sobject, place.ids[number])
            place.extract(**request)
        yield place


def wrong(result: dict[str, Any]) -> dict[str, list[str]]:
    """The Ids that are wrong, by kind."""
    ids: dict[str, list[str]] = result["ids"]
    assert {kind: len(named) for kind, named in ids.items()} == {k: n for k, n in result["wrong"].items() if n}
    return ids


# Breaking it

Change = Callable[[pa.Table], pa.Table]


def rewritten(path: Path, change: Change) -> bool:
    """Write a Parquet file anew; returns whether it changed."""
    before = pq.read_table(path, partitioning=None)
    after = change(before)
    if not after.equals(before):
        pq.write_table(after, path)
    return not after.equals(before)


def break_parts(place: Place, change: Change, pattern: str = "part-*.parquet") -> None:
    """Change the files of all extracts; one at least has to change."""
    changed = [rewritten(path, change) for path in place.lake.glob(f"extract=*/{pattern}")]
    assert any(changed)


def lose(place: Place, *record_ids: str) -> None:
    lost = pa.array(record_ids, pa.string())
    break_parts(place, lambda table: table.filter(pc.invert(pc.is_in(table["Id"], lost))))


def make_stale(place: Place, record_id: str, by: timedelta) -> None:
    """The record as it was before its last change, which is lost."""

    def older(table: pa.Table) -> pa.Table:
        is_it = pc.equal(table["Id"], record_id)
        for name, value in (("SystemModstamp", None), ("Name", "as it was before")):
            index = table.schema.get_field_index(name)
            column = table[name]
            before = pa.scalar(value, column.type) if value else pc.subtract(column, pa.scalar(by, pa.duration("ms")))
            table = table.set_column(index, table.schema.field(name), pc.if_else(is_it, before, column))
        return table

    break_parts(place, older)


def forget_deletion(place: Place, record_id: str) -> None:
    break_parts(place, lambda table: table.filter(pc.not_equal(table["Id"], record_id)), "deleted-*.parquet")


def make_up_deletion(place: Place, record_id: str, when: datetime) -> None:
    """In the newest extract that has deletions."""
    row = [{"Id": record_id, "DeletedDate": when}]
    newest = [manifest for manifest in read_manifests(place.lake_path) if manifest["deleted_files"]][-1]
    (path,) = Path(str(newest["path"])).glob("deleted-*.parquet")
    assert rewritten(path, lambda table: pa.concat_tables([table, pa.Table.from_pylist(row, table.schema)]))
