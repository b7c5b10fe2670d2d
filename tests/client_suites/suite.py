"""What the suites have in common: where they run, and how their failures are told apart."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests
from salesforce_localorg.server import OrgServer

from tests.conformance.environments import FOLDER

MOST_SECONDS = 1200
SECONDS = 30


@dataclass(frozen=True)
class Report:
    """Names of tests by outcome; `explained` maps patterns of names to why their failure is no fault of the org's."""

    client: str
    passed: Sequence[str]
    failed: Sequence[str]
    skipped: Sequence[str] = ()
    explained: Mapping[str, str] = field(default_factory=dict)

    @property
    def unexplained(self) -> list[str]:
        """The failures that nobody has explained."""
        return [name for name in self.failed if self._reason(name) is None]

    def text(self) -> str:
        """The figures, then each failure with its reason."""
        lines = [f"{self.client}: {len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"]
        reasons: dict[str, list[str]] = {}
        for name in self.failed:
            reasons.setdefault(self._reason(name) or "UNEXPLAINED", []).append(name)
        for reason, names in reasons.items():
            lines += [f"  {len(names)} failed: {reason}", *(f"    {name}" for name in names)]
        return "\n".join(lines)

    def _reason(self, name: str) -> str | None:
        return next((why for pattern, why in self.explained.items() if re.search(pattern, name)), None)


@dataclass(frozen=True)
class RunningSuite:
    """A checkout of a client, and the org that its tests run against."""

    source: Path
    server: OrgServer

    @property
    def folder(self) -> Path:
        """Where the suite runs."""
        return FOLDER / f"suite-{self.source.name}"

    @property
    def authority(self) -> str:
        return str(self.server.ca_file)

    def copy(self, *, without: Sequence[str] = ()) -> None:
        """Put a fresh copy of the checkout below the folder, keeping what is installed there."""
        shutil.copytree(
            self.source, self.folder / "source", ignore=shutil.ignore_patterns(".git", *without), dirs_exist_ok=True
        )

    def token(self) -> str:
        """An access token of the org."""
        credentials = self.server.credentials
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.consumer_key,
            "client_secret": credentials.consumer_secret,
        }
        url = f"{credentials.url}/services/oauth2/token"
        answer = requests.post(url, data=form, verify=self.authority, timeout=SECONDS)
        return str(answer.json()["access_token"])

    def run(self, command: Sequence[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever it ends with."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        return subprocess.run(
            command,
            cwd=cwd,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )

    def prepare(self, command: Sequence[str], cwd: Path, **environment: str) -> None:
        """Run a command that installs or builds, in this process's environment. Raises RuntimeError with what it said."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
