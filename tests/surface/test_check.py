"""`airflow-sfcc check` against orgs with one Setup mistake each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from airflow_sfcc.cli import commands
from tests.conftest import KEY, SECRET, RunningOrg
from tests.surface.conftest import Connect


def check(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["check", *arguments])


def verdicts(result: Result) -> dict[str, str]:
    """Verdict by step. The secret is in none of the lines."""
    assert SECRET not in result.output and KEY not in result.output
    return {
        match[2]: match[1]
        for match in re.finditer(r"^(passed|failed|warning|not checkable)\s+([^:]+):", result.output, re.MULTILINE)
    }


def failed(result: Result) -> list[str]:
    assert result.exit_code == (1 if "failed  " in result.output else 0), result.output
    return [name for name, verdict in verdicts(result).items() if verdict == "failed"]


def test_a_good_org_passes_every_step(connected_org: RunningOrg) -> None:
    result = check("--object", "Account", "--object", "Invoice__c")
    assert result.exit_code == 0 and set(verdicts(result).values()) == {"passed"}, result.output
    assert sum(call.path.startswith("/services/data/v") for call in connected_org.org.calls) == 5 + 2 * 3
    rows = connected_org.org.records.count("Account")
    assert f"Account: {rows:,} rows" in result.output and "cursor SystemModstamp" in result.output
    assert re.search(r"API calls left: 99,9\d\d of 100,000", result.output)
    assert "Bulk jobs left: 10,000 of 10,000" in result.output
    assert re.search(r"Run As user's profile: user1@\S+, profile \w+", result.output)


def no_run_as_user(org: RunningOrg) -> None:
    org.org.run_as = None


def no_api_enabled(org: RunningOrg) -> None:
    org.org.permissions.discard("ApiEnabled")


def not_api_only(org: RunningOrg) -> None:
    org.org.permissions.discard("ApiUserOnly")


def no_view_setup(org: RunningOrg) -> None:
    org.org.permissions.discard("ViewSetup")


def flow_off(org: RunningOrg) -> None:
    org.org.client_credentials_enabled = False


def object_hidden(org: RunningOrg) -> None:
    org.org.hidden_objects.add("Account")


def bulk_off(org: RunningOrg) -> None:
    org.org.bulk_enabled = False


def not_approved(org: RunningOrg) -> None:
    org.org.login_refusal = "not_approved"


def ip_restricted(org: RunningOrg) -> None:
    org.org.login_refusal = "ip_restricted"


def rows_not_shared(org: RunningOrg) -> None:
    counts = {"sObjects": [{"count": 1_000_000, "name": "Account"}]}
    org.fail("record_count", status=200, body=counts, times=None)


@pytest.mark.parametrize(
    ("mistake", "steps", "fix"),
    [
        (no_run_as_user, ["Run As user"], "choose a Run As user"),
        (no_api_enabled, ["Run As user"], "give that user API Enabled"),
        (not_api_only, ["API Only User"], "API Only User, or shut that door"),
        (flow_off, ["Enable Client Credentials Flow"], "tick Enable Client Credentials Flow"),
        (object_hidden, ["Account"], "Grant the user Read"),
        (bulk_off, ["Bulk API 2.0"], "api='rest'"),
        (not_approved, ["Permitted users"], "permitted-users"),
        (ip_restricted, ["IP restrictions"], "ip-restrictions"),
        (rows_not_shared, ["Account, View All Records"], "Grant View All Records"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_mistake_fails_its_step_and_no_other(
    connected_org: RunningOrg, mistake: Callable[[RunningOrg], None], steps: list[str], fix: str
) -> None:
    mistake(connected_org)
    result = check("--object", "Account")
    assert failed(result) == steps, result.output
    assert fix in result.output


def test_a_permission_that_extracts_run_without_is_a_warning(connected_org: RunningOrg) -> None:
    no_view_setup(connected_org)
    result = check("--object", "Account")
    assert result.exit_code == 0 and failed(result) == [], result.output
    assert verdicts(result)["View Setup and Configuration"] == "warning"
    assert "Extracts run without it" in result.output and "api-enabled" in result.output


def test_a_user_who_lost_api_enabled_after_the_login(connected_org: RunningOrg) -> None:
    refusal = [{"errorCode": "API_CURRENTLY_DISABLED", "message": "API is disabled for this User"}]
    connected_org.fail("describe_global", status=403, body=refusal)
    assert failed(check()) == ["API Enabled"]


@pytest.mark.parametrize(
    ("config", "step"),
    [
        ({"daily_api_requests": 0}, "API calls left"),
        ({"daily_bulk_query_jobs": 0}, "Bulk jobs left"),
    ],
)
def test_a_quota_that_is_gone(
    start_org: Callable[..., RunningOrg], connect: Connect, config: dict[str, Any], step: str
) -> None:
    connect(start_org(**config).url, {"max_retries": 0})
    assert failed(check()) == [step]


def test_a_budget_that_is_used_up(connected_org: RunningOrg, connect: Connect) -> None:
    connect(connected_org.url, {"api_call_budget": 0, "max_retries": 0})
    assert "API calls left" in failed(check())


def test_wrong_credentials_and_hosts(connected_org: RunningOrg, connect: Connect) -> None:
    connect(connected_org.url, password="wrong-secret")
    result = check()
    assert failed(result) == ["Consumer key and secret"] and verdicts(result)["My Domain"] == "passed"
    connect("login.salesforce.com")
    assert failed(check()) == ["My Domain"]


def test_a_connection_that_is_not_there() -> None:
    result = check("nowhere")
    assert failed(result) == ["Token"] and "AIRFLOW_CONN_NOWHERE" in result.output


ODD_ANSWERS: list[dict[str, Any]] = [
    {"status": 200, "body": "<html><body>Down for maintenance</body></html>"},
    {"status": 200, "body": []},
    {"status": 200, "body": {}},
    {"status": 403, "body": "<?xml version='1.0'?><error><exceptionCode>ClientInputError</exceptionCode></error>"},
    {"status": 403, "body": [{"errorCode": "INSUFFICIENT_ACCESS", "message": "insufficient access rights"}]},
    {"status": 404, "body": [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]},
    {"status": 400, "body": {"error": "unknown", "error_description": "no such thing"}},
    {"status": 503, "body": ""},
    {"reset": True},
]


@pytest.mark.parametrize("route", ["versions", "query", "limits", "record_count", "job_list", "describe"])
def test_odd_answers_end_one_check_and_not_the_others(connected_org: RunningOrg, connect: Connect, route: str) -> None:
    """Servers in front of an org, and orgs with other rights than ours, answer otherwise than the documents' examples."""
    connect(connected_org.url, {"max_retries": 0, "request_timeout": 10, "api_version": "68.0"})
    for answer in ODD_ANSWERS:
        connected_org.org.faults.clear()
        connected_org.fail(route, times=None, **answer)
        result = check("--object", "Account")
        assert result.exception is None or isinstance(result.exception, SystemExit), (answer, result.output)
        found = verdicts(result)
        assert found["My Domain"] == "passed", (answer, result.output)
        if route == "versions":
            assert found["API version"] == "failed", (answer, result.output)
        else:
            assert found["API Enabled"] == "passed" and {"Bulk API 2.0", "Account"} <= set(found), (
                answer,
                result.output,
            )
            assert set(found.values()) != {"passed"}, (answer, result.output)


