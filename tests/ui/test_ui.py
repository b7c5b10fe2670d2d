"""A person's first evening with `make up`, in a real browser: `make ui-test`. Each test goes on where the last one ended."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dev.airflow_api import AirflowApi
from tests.secret_search import SecretForms, files, tables
from tests.ui.airflow_ui import AirflowUi
from tests.ui.stack import Stack

pytestmark = pytest.mark.ui

OBJECTS = ["Account", "Contact", "Opportunity", "Case", "Invoice__c"]


@pytest.fixture(scope="module")
def api(stack: Stack) -> AirflowApi:
    """For what a person reads off the address bar, and for waiting."""
    return AirflowApi(stack.url, stack.username, stack.password)


def test_the_connection_is_made_in_its_form(ui: AirflowUi, stack: Stack) -> None:
    ui.open("/connections")
    ui.page.get_by_role("button", name="Add Connection").click()
    ui.page.get_by_label("Connection ID").fill("sfcc_default")
    ui.page.get_by_role("combobox").last.fill("Client Cred")
    ui.page.get_by_role("option", name="Salesforce (Client Credentials)").click()
    for label in ("My Domain", "Consumer Key", "Consumer Secret", "Port"):
        ui.shows(re.compile(f"^{label}"))
    ui.picture("empty-form")
    ui.page.get_by_label("My Domain").fill(stack.connection["host"])
    ui.page.get_by_label("Port").fill(stack.connection["host"].rpartition(":")[2])
    ui.page.get_by_label("Consumer Key").fill(stack.connection["login"])
    ui.page.get_by_label("Consumer Secret").fill(stack.connection["password"])
    assert ui.page.get_by_label("Consumer Secret").get_attribute("type") == "password"
    ui.picture("filled-form")
    ui.page.get_by_role("button", name="Extra Fields", exact=True).click()
    for label in ("API version", "API call budget (%)", "Request timeout (s)", "Verify TLS", "Allow plain http"):
        ui.shows(label)
    ui.picture("extra-fields")
    ui.save()
    ui.shows("sfcc_default")
    ui.picture("saved-connection")


def test_the_connection_is_tested(ui: AirflowUi, stack: Stack) -> None:
    ui.open("/connections")
    press_test(ui)
    ui.shows("Test Connection Successful")
    ui.shows(re.compile("API calls left"))
    ui.picture("tested-connection")


def test_the_connection_is_edited_and_keeps_its_secret(ui: AirflowUi, stack: Stack) -> None:
    ui.open("/connections")
    ui.page.get_by_role("button", name="Edit Connection").first.click()
    ui.shows(re.compile("^Consumer Secret"))
    assert stack.connection["password"] not in ui.text()
    assert ui.page.get_by_label("My Domain").input_value() == stack.connection["host"]
    ui.page.get_by_label("Description").fill("The org of make up")
    ui.picture("edited-connection")
    ui.save()
    ui.page.get_by_role("dialog").wait_for(state="hidden")
    press_test(ui)
    ui.shows("Test Connection Successful")
    ui.picture("tested-again")


def press_test(ui: AirflowUi) -> None:
    ui.page.get_by_role("button", name="Test Connection").first.click()


def test_the_nightly_dag_is_triggered_deferred_and_successful(ui: AirflowUi, api: AirflowApi) -> None:
    ui.unpause("salesforce_asset_triggered")
    ui.open("/dags/salesforce_nightly")
    ui.shows("0 2 * * *")
    ui.picture("nightly-dag")
    ui.page.get_by_role("button", name=re.compile("^Trigger( Dag)?$")).click()
    ui.shows(re.compile("Unpause salesforce_nightly"))
    ui.picture("trigger-dialog")
    ui.page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    (run_id,) = wait_for_runs(ui, api, "salesforce_nightly")
    ui.open(f"/dags/salesforce_nightly/runs/{quote(run_id, safe='')}/tasks/extract/mapped")
    ui.shows("Deferred", timeout=120_000)
    ui.picture("deferred")
    for sobject in OBJECTS:
        ui.page.get_by_role("link", name=sobject, exact=True).wait_for(timeout=120_000)
    ui.until(lambda: api.run_state("salesforce_nightly", run_id) in {"success", "failed"})
    assert api.run_state("salesforce_nightly", run_id) == "success"
    ui.page.reload()
    ui.page.get_by_text("Success", exact=True).filter(visible=True).nth(len(OBJECTS) - 1).wait_for()
    ui.picture("successful")


def test_a_task_links_to_the_org_and_tells_what_it_does(ui: AirflowUi, api: AirflowApi, stack: Stack) -> None:
    (run_id,) = runs_of(api, "salesforce_nightly")
    (account,) = [task for task in api.task_states("salesforce_nightly", run_id) if task.label == "Account"]
    job_id = api.xcom("salesforce_nightly", run_id, "extract", map_index=account.map_index)["job_id"]
    ui.open_task("salesforce_nightly", run_id, "extract", map_index=account.map_index)
    ui.shows(re.compile("Landed .* rows of Account"))
    ui.picture("task-log")
    ui.open_task("salesforce_nightly", run_id, "extract", map_index=account.map_index, tab="/details")
    link = ui.page.get_by_role("link", name="Bulk job in Salesforce")
    assert link.get_attribute("href") == f"{stack.org_url}/lightning/setup/AsyncApiJobStatus/page?address=%2F{job_id}"
    link = ui.page.get_by_role("link", name="Object in Salesforce")
    assert link.get_attribute("href") == f"{stack.org_url}/lightning/o/Account/list"
    ui.picture("links-to-salesforce")
    ui.open_task("salesforce_nightly", run_id, "extract", map_index=account.map_index, tab="/xcom")
    ui.shows("return_value")
    ui.unfold()
    ui.shows(re.compile("api_calls"))
    ui.picture("xcom")
    ui.open_task("salesforce_nightly", run_id, "extract", map_index=account.map_index, tab="/rendered_templates")
    ui.shows("destination")
    ui.picture("rendered-templates")
    ui.open("/dags/salesforce_nightly/tasks/extract")
    ui.page.get_by_role("button", name="Documentation", exact=True).click()
    ui.shows(re.compile("holds no worker"))
    ui.picture("task-documentation")
    ui.open("/dags/salesforce_nightly")
    ui.page.get_by_role("button", name="Dag Docs").click()
    ui.shows(re.compile("Every night each Salesforce object lands"))
    ui.picture("dag-documentation")


def test_the_asset_has_its_event_and_started_the_dag_on_it(ui: AirflowUi, api: AirflowApi, stack: Stack) -> None:
    uri = f"file://{stack.home}/landing/Account"
    ui.open("/assets")
    ui.picture("assets")
    ui.page.get_by_role("link", name=uri, exact=True).click()
    ui.shows(re.compile("Asset Event"))
    ui.unfold()
    ui.shows(re.compile("api_reason"))
    ui.picture("asset-event")
    (run_id,) = wait_for_runs(ui, api, "salesforce_asset_triggered")
    ui.until(lambda: api.run_state("salesforce_asset_triggered", run_id) in {"success", "failed"})
    ui.open("/dags/salesforce_asset_triggered/runs")
    ui.shows(re.compile("asset.triggered", re.IGNORECASE))
    ui.shows("Success")
    ui.picture("asset-triggered-run")
    ui.open(f"/dags/salesforce_asset_triggered/runs/{quote(run_id, safe='')}/tasks/report")
    ui.shows(re.compile("Accounts landed: .*, see "))
    ui.picture("asset-triggered-log")


def test_a_failure_says_what_to_fix(ui: AirflowUi, api: AirflowApi, stack: Stack) -> None:
    stack.change_settings(run_as=None)
    ui.open("/connections")
    press_test(ui)
    ui.shows("Test Connection Failed")
    ui.shows(re.compile("choose a Run As user"))
    ui.picture("failed-connection-test")
    api.unpause("salesforce_query")
    run_id = api.trigger("salesforce_query")
    ui.until(lambda: api.run_state("salesforce_query", run_id) in {"success", "failed"})
    assert api.run_state("salesforce_query", run_id) == "failed"
    ui.open(f"/dags/salesforce_query/runs/{quote(run_id, safe='')}/tasks/best_open_opportunities")
    ui.shows(re.compile("choose a Run As user"))
    ui.picture("failed-task")


def test_no_secret_in_any_response_to_the_browser_nor_in_any_file(
    ui: AirflowUi, stack: Stack, browser_context: Any, har: Path
) -> None:
    tokens = stack.tokens()
    assert tokens
    browser_context.close()
    received = list(responses(har))
    text = b"\n".join(text for _, text in received)
    for wanted in (b"Consumer Secret", b"sfcc_default", b"return_value", b"choose a Run As user", b"asset_triggered"):
        assert wanted in text, f"the search did not see {wanted!r}"
    airflow = stack.home / "airflow"
    landing = stack.home / "landing"
    searched = [*received, *files(airflow, landing), *tables(airflow / "up" / "airflow.db")]
    secret, key = stack.connection["password"], stack.connection["login"]
    assert SecretForms(key, secret, tokens).found_in(searched) == []


def responses(har: Path) -> Iterator[tuple[str, bytes]]:
    """Headers and bodies of all that was sent to the browser; what it sent holds the secret that a person typed."""
    for entry in json.loads(har.read_text())["log"]["entries"]:
        response = entry["response"]
        content = response["content"].get("text", "")
        body = base64.b64decode(content) if response["content"].get("encoding") == "base64" else content.encode()
        yield entry["request"]["url"], json.dumps(response["headers"]).encode() + b"\n" + body


def runs_of(api: AirflowApi, dag_id: str) -> list[str]:
    return [run["dag_run_id"] for run in api.call("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]]


def wait_for_runs(ui: AirflowUi, api: AirflowApi, dag_id: str) -> list[str]:
    ui.until(lambda: bool(runs_of(api, dag_id)))
    return runs_of(api, dag_id)
