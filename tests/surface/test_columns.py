"""Hashed and dropped columns in DAGs: no plain value is in files, tables, logs, XCom, events, or Airflow's database."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from salesforce_localorg.jobs import BulkTimings

from airflow_sfcc.errors import OptionError
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceLoadOperator
from airflow_sfcc.taskgroups import salesforce_extract
from airflow_sfcc.testing import RunDag, StartOrg
from tests.conftest import RunningOrg
from tests.extract.test_protected_columns import SECRET, everything_in
from tests.secret_search import files, tables

# In two pieces each, since Airflow stores the source of a DAG's file.
HOST = "@secret" + ".example"
PHONE = "555" + " plain"
NOBODY = "may see" + " of plain"
COLUMNS: Any = {"*.Email": "hash", "Contact.type:phone": "hash", "Contact.Description": "drop"}
FORMATS: list[tuple[Any, Any]] = [
    (api, file_format) for api in ("rest", "bulk") for file_format in ("parquet", "csv", "jsonl")
]


def contact(number: int) -> dict[str, Any]:
    return {
        "LastName": f"Name {number}",
        "Email": f"plain-{number}{HOST}",
        "Phone": f"+49 {PHONE} {number}",
        "Description": f"what nobody {NOBODY} {number}",
    }


def dag_of(landing: str) -> Any:
    from airflow.sdk import DAG

    options: dict[str, Any] = {"columns": COLUMNS, "hash_key_conn_id": "hash_key", "mode": "incremental"}
    with DAG("hashed_columns", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        for api, file_format in FORMATS:
            extract = SalesforceExtractOperator(
                task_id=f"{api}_{file_format}",
                sobject="Contact",
                destination=f"{landing}/{api}/{file_format}/{{sobject}}",
                api=api,
                file_format=file_format,
                poll_interval=0.1,
                deferrable=file_format == "csv",
                **options,
            )
            if file_format == "parquet":
                table = f"duckdb://{landing.removeprefix('file://')}/{api}.duckdb/contacts"
                extract >> SalesforceLoadOperator(task_id=f"{api}_load", extracts=extract.output, table=table)
        salesforce_extract(
            "shared",
            sobject="Contact",
            destination=f"{landing}/shared/{{sobject}}",
            poll_interval=0.1,
            shares=2,
            **options,
        )
    return dag


def test_no_plain_value_is_anywhere(
    start_sfcc_org: StartOrg,
    run_dag: RunDag,
    sfcc_airflow: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HASH_KEY", json.dumps({"conn_type": "generic", "password": SECRET}))
    org = start_sfcc_org(
        records={"Contact": [contact(number) for number in range(30)]},
        result_page_rows=10,
        bulk_timings=BulkTimings(in_progress_seconds=0.1),
    )
    org.set_time(datetime(2027, 1, 1, tzinfo=timezone.utc))
    run = run_dag(dag_of(f"file://{tmp_path}"), logical_date=datetime(2027, 1, 1, tzinfo=timezone.utc))
    assert run.state == "success", run.error
    tasks = [f"{api}_{file_format}" for api, file_format in FORMATS] + ["shared.commit"]
    assert [run.xcom(task)["rows"] for task in tasks] == [30] * 7
    out, err = capfd.readouterr()
    places = [
        ("landing", everything_in(tmp_path).encode()),
        ("what tasks returned", str([run.xcom(task) for task in [*tasks, "shared.plan", "rest_load"]]).encode()),
        ("printed", (out + err).encode()),
        ("logged", caplog.text.encode()),
        *files(sfcc_airflow),
        *(each for database in sfcc_airflow.rglob("*.db") for each in tables(database)),
    ]
    for api in ("rest", "bulk"):
        with duckdb.connect(str(tmp_path / f"{api}.duckdb"), read_only=True) as database:
            rows = database.execute("SELECT * FROM contacts").fetchall()
            hashed = database.execute(
                "SELECT count(*), min(length(Email)), min(length(Phone)) FROM contacts"
            ).fetchone()
        assert hashed == (30, 64, 64)
        places.append((f"table {api}", str(rows).encode()))
    assert any(b"Name 17" in text for _, text in places)
    marks = (HOST.encode(), PHONE.encode(), NOBODY.encode(), SECRET.encode())
    assert [(place, mark) for place, text in places for mark in marks if mark in text] == []


def operator(**options: Any) -> SalesforceExtractOperator:
    return SalesforceExtractOperator(task_id="extract", sobject="Contact", destination="file:///landing", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": {"Contact.Email": "hash"}}, "there is no key to hash them by: name a connection"),
        ({"columns": {"Contact.Email": "drop"}, "hash_key_conn_id": "key"}, "columns hashes none. Leave it out"),
        ({"columns": ["Contact.Email"]}, "columns must be a dict of rules"),
        ({"columns": {"Email": "drop"}}, "columns names 'Email', which is no rule for a field"),
        ({"columns": {"*.Email": "remove"}}, "the treatment 'remove'"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        operator(**options)


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        (None, "Airflow knows no connection 'hash_key'"),
        ({"conn_type": "generic"}, "The connection 'hash_key' has no password, which is the key"),
        ({"conn_type": "generic", "password": "tiny"}, "The key for hashing has 4 bytes"),
    ],
)
def test_a_key_that_cannot_be_used(
    connected_org: RunningOrg,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    connection: dict[str, Any] | None,
    says: str,
) -> None:
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_HASH_KEY", json.dumps(connection))
    with pytest.raises(AirflowFailException, match=says):
        operator(columns={"*.Email": "hash"}, hash_key_conn_id="hash_key").execute(context)
