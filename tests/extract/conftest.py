"""A server that answers what a test module says, with the fields that the module names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire_server import Wire, wire


@pytest.fixture(scope="module")
def said(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with wire() as server:
        server.fields = request.module.FIELDS
        yield server
