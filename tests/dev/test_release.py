"""What a release is made of names things that exist: make targets, matrix corners, classes, versions."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import airflow_sfcc
from dev.paths import ROOT
from tests.matrix import CORNERS

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def loaded(file: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_run_targets_that_exist_with_least_rights(file: Path) -> None:
    workflow = loaded(file)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        commands = "\n".join(step.get("run", "") for step in job["steps"])
        named = re.findall(r"make ([a-z0-9-]+)", commands)
        listed = job.get("strategy", {}).get("matrix", {}).get("target", [])
        assert {*named, *listed} <= TARGETS
        assert named or listed or "uses" in str(job["steps"])


def test_each_corner_of_the_matrix_has_a_job() -> None:
    matrix = loaded(ROOT / ".github" / "workflows" / "matrix.yml")["jobs"]["corner"]["strategy"]["matrix"]
    assert matrix["corner"] == CORNERS


def test_publishing_needs_no_stored_secret() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "secrets." not in text and "id-token: write" in text


def test_registry_lists_classes_that_exist() -> None:
    registry = loaded(ROOT / ".airflow-registry.yaml")
    listed = [entry["module"] for kind, entries in registry.items() if isinstance(entries, list) for entry in entries]
    for path in listed:
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name), path
    from airflow_sfcc import operators

    public = [name for name in vars(operators) if name.startswith("Salesforce") and name.endswith("Operator")]
    assert len(public) >= 4
    assert {f"airflow_sfcc.operators.{name}" for name in public} <= set(listed)


def test_both_packages_have_the_version_of_the_changelog() -> None:
    import salesforce_localorg

    assert airflow_sfcc.__version__ == salesforce_localorg.__version__
    assert f"to become {airflow_sfcc.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
