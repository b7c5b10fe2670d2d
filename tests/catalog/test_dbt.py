"""dbt's own commands on the catalog of what landed. `make dbt-test` installs dbt, which has dependencies of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import structs
from upath import UPath

from airflow_sfcc.catalog.sentences import description
from airflow_sfcc.catalog.tables import tables_in
from airflow_sfcc.cli import commands
from airflow_sfcc.extract.described import Described, PicklistValue
from tests.catalog.landed import describe_anew, land
from tests.conformance.environments import DBT
from tests.conftest import RunningOrg

pytestmark = [pytest.mark.dbt, pytest.mark.timeout(900)]

OBJECTS = ("User", "Account", "Contact", "Opportunity", "Case", "Invoice__c")
HOSTILE = (
    "{{ 1 + 1 }} {% raw %} {# gone #} {{{",
    "O'Brien's \"best\" -- ; DROP TABLE x",
    "yes: [no, {null}] %s $name ${identifier} \\ \t é 漢字 😀",
)
PROJECT = "name: landed\nversion: '1.0'\nprofile: landed\nmodel-paths: [models]\n"
PROFILE = "landed:\n  target: local\n  outputs:\n    local: {type: duckdb, path: ':memory:', threads: 2}\n"
MODEL = 'select "Id", "Name" from {{ source(\'salesforce\', \'Account\') }} where "IsDeleted" = false\n'


class Project:
    """A dbt project whose sources are those of a lake."""

    def __init__(self, folder: Path, lake: UPath, *options: object) -> None:
        self.folder = folder
        (folder / "models").mkdir(parents=True)
        for name, content in (("dbt_project.yml", PROJECT), ("profiles.yml", PROFILE), ("models/accounts.sql", MODEL)):
            (folder / name).write_text(content)
        arguments = ["catalog", str(lake), "--output", str(folder / "models"), *map(str, options)]
        made = CliRunner().invoke(commands, arguments)
        assert made.exit_code == 0, made.output

    def dbt(self, *command: str) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_PROFILES_DIR": str(self.folder)}
        return subprocess.run(
            [DBT.path("bin/dbt"), "--no-use-colors", "--warn-error-options", '{"error": ["Deprecations"]}', *command],
            cwd=self.folder,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def made(self, name: str) -> Any:
        return json.loads((self.folder / "target" / name).read_text(encoding="utf-8"))


def hostile(described: Described) -> Described:
    """With texts that dbt, YAML or SQL could take for something else, and values that rows do not have."""
    fields = []
    for number, field in enumerate(described.fields):
        values = (*field.values, *map(PicklistValue, HOSTILE)) if field.values else ()
        label, help_text = HOSTILE[number % 3], HOSTILE[(number + 1) % 3]
        fields.append(structs.replace(field, label=label, help=help_text, values=values))
    return structs.replace(described, label=HOSTILE[0], fields=tuple(fields))


@pytest.fixture
def lake(org: RunningOrg, tmp_path: Path) -> UPath:
    """Incremental extracts on top of full ones, of six objects, and a query's result."""
    folder = UPath(tmp_path / "lake with 'quotes' and $signs")
    land(org, folder, OBJECTS)
    land(org, folder, OBJECTS, mode="incremental", deletes="hard", run_id="second")
    return folder


def test_dbt_parses_and_tests_what_landed(lake: UPath, tmp_path: Path) -> None:
    for table in tables_in([lake]):
        assert table.described is not None
        describe_anew(table.root, hostile(table.described))
    project = Project(tmp_path / "project", lake, "--freshness", 24)
    for command in (["parse"], ["source", "freshness"], ["run"], ["test"]):
        done = project.dbt(*command)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-5000:]}{done.stderr[-2000:]}"
    results = project.made("run_results.json")["results"]
    assert len(results) > 60 and {each["status"] for each in results} == {"pass"}
    fresh = project.made("sources.json")["results"]
    assert len(fresh) == len(OBJECTS) and {each["status"] for each in fresh} == {"pass"}
    sources = {each["name"]: each for each in project.made("manifest.json")["sources"].values()}
    for table in tables_in([lake]):
        told = {name: column["description"] for name, column in sources[table.sobject]["columns"].items()}
        assert told == {column.name: description(column) for column in table.columns}


def test_dbt_finds_what_is_wrong(lake: UPath, tmp_path: Path) -> None:
    """A restricted picklist without the values that rows have, and extracts that are too old."""
    (account,) = tables_in([lake / "Account"])
    assert account.described is not None
    changed = [
        structs.replace(field, values=(PicklistValue("None of them"),), restricted=True)
        if field.name == "Type"
        else field
        for field in account.described.fields
    ]
    describe_anew(account.root, structs.replace(account.described, fields=tuple(changed)))
    project = Project(tmp_path / "project", lake, "--freshness", 1 / 3600)
    done = project.dbt("test", "--select", "source:salesforce.Account")
    assert done.returncode == 1
    failed = [each for each in project.made("run_results.json")["results"] if each["status"] != "pass"]
    assert [each["unique_id"].split(".")[2][:40] for each in failed] == ["source_accepted_values_salesforce_Accoun"]
