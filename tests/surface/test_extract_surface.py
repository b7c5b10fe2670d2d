"""Links, assets, lineage and documentation of an extract."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG, Asset, AssetAlias

from airflow_sfcc._airflow.lineage import dataset_names
from airflow_sfcc.assets import create_asset, destination_uri, sanitize_uri
from airflow_sfcc.links import BulkJobLink, ListViewLink
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.provider import get_provider_info
from tests.conftest import RunningOrg
from tests.openlineage import check_event

KEY: Any = None


def operator(tmp_path: Path, **options: Any) -> SalesforceExtractOperator:
    settings: dict[str, Any] = {
        "sobject": "Contact",
        "fields": ["Id", "LastName", "Account.Name"],
        "poll_interval": 0.05,
    }
    destination = options.pop("destination", f"file://{tmp_path}/{{sobject}}")
    return SalesforceExtractOperator(task_id="extract", destination=destination, **{**settings, **options})


def links(ran: SalesforceExtractOperator) -> dict[str, str]:
    return {link.name: link.get_link(ran, ti_key=KEY) for link in ran.operator_extra_links}


def events_of(context: Any) -> list[dict[str, Any]]:
    """What the worker would report when the task succeeds."""
    from airflow.sdk.execution_time.task_runner import _serialize_outlet_events

    return json.loads(json.dumps(list(_serialize_outlet_events(context["outlet_events"]))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_links_lead_to_the_job_and_the_object(
    connected_org: RunningOrg, context: Any, tmp_path: Path, api: str
) -> None:
    ran = operator(tmp_path, api=api)
    assert links(ran) == {BulkJobLink.name: "", ListViewLink.name: ""}
    job_id = ran.execute(context)["job_id"]
    page = f"{connected_org.url}/lightning/setup/AsyncApiJobStatus/page?address=%2F{job_id}"
    assert links(ran)[BulkJobLink.name] == (page if api == "bulk" else "")
    assert links(ran)[ListViewLink.name] == f"{connected_org.url}/lightning/o/Contact/list"


def test_links_are_there_while_the_task_is_deferred(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    waiting = operator(tmp_path, api="bulk", deferrable=True)
    with pytest.raises(TaskDeferred):
        waiting.execute(context)
    assert "/lightning/setup/AsyncApiJobStatus/" in links(waiting)[BulkJobLink.name]


def test_the_event_says_what_landed_where(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    ran = operator(tmp_path)
    (alias,) = ran.outlets
    assert isinstance(alias, AssetAlias) and alias.name == f"file://{tmp_path}/{{sobject}}"
    result = ran.execute(context)
    (event,) = events_of(context)
    uri = f"file://{tmp_path}/Contact"
    assert event["source_alias_name"] == alias.name and event["dest_asset_key"] == {"name": uri, "uri": uri}
    told = {name: result[name] for name in ("rows", "bytes", "watermark", "manifest")}
    assert {name: event["extra"][name] for name in told} == told
    (source,) = ran.inlets
    assert source.uri == f"salesforce://{urlsplit(connected_org.url).netloc}/Contact"


def test_outlets_and_inlets_of_the_author_stay(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    mine, source = Asset("contacts"), Asset("crm")
    ran = operator(tmp_path, outlets=[mine], inlets=[source])
    result = ran.execute(context)
    assert (ran.outlets, ran.inlets) == ([mine], [source])
    (event,) = events_of(context)
    assert event["dest_asset_key"]["name"] == "contacts" and event["extra"]["rows"] == result["rows"]


def test_an_author_may_announce_nothing(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    operator(tmp_path, outlets=[]).execute(context)
    assert events_of(context) == []


def test_mapped_operators_have_the_alias_and_the_documentation() -> None:
    with DAG("mapped", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        mapped = SalesforceExtractOperator.partial(task_id="extract", destination="s3://c@lake/{sobject}").expand(
            sobject=["Account", "Contact"]
        )
        anywhere = SalesforceExtractOperator.partial(task_id="anywhere", sobject="Account").expand(
            destination=["s3://a/x", "s3://b/x"]
        )
    assert mapped.partial_kwargs["outlets"] == [AssetAlias("s3://c@lake/{sobject}")]
    assert anywhere.partial_kwargs["outlets"] == [AssetAlias("salesforce extract anywhere")]
    assert "one for each mapped task" in mapped.partial_kwargs["doc_md"]


def test_documentation_unless_there_is_one(tmp_path: Path) -> None:
    assert "**Contact**" in str(operator(tmp_path).doc_md)
    assert operator(tmp_path, doc_md="mine").doc_md == "mine"
    assert operator(tmp_path, doc="mine").doc_md is None


@pytest.mark.parametrize(
    ("destination", "uri"),
    [
        ("s3://aws_default@lake/salesforce/Account", "s3://lake/salesforce/Account"),
        ("s3://lake/salesforce/Account", "s3://lake/salesforce/Account"),
        ("file:///landing/Account", "file:///landing/Account"),
        ("/landing/Account", "file:///landing/Account"),
        ("abfs://conn@container/Account", "abfs://container/Account"),
        ("s3://aws_default@lake/salesforce/Account/", "s3://lake/salesforce/Account"),
        ("/landing/Account//", "file:///landing/Account"),
        ("file:///", "file:///"),
    ],
)
def test_an_assets_uri_names_no_connection(destination: str, uri: str) -> None:
    assert destination_uri(destination) == uri


def test_a_slash_at_the_end_of_a_destination_makes_no_other_asset(
    connected_org: RunningOrg, context: Any, tmp_path: Path
) -> None:
    """A DAG that waits for the asset would never run: to Airflow an asset of another name is another asset."""
    task = operator(tmp_path, destination=f"file://{tmp_path}/{{sobject}}/")
    task.execute(context)
    (event,) = context["outlet_events"][task.outlets[0]].asset_alias_events
    wanted = Asset(f"file://{tmp_path}/Contact")
    assert (event.dest_asset_key.name, event.dest_asset_key.uri) == (wanted.name, wanted.uri)


def test_salesforce_uris_have_one_spelling() -> None:
    assert create_asset(my_domain="https://ACME.my.salesforce.com", sobject="Account").uri == (
        "salesforce://acme.my.salesforce.com/Account"
    )
    assert (
        Asset(uri="salesforce://ACME.my.salesforce.com/Account/").uri == "salesforce://acme.my.salesforce.com/Account"
    )
    for wrong in ("salesforce://acme.my.salesforce.com", "salesforce:///Account", "salesforce://acme/a/b"):
        with pytest.raises(ValueError, match="salesforce://<My Domain>/<Object>"):
            sanitize_uri(urlsplit(wrong))


def test_airflow_finds_links_and_asset_handlers() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()  # type: ignore[no-untyped-call]
    assert set(get_provider_info()["extra-links"]) <= set(manager.extra_links_class_names)
    assert "salesforce" in manager.asset_uri_handlers and "salesforce" in manager.asset_factories


@pytest.mark.parametrize(
    ("destination", "written"),
    [
        ("s3://aws@lake/salesforce/Account/", ("s3://lake", "salesforce/Account")),
        ("gs://lake/Account", ("gs://lake", "Account")),
        ("file:///landing/Account", ("file", "/landing/Account")),
    ],
)
def test_datasets_are_named_as_openlineage_names_them(destination: str, written: tuple[str, str]) -> None:
    plan: Any = SimpleNamespace(instance="https://acme.my.salesforce.com", sobject="Account")
    assert dataset_names(plan, destination) == (("salesforce://acme.my.salesforce.com", "Account"), written)


def test_the_openlineage_event_of_an_extract_is_valid(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    """What the OpenLineage provider takes from the operator, written as an event by OpenLineage's own client."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    ran = operator(tmp_path)
    result = ran.execute(context)
    lineage: Any = DefaultExtractor(ran).extract_on_complete(SimpleNamespace(task=ran))
    written = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=datetime.now(timezone.utc).isoformat(),
        run=Run(runId=str(uuid.uuid4())),
        job=Job(namespace="tests", name="nightly.extract"),
        inputs=lineage.inputs,
        outputs=lineage.outputs,
        producer="https://example.com/tests",
    )
    event = json.loads(Serde.to_json(written))
    check_event(event)
    (read,), (landed,) = event["inputs"], event["outputs"]
    assert (read["namespace"], read["name"]) == (f"salesforce://{urlsplit(connected_org.url).netloc}", "Contact")
    assert (landed["namespace"], landed["name"]) == ("file", f"{tmp_path}/Contact")
    assert landed["outputFacets"]["outputStatistics"]["rowCount"] == result["rows"]
    assert [field["name"] for field in landed["facets"]["schema"]["fields"]] == ["Id", "LastName", "Account.Name"]
    assert set(landed["facets"]["columnLineage"]["fields"]) == {"Id", "LastName", "Account.Name"}
    assert "SELECT" not in json.dumps(event)


