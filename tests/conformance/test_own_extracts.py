"""Our own extracts by Salesforce's host name, through the proxy: as behind the proxy of a company."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sfcc.errors import SalesforceError
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conformance.conftest import ForeignOrg
from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows


@pytest.fixture
def client(foreign_org: ForeignOrg, monkeypatch: pytest.MonkeyPatch) -> SalesforceClient:
    """Knows the My Domain, and nothing of where the org is but HTTPS_PROXY."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, foreign_org.server.proxy_url or "")
    known = foreign_org.org.config
    transport = TransportOptions(request_timeout=30, max_retries=1, verify=str(foreign_org.server.ca_file))
    return connect(
        host=known.my_domain_host,
        consumer_key=known.consumer_key,
        consumer_secret=known.consumer_secret,
        transport=transport,
    )


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_extract_by_host_name(foreign_org: ForeignOrg, client: SalesforceClient, tmp_path: Path, api: str) -> None:
    running = RunningOrg(foreign_org.org, foreign_org.server)
    manifest = extract(running, tmp_path, client=client, sobject="Contact", api=api)

    rows = read_rows(next(tmp_path.glob("extract=*")), manifest)
    assert manifest["rows"] == len(rows) == foreign_org.org.records.count("Contact")
    assert manifest["instance"] == foreign_org.my_domain


def test_refused_hosts_fail_with_a_sentence(foreign_org: ForeignOrg, client: SalesforceClient) -> None:
    elsewhere = connect(
        host="acme.my.salesforce.com.example.org",
        consumer_key="key",
        consumer_secret="secret",
        transport=TransportOptions(max_retries=0, verify=str(foreign_org.server.ca_file)),
    )
    with pytest.raises(SalesforceError, match="proxy"):
        list(elsewhere.query("SELECT Id FROM Account"))
