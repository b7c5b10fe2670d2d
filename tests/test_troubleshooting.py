"""docs/troubleshooting.md quotes errors as they are raised, and says rightly whether they are permanent."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_sfcc.salesforce import errors

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| `(\w+)` \| (yes|no) \|", PAGE, re.M)
QUOTED = [(text, kind) for texts, kind, _ in ROWS for text in re.findall(r"`([^`]+)`", texts)]


def texts_of(folder: str) -> Iterator[str]:
    """All texts in a folder's code; what is filled in stands as "…". Docstrings are none."""
    for path in sorted((ROOT / "airflow_sfcc" / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if node in statements:
                continue
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.fixture(scope="module")
def raised() -> str:
    """Our own texts, and Salesforce's as the local org sends them."""
    own = [text for folder in ("salesforce", "extract", "localorg") for text in texts_of(folder)]
    surface = [text for text in texts_of("") if text not in own]
    return "\n".join([*own, *surface])


@pytest.mark.parametrize(("text", "kind"), QUOTED, ids=lambda value: value)
def test_quoted_texts_are_the_real_ones(raised: str, text: str, kind: str) -> None:
    assert text in raised


@pytest.mark.parametrize(("kind", "permanent"), sorted({(kind, permanent) for _, kind, permanent in ROWS}))
def test_permanent_errors_are_said_to_be(kind: str, permanent: str) -> None:
    assert getattr(errors, kind).permanent == (permanent == "yes")


def test_the_table_was_read() -> None:
    assert len(ROWS) >= 25 and len(QUOTED) >= 30
