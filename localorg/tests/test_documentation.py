"""docs/local-org.md names tests, routes and faults that exist."""

from __future__ import annotations

import re
from pathlib import Path

from salesforce_localorg.command import org
from salesforce_localorg.faults import JSON_TYPES, NAMED_FAULTS
from salesforce_localorg.wire.route_table import ADMIN_ROUTES, ALL_ROUTES

TESTS = Path(__file__).parent.parent
GUIDE = (TESTS.parent / "docs" / "local-org.md").read_text(encoding="utf-8")


def test_named_tests_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", GUIDE))
    written = {
        name
        for path in (TESTS / "localorg").glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }

    assert len(named) > 40
    assert not named - written


def test_every_option_setting_and_fault_is_told() -> None:
    options = {option for parameter in org.params for option in parameter.opts}

    assert not {option for option in options if f"`{option}" not in GUIDE}
    assert not {key for key in JSON_TYPES if f"`{key}`" not in GUIDE}
    assert not {name for name in NAMED_FAULTS if f"`{name}`" not in GUIDE}
    assert not {route.name for route in ALL_ROUTES if route.name not in ADMIN_ROUTES and f"`{route.name}`" not in GUIDE}
