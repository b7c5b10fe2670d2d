"""Options that cannot be meant are refused by name: when the DAG is parsed, or, for templates, when the task runs."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, BaseOperator, ObjectStoragePath, XComArg
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import OptionError, SfccError
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceQueryOperator
from tests.conftest import RunningOrg

LANDING = "file:///landing/{sobject}"


def extract(**options: Any) -> SalesforceExtractOperator:
    settings = {"destination": LANDING, "sobject": None if "soql" in options else "Contact", **options}
    return SalesforceExtractOperator(task_id="extract", **settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lookback": "10 minutes", "mode": "incremental"}, r"lookback='10 minutes' is no duration.*'PT10M'"),
        ({"lag": True}, "lag=True is no duration"),
        ({"lag": "PT"}, "lag='PT' is no duration"),
        ({"lag": "P1M"}, "lag='P1M' is no duration"),
        ({"lag": -5}, "lag=-5 is negative"),
        ({"timeout": None}, "timeout=None is no duration"),
        (
            {"page_size": "1000"},
            r"page_size must be a whole number greater than 0, not '1000'. .*render_template_as_native_obj",
        ),
        ({"page_size": 1.5}, "page_size must be a whole number"),
        ({"parallel_pages": 0}, "parallel_pages must be a whole number greater than 0"),
        ({"poll_interval": "5"}, "poll_interval must be a number greater than 0, not '5'"),
        ({"poll_interval": float("nan")}, "poll_interval must be a number"),
        ({"deferrable": "yes"}, "deferrable must be True or False, not 'yes'"),
        ({"initial_start": date(2026, 1, 1), "mode": "incremental"}, "initial_start=.*is a date without a time"),
        ({"initial_start": 20260101, "mode": "incremental"}, "initial_start=20260101 is no timestamp"),
        ({"initial_start": "2026-01-01", "mode": "incremental"}, "initial_start='2026-01-01' has no time zone"),
        ({"bind": ["Acme"], "where": "Name = :a"}, "bind must be a dict of names and values"),
        ({"fields": "Id, Name"}, r"fields must be a list, not 'Id, Name': write fields=\[\.\.\.\]"),
        ({"fields": ["Id", 5]}, "fields must be a list of names, and 5 in it is none"),
        ({"exclude_fields": [None]}, "exclude_fields must be a list of names, and None in it is none"),
        ({"bind": {1: "Acme"}, "where": "Name = :a"}, "bind has the key 1: its keys are the names after the colons"),
        ({"sobject": ["Account", "Contact"]}, r"sobject must be text.*partial\(\.\.\.\)\.expand\(sobject="),
        ({"where": 5}, "where must be text, not 5"),
        ({"mode": "delta"}, "mode must be one of full, incremental, not 'delta'"),
        ({"numbers": None}, "numbers must be one of float, decimal, not None"),
        ({"sobject": ""}, "exactly one of sobject and soql"),
        ({"salesforce_conn_id": None}, "salesforce_conn_id must be text, not None"),
    ],
)
def test_values_of_another_type_name_the_option(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says) as refusal:
        extract(**options)
    assert isinstance(refusal.value, ValueError) and isinstance(refusal.value, SfccError)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"soql": None}, "soql must be text, not None"),
        ({"soql": "SELECT Id FROM User", "bind": ["x"]}, "bind must be a dict"),
    ],
)
def test_the_query_operator_names_the_option_too(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        SalesforceQueryOperator(task_id="q", **options)
    with pytest.raises(OptionError, match=says):
        SalesforceQueryOperator.partial(task_id="q", **options)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("PT10M", timedelta(minutes=10)),
        ("P1DT2H", timedelta(days=1, hours=2)),
        ("P2W", timedelta(weeks=2)),
        ("PT1.5S", timedelta(seconds=1.5)),
        (90, timedelta(seconds=90)),
        ("90", timedelta(seconds=90)),  # as templates render
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_durations(written: Any, meant: timedelta) -> None:
    assert extract(lag=written).lag == meant  # type: ignore[attr-defined]


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_any_iso_duration_is_understood(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"P{days}DT{hours}H{minutes}M{seconds}S"
    meant = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert extract(lag=text).lag == meant  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("destination", "says"),
    [
        (None, "destination must be a URL such as .*not None"),
        (7, "destination must be a URL"),
        ("", "destination is empty: is a variable not set"),
        ("  ", "destination is empty"),
        ("landing/{sobject}", "relative path"),
        ("./{sobject}", "relative path"),
        ("None/{sobject}", "relative path"),
        ("$LAKE/{sobject}", "relative path"),
        (Path("landing"), "relative path"),
        ("file://landing/{sobject}", "relative path: write file:/// with three slashes"),
        ("s3:///{sobject}", "names no bucket"),
        ("s3://conn@/{sobject}", "names no bucket"),
        ("s3://None/{sobject}", "holds 'None', as if a variable was not set"),
        ("s3://lake/None/{sobject}", "holds 'None'"),
        ("s3://${BUCKET}/{sobject}", r"holds '\$\{BUCKET\}'|nothing fills in"),
        ("s3://$BUCKET/{sobject}", r"holds '\$BUCKET'"),
        ("s3://lake/{object}", r"nothing fills in \{object\}. Did you mean \{sobject\}\?"),
        ("s3://lake/{SObject}", r"nothing fills in \{SObject\}. Did you mean \{sobject\}\?"),
        ("s3://lake/{}", r"nothing fills in \{\}. The only placeholder is \{sobject\}"),
        ("s3://lake/{{ ds }}/{object}", r"nothing fills in \{object\}"),
        ("s3://lake/{{ sobject }}", r"write \{sobject\} with single braces"),
    ],
)
def test_destinations_that_name_no_place(destination: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        extract(destination=destination)
    with pytest.raises(OptionError, match=says):
        SalesforceExtractOperator.partial(task_id="extract", destination=destination)


@pytest.mark.parametrize(
    ("destination", "url"),
    [
        ("s3://conn@lake/raw/{sobject}", "s3://conn@lake/raw/{sobject}"),
        ("/data/{sobject}", "/data/{sobject}"),
        (Path("/data/{sobject}"), "file:///data/{sobject}"),
        ("abfs://$web/{sobject}", "abfs://$web/{sobject}"),
        ("s3://lake/{{ ds }}/{sobject}", "s3://lake/{{ ds }}/{sobject}"),
        ("{{ var.value.lake }}/{sobject}", "{{ var.value.lake }}/{sobject}"),
    ],
)
def test_destinations_as_people_write_them(destination: Any, url: str) -> None:
    assert extract(destination=destination).destination == url


def test_a_destination_may_be_a_path_of_airflow(tmp_path: Path, connected_org: RunningOrg, context: Any) -> None:
    result = extract(destination=ObjectStoragePath(f"file://{tmp_path}/{{sobject}}"), fields=["Id"]).execute(context)
    assert result["path"].startswith(f"file://{tmp_path}/Contact/extract=")


@pytest.mark.parametrize(
    "options",
    [
        {"initial_start": "2026-01-01T00:00:00Z"},
        {"lookback": 5},
        {"cursor_field": "CreatedDate"},
        {"bind": {"a": 1}},
        {"soql": "SELECT Id FROM Contact", "where": "Name != null"},
        {"soql": "SELECT Id FROM Contact", "fields": ["Id"]},
        {"api": "rest", "page_size": 500},
        {"api": "rest", "parallel_pages": 8},
    ],
)
def test_options_without_effect(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="Leave it out"):
        extract(**options)


def test_options_whose_effect_a_template_decides_are_fine() -> None:
    extract(mode="{{ params.mode }}", lookback=5, cursor_field="CreatedDate", initial_start="2026-01-01T00:00:00Z")
    with DAG("d", default_args={"lookback": 5, "initial_start": "2026-01-01T00:00:00Z"}, schedule=None):
        extract(mode="full")  # default_args are for all tasks, incremental ones among them


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "delta"}, "mode must be one of full, incremental, not 'delta'"),
        ({"api": "soap"}, "api must be one of"),
        ({"file_format": "orc"}, "file_format must be one of"),
        ({"deletes": ""}, "deletes must be one of"),
        ({"destination": "landing/x"}, "relative path"),
        ({"destination": "/data/None/x"}, "holds 'None'"),
        ({"lookback": "ten"}, "lookback='ten' is no duration"),
        ({"initial_start": "soon"}, "initial_start='soon' is no timestamp"),
    ],
)
def test_what_a_template_renders_is_checked_when_the_task_runs(
    connected_org: RunningOrg, context: Any, options: dict[str, str], says: str
) -> None:
    """And permanent: no retry renders something else."""
    task = extract(**dict.fromkeys(options, "{{ params.x }}"))
    for name, value in options.items():
        setattr(task, name, value)  # as Airflow renders
    with pytest.raises(AirflowFailException, match=says):
        task.execute(context)
    assert connected_org.calls("query") == 0


def test_templated_options_take_effect(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    options = {"mode": "incremental", "file_format": "csv", "api": "rest", "lag": "PT2M", "initial_start": ""}
    task = extract(destination=f"file://{tmp_path}/{{sobject}}", **dict.fromkeys(options, "{{ params.x }}"))
    for name, value in options.items():
        setattr(task, name, value)
    result = task.execute(context)
    assert result["api"] == "rest" and result["files"][0].endswith(".csv.gz") and result["window"]["start"] is None


def test_lists_by_templates(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    """By element anywhere; as a whole where the DAG renders natively."""
    rendering: Any = {**context, "params": {"field": "Phone", "fields": ["Id", "Phone"]}}
    for fields, native in ((["Id", "{{ params.field }}"], False), ("{{ params.fields }}", True)):
        with DAG("d", schedule=None, render_template_as_native_obj=native):
            task = extract(destination=f"file://{tmp_path}/{native}", fields=fields)
        task.render_template_fields(rendering)
        assert vars(task)["fields"] == ["Id", "Phone"]
        assert task.execute(context)["rows"]
    with DAG("d", schedule=None):
        task = extract(destination=f"file://{tmp_path}", fields="{{ params.fields }}")
    task.render_template_fields(rendering)
    with pytest.raises(AirflowFailException, match=r"fields must be a list.*render_template_as_native_obj=True"):
        task.execute(context)


def test_what_another_task_did_not_return_is_not_left_out(
    connected_org: RunningOrg, context: Any, tmp_path: Path
) -> None:
    """Airflow gives None for it, as for an option that nobody gave: all rows, all fields, no column protected."""
    rules: Any = {"Contact.Email": "drop"}

    def rendered(pulled: Any, **options: Any) -> SalesforceExtractOperator:
        with DAG("d", schedule=None, render_template_as_native_obj=True):
            settings = BaseOperator(task_id="settings")
            options = {
                name: XComArg(settings, key=key) if name != "columns" else "{{ rules }}"
                for name, key in options.items()
            }
            task = extract(destination=f"file://{tmp_path}/{{sobject}}", **options)

        def xcom_pull(**asked: Any) -> Any:
            return pulled if pulled is not None or asked["key"] != "return_value" else asked["default"]

        ti = SimpleNamespace(**vars(context["ti"]), xcom_pull=xcom_pull)
        rendering: Any = {**context, "ti": ti, "rules": pulled}
        task.render_template_fields(rendering)
        return task

    for name in ("where", "fields", "exclude_fields", "columns", "hash_key_conn_id", "bind", "initial_start"):
        with pytest.raises(AirflowFailException, match=f"{name} is given, and came out as None"):
            rendered(None, **{name: "return_value"}).execute(context)
    assert not connected_org.calls("query"), "nothing was read"
    # A setting by name may say that there is none, and an empty one says so anyway.
    assert rendered(None, where="condition").execute(context)["rows"] == connected_org.org.records.count("Contact")
    assert rendered("", where="return_value").execute(context)["rows"]
    assert rendered({}, columns="return_value").execute(context)["rows"]
    landed = rendered(rules, columns="return_value").execute(context)["manifest"]
    assert "Email" not in [
        each["name"] for each in json.loads(Path(landed.removeprefix("file://")).read_text())["schema"]
    ]


def test_a_path_whose_store_needs_more_than_its_url_is_refused() -> None:
    """Another store, or another account, may be behind the URL alone."""
    with pytest.raises(OptionError, match=r"destination is a path with anon for its storage.*connection@bucket"):
        extract(destination=ObjectStoragePath("s3://lake/x", anon=True))
    assert vars(extract(destination=ObjectStoragePath("s3://lake/x", conn_id="c")))["destination"] == "s3://c@lake/x"


def test_a_set_of_fields_has_one_order() -> None:
    assert vars(extract(fields={"Phone", "Id", "Name", "Email"}))["fields"] == ["Email", "Id", "Name", "Phone"]


def test_timestamps_of_pendulum_are_timestamps(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    start, due = pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"), pendulum.now("UTC")
    task = extract(destination=f"file://{tmp_path}", mode="incremental", initial_start=start, lag=pendulum.duration())
    run = SimpleNamespace(logical_date=due, run_after=due, data_interval_start=start, data_interval_end=due)
    of_run: Any = {**context, "dag_run": run}
    assert task.execute(of_run)["window"]["start"] == "2025-12-31T23:00:00.000Z"


@pytest.mark.parametrize("mode", ["full", "incremental"])
@pytest.mark.filterwarnings("ignore:Task 'extract' was never mapped")
def test_mapped_objects_need_folders_of_their_own(mode: str) -> None:
    partial = {"task_id": "extract", "destination": "s3://lake/raw/", "mode": mode}
    says = r"has no \{sobject\}, and sobject is mapped.*s3://lake/raw/\{sobject\}\."
    with DAG("d", schedule=None):
        with pytest.raises(OptionError, match=says):
            SalesforceExtractOperator.partial(**partial).expand(sobject=["Account", "Contact"])
        with pytest.raises(OptionError, match=says):
            SalesforceExtractOperator.partial(**partial).expand_kwargs([{"sobject": "Account"}])


def test_mapped_objects_with_folders_of_their_own() -> None:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        SalesforceExtractOperator.partial(task_id="a", destination=LANDING).expand(sobject=["Account", "Contact"])
        SalesforceExtractOperator.partial(task_id="b", destination="s3://l/{{ task.sobject }}").expand(
            sobject=["Account"]
        )
        SalesforceExtractOperator.partial(task_id="c").expand_kwargs(
            [{"sobject": "Account", "destination": "s3://l/a"}]
        )
        SalesforceExtractOperator.partial(task_id="e", destination="s3://l/a", sobject="Account").expand(
            where=["Id != null"]
        )


def test_mapped_options_are_checked_at_parse_time() -> None:
    with pytest.raises(OptionError, match="page_size"):
        SalesforceExtractOperator.partial(task_id="a", destination=LANDING, page_size="1000")


@pytest.mark.parametrize("version_has_it", [True, False])
def test_a_retry_policy_may_be_given_to_partial(monkeypatch: pytest.MonkeyPatch, version_has_it: bool) -> None:
    """Airflow before 3.3 does not know the argument."""
    from airflow_sfcc._airflow import versions
    from airflow_sfcc.retry_policy import SALESFORCE_RETRY_POLICY
    from airflow_sfcc.sensors import SalesforceQuerySensor

    monkeypatch.setattr(versions, "HAS_3_3", version_has_it and versions.HAS_3_3)
    with DAG("d", schedule=None):
        for kind, options in (
            (SalesforceExtractOperator, {"destination": LANDING}),
            (SalesforceQueryOperator, {"soql": "SELECT Id FROM User"}),
            (SalesforceQuerySensor, {"soql": "SELECT Id FROM User"}),
        ):
            partial = kind.partial(task_id=kind.__name__, retry_policy=SALESFORCE_RETRY_POLICY, **options)
            assert ("retry_policy" in partial.kwargs and partial.kwargs["retry_policy"] is not None) == (
                version_has_it and versions.HAS_3_3
            )
            partial.expand(salesforce_conn_id=["a", "b"])