def test_the_command_leaves_nothing_behind_and_says_nothing_else(org: RunningOrg, tmp_path: Path) -> None:
    """On a machine without an Airflow of its own, where the connection is in the environment."""
    connection = {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(temporary), "AIRFLOW_CONN_ORG": json.dumps(connection)}
    command = [sys.executable, "-m", "airflow_sfcc.cli", "check", "org"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done
    assert all(line.startswith("passed ") for line in done.stdout.splitlines()), done.stdout
    assert list(tmp_path.iterdir()) == [temporary] and not list(temporary.iterdir())


@pytest.mark.parametrize("code", ["QUERY_TIMEOUT", "MALFORMED_QUERY"])
def test_an_object_that_cannot_be_counted_may_be_extracted(connected_org: RunningOrg, code: str) -> None:
    """A large one, of which Salesforce does not finish a count in time, and one that wants a filter."""
    error = [{"errorCode": code, "message": "Implementation restriction."}]
    connected_org.fail("query", path="COUNT", times=None, status=400, body=error)
    result = check("--object", "Account")
    assert result.exit_code == 0 and verdicts(result)["Account"] == "warning", result.output
    assert "cursor SystemModstamp; its rows could not be counted" in result.output and code in result.output


def test_a_version_that_the_org_does_not_offer_blames_nothing_else(connected_org: RunningOrg, connect: Connect) -> None:
    connect(connected_org.url, {"api_version": "99.0"})
    result = check("--object", "Account")
    assert failed(result) == ["API version"] and verdicts(result)["API Enabled"] == "not checkable", result.output
    assert "Set api_version to 68.0" in result.output


@pytest.mark.parametrize(("missing", "verdict"), [(3, "warning"), (300, "failed")])
def test_a_few_rows_less_than_the_org_counted_hours_ago_fail_nothing(
    connected_org: RunningOrg, missing: int, verdict: str
) -> None:
    seen = connected_org.org.records.count("Profile")
    counts = {"sObjects": [{"count": seen + missing, "name": "Profile"}]}
    connected_org.fail("record_count", status=200, body=counts, times=None)
    assert verdicts(check("--object", "Profile"))["Profile, View All Records"] == verdict
