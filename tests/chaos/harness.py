"""One org, workers that can be harmed, and what must hold of a destination afterwards, whatever was done to them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.server import OrgServer
from typing_extensions import Self
from upath import UPath

from airflow_sfcc.extract.manifests import newest_name, read_manifests
from airflow_sfcc.extract.storage import listed
from tests.chaos.network import Network, network_to
from tests.conftest import CONFIG, KEY, SECRET
from tests.extract.runs import read_rows
from tests.storages import CREDENTIALS, s3_options

ROWS = 900
PAGE_SECONDS = 0.02
LONGEST = 120.0


class ViolationError(Exception):
    """Something that must never happen did."""


@dataclass
class Attempt:
    """A forked attempt at the task. `ended` is None while it runs or sleeps."""

    pid: int
    ended_at: Path

    @property
    def ended(self) -> str | None:
        with suppress(FileNotFoundError):
            return self.ended_at.read_text()
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):
                return self.ended_at.read_text()
            return "killed"
        return None

    @property
    def is_stopped(self) -> bool:
        with suppress(FileNotFoundError, IndexError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, *, or_stopped: bool = False) -> str:
        deadline = time.monotonic() + LONGEST
        while (ended := self.ended) is None:
            if or_stopped and self.is_stopped:
                return "stopped"
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                raise ViolationError(f"An attempt did not end within {LONGEST:.0f} s")
            time.sleep(0.002)
        return ended


@dataclass
class Chaos:
    """What all campaigns share; use it in a `with` block."""

    folder: Path
    seed: int
    shape: str = "documented"
    s3_url: str | None = None
    broken: str | None = None
    faults: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    rounds: int = 0

    def __enter__(self) -> Self:
        self._closing = ExitStack()
        self.chance = random.Random(self.seed)
        counts = {"User": 20, "Account": 50, "Contact": ROWS}
        config = replace(CONFIG, counts=counts, result_page_rows=100, result_pages_shape=self.shape)  # type: ignore[arg-type]
        self.org = self._closing.enter_context(LocalOrg(config))
        self.org.generate()
        self.org.faults.add(Fault(route="job_results", times=None, stall_seconds=PAGE_SECONDS, stall_after=400))
        server = self._closing.enter_context(OrgServer(self.org))
        self.network: Network = self._closing.enter_context(network_to(server.url, self.seed))
        environment = dict(os.environ)
        if self.s3_url:
            options = s3_options(self.s3_url)["client_kwargs"]
            connection = {"conn_type": "aws", "login": CREDENTIALS["key"], "password": CREDENTIALS["secret"]}
            environment["AIRFLOW_CONN_LAKE"] = json.dumps({**connection, "extra": options})
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._running: list[Attempt] = []
        return self

    def __exit__(self, *_: object) -> None:
        for attempt in self._running:
            if attempt.ended is None:
                attempt.signal(signal.SIGKILL)
        assert self._worker.stdin
        self._worker.stdin.close()
        self._worker.wait(30)
        self._closing.close()

    @property
    def ids(self) -> set[str]:
        rows = self.org.records.raw().execute('SELECT "Id" FROM "Contact" WHERE NOT "IsDeleted"').fetchall()
        return {str(row[0]) for row in rows}

    def destination(self) -> tuple[UPath, str]:
        """A new one: as a path, and as a DAG names it."""
        name = f"round-{self.seed}-{self.rounds}-{os.getpid()}-{time.monotonic_ns()}"
        if self.s3_url:
            return UPath(f"s3://lake/{name}", **s3_options(self.s3_url)), f"s3://lake@lake/{name}"
        path = self.folder / name
        return UPath(path), f"file://{path}"

    def start(self, url: str, try_number: int, options: dict[str, Any] | None = None, **order: Any) -> Attempt:
        """Fork an attempt; `order` says what is to be done to it (see worker)."""
        self.attempts += 1
        ended = self.folder / f"ended-{self.attempts}-{time.monotonic_ns()}"
        connection = {"conn_type": "sfcc", "host": self.network.url, "login": KEY, "password": SECRET}
        connection["extra"] = {"max_retries": 6, "request_timeout": 20}  # type: ignore[assignment]
        defaults = {"sobject": "Contact", "fields": ["Id", "LastName"], "api": "bulk", "deferrable": False}
        line = {
            "destination": url,
            "try_number": try_number,
            "ended": str(ended),
            "connection": connection,
            "options": {**defaults, **(options or {})},
            "broken": self.broken,
            **order,
        }
        assert self._worker.stdin and self._worker.stdout
        self._worker.stdin.write(json.dumps(line) + "\n")
        self._worker.stdin.flush()
        for answer in self._worker.stdout:
            if answer.startswith("started "):
                attempt = Attempt(int(answer.split()[1]), ended)
                self._running.append(attempt)
                return attempt
        raise ViolationError("The worker's process ended")

    def run(self, url: str, try_number: int, options: dict[str, Any] | None = None, **order: Any) -> str:
        return self.start(url, try_number, options, **order).wait()

    def require_success(self, ended: str, what: str) -> None:
        if ended != "0":
            raise ViolationError(f"{what} failed: {ended[:600]}")

    def check(self, path: UPath, *, tidy: bool = True) -> None:
        """What was committed is whole, each row of the org in it once, and seen by a glob as by the manifest.

        `tidy`: the last attempt that ran has committed, so nothing else is visible.
        """
        path.fs.invalidate_cache()
        manifests = read_manifests(path)
        if len(manifests) != 1:
            raise ViolationError(f"{len(manifests)} extracts are committed instead of one")
        (manifest,) = manifests
        folder = path / f"extract={manifest['extract_id']}"
        for file in manifest["files"]:
            try:
                content = (folder / file["path"]).read_bytes()
            except FileNotFoundError:
                raise ViolationError(f"{file['path']} is listed and not there") from None
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                raise ViolationError(f"{file['path']} holds something else than its manifest says")
        found = [row["Id"] for row in read_rows(folder, manifest)]
        if len(found) != len(set(found)) or set(found) != self.ids:
            lost, doubled = len(self.ids - set(found)), len(found) - len(set(found))
            raise ViolationError(f"{lost} rows are lost, {doubled} doubled, of {len(self.ids)}")
        if tidy:
            names = listed(folder)
            parts = {name for name in names if name.startswith("part-")}
            if parts != {file["path"] for file in manifest["files"]}:
                raise ViolationError(f"A glob sees {sorted(parts)}, the manifest lists {len(manifest['files'])}")
            newest = newest_name(names)
            if (folder / "_manifest.json").read_bytes() != (folder / str(newest)).read_bytes():
                raise ViolationError("_manifest.json is not the newest version")

    def require_untouched(self, path: UPath, before: dict[str, bytes]) -> None:
        """What was committed before a failure is there as it was. A description that no manifest names yet may have come."""
        after = {
            name: content for name, content in contents(path).items() if name in before or "_describe-" not in name
        }
        if after != before:
            raise ViolationError("A failed attempt changed what was committed")


def contents(path: UPath) -> dict[str, bytes]:
    """What readers see: all that is committed, by name."""
    path.fs.invalidate_cache()
    found = path.fs.find(path.path) if path.exists() else []
    root = f"{path.path.rstrip('/')}/"
    names = [name for name in found if "/_staging/" not in name and "/_commits/" not in name]
    return {name.removeprefix(root): (path / name.removeprefix(root)).read_bytes() for name in names}
