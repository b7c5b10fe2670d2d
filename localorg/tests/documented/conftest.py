"""The org that answers documented requests. Each exchange finds it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from caller import Caller

from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

CONFIG = OrgConfig(
    counts={"Account": 450, "Contact": 300, "Opportunity": 40, "Lead": 0, "Invoice__c": 60, "User": 10},
    seed=7,
    result_page_rows=60,
    daily_api_requests=100_000,
)


@pytest.fixture(scope="session")
def documented_server() -> Iterator[OrgServer]:
    with LocalOrg(CONFIG) as org:
        org.generate()
        with OrgServer(org) as server:
            yield server


@pytest.fixture
def documented_org(documented_server: OrgServer) -> Iterator[Caller]:
    """A caller that is logged in."""
    org = documented_server.org
    caller = Caller(documented_server)
    assert caller.log_in().status_code == 200
    yield caller
    org.config = CONFIG
    org.permissions.add("ViewSetup")
    org.run_as = CONFIG.run_as_username
    org.client_credentials_enabled = True
    org.login_refusal = None
    org.bulk_jobs.timings = BulkTimings()
    org.hidden_fields.clear()
    org.faults.clear()
