"""`make client-suites SOURCES=folder`: other clients' own integration tests against the local org.

The folder holds checkouts named `jsforce` (3.10.18) and `django-salesforce` (6.0); either may be left out. Nothing
of them is part of this project: they are copied below `.conformance/`, which Git ignores, and run there.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.server import OrgServer

from tests.client_suites import django_salesforce, jsforce
from tests.client_suites.objects import add_objects
from tests.client_suites.suite import Report, RunningSuite

# No generated deals: the suites take what they find within minutes of now for their own.
COUNTS = {"User": 5, "Account": 60, "Contact": 50, "Opportunity": 0, "Lead": 10, "Task": 10, "Event": 5, "Case": 5}
SUITES: dict[str, Callable[[RunningSuite], Report]] = {
    "jsforce": jsforce.run,
    "django-salesforce": django_salesforce.run,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make client-suites SOURCES=folder", description=__doc__)
    parser.add_argument("--sources", type=Path, required=True)
    sources: Path = parser.parse_args(arguments).sources.resolve()
    given = {name: run for name, run in SUITES.items() if (sources / name).is_dir()}
    if not given:
        print(f"{sources} holds none of the folders {', '.join(SUITES)}.", file=sys.stderr)
        return 2
    reports = [_report(sources / name, run) for name, run in given.items()]
    return 1 if any(report.unexplained for report in reports) else 0


def _report(source: Path, run: Callable[[RunningSuite], Report]) -> Report:
    print(f"==> The tests of {source.name}", flush=True)
    port = _free_port()
    # Identity URLs lead to login.salesforce.com otherwise, which these clients would call.
    config = OrgConfig(counts={**COUNTS, "Invoice__c": 5}, identity_url=f"https://127.0.0.1:{port}")
    with LocalOrg(config) as org:
        org.generate()
        add_objects(org)
        with OrgServer(org, port=port, tls=True) as server:
            report = run(RunningSuite(source, server))
    print(report.text(), flush=True)
    return report


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
