"""The task group, run by Airflow in this process: what it lands is what the operator lands."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from salesforce_localorg.jobs import BulkTimings
from upath import UPath

from airflow_sfcc.errors import ExtractError, OptionError
from airflow_sfcc.extract.model import Landed, from_plain
from airflow_sfcc.testing import RunDag, SalesforceOrg, StartOrg
from tests.extract.runs import read_rows
from tests.extract.test_landing import MANIFEST_KEYS
from tests.storages import files_below, on_disk_and_slowly_on_s3

ROWS = 1_050


@pytest.fixture
def org(start_sfcc_org: StartOrg) -> SalesforceOrg:
    """Eleven result pages."""
    return start_sfcc_org(
        rows={"Account": 10, "Contact": ROWS}, result_page_rows=100, bulk_timings=BulkTimings(in_progress_seconds=0.1)
    )


def dag_of(landing: str, dag_id: str, **group: Any) -> Any:
    from airflow.sdk import DAG

    from airflow_sfcc.taskgroups import salesforce_extract

    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        salesforce_extract(
            "contacts", sobject="Contact", destination=f"{landing}/{{sobject}}", poll_interval=0.1, **group
        )
    return dag


def events_of(uri: str) -> list[dict[str, Any]]:
    """The extras of an asset's events."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = (
            select(AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id).where(AssetModel.uri == uri)
        )
        return list(session.scalars(found))


def committed(landing: UPath) -> list[str]:
    """The manifests, by their path from `landing`."""
    return [name for name in sorted(files_below(landing)) if name.endswith("/_manifest.json")]


