"""The operators as a task runs them."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.sdk import DAG
from msgspec import structs
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.errors import JobAbortedError, JobTimeoutError, SalesforceError, SfccError
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import Request
from airflow_sfcc.operators import (
    SalesforceExtractOperator,
    SalesforceLoadOperator,
    SalesforceQueryOperator,
    SalesforceReconcileOperator,
    SalesforceVacuumOperator,
)
from airflow_sfcc.sensors import SalesforceQuerySensor
from airflow_sfcc.taskgroups import salesforce_extract, salesforce_sync
from airflow_sfcc.triggers import BulkJobTrigger
from tests.conftest import KEY, SECRET, RunningOrg
from tests.storages import CREDENTIALS, files_below, on_all_storages
from tests.surface.conftest import Connect

RESULT_KEYS = [
    "manifest",
    "path",
    "files",
    "rows",
    "bytes",
    "deleted_rows",
    "api",
    "job_id",
    "window",
    "watermark",
    "api_calls",
    "seconds",
]


def extract_operator(url: str, **options: Any) -> SalesforceExtractOperator:
    settings: dict[str, Any] = {
        "sobject": "Contact",
        "fields": ["Id", "LastName"],
        "api": "bulk",
        "poll_interval": 0.05,
    }
    return SalesforceExtractOperator(task_id="extract", destination=f"{url}/{{sobject}}", **{**settings, **options})


def fire(deferred: TaskDeferred) -> dict[str, Any]:
    """Run the trigger as the triggerer would: from what is stored of it."""
    path, arguments = deferred.trigger.serialize()
    assert path == "airflow_sfcc.triggers.BulkJobTrigger"
    trigger = BulkJobTrigger(**json.loads(json.dumps(arguments)))

    async def first() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(json.loads(json.dumps(event.payload)))
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(first())


def test_query_returns_plain_records(connected_org: RunningOrg, context: Any) -> None:
    operator = SalesforceQueryOperator(
        task_id="q", soql="SELECT Id, Account.Name FROM Contact WHERE AccountId != null AND LastName IN :names LIMIT 5",
        bind={"names": ["O'Neil", "Smith", "Garcia"]},
    )  # fmt: skip
    for record in operator.execute(context):
        assert set(record) == {"Id", "Account"} and set(record["Account"]) == {"Name"}


def test_too_many_records_name_the_extract_operator(connected_org: RunningOrg, context: Any) -> None:
    operator = SalesforceQueryOperator(task_id="q", soql="SELECT Id FROM Contact", max_records=10)
    with pytest.raises(AirflowFailException, match=r"max_records is 10: use SalesforceExtractOperator"):
        operator.execute(context)
    assert connected_org.calls("query_more") == 0


def test_a_number_is_no_record(connected_org: RunningOrg, context: Any) -> None:
    operator = SalesforceQueryOperator(task_id="q", soql="select count() from Contact")
    with pytest.raises(AirflowFailException, match=r"use COUNT\(Id\)"):
        operator.execute(context)


@on_all_storages
@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_extract_without_deferral(
    connected_org: RunningOrg, records: Records, context: Any, root: UPath, root_url: str, api: str
) -> None:
    result = extract_operator(root_url, api=api).execute(context)
    assert list(result) == RESULT_KEYS and json.loads(json.dumps(result)) == result
    assert result["rows"] == records.count("Contact") and result["api"] == api
    folder = result["path"].removeprefix(f"{root_url}/")
    assert folder.startswith("Contact/extract=20261123T020000Z-")
    (part,) = result["files"]
    landed = [name for name in files_below(root) if not name.startswith("Contact/_describe-")]
    assert sorted(landed) == [f"{folder}/_manifest.json", part.removeprefix(f"{root_url}/")]
    assert re.fullmatch(r"part-00000(-t00001-00001-[0-9a-f]{8})?\.parquet", part.rpartition("/")[2])


@on_all_storages
@pytest.mark.parametrize("sobject", ["Contact", "contact"])
def test_extract_deferred(
    connected_org: RunningOrg, records: Records, context: Any, root_url: str, sobject: str
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        extract_operator(root_url, sobject=sobject, deferrable=True).execute(context)
    stored = json.dumps(deferred.value.trigger.serialize()) + json.dumps(deferred.value.kwargs or {})
    assert "SELECT" not in stored and not any(secret in stored for secret in (SECRET, KEY, *CREDENTIALS.values()))
    event = fire(deferred.value)
    assert set(event) == {"status", "job_id", "api_calls"}
    operator = extract_operator(root_url, sobject=sobject, deferrable=True)
    result = getattr(operator, deferred.value.method_name)(context, event=event)
    assert result["path"].startswith(f"{root_url}/Contact/extract=")
    assert result["rows"] == records.count("Contact")
    assert result["api_calls"] == sum(call.path.startswith("/services/data/v") for call in connected_org.org.calls)


@on_all_storages
def test_no_secret_is_in_the_result_the_events_or_the_files(
    connected_org: RunningOrg, context: Any, root: UPath, root_url: str
) -> None:
    ran = extract_operator(root_url, file_format="csv", mode="incremental")
    told = json.dumps(ran.execute(context)) + repr(context["outlet_events"])
    contents = [(root / name).read_bytes() for name in files_below(root)]
    assert len(contents) == 3
    for secret in (SECRET, KEY, *CREDENTIALS.values()):
        assert secret not in told and not any(secret.encode() in content for content in contents)


@on_all_storages
def test_a_run_that_ends_leaves_alone_what_others_have_at_the_same_destination(root: UPath, root_url: str) -> None:
    """By the paths that Airflow makes of a URL: their rmdir takes along what is in the folder."""
    from airflow.sdk import ObjectStoragePath

    one, other = (Landing(ObjectStoragePath(root_url), name) for name in ("one", "other"))
    for landing in (one, other):
        landing.begin_share("t00001-00001-00000000")
        landing.leave()
    one.discard()
    assert list(files_below(root)) == [f"_staging/extract=other/{other.own('_ended.json')}"]
    other.discard()
    claim = ObjectStoragePath(f"{root_url}/_commits/other.1.json")
    with commit_lock(ObjectStoragePath(root_url), "one"):
        claim.fs.pipe_file(claim.path, b"{}")
    assert list(files_below(root)) == ["_commits/other.1.json"]


def test_the_trigger_may_run_twice(connected_org: RunningOrg, context: Any, root_url: str) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        extract_operator(root_url, deferrable=True).execute(context)
    assert fire(deferred.value)["status"] == fire(deferred.value)["status"] == "finished"


def test_trigger_errors_are_sentences_without_secrets(connected_org: RunningOrg, context: Any, root_url: str) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        extract_operator(root_url, deferrable=True).execute(context)
    connected_org.org.run_as = None
    event = fire(deferred.value)
    assert event["status"] == "error" and event["permanent"] and "Run As user" in event["message"]
    with pytest.raises(SalesforceError):
        connected_org.org.run_as = "extract@local-org.example"
        try:
            extract_operator(root_url).execute_complete(context, event)
        except AirflowFailException as failure:
            raise SalesforceError(str(failure)) from failure


@pytest.fixture
def slow_org(start_org: Callable[..., RunningOrg], connect: Connect) -> RunningOrg:
    """An org whose Bulk jobs are never done."""
    org = start_org(bulk_timings=BulkTimings(in_progress_seconds=3600))
    connect(org.url, {"max_retries": 1, "request_timeout": 10})
    return org


def only_job_state(org: RunningOrg) -> str:
    (job,) = org.org.bulk_jobs.all()
    return job.state


@on_all_storages
def test_killing_the_task_aborts_the_job(slow_org: RunningOrg, context: Any, root: UPath, root_url: str) -> None:
    operator = extract_operator(root_url)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            operator.execute(context)
        except BaseException as failure:
            failures.append(failure)

    task = threading.Thread(target=run)
    task.start()
    while slow_org.calls("job_poll") == 0:
        time.sleep(0.01)
    assert only_job_state(slow_org) == "InProgress"
    operator.on_kill()
    task.join(10)
    assert only_job_state(slow_org) == "Aborted"
    assert isinstance(failures[0], JobAbortedError)
    assert files_below(root) == {}


def test_killing_the_deferred_task_aborts_the_job(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        extract_operator(root_url, deferrable=True).execute(context)
    asyncio.run(BulkJobTrigger(**deferred.value.trigger.serialize()[1]).on_kill())
    assert only_job_state(slow_org) == "Aborted"


def test_cancel_on_kill_can_be_switched_off(slow_org: RunningOrg, context: Any, root_url: str) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        extract_operator(root_url, deferrable=True, cancel_on_kill=False).execute(context)
    asyncio.run(BulkJobTrigger(**deferred.value.trigger.serialize()[1]).on_kill())
    assert only_job_state(slow_org) == "InProgress"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_that_takes_too_long_is_aborted(
    slow_org: RunningOrg, context: Any, root: UPath, root_url: str, deferrable: bool
) -> None:
    operator = extract_operator(root_url, deferrable=deferrable, timeout=0.3)
    with pytest.raises(JobTimeoutError, match="was aborted"):
        try:
            operator.execute(context)
        except TaskDeferred as deferred:
            extract_operator(root_url, deferrable=True).execute_complete(context, fire(deferred))
    assert only_job_state(slow_org) == "Aborted"
    assert files_below(root) == {}


def test_skip_if_empty(connected_org: RunningOrg, context: Any, root: UPath, root_url: str) -> None:
    with pytest.raises(AirflowSkipException, match="no rows"):
        extract_operator(root_url, where="Id = null", skip_if_empty=True).execute(context)
    assert files_below(root) == {}


def test_permanent_failures_do_not_burn_retries(connected_org: RunningOrg, context: Any, root_url: str) -> None:
    with pytest.raises(AirflowFailException, match="Did you mean"):
        extract_operator(root_url, fields=["Id", "Lastnam"]).execute(context)
    connected_org.fail("describe", status=503, times=None)
    with pytest.raises(SalesforceError) as passing:
        extract_operator(root_url).execute(context)
    assert not isinstance(passing.value, AirflowFailException)


@pytest.mark.parametrize(
    "options",
    [
        {"file_format": "xlsx"},
        {"api": "soap"},
        {"mode": "delta"},
        {"deletes": "all"},
        {"lag": -1},
        {"timeout": -1},
        {"numbers": "text"},
        {"soql": "SELECT Id FROM Contact"},
        {"sobject": None},
        {"parallel_pages": 0},
    ],
)
def test_parameters_that_cannot_work_fail_when_the_dag_is_parsed(root_url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        extract_operator(root_url, **options)


def test_a_dag_with_any_of_the_operators_can_be_copied() -> None:
    """Airflow copies DAGs to take a part of them, and what holds a lock cannot be copied."""
    with DAG("copied", schedule=None) as dag:
        extracted = extract_operator("file:///lake")
        SalesforceQueryOperator(task_id="query", soql="SELECT Id FROM Account")
        SalesforceQuerySensor(task_id="wait", soql="SELECT Id FROM Account")
        SalesforceLoadOperator(task_id="load", extracts=extracted.output, table="duckdb:///crm.duckdb/{sobject}")
        SalesforceReconcileOperator(task_id="reconcile", extracts="file:///lake/Account")
        SalesforceVacuumOperator(task_id="vacuum", destination="file:///lake/Account")
        salesforce_extract("shared", sobject="Contact", destination="file:///lake/{sobject}")
        salesforce_sync("org", destination="file:///lake/{sobject}")
    assert set(copy.deepcopy(dag).task_ids) == set(dag.task_ids)
    assert set(dag.partial_subset(["load"], include_upstream=True).task_ids) == {"load", "extract"}


def test_the_engine_has_the_operators_defaults() -> None:
    """They are written twice, so that a DAG can be parsed without the engine."""
    taken = inspect.signature(SalesforceExtractOperator.__init__).parameters
    ours = {field.name: field.default for field in structs.fields(Request) if field.name in taken}
    assert ours == {name: taken[name].default for name in ours} and len(ours) > 15


def test_a_staged_plan_that_is_gone(connected_org: RunningOrg, context: Any, root_url: str) -> None:
    with pytest.raises(SfccError, match="clear the task"):
        extract_operator(root_url).execute_complete(context, {"status": "finished", "job_id": "750", "api_calls": 1})


CHANGED_PLANS: dict[str, dict[str, Any]] = {
    "of another version": {"of_the_future": 1},
    "with a link that is a script": {"instance": "javascript:alert(1)//"},
    "with a link elsewhere within": {"instance": "https://evil.example/?"},
    "with a type that is none": {
        "columns": [{"name": "Id", "salesforce_type": "id", "type": "text); --", "nullable": True}]
    },
}


@pytest.mark.parametrize("changes", CHANGED_PLANS.values(), ids=CHANGED_PLANS)
def test_a_staged_plan_that_is_not_what_this_version_writes(
    connected_org: RunningOrg, context: Any, root: UPath, root_url: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(TaskDeferred):
        extract_operator(root_url, api="bulk", deferrable=True).execute(context)
    (plan,) = root.glob("**/_plan.json")
    plan.write_text(json.dumps({**json.loads(plan.read_text()), **changes}))
    with pytest.raises(SfccError, match=r"made by another version.*Clear the task"):
        extract_operator(root_url).execute_complete(context, {"status": "finished", "job_id": "750", "api_calls": 1})
