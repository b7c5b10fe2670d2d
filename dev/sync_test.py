"""`make sync-test`: a whole org, night after night, in a real Airflow with LocalExecutor.

The second night finds what a night brings: some objects changed, one new, one gone, one hidden, one that fails. It must be cheap,
and everything else complete: files and tables are compared with the org, row by row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import requests
from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.schema import Schema
from salesforce_localorg.schema.generated import generated_counts
from salesforce_localorg.server import OrgServer

from airflow_sfcc.extract import current_table_sql
from airflow_sfcc.salesforce import SalesforceClient, connect
from dev.errors import HarnessError
from dev.local_airflow import FINISHED, LocalAirflow
from dev.processes import stop_on_signals
from dev.waiting import wait_until

DAG_ID = "sync"
CALLS_PER_OBJECT = 1.2
LONGEST_SECONDS = 600.0
NIGHT_SECONDS = 3600.0
PATIENT = {"AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60"}
"""Seconds that a task waits for the API server, whose 5 s a machine that does other work beside this does not keep."""

RETRIES = 3
CALLS_OF_A_TRY = 3
"""At most, of the one object that fails: describe, count, query. The report knows those of the last try."""

NEW = "Brand_New__c"
DAG = f"""
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG
from airflow_sfcc.taskgroups import salesforce_sync
with DAG("{DAG_ID}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), max_active_runs=1):
    salesforce_sync(
        "org", destination="file://LANDING/{{sobject}}", table="duckdb://LANDING/_tables/{{sobject}}.duckdb/{{sobject}}",
        deletes="hard", lag=0, default_args={{"retries": {RETRIES}, "retry_delay": timedelta(seconds=1)}},
    )
"""


@dataclass
class Night:
    """How a run ended: its state, what `report` returned, the API calls that the org counted, and the time it took."""

    state: str
    report: Mapping[str, Any]
    calls: int
    seconds: float


class Nights:
    """An org and an Airflow, side by side."""

    def __init__(self, org: LocalOrg, server: OrgServer, airflow: LocalAirflow, landing: Path) -> None:
        self.org = org
        self.airflow = airflow
        self.landing = landing
        credentials = server.credentials
        connection = {"conn_type": "sfcc", "host": credentials.url, "login": credentials.consumer_key}
        airflow.api.put_connection("sfcc_default", {**connection, "password": credentials.consumer_secret})
        self.client: SalesforceClient = connect(credentials.url, credentials.consumer_key, credentials.consumer_secret)

    def run(self) -> Night:
        self.org.calls.clear()
        before, started = self.org.usage.api_requests.total(), time.monotonic()
        run_id = self.airflow.trigger(DAG_ID)
        state = self._end_of(run_id)
        seconds = time.monotonic() - started
        calls = self.org.usage.api_requests.total() - before
        night = Night(state, self.airflow.xcom(DAG_ID, run_id, "org.report"), calls, seconds)
        print(
            f"==> {night.state}: {night.report['summary']}, {calls:,} counted by the org, {seconds:,.0f} s", flush=True
        )
        return night

    def _end_of(self, run_id: str) -> str:
        """How the run ended. Asked seldom, and again where a busy Airflow does not respond: what is measured is the run."""

        def state() -> str | None:
            with suppress(requests.RequestException):
                found = self.airflow.api.run_state(DAG_ID, run_id)
                return found if found in FINISHED else None
            return None

        return wait_until(state, timeout=NIGHT_SECONDS, message=lambda: "The run does not end.", poll_seconds=3.0)

    def change(self, sobject: str) -> None:
        """One record changed, one new, one in the recycle bin."""
        first, second = [str(row["Id"]) for row in self.client.query(f"SELECT Id FROM {sobject} LIMIT 2")]
        self.org.records.update(sobject, first, {"Name": "changed"})
        self.org.records.delete(sobject, second)
        self.org.records.insert(sobject, {"Name": "added"})

    def differing(self, sobjects: Sequence[str]) -> list[str]:
        """The objects whose files or tables do not hold what the org holds."""
        return [sobject for sobject in sobjects if not self._is_equal(sobject)]

    def _is_equal(self, sobject: str) -> bool:
        described = self.client.describe(sobject)
        stamp = next(
            (f["name"] for f in described["fields"] if f["name"] in ("SystemModstamp", "LastModifiedDate")),
            "CreatedDate",
        )
        columns = ["Id", "Name"] if any(f["name"] == "Name" for f in described["fields"]) else ["Id", stamp]
        expected = {
            tuple(_value(row[c]) for c in columns)
            for row in self.client.query(f"SELECT {', '.join(columns)} FROM {sobject}")
        }
        return all(found == expected for found in (self._files(sobject, columns), self._table(sobject, columns)))

    def _files(self, sobject: str, columns: Sequence[str]) -> set[tuple[Any, ...]]:
        with duckdb.connect() as database:
            return _rows(database, f"({current_table_sql(str(self.landing / sobject))})", columns)

    def _table(self, sobject: str, columns: Sequence[str]) -> set[tuple[Any, ...]]:
        with duckdb.connect(str(self.landing / "_tables" / f"{sobject}.duckdb"), read_only=True) as database:
            return _rows(database, f'"{sobject}"', columns)


def _rows(database: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> set[tuple[Any, ...]]:
    names = ", ".join(f'"{column}"' for column in columns)
    return {tuple(map(_value, row)) for row in database.execute(f"SELECT {names} FROM {relation}").fetchall()}


def _value(value: Any) -> Any:
    """Timestamps by their second, which is all that both sides write alike."""
    text = value.strftime("%Y-%m-%dT%H:%M:%S") if hasattr(value, "strftime") else value
    return text[:19] if isinstance(text, str) and text[4:5] == "-" and text[10:11] == "T" else text


def two_nights(nights: Nights, changed: int) -> None:
    """Raises HarnessError for whatever is not as it must be."""
    first = nights.run()
    require(first.state == "success", "the first night failed", first.report["failed"])
    tables = [name for name in first.report["new"] if (nights.landing / "_tables" / f"{name}.duckdb").exists()]
    require(first.report["api_calls"] == first.calls, "calls are miscounted", [first.report["api_calls"], first.calls])
    require(nights.differing(tables) == [], "after the first night these differ", nights.differing(tables))
    custom = [name for name in tables if name.endswith("__c") and nights.org.records.count(name) > 2]
    failing, hidden, gone, *others = custom
    for name in [failing, *others[: changed - 1]]:
        nights.change(name)
    nights.org.drop_object(gone)
    nights.org.hidden_objects.add(hidden)
    described = nights.client.describe(failing)
    nights.org.add_object({**described, "name": NEW, "keyPrefix": "zz9", "childRelationships": []})
    nights.org.records.insert(NEW, {"Name": "first"})
    of_rows = rf"SELECT(?!.*COUNT).*FROM(%20|\+){failing}(%20|\+)"
    nights.org.faults.add(Fault(route="query(_all)?", path=of_rows, times=None, status=400))
    time.sleep(2)  # the window ends at the second in which the run is due

    second = nights.run()
    report = second.report
    require(second.state == "failed" and set(report["failed"]) == {failing}, "not just one failed", report["failed"])
    require(report["new"] == [NEW], "new is not the new one", report["new"])
    require(
        report["gone"] == [gone] and report["hidden"] == [hidden], "gone and hidden", [report["gone"], report["hidden"]]
    )
    require(set(others[: changed - 1]) <= set(report["changed"]), "some changes were not seen", report["changed"])
    of_earlier_tries = second.calls - report["api_calls"]
    require(
        0 <= of_earlier_tries <= RETRIES * CALLS_OF_A_TRY, "calls are miscounted", [report["api_calls"], second.calls]
    )
    most = CALLS_PER_OBJECT * len(nights.org.schema)
    require(second.calls <= most, f"more than {most:,.0f} calls", second.calls)
    require(second.seconds <= LONGEST_SECONDS, f"longer than {LONGEST_SECONDS:,.0f} s", second.seconds)
    kept = [name for name in tables if name not in (failing, hidden, gone)]
    require(nights.differing([*kept, NEW]) == [], "after the second night these differ", nights.differing(kept))
    print(f"==> {len(kept) + 1:,} objects compared row by row, files and tables: equal to the org.")


def require(holds: bool, what: str, found: Any) -> None:
    if not holds:
        raise HarnessError(f"{what}: {found}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=800)
    parser.add_argument("--changed", type=int, default=60)
    options = parser.parse_args()
    stop_on_signals()
    folder = Path(tempfile.mkdtemp(prefix="sfcc-sync-"))
    dags, landing = folder / "dags", folder / "landing"
    dags.mkdir()
    landing.mkdir()
    (dags / "sync.py").write_text(DAG.replace("LANDING", str(landing)))
    schema = Schema.sized(options.objects)
    counts = {"User": 10, "Account": 30_000, "Contact": 500, "Invoice__c": 100, **generated_counts(schema)}
    with LocalOrg(OrgConfig(counts=counts), schema=schema) as org:
        org.generate()
        with OrgServer(org) as server, LocalAirflow(folder / "home", dags, extra_env=PATIENT) as airflow:
            try:
                two_nights(Nights(org, server, airflow, landing), options.changed)
            except HarnessError as problem:
                print(f"sync-test: {problem}\nWhat was left: {folder}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
