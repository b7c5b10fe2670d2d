"""The house's rules that a reader relies on: which way imports point, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "airflow_sfcc"
HEAVY = (
    "pyarrow",
    "duckdb",
    "requests",
    "aiohttp",
    "lark",
    "starlette",
    "airflow_sfcc.hooks",
    "airflow_sfcc.salesforce.client",
)


LEAVES = ("airflow_sfcc.errors", "airflow_sfcc.timestamps", "airflow_sfcc.wording")
"""What every room may use."""


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]
    assert found
    return found


def is_under(name: str, *roots: str) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


@pytest.mark.parametrize(
    "path", modules("salesforce", "extract", "load", "org_setup"), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_below_the_surface_imports_airflow(path: Path) -> None:
    assert not [name for name in imports_of(path) if is_under(name, "airflow")]


@pytest.mark.parametrize("path", modules("salesforce"), ids=lambda path: path.name)
def test_the_client_knows_nothing_of_extracts(path: Path) -> None:
    ours = {name for name in imports_of(path) if is_under(name, "airflow_sfcc")}
    assert {name for name in ours if not is_under(name, "airflow_sfcc.salesforce", *LEAVES)} <= {"airflow_sfcc"}


@pytest.mark.parametrize("path", modules("extract"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_engine_knows_only_the_client(path: Path) -> None:
    ours = {name for name in imports_of(path) if is_under(name, "airflow_sfcc")}
    assert {
        name for name in ours if not is_under(name, "airflow_sfcc.salesforce", "airflow_sfcc.extract", *LEAVES)
    } <= {"airflow_sfcc"}


@pytest.mark.parametrize("path", modules("load"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_loading_knows_only_extracts(path: Path) -> None:
    ours = {name for name in imports_of(path) if is_under(name, "airflow_sfcc")}
    assert not [name for name in ours if not is_under(name, "airflow_sfcc.load", "airflow_sfcc.extract", *LEAVES)]


def test_the_local_org_stands_alone() -> None:
    paths = sorted((PACKAGE.parent / "localorg" / "salesforce_localorg").rglob("*.py"))
    assert paths
    assert not [str(path) for path in paths for name in imports_of(path) if is_under(name, "airflow_sfcc", "airflow")]


def test_importing_the_operators_loads_nothing_heavy() -> None:
    script = (
        "import sys; from airflow.sdk import BaseOperator; before = set(sys.modules); import airflow_sfcc.operators; "
        f"print([name for name in {HEAVY!r} if name in set(sys.modules) - before])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().splitlines()[-1] == "[]"


def test_the_constraints_name_no_hosts() -> None:
    root = PACKAGE.parent
    for pins in (root / "constraints.txt", *(root / "constraints").glob("*.txt")):
        assert "://" not in pins.read_text(encoding="utf-8"), pins.name
