"""README.md and docs/guide.md name tests, options, routes and faults that exist; their code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from salesforce_localorg.command import org
from salesforce_localorg.faults import JSON_TYPES, NAMED_FAULTS
from salesforce_localorg.wire.route_table import ADMIN_ROUTES, ALL_ROUTES

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "docs" / "guide.md"]
OPTIONS = {option for parameter in org.params for option in parameter.opts}


def test_named_tests_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", GUIDE))
    written = {
        name
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }

    assert len(named) > 40
    assert not named - written


def test_every_option_setting_and_fault_is_told() -> None:
    assert not {option for option in OPTIONS if f"`{option}" not in GUIDE and f", `{option}" not in GUIDE}
    assert not {key for key in JSON_TYPES if f"`{key}`" not in GUIDE}
    assert not {name for name in NAMED_FAULTS if f"`{name}`" not in GUIDE}
    assert not {route.name for route in ALL_ROUTES if route.name not in ADMIN_ROUTES and f"`{route.name}`" not in GUIDE}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        exec(compile(code, str(page), "exec"), {"__name__": "docs"})  # noqa: S102


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_they_name(page: Path) -> None:
    lines = re.findall(r"^ *salesforce-localorg(.*)$", page.read_text(encoding="utf-8"), re.M)

    assert not {option for line in lines for option in re.findall(r"--[a-z-]+", line)} - OPTIONS
    targets = re.findall(r"\]\((?!https?:)([\w./-]+)", page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]
