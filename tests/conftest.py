"""What all tests share: a local org on a real socket, and a client that logs in to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import settings
from salesforce_localorg.clock import Clock
from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer
from salesforce_localorg.soql.parser import parse

from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.storages import root, root_url, s3_folder, s3_url

__all__ = ["root", "root_url", "s3_folder", "s3_url"]  # fixtures

# Tests never judge wall time: machines differ, and the first example pays for imports and caches.
settings.register_profile("airflow-sfcc", deadline=None, print_blob=True)
settings.load_profile("airflow-sfcc")

collect_ignore = ["sample_project"]  # a project of its own: tests/test_testing_kit.py runs its tests

COUNTS = {"User": 20, "Account": 1200, "Contact": 900, "Opportunity": 400, "Case": 300, "Invoice__c": 500}
KEY, SECRET = "3MVG9testconsumerkey", "SECRET0123456789ABCDEF-testconsumersecret"

CONFIG = OrgConfig(counts=COUNTS, consumer_key=KEY, consumer_secret=SECRET)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side (`pytest -n 2 --dist loadfile`), a file's tests stay together, and so do those that share an Airflow.

    Marks of xdist_group would say so too, but with pytest 9 they are not heeded: xdist writes them into names that are fixed.
    """
    from xdist.scheduler import LoadScopeScheduling

    class TogetherByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "tests/e2e" if file.startswith("tests/e2e/") else file

    config.option.loadscopereorder = False  # the files with the most tests first would leave the slow e2e for the end
    return TogetherByFile(config, log)


@dataclass(frozen=True)
class RunningOrg:
    """A local org that answers at `url`."""

    org: LocalOrg
    server: OrgServer

    @property
    def url(self) -> str:
        return self.server.url

    def client(self, **options: Any) -> SalesforceClient:
        """A client that gives up early, so that tests of failures are quick."""
        transport = options.pop("transport", TransportOptions(request_timeout=10, max_retries=2))
        arguments = {"host": self.url, "consumer_key": KEY, "consumer_secret": SECRET, **options}
        return connect(**arguments, transport=transport)

    def fail(self, route: str, **effects: Any) -> None:
        """Make the next call of a route go wrong."""
        self.org.faults.add(Fault(route=route, **effects))

    def calls(self, route: str) -> int:
        return self.org.calls.counts.get(route, 0)


@pytest.fixture(scope="session")
def records() -> Iterator[Records]:
    """The org's rows. Tests that change rows make their own."""
    rows = Records.open(Schema.standard(), clock=Clock())
    rows.generate(COUNTS, seed=7)
    parse("SELECT Id FROM User")  # builds the parser, which on a busy machine takes longer than a client waits
    yield rows
    rows.close()


@pytest.fixture
def start_org(records: Records) -> Iterator[Callable[..., RunningOrg]]:
    """Starts an org with the shared rows; keyword arguments change its configuration."""
    with ExitStack() as running:

        def start(*, tls: bool = False, **changes: Any) -> RunningOrg:
            org = running.enter_context(LocalOrg(replace(CONFIG, **changes), records=records))
            return RunningOrg(org, running.enter_context(OrgServer(org, tls=tls)))

        yield start


@pytest.fixture
def org(start_org: Callable[..., RunningOrg]) -> RunningOrg:
    return start_org()


@pytest.fixture
def client(org: RunningOrg) -> SalesforceClient:
    return org.client()
