from __future__ import annotations

from collections.abc import Iterator

import pytest

from .world import World, open_world


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    found = open_world()
    yield found
    found.records.close()