def committed_once(landing: UPath) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The only manifest, and the rows of its files."""
    (name,) = committed(landing)
    manifest: dict[str, Any] = json.loads((landing / name).read_text())
    return manifest, read_rows((landing / name).parent, manifest)


@on_disk_and_slowly_on_s3
def test_pages_are_shared_out_and_committed_once(
    org: SalesforceOrg, run_dag: RunDag, root: UPath, root_url: str
) -> None:
    run = run_dag(dag_of(root_url, f"shared_out_{root.protocol}", shares=4, default_args={"retries": 0}))
    assert run.state == "success"
    downloads = run.xcom("contacts.download")
    assert [len(download["pages"]) for download in downloads] == [3, 3, 3, 2]
    assert len({page["index"] for download in downloads for page in download["pages"]}) == 11
    manifest, rows = committed_once(root)
    assert list(manifest) == MANIFEST_KEYS
    ids = [row["Id"] for row in rows]
    assert len(ids) == len(set(ids)) == manifest["rows"] == org.count("Contact")
    assert run.xcom("contacts.commit")["manifest"] == f"{root_url}/{committed(root)[0]}"
    assert manifest["task_id"] == "contacts.plan"
    assert manifest["api_calls"] == sum(call.path.startswith("/services/data/v") for call in org.local_org.calls)
    assert not [name for name in files_below(root) if "_staging" in name]
    assert org.calls("job_create") == 1 and org.calls("job_results") == 11


@pytest.mark.parametrize("deferrable", [True, False])
def test_one_object_by_several_jobs(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str, deferrable: bool
) -> None:
    days = [f"2026-{month:02}-01T00:00:00.000Z" for month in range(1, 9)]
    records = [{"LastName": day, "CreatedDate": day} for day in days for _ in range(3)]
    org = start_sfcc_org(
        records={"Contact": records}, result_page_rows=2, bulk_timings=BulkTimings(in_progress_seconds=0.3)
    )
    # Two moments are a record's own, two have no record between them, one is later than all.
    slice_at = [days[2], days[5], "2026-05-10T00:00:00Z", "2026-05-20T00:00:00Z", "2027-01-01T00:00:00Z"]
    dag = dag_of(root_url, f"sliced_{deferrable}", slice_at=slice_at, deferrable=deferrable, shares=3)
    run = run_dag(dag)
    assert run.state == "success"
    manifest, rows = committed_once(root)
    assert len(set(manifest["job_ids"])) == org.calls("job_create") == 6
    assert manifest["job_id"] == manifest["job_ids"][0]
    names = [row["LastName"] for row in rows]
    assert names == [record["LastName"] for record in records], "every record once, the oldest slice first"
    assert manifest["rows"] == len(records)
    assert manifest["api_calls"] == sum(call.path.startswith("/services/data/v") for call in org.local_org.calls)


def test_a_slice_that_fails_ends_the_others(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str
) -> None:
    org = start_sfcc_org(rows={"Account": 10, "Contact": 50}, bulk_timings=BulkTimings(in_progress_seconds=60))
    org.fail("job_create", skip=1, job_error="InvalidBatch : out of luck")
    moments = ["2020-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]
    dag = dag_of(root_url, "failing_slice", slice_at=moments, timeout=2, default_args={"retries": 0})
    assert run_dag(dag).state == "failed"
    assert org.calls("job_create") == 3
    assert [job.state for job in org.local_org.bulk_jobs.all()].count("Aborted") >= 2, "no job is left running"
    assert committed(root) == []


def test_rows_that_are_missing_stop_the_commit(org: SalesforceOrg, run_dag: RunDag, root: UPath, root_url: str) -> None:
    org.fail("job_poll", set_json={"/numberRecordsProcessed": 100_000}, times=None)
    run = run_dag(dag_of(root_url, "missing_rows", shares=2, default_args={"retries": 0}))
    assert run.state == "failed"
    assert run.tasks["contacts.commit"] == "failed"
    assert run.tasks["contacts.download[0]"] == run.tasks["contacts.download[1]"] == "success"
    assert committed(root) == []


def test_an_empty_result_lands_its_schema(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str
) -> None:
    start_sfcc_org(rows={"Account": 1}, bulk_timings=BulkTimings(in_progress_seconds=0.1))
    run = run_dag(dag_of(root_url, "empty", default_args={"retries": 0}))
    assert run.state == "success"
    result = run.xcom("contacts.commit")
    assert (result["rows"], len(result["files"])) == (0, 1)


def test_an_empty_result_without_any_page_lands_too(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str
) -> None:
    org = start_sfcc_org(rows={"Account": 1}, bulk_timings=BulkTimings(in_progress_seconds=0.1))
    org.fail("job_result_pages", status=200, body={"resultPages": [], "done": True}, times=None)
    run = run_dag(dag_of(root_url, "pageless", default_args={"retries": 0}))
    assert run.tasks["contacts.commit"] == "success" and run.xcom("contacts.commit")["rows"] == 0
    assert len(committed(root)) == 1


def test_a_commit_whose_worker_died_after_it_is_told_by_the_retry(
    org: SalesforceOrg, run_dag: RunDag, root: UPath, root_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was staged is gone by then. Nothing is read again, and Airflow hears of what landed."""
    from airflow_sfcc.taskgroups import CommitOperator

    works: Any = CommitOperator.announce
    calls: list[int] = []

    def once(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("the worker lost Airflow's API server")
        return works(*arguments)

    monkeypatch.setattr(CommitOperator, "announce", once)
    dag = dag_of(root_url, "told_by_the_retry", shares=2, default_args={"retries": 1, "retry_delay": timedelta(0)})
    run = run_dag(dag)
    assert run.state == "success", run.error
    (manifest,) = committed(root)
    result = run.xcom("contacts.commit")
    assert result["manifest"].endswith(manifest) and result["rows"] == org.count("Contact")
    assert org.calls("job_create") == 1
    assert [name for name in files_below(root) if "_staging" in name] == []
    assert json.loads((root / manifest).read_text())["version"] == 1
    assert [event["rows"] for event in events_of(f"file://{root.path}/Contact")] == [result["rows"]]


@pytest.mark.parametrize(("mode", "landed"), [("full", 0), ("incremental", 1)])
def test_an_empty_result_may_be_skipped(
    start_sfcc_org: StartOrg, run_dag: RunDag, root: UPath, root_url: str, mode: str, landed: int
) -> None:
    """An incremental extract lands its manifest all the same, so that the next one goes on from there."""
    start_sfcc_org(rows={"Account": 1}, bulk_timings=BulkTimings(in_progress_seconds=0.1))
    run = run_dag(dag_of(root_url, f"skipped_{mode}", mode=mode, skip_if_empty=True, default_args={"retries": 0}))
    assert run.tasks["contacts.commit"] == "skipped"
    manifests = [json.loads((root / name).read_text()) for name in committed(root)]
    assert [manifest["rows"] for manifest in manifests] == [0] * landed
    assert all(manifest["watermark"] for manifest in manifests)
    assert not [name for name in files_below(root) if "_staging" in name]


def test_the_group_refuses_what_it_does_not_do(root: UPath, root_url: str) -> None:
    with pytest.raises(ValueError, match="leave api out"):
        dag_of(root_url, "by_rest", api="rest")
    with pytest.raises(ValueError, match="shares"):
        dag_of(root_url, "no_shares", shares=0)
    assert files_below(root) == {}


@pytest.mark.parametrize("slice_at", ["2026-05-10T00:00:00Z", datetime(2026, 5, 10, tzinfo=timezone.utc)])
def test_slice_at_is_a_list(start_sfcc_org: StartOrg, run_dag: RunDag, root_url: str, slice_at: Any) -> None:
    start_sfcc_org()
    run = run_dag(dag_of(root_url, "one_timestamp", slice_at=slice_at, default_args={"retries": 0}))
    assert run.tasks["contacts.plan"] == "failed"


def test_arguments_of_tasks_reach_all_tasks_of_the_group() -> None:
    from airflow.sdk import Asset

    lake = Asset("s3://lake/contacts")
    dag = dag_of(
        "file:///landing", "with_arguments", retries=7, pool="salesforce", execution_timeout=timedelta(hours=1),
        default_args={"queue": "large", "retries": 1}, outlets=[lake], trigger_rule="all_done",
    )  # fmt: skip
    tasks = {task_id.rpartition(".")[2]: dag.get_task(task_id) for task_id in dag.task_ids}
    assert set(tasks) == {"plan", "download", "commit"}
    for task in tasks.values():
        assert (task.retries, task.pool, task.queue) == (7, "salesforce", "large"), task.task_id
        assert task.execution_timeout == timedelta(hours=1)
    assert [tasks[name].trigger_rule for name in ("plan", "download", "commit")] == [
        "all_done", "all_success", "all_success",
    ]  # fmt: skip
    assert list(tasks["commit"].outlets) == [lake] and not tasks["plan"].outlets


@pytest.mark.parametrize("name", ["salesforce_extract", "salesforce_sync"])
def test_what_the_dag_or_a_group_around_says_holds_for_the_tasks(name: str) -> None:
    """A group's own defaults go before the DAG's in Airflow, and here they might read another org."""
    from airflow.sdk import DAG, TaskGroup
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    from airflow_sfcc import taskgroups

    group = getattr(taskgroups, name)
    options = {"sobject": "Contact"} if name == "salesforce_extract" else {}

    def tasks(of_dag: Any, around: Any, **given: Any) -> set[tuple[Any, ...]]:
        with DAG("inherits", schedule=None, default_args=of_dag) as dag, TaskGroup("around", default_args=around):
            group("org", destination="file:///landing/{sobject}", **options, **given)
        mapped: Any = {"share" if name == "salesforce_extract" else "batch": {}}
        made: list[Any] = [task.unmap(mapped) if isinstance(task, MappedOperator) else task for task in dag.tasks]
        return {(task.retries, task.salesforce_conn_id) for task in made}

    assert tasks({}, {}) == {(2, "sfcc_default")}
    assert tasks({"retries": 7, "salesforce_conn_id": "prod"}, {}) == {(7, "prod")}
    assert tasks({"retries": 7}, {"retries": 0, "salesforce_conn_id": "uat"}) == {(0, "uat")}
    given: dict[str, Any] = {"default_args": {"retries": 1}, "salesforce_conn_id": "sfcc_default"}
    assert tasks({"retries": 7, "salesforce_conn_id": "prod"}, {}, **given) == {(1, "sfcc_default")}
    assert tasks({"retries": 7}, {}, retries=3) == {(3, "sfcc_default")}


def test_a_sync_takes_options_of_extracts_from_the_dag_and_groups_around_it() -> None:
    """Rules for columns above all, without which personal data would land."""
    from airflow.sdk import DAG, TaskGroup

    from airflow_sfcc.sync.model import Wanted
    from airflow_sfcc.taskgroups import salesforce_sync

    def extract(of_dag: Any, of_group: Any = None, **given: Any) -> Any:
        around: Any = of_group or {}
        with DAG("inherits", schedule=None, default_args=of_dag) as dag, TaskGroup("around", default_args=around):
            salesforce_sync("org", destination="file:///landing/{sobject}", **given)
        tasks: Any = dag
        plan, sync = tasks.get_task("around.org.plan"), tasks.get_task("around.org.sync").unmap({"batch": {}})
        made = sync._extract_of(Wanted("Contact", "incremental", "ignore"), True)
        assert (made.columns, made.lag) == (plan.columns, plan.lag)
        return plan.mode, made.columns, made.file_format

    rules, others = {"Contact.Email": "drop"}, {"*.Phone": "drop"}
    assert extract({"columns": rules, "file_format": "csv"}) == ("incremental", rules, "csv")
    assert extract({"columns": rules, "mode": "full"}, {"columns": others}) == ("full", others, "parquet")
    assert extract({"columns": rules, "mode": "full"}, {}, mode="incremental", columns=None)[:2] == (
        "incremental",
        None,
    )
    assert extract({"skip_if_empty": True, "sobject": "Account", "lag": 60})[0] == "incremental"
    for name in ("fields", "exclude_fields", "where"):
        with pytest.raises(ValueError, match=f"default_args has {name}"):
            extract({name: ["Id"]})
    with pytest.raises(ValueError, match="no key to hash"):
        extract({"columns": {"Contact.Email": "hash"}})


def test_what_a_group_leaves_to_its_last_task_is_inherited_too() -> None:
    from airflow.sdk import DAG

    from airflow_sfcc.taskgroups import salesforce_extract

    def commit(of_dag: Any, **given: Any) -> Any:
        with DAG("inherits", schedule=None, default_args=of_dag) as dag:
            salesforce_extract("org", destination="file:///landing", sobject="Contact", **given)
        return dag.get_task("org.commit")

    assert commit({"skip_if_empty": True}).skip_if_empty is True
    assert commit({"skip_if_empty": True}, skip_if_empty=False).skip_if_empty is False
    assert commit({}).skip_if_empty is False
    with pytest.raises(ValueError, match="does not read calculated fields again"):
        commit({"calculated": "refresh", "mode": "incremental"})


@pytest.mark.parametrize(
    ("argument", "says"), [("retires", "Did you mean retries"), ("task_id", "no argument 'task_id'"), ("spool", "pool")]
)
def test_arguments_that_no_task_takes_are_refused(argument: str, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        dag_of("file:///landing", "with_a_slip", **{argument: 1})


@pytest.mark.parametrize(
    "page",
    [
        {"name": "../../VICTIM/page-00000.parquet"},
        {"name": "/etc/passwd"},
        {"name": "t00001-00001-00000000/../page-00000.parquet"},
        {"rows": -1},
        {"sha256": None},
        {"of_the_future": 1},
    ],
)
def test_what_downloads_hand_on_is_checked(page: dict[str, Any]) -> None:
    staged = {
        "index": 0,
        "name": "t00001-00001-00000000/page-00000.parquet",
        "rows": 1,
        "bytes": 1,
        "sha256": "",
        "url": None,
    }
    landed: dict[str, Any] = {"rows": 1, "api_calls": 1, "host": "worker"}
    assert from_plain({**landed, "pages": [staged]}, Landed, "What a download returned").rows == 1
    with pytest.raises(ExtractError, match=r"What a download returned is not what this version.*Clear the task"):
        from_plain({**landed, "pages": [{**staged, **page}]}, Landed, "What a download returned")


@pytest.mark.parametrize("of_airflow", [False, True])
def test_a_destination_may_be_a_path(org: SalesforceOrg, run_dag: RunDag, tmp_path: Path, of_airflow: bool) -> None:
    """For all tasks of the group alike."""
    from airflow.sdk import DAG, ObjectStoragePath

    from airflow_sfcc.taskgroups import salesforce_extract

    place = tmp_path / "{sobject}"
    destination = ObjectStoragePath(f"file://{place}") if of_airflow else place
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG(f"path_{of_airflow}", schedule=None, start_date=start) as dag:
        salesforce_extract("contacts", sobject="Contact", fields=["Id"], destination=destination, poll_interval=0.1)
    assert run_dag(dag).state == "success"
    assert len(list((tmp_path / "Contact").glob("extract=*/_manifest.json"))) == 1


def test_a_destination_that_names_no_place_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(OptionError, match="relative path"):
        dag_of("landing", "nowhere")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shares": "8"}, "shares must be a whole number"),
        ({"skip_if_empty": "False"}, "skip_if_empty must be True or False"),
    ],
)
def test_options_of_the_group_are_checked_when_the_dag_is_parsed(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        dag_of("file:///lake", "slips", **options)
