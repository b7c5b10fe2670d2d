"""One org for all foreign clients, behind the proxy that its host names need."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.key_pairs import KeyPair
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

from tests.conformance.rows import whole_object

CLIENTS = Path(__file__).parent / "clients"
API_VERSION = "67.0"
SECONDS = 280
# More than one REST page of Account, and both rows with a hundred thousand characters.
ROWS = {"Account": 2300, "Contact": 120, "Invoice__c": 700, "Opportunity": 60, "Case": 30, "Lead": 30}
KEYS = KeyPair.generate()
CONFIG = OrgConfig(
    counts={**ROWS, "Task": 10, "Event": 10, "User": 10},
    seed=20261123,
    consumer_key="3MVG9conformance",
    consumer_secret="CONFORMANCE0123456789",
    refresh_token="5Aep861conformance",
    certificate=KEYS.certificate,
    bulk_timings=BulkTimings(in_progress_polls=1),
)


@dataclass(frozen=True)
class ForeignOrg:
    """A local org as a client knows it that was never told of us: by Salesforce's host names, through a proxy."""

    org: LocalOrg
    server: OrgServer

    @property
    def my_domain(self) -> str:
        return f"https://{self.org.config.my_domain_host}"

    @property
    def environment(self) -> dict[str, str]:
        """All that a client is told from outside: where the proxy is, and whom to trust."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        trust = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        proxies = ("HTTPS_PROXY", "https_proxy")
        return {
            **kept,
            **dict.fromkeys(trust, str(self.server.ca_file)),
            **dict.fromkeys(proxies, self.server.proxy_url or ""),
        }

    def task(self, do: str, sobject: str = "Account", **more: Any) -> dict[str, Any]:
        """What our scripts around a client are told: credentials, and a query for a whole object."""
        names = list(whole_object(self.org, sobject))
        return {
            "do": do,
            "consumer_key": self.org.config.consumer_key,
            "consumer_secret": self.org.config.consumer_secret,
            "my_domain_host": self.org.config.my_domain_host,
            "proxy_url": self.server.proxy_url,
            "api_version": API_VERSION,
            "sobject": sobject,
            "soql": f"SELECT {', '.join(names)} FROM {sobject}",
            **more,
        }

    def run(
        self, command: Sequence[str], *, given: str = "", also: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        """Run a client to its end; what it wrote. A failure shows all it said."""
        environment = {**self.environment, **(also or {})}
        answer = subprocess.run(
            command, input=given, capture_output=True, encoding="utf-8", env=environment, timeout=SECONDS, cwd=cwd
        )
        said = (
            f"{' '.join(command)[:500]} ended with {answer.returncode}:\n{answer.stderr[-6000:]}{answer.stdout[-2000:]}"
        )
        assert answer.returncode == 0, said
        return answer.stdout

    def perform(
        self, interpreter: str, script: str, task: Mapping[str, Any], also: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Run one of our scripts around a client; its answer."""
        found: dict[str, Any] = json.loads(
            self.run([interpreter, str(CLIENTS / script)], given=json.dumps(task), also=also)
        )
        return found


@pytest.fixture(scope="session")
def foreign_org() -> Iterator[ForeignOrg]:
    with LocalOrg(CONFIG) as org:
        org.generate()
        with OrgServer(org, proxy_port=0) as server:
            yield ForeignOrg(org, server)
