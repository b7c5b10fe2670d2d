"""A whole org by one line, night after night: what lands equals the org, and the report says what became of each object."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from upath import UPath

from airflow_sfcc.cli import commands
from airflow_sfcc.extract import current_table_sql
from airflow_sfcc.extract.manifests import read_manifests
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.sync.catalog import read_catalog
from airflow_sfcc.sync.patterns import Patterns
from airflow_sfcc.testing import DagRunResult, RunDag, SalesforceOrg, StartOrg

OBJECTS = 42
HOUR = timedelta(hours=1)


@pytest.fixture
def org(start_sfcc_org: StartOrg) -> SalesforceOrg:
    return start_sfcc_org(rows={"Account": 30, "Contact": 20, "Case": 5}, objects=OBJECTS)


def dag_of(destination: str, dag_id: str = "whole_org", **sync: Any) -> Any:
    from airflow.sdk import DAG

    from airflow_sfcc.taskgroups import salesforce_sync

    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        salesforce_sync("org", destination=destination, **{"shared_tasks": 2, "default_args": {"retries": 0}, **sync})
    return dag


def night(
    org: SalesforceOrg, run_dag: RunDag, dag: Any, *, lost_calls: int = 0
) -> tuple[DagRunResult, Mapping[str, Any]]:
    """A run an hour after what happened last, and its report, which tells the calls that came to the org, but for those of
    attempts that failed."""
    org.local_org.clock.advance(HOUR)
    org.local_org.calls.clear()
    run = run_dag(dag, logical_date=org.local_org.clock.now())
    report = run.xcom("org.report")
    calls = sum(call.path.startswith("/services/data/v") for call in org.local_org.calls)
    assert report["api_calls"] == calls - lost_calls
    return run, report


def client_of(org: SalesforceOrg) -> SalesforceClient:
    connection = org.connection
    return connect(connection["host"], connection["login"], connection["password"])


def rows_of_org(client: SalesforceClient, sobject: str, field: str) -> set[tuple[Any, ...]]:
    return {(row["Id"], row[field]) for row in client.query(f"SELECT Id, {field} FROM {sobject}")}


def require_equal(org: SalesforceOrg, root: UPath, database: Path, sobjects: list[str]) -> None:
    """Current tables over the files, and loaded ones, hold what the org holds."""
    client = client_of(org)
    with duckdb.connect(str(database), read_only=True) as tables:
        for sobject in sobjects:
            expected = rows_of_org(client, sobject, "OwnerId")
            assert set(tables.execute(f'SELECT "Id", "OwnerId" FROM "{sobject}"').fetchall()) == expected, sobject
            files = tables.execute(f'SELECT "Id", "OwnerId" FROM ({current_table_sql(str(root / sobject))})')
            assert set(files.fetchall()) == expected, sobject


def change(org: SalesforceOrg, sobject: str) -> None:
    """One record changed, one new, one in the recycle bin."""
    client = client_of(org)
    first, second = [str(row["Id"]) for row in client.query(f"SELECT Id FROM {sobject} LIMIT 2")]
    org.update(sobject, first, Name="changed")
    org.delete(sobject, second)
    org.insert(sobject, {"Name": "added"})


def test_two_nights_of_a_whole_org(
    org: SalesforceOrg, run_dag: RunDag, root: UPath, root_url: str, tmp_path: Path
) -> None:
    database = tmp_path / "org.duckdb"
    objects = ["*__c", "!Invoice__c", "*__mdt", "*__x", "*__b", "*__e", "Account", "*_000__History", "ActivityHistory"]
    dag = dag_of(f"{root_url}/{{sobject}}", objects=objects, deletes="soft", table=f"duckdb://{database}/{{sobject}}")
    run, report = night(org, run_dag, dag)
    assert run.state == "success", run.error
    assert report["counts"]["failed"] == report["counts"]["late"] == 0
    assert set(report["new"]) == {path.name for path in root.iterdir() if list(path.glob("extract=*"))}
    assert report["counts"]["left_out"] == 2, "platform events and ActivityHistory"
    before = report["counts"]["complete"]
    names = [name for name in report["new"] if name.endswith("__c") and org.count(name) > 2]
    require_equal(org, root, database, names)

    changed, failing, hidden, gone = names[:3], names[3], names[4], names[5]
    for name in [*changed, failing]:
        change(org, name)
    org.local_org.drop_object(gone)
    org.local_org.hidden_objects.add(hidden)
    describe = client_of(org).describe(changed[0])
    org.local_org.add_object({**describe, "name": "Brand_New__c", "keyPrefix": "zz9", "childRelationships": []})
    org.insert("Brand_New__c", {"Name": "first"})
    org.fail("query(_all)?", path=f"SELECT(?!.*COUNT).*FROM(%20|\\+){failing}", times=None, status=400)

    run, report = night(org, run_dag, dag)
    assert run.state == "failed", "an object failed"
    assert report["failed"].keys() == {failing}
    assert set(changed) <= set(report["changed"]) and report["new"] == ["Brand_New__c"]
    assert report["gone"] == [gone] and report["hidden"] == [hidden]
    assert report["counts"]["complete"] == before - 3 + 1
    require_equal(org, root, database, [name for name in names if name not in (failing, hidden, gone)])

    org.local_org.faults.clear()
    run, report = night(org, run_dag, dag)
    assert run.state == "success", run.error
    assert report["changed"][:1] == [failing] or failing in report["changed"]
    assert report["gone"] == report["hidden"] == report["new"] == []
    require_equal(org, root, database, [failing, "Brand_New__c"])

    run, report = night(org, run_dag, dag)
    full = [each.name for each in read_catalog(client_of(org), Patterns(objects), {}).objects if each.kind == "full"]
    assert sorted(report["changed"]) == sorted(full), "only what has no stamps is read again"
    assert report["api_calls"] <= 1.2 * report["counts"]["complete"]


def test_a_retry_reads_only_what_failed_and_the_budget_ends_a_run_politely(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = start_sfcc_org(rows={"Account": 9, "Contact": 8, "Case": 7, "Lead": 6})

    def connect_with(**extra: Any) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_SFCC_DEFAULT", json.dumps({**org.connection, "extra": {"max_retries": 0, **extra}})
        )

    names = ["Account", "Contact", "Case", "Lead"]
    retries = {"retries": 1, "retry_delay": timedelta(0)}
    columns = {"Contact.Email": "drop"}
    dag = dag_of(
        f"{root_url}/{{sobject}}", "retried", objects=names, shared_tasks=1, default_args=retries, columns=columns
    )
    connect_with()
    org.fail("query", path="SELECT(?!.*COUNT).*FROM(%20|\\+)Contact", status=503)
    run, report = night(org, run_dag, dag, lost_calls=3)
    assert run.state == "success", run.error
    assert sorted(report["new"]) == sorted(names) and report["failed"] == {}
    assert org.calls("describe") == len(names) + 1, "only Contact was read again"
    (manifest,) = read_manifests(root / "Contact")
    assert "Email" not in [column["name"] for column in manifest["schema"]], "options reach each object's extract"

    for name in names:
        (first,) = [row["Id"] for row in client_of(org).query(f"SELECT Id FROM {name} LIMIT 1")]
        org.update(name, str(first), Description="changed")
    used = org.local_org.usage.api_requests.total()
    connect_with(api_call_budget=100 * (used + 9) / org.local_org.config.daily_api_requests)
    run, report = night(org, run_dag, dag)
    assert run.state == "success", run.error
    late = report["late"]
    assert late and report["changed"] and sorted([*late, *report["changed"]]) == sorted(names)

    connect_with()
    org.local_org.calls.clear()
    run, report = night(org, run_dag, dag)
    assert report["counts"]["complete"] == len(names) and set(late) <= set(report["changed"])
    described = [call.path.split("/")[-2] for call in org.local_org.calls if call.path.endswith("/describe")]
    assert set(described[: len(late)]) == set(late), "what was late goes first"


def test_calculated_fields_are_read_again_each_night(
    start_sfcc_org: StartOrg, run_dag: RunDag, root_url: str, tmp_path: Path
) -> None:
    org = start_sfcc_org(rows={"Account": 60, "Contact": 8})
    org.local_org.add_field("Account", {"name": "Tier__c", "type": "string", "calculated": True}, formula="'Silver'")
    database = tmp_path / "org.duckdb"
    dag = dag_of(
        f"{root_url}/{{sobject}}",
        "calculated",
        objects=["Account", "Contact"],
        calculated="refresh",
        table=f"duckdb://{database}/{{sobject}}",
    )
    run, _ = night(org, run_dag, dag)
    assert run.state == "success", run.error
    changed_formula = "CASE WHEN hash(\"Id\") % 3 = 0 THEN 'Gold' ELSE 'Silver' END"
    org.local_org.change_formula("Account", "Tier__c", changed_formula)
    run, report = night(org, run_dag, dag)
    assert run.state == "success" and "Account" in report["changed"], run.error
    expected = rows_of_org(client_of(org), "Account", "Tier__c")
    with duckdb.connect(str(database), read_only=True) as tables:
        assert set(tables.execute('SELECT "Id", "Tier__c" FROM "Account"').fetchall()) == expected
    assert {tier for _, tier in expected} == {"Gold", "Silver"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"destination": "file:///lake/all"}, "needs {sobject} as a part of its path"),
        ({"destination": "file:///lake/{sobject}", "fields": ["Id"]}, "no argument 'fields'"),
        ({"destination": "file:///lake/{sobject}", "deletez": "soft"}, "Did you mean deletes"),
        ({"destination": "file:///lake/{sobject}", "deletes": "sofft"}, "deletes must be one of"),
        ({"destination": "file:///lake/{sobject}", "objects": "*"}, "objects must be a list"),
        ({"destination": "file:///lake/{sobject}", "mode": "full", "lookback": 5}, "no effect with mode='full'"),
    ],
)
def test_what_cannot_work_is_told_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        dag_of(**arguments)


def test_the_command_shows_how_each_object_is_read(start_sfcc_org: StartOrg) -> None:
    start_sfcc_org(rows={"Account": 30}, objects=OBJECTS)
    shown = CliRunner().invoke(commands, ["objects", "sfcc_default", "*", "!*__c", "Invoice__c", "Invocie__c"])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    classes = {line.split()[0]: line for line in lines[1:]}
    assert re.search(r"Account +incremental +\d\d +\d\d KB$", classes["Account"])
    assert "Invoice__c" in classes and not [name for name in classes if name.endswith("__c") and name != "Invoice__c"]
    assert next(line for name, line in classes.items() if name.endswith("__b")).split()[1] == "full"
    assert "not extractable" in next(line for name, line in classes.items() if name.endswith("__e"))
    assert "not extractable" in classes["EntityDefinition"] and "holds no records" in classes["EntityDefinition"]
    assert re.search(
        rf"of {OBJECTS} objects: \d+ incremental, \d+ full, 0 needs filter, \d+ not extractable", shown.output
    )
    assert "Did you mean Invoice__c" in lines[-1]


def test_what_a_deletion_takes_along_in_the_last_minute_is_seen(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str
) -> None:
    """History has no stamp that a deletion moves, and getDeleted goes by whole minutes."""
    org = start_sfcc_org(rows={"Account": 3}, objects=OBJECTS)
    history = next(each.name for each in org.local_org.schema if each.name.endswith("__History"))
    dag = dag_of(f"{root_url}/{{sobject}}", "taken_along", objects=[history], deletes="hard", lag=0)
    assert night(org, run_dag, dag)[0].state == "success"
    clock = org.local_org.clock
    clock.advance(HOUR)
    clock.freeze(clock.now().replace(second=20))
    (first, *_) = client_of(org).query(f"SELECT ParentId FROM {history}")
    org.delete(history.replace("__History", "__c"), str(first["ParentId"]))
    left = {row["Id"] for row in client_of(org).query(f"SELECT Id FROM {history}")}
    clock.freeze(clock.now().replace(second=40))

    assert run_dag(dag, logical_date=clock.now()).xcom("org.report")["changed"] == [history]
    with duckdb.connect() as database:
        table = database.execute(f'SELECT "Id" FROM ({current_table_sql(str(root / history))})').fetchall()
    assert {row[0] for row in table} == left


def test_what_another_task_did_not_return_protects_no_column_less() -> None:
    from airflow_sfcc.errors import OptionError
    from airflow_sfcc.sync.model import Wanted

    place, wanted = "file:///lake/{sobject}", Wanted("Contact", "full", "ignore")
    dag = dag_of(place, "rules", columns="{{ var.json.rules }}", hash_key_conn_id="key", where={"Contact": "{{ x }}"})
    sync: Any = dag.get_task("org.sync").unmap({"batch": {}})
    written = sync.extract
    sync.where, sync.extract = {"Contact": "Name != null"}, {**written, "columns": None}
    with pytest.raises(OptionError, match="columns is given, and came out as None"):
        sync._extract_of(wanted, True)
    sync.where, sync.extract = {"Contact": None}, {**written, "columns": {"Contact.Email": "hash"}}
    with pytest.raises(OptionError, match="where is given, and came out as None"):
        sync._extract_of(wanted, True)
    sync.where = {"Contact": "Name != null"}
    assert sync._extract_of(wanted, True).columns == {"Contact.Email": "hash"}
