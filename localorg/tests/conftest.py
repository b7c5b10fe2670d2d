"""Orgs for tests: one shared by all that only read, and fresh ones for those that need their own settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from caller import PAGE_ROWS, ROWS, Caller, Serve
from hypothesis import settings

from salesforce_localorg.clock import Clock
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer

# Tests never judge wall time: machines differ, and the first example pays for imports and caches.
settings.register_profile("localorg", deadline=None, print_blob=True)
settings.load_profile("localorg")

COUNTS = {"User": 20, "Account": 1200, "Contact": 900, "Opportunity": 400, "Case": 300, "Invoice__c": 500}


@pytest.fixture(scope="session")
def records() -> Iterator[Records]:
    """An org's rows, without a server. Tests that change rows make their own."""
    rows = Records.open(Schema.standard(), clock=Clock())
    rows.generate(COUNTS, seed=7)
    yield rows
    rows.close()


@pytest.fixture(scope="session")
def org_schema() -> Schema:
    return Schema.standard()


@pytest.fixture(scope="session")
def org_records(org_schema: Schema) -> Iterator[Records]:
    """Rows that no test changes."""
    records = Records.open(org_schema, clock=Clock())
    records.generate(ROWS, seed=7)
    yield records
    records.close()


@pytest.fixture(scope="session")
def shared_server(org_schema: Schema, org_records: Records) -> Iterator[OrgServer]:
    config = OrgConfig(result_page_rows=PAGE_ROWS)
    with LocalOrg(config, schema=org_schema, records=org_records) as org, OrgServer(org) as server:
        yield server


@pytest.fixture
def anonymous(shared_server: OrgServer) -> Iterator[Caller]:
    """A caller without a token on the shared org, which is put back in order afterwards."""
    org = shared_server.org
    org.calls.clear()
    yield Caller(shared_server)
    org.faults.clear()
    org.hidden_fields.clear()
    org.hidden_objects.clear()
    org.run_as = org.config.run_as_username
    org.client_credentials_enabled = True
    org.login_refusal = None


@pytest.fixture
def caller(anonymous: Caller) -> Caller:
    """A caller with a token on the shared org."""
    assert anonymous.log_in().status_code == 200
    return anonymous


@pytest.fixture
def serve(org_schema: Schema, org_records: Records) -> Iterator[Serve]:
    """Makes an org with settings of its own, on the shared rows or on `own_rows`; the caller is logged in."""
    with contextlib.ExitStack() as closing:

        def start(*, own_rows: dict[str, int] | None = None, tls: bool = False, **settings: Any) -> Caller:
            config = OrgConfig(**{"result_page_rows": PAGE_ROWS, "counts": own_rows or {}, **settings})
            records = None if own_rows else org_records
            org = closing.enter_context(LocalOrg(config, schema=org_schema, records=records))
            if own_rows:
                org.generate()
            caller = Caller(closing.enter_context(OrgServer(org, tls=tls)))
            caller.log_in()
            return caller

        yield start
