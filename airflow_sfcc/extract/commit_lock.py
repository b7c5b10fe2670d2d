"""One commit at a time per destination, on any storage.

Every claimant writes a claim of its own and then looks whether there are others: since all storages list what was
written before (S3, GCS and Azure do, as disks do), of two claimants at least one sees the other, and who sees another
steps back. A claim is renewed while it is held; one that was not renewed for a while is a dead worker's, and is
removed. What the lock guards is moreover safe without it: a commit replaces nothing but its own extract's folder.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from airflow_sfcc.extract.landing import StoragePath, is_local
from airflow_sfcc.extract.state import ConcurrentRunError

log = logging.getLogger(__name__)

CLAIMS = "_commits"
RENEWED_EVERY = 20.0
"""Seconds."""

DEAD_AFTER = 120.0
"""Seconds without renewal after which a claim is a dead worker's; workers' clocks may differ by nearly as much."""

WAITS_FOR = 300.0
"""Seconds after which a commit gives up waiting for another."""


@contextmanager
def commit_lock(
    destination: StoragePath, owner: str, *, dead_after: float = DEAD_AFTER, waits_for: float = WAITS_FOR
) -> Iterator[None]:
    """Hold the destination for a commit; `owner` is the extract id.

    Raises ConcurrentRunError when another extract holds it all the time.
    """
    claim = _Claim(destination, owner, dead_after)
    claim.take(waits_for)
    stopped = threading.Event()
    renewing = threading.Thread(target=claim.keep, args=(stopped,), name="commit-lock", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        stopped.set()
        renewing.join()
        claim.release()


class _Claim:
    def __init__(self, destination: StoragePath, owner: str, dead_after: float) -> None:
        self._folder = destination / CLAIMS
        self._fs: Any = destination.fs
        self._path = self._folder / f"{owner}.{uuid.uuid4().hex}.json"
        self._owner = owner
        self._dead_after = dead_after

    def take(self, waits_for: float) -> None:
        deadline = time.monotonic() + waits_for
        while True:
            self._write()
            holder = self._other_holder()
            if holder is None:
                return
            self.release()
            if time.monotonic() > deadline:
                raise ConcurrentRunError(
                    f"Another run ({holder}) has been committing to this destination for {waits_for:,.0f} s, so nothing was "
                    "committed. Run this task again when that one has ended."
                )
            time.sleep(random.uniform(0.05, 1.0))  # noqa: S311  so that two that stepped back do not meet again

    def keep(self, stopped: threading.Event) -> None:
        while not stopped.wait(RENEWED_EVERY):
            with suppress(Exception):
                self._write()

    def release(self) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path.path)
        if is_local(self._folder):
            with suppress(OSError):
                self._folder.rmdir()  # unless others are in it

    def _write(self) -> None:
        content = json.dumps({"owner": self._owner, "renewed_at": time.time()}).encode()
        if not is_local(self._folder):
            self._fs.pipe_file(self._path.path, content)
            return
        written = self._path.with_suffix(".writing")
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another claimant found the folder empty and removed it
                self._fs.pipe_file(written.path, content)
                self._fs.mv(written.path, self._path.path)
                return

    def _other_holder(self) -> str | None:
        self._fs.invalidate_cache(self._folder.path)
        for path in self._fs.ls(self._folder.path, detail=False):
            name = str(path).rstrip("/").rsplit("/", 1)[-1]
            if name == self._path.name or not name.endswith(".json"):
                continue
            try:
                claim = json.loads(self._fs.cat_file(path))
            except FileNotFoundError:
                continue
            if time.time() - float(claim["renewed_at"]) < self._dead_after:
                return str(claim["owner"])
            log.warning("Removing the claim of extract %s, whose worker died while it committed", claim["owner"])
            with suppress(FileNotFoundError):
                self._fs.rm_file(path)
        return None
