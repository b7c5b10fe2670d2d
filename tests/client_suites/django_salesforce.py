"""django-salesforce's integration suite, with the newest Django that the package takes without a licence key."""

from __future__ import annotations

import json
import re
import shutil
import sys

from tests.client_suites.suite import Report, RunningSuite

REQUIREMENTS = ("django==5.1.*", "requests", "pytz")
SUITE = "salesforce.tests.test_integration"
SETTINGS = """
import json, os
from salesforce.testrunner.settings import *
org = json.loads(os.environ["LOCAL_ORG"])
DATABASES["salesforce"] = {
    "ENGINE": "salesforce.backend",
    "AUTH": "salesforce.auth.SalesforceClientCredentialsAuth",
    "TEST": {"DEPENDENCIES": [], "MIGRATE": False},
    **org,
}
LOGGING = {}
"""


def run(suite: RunningSuite) -> Report:
    """Install Django, run the suite."""
    suite.copy()
    source, python = suite.folder / "source", str(suite.folder / "venv" / "bin" / "python")
    record = suite.folder / ".installed"
    if not record.exists() or record.read_text() != "\n".join(REQUIREMENTS):
        _install(suite, python)
        record.write_text("\n".join(REQUIREMENTS))
    (source / "local_org_settings.py").write_text(SETTINGS)
    credentials = suite.server.credentials
    org = {
        "HOST": credentials.url,
        "CONSUMER_KEY": credentials.consumer_key,
        "CONSUMER_SECRET": credentials.consumer_secret,
        "USER": str(suite.server.org.run_as),
        "PASSWORD": "",
    }
    done = suite.run(
        [python, "-m", "django", "test", "--noinput", "-v", "2", SUITE],
        source,
        LOCAL_ORG=json.dumps(org),
        DJANGO_SETTINGS_MODULE="local_org_settings",
        PYTHONPATH=str(source),
        REQUESTS_CA_BUNDLE=suite.authority,
    )
    report = _report(done.stdout + done.stderr)
    if not report.passed:
        raise RuntimeError(f"The suite did not run:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return report


def _install(suite: RunningSuite, python: str) -> None:
    folder = suite.folder / "venv"
    if shutil.which("uv"):
        suite.prepare(["uv", "venv", "-q", "--clear", "--python", sys.executable, str(folder)], suite.folder)
        suite.prepare(["uv", "pip", "install", "-q", "--python", python, *REQUIREMENTS], suite.folder)
    else:
        suite.prepare([sys.executable, "-m", "venv", "--clear", str(folder)], suite.folder)
        suite.prepare([python, "-m", "pip", "install", "-q", *REQUIREMENTS], suite.folder)


def _report(text: str) -> Report:
    """The outcomes that unittest prints with `-v 2`, a docstring between a test's name and its outcome or not."""
    outcomes: dict[str, list[str]] = {"ok": [], "FAIL": [], "ERROR": [], "skipped": []}
    tests = re.findall(r"^(test_\w+) \(([\w.]+)\)(?:\n[^\n]*)? \.\.\. (ok|FAIL|ERROR|skipped)", text, re.M)
    for name, _, outcome in tests:
        outcomes[outcome].append(name)
    return Report("django-salesforce", outcomes["ok"], outcomes["FAIL"] + outcomes["ERROR"], outcomes["skipped"])