def test_what_default_args_give_is_added_to(tmp_path: Path) -> None:
    lake = Asset("s3://lake/everything")
    defaults = {"outlets": [lake], "inlets": [Asset("s3://source/x")], "doc_md": "The team's rules."}
    with DAG("d", schedule=None, default_args=defaults, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        plain = operator(tmp_path)
        mapped = SalesforceExtractOperator.partial(task_id="m", destination=f"file://{tmp_path}/{{sobject}}").expand(
            sobject=["Account", "Case"]
        )
    for outlets in (plain.outlets, mapped.partial_kwargs["outlets"]):
        assert lake in outlets and [type(each) for each in outlets] == [Asset, AssetAlias]
    for doc in (str(plain.doc_md), mapped.partial_kwargs["doc_md"]):
        assert doc.startswith("The team's rules.\n\nExtracts ")
    assert uris(plain.inlets) == ["s3://source/x", "salesforce://sfcc_default/Contact"]
    assert uris(mapped.partial_kwargs["inlets"]) == [
        "s3://source/x", "salesforce://sfcc_default/Account", "salesforce://sfcc_default/Case",
    ]  # fmt: skip


def uris(assets: Any) -> list[str]:
    return [asset.uri for asset in assets]


def test_the_object_is_an_asset_upstream_when_the_dag_is_parsed(tmp_path: Path) -> None:
    """Airflow's UI shows inlets as they are parsed, when the connection's My Domain is not known."""
    assert uris(operator(tmp_path).inlets) == ["salesforce://sfcc_default/Contact"]
    assert uris(operator(tmp_path, salesforce_conn_id="Sfcc.Prod").inlets) == ["salesforce://sfcc.prod/Contact"]
    assert operator(tmp_path, sobject="{{ params.x }}").inlets == []
    assert operator(tmp_path, salesforce_conn_id="{{ params.x }}").inlets == []
    assert uris(operator(tmp_path, inlets=[Asset("s3://a/b")]).inlets) == ["s3://a/b"]


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_the_rendered_fields_show_what_ran(connected_org: RunningOrg, context: Any, tmp_path: Path, api: str) -> None:
    """Airflow stores them again when the task ends, and when it is deferred."""
    ran = operator(tmp_path, api=api, deferrable=True, where="LastName != null")
    assert {"query", "destination"} <= set(ran.template_fields) and ran.query is None
    assert ran.overwrite_rtif_after_execution
    if api == "bulk":
        with pytest.raises(TaskDeferred):
            ran.execute(context)
    else:
        ran.execute(context)
    assert ran.query == "SELECT Id, LastName, Account.Name FROM Contact WHERE (LastName != null)" or ran.query == (
        "SELECT Id, LastName, Account.Name FROM Contact WHERE LastName != null"
    )
    assert ran.destination == f"file://{tmp_path}/Contact"
