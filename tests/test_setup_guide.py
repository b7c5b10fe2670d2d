"""Errors send people to docs/salesforce-setup.md: what they point at is there, and what it shows works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from airflow.models.connection import Connection
from click.testing import CliRunner

from airflow_sfcc import errors
from airflow_sfcc.cli import commands
from airflow_sfcc.errors import SetupStep
from airflow_sfcc.salesforce.error_tables import JWT_ERRORS, TokenError

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / errors.SETUP_GUIDE).read_text(encoding="utf-8")
STEPS = [value for value in vars(errors).values() if isinstance(value, SetupStep)]


def anchors() -> list[str]:
    """Anchors of the guide's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL), flags=re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.anchor)
def test_every_setup_step_has_its_section(step: SetupStep) -> None:
    assert anchors().count(step.anchor) == 1


def test_links_within_the_guide_lead_to_a_section() -> None:
    links = re.findall(r"\]\(#([\w-]+)\)", GUIDE)
    assert len(links) > 20
    assert [link for link in links if link not in anchors()] == []


def test_links_to_the_guide_and_to_files_lead_somewhere() -> None:
    for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target, anchor in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), target
            assert not anchor or anchor in anchors(), anchor


@pytest.mark.parametrize(
    "refusal",
    [refusal for refusal in JWT_ERRORS if refusal.step and refusal.error and refusal.description],
    ids=lambda refusal: refusal.description,
)
def test_every_refusal_of_the_token_endpoint_is_in_the_table_with_its_step(refusal: TokenError) -> None:
    rows = [line for line in GUIDE.splitlines() if line.startswith(f"| `{refusal.error}`")]
    row = next(line for line in rows if str(refusal.description) in line)
    assert refusal.step
    assert f"](#{refusal.step.anchor})" in row


def test_the_connection_in_json_is_one_that_airflow_reads() -> None:
    block = next(block for block in code_blocks("bash") if "AIRFLOW_CONN_SFCC_DEFAULT='{" in block)
    value = block[block.index("'") + 1 : block.rindex("'")]
    connection = Connection.from_json(value)
    assert (connection.conn_type, connection.host) == ("sfcc", "acme.my.salesforce.com")
    assert (connection.login, connection.password) == ("<consumer key>", "<consumer secret>")
    assert connection.extra_dejson == {"api_call_budget": 80}


def test_the_connection_as_a_uri_is_one_that_airflow_reads() -> None:
    block = next(block for block in code_blocks("bash") if "AIRFLOW_CONN_SFCC_DEFAULT='sfcc:" in block)
    uri = block[block.index("'") + 1 : block.rindex("'")]
    connection = Connection(uri=uri.replace("<consumer key>", "KEY").replace("<consumer secret>", "SEC%2FRET"))
    assert (connection.conn_type, connection.host) == ("sfcc", "acme.my.salesforce.com")
    assert (connection.login, connection.password) == ("KEY", "SEC/RET")
    # Airflow 3.3 makes numbers of what looks like one in a URI's query.
    assert str(connection.extra_dejson["api_version"]) == "67.0"


def test_json_in_the_guide_is_json() -> None:
    blocks = code_blocks("json")
    assert len(blocks) >= 2
    for block in blocks:
        assert isinstance(json.loads(block), dict)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.anchor)
def test_the_command_in_an_error_prints_its_section(step: SetupStep) -> None:
    command = str(step).rpartition("airflow-sfcc ")[2].rstrip(")").split()
    done = CliRunner().invoke(commands, command)
    assert done.exit_code == 0 and done.output.startswith("#")
    heading = done.output.partition("\n")[0].lstrip("# ")
    assert re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") == step.anchor


def test_guides_are_printed_whole_by_section_or_as_errors_name_them() -> None:
    run = CliRunner().invoke
    assert "incremental" in run(commands, ["docs"]).output
    assert run(commands, ["docs", "incremental"]).output.startswith("# Incremental extracts")
    section = run(commands, ["docs", "docs/salesforce-setup.md#without-api-only-user"]).output
    assert section.startswith("### Without API Only User") and "## Consumer key" not in section
    unknown = run(commands, ["docs", "run-as-usr"])
    assert unknown.exit_code == 2 and "Did you mean run-as-user" in unknown.output
