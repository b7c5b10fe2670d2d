"""The house's rules that a reader relies on: which way imports point, how large rooms are, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "airflow_sfcc"
LOCAL_ORG = PACKAGE.parent / "localorg" / "salesforce_localorg"
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

LEAVES = {"errors", "redaction", "timestamps", "wording", ""}
"""What every room may use; "" is the package itself, with its version."""

ROOMS = {
    "salesforce": LEAVES,
    "extract": LEAVES | {"salesforce"},
    "load": LEAVES | {"salesforce", "extract"},
    "catalog": LEAVES | {"salesforce", "extract"},
    "org_setup": LEAVES | {"salesforce"},
    "reconcile": LEAVES | {"salesforce", "extract", "load"},
    "sync": LEAVES | {"salesforce", "extract"},
    "_airflow": LEAVES
    | {
        "salesforce",
        "extract",
        "load",
        "catalog",
        "reconcile",
        "org_setup",
        "sync",
        "hooks",
        "assets",
        "links",
        "triggers",
    },
    "page": LEAVES | {"_airflow"},
}
"""What the modules of a room may import besides their own room. What stands beside the rooms is the surface, of which hooks,
assets, links and triggers are what the other surface modules are built of."""

BELOW_THE_SURFACE = ("salesforce", "extract", "load", "catalog", "reconcile", "org_setup", "sync", *(LEAVES - {""}))

MOST_FILES = 8
MOST_LINES = 21_000
"""Of the package without the rooms that are products of their own."""

ROOMS_OF_THEIR_OWN = ("load", "catalog", "reconcile", "org_setup", "page", "sync")


def modules(root: Path) -> dict[str, Path]:
    """Every module below `root` by its dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 20
    return found


def imports(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports, those for types included; `at_import`: without those within functions.

    Of `from a import b`, both `a` and `a.b`.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if at_import and id(node) in inner:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """`salesforce` for `airflow_sfcc.salesforce.auth`, `errors` for `airflow_sfcc.errors`."""
    return [*name.split("."), ""][1]


def is_under(name: str, *roots: str) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


def graph(root: Path) -> dict[str, set[str]]:
    known = modules(root)
    return {name: {each for each in imports(path) if each in known} - {name} for name, path in known.items()}


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as found:
        return [str(each) for each in found.args[1]]
    return []


def without_packages(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrow from a module to the package it is in, which is loaded before it anyway."""
    return {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in arrows.items()}


def test_no_import_circle_not_even_for_types() -> None:
    assert circle_in(without_packages(graph(PACKAGE))) == []


def test_a_circle_would_be_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_imports_point_one_way() -> None:
    wrong = [
        f"{name} -> {other}"
        for name, others in graph(PACKAGE).items()
        for other in others
        if room(name) in ROOMS and room(other) != room(name) and room(other) not in ROOMS[room(name)]
    ]
    assert wrong == []


def test_nothing_below_the_surface_imports_airflow() -> None:
    wrong = [
        name
        for name, path in modules(PACKAGE).items()
        if room(name) in BELOW_THE_SURFACE and any(is_under(each, "airflow") for each in imports(path))
    ]
    assert wrong == []


def test_rooms_are_small_enough_to_know() -> None:
    folders = [folder for folder in (PACKAGE / "extract").rglob("*") if folder.is_dir() and list(folder.glob("*.py"))]
    crowded = {
        str(folder.relative_to(PACKAGE)): files
        for folder in folders
        if (files := len([path for path in folder.glob("*.py") if path.name != "__init__.py"])) > MOST_FILES
    }
    assert crowded == {} and len(folders) >= 5


def test_the_package_stays_short() -> None:
    lines = sum(
        path.read_text(encoding="utf-8").count("\n")
        for name, path in modules(PACKAGE).items()
        if room(name) not in ROOMS_OF_THEIR_OWN
    )
    assert 5_000 < lines < MOST_LINES


def test_the_local_org_stands_alone() -> None:
    wrong = [
        str(path)
        for path in modules(LOCAL_ORG).values()
        if any(is_under(each, "airflow_sfcc", "airflow") for each in imports(path))
    ]
    assert wrong == []


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
