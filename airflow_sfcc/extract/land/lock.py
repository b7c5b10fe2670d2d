"""One commit at a time per destination, on any storage.

Each claimant writes a claim of its own, then lists all claims. Storages list what was written before (S3, GCS and Azure do,
as disks do), so of two claimants at least one sees the other, and withdraws. A claim is a lease, renewed while it is held. A
lease that was not renewed for a while, by the storage's clock, has expired, and others remove it. A worker whose lease
expired must not commit.

The lock keeps runs that were planned from the same state from committing one after the other. It is not what keeps an extract
whole: that is the commit itself (see `commit`). So attempts at the same extract do not wait for each other, and a retry not
for the claim of the worker that died before it.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from airflow_sfcc.errors import ConcurrentRunError
from airflow_sfcc.extract.storage import StoragePath, is_local, remove_if_empty, write_whole, written_at

log = logging.getLogger(__name__)

CLAIMS = "_commits"
RENEWED_EVERY = 20.0
"""Seconds."""

DEAD_AFTER = 120.0
"""Seconds without renewal after which a claim is a dead worker's."""

WAITS_FOR = 300.0
"""Seconds after which a commit gives up waiting for another."""


@contextmanager
def commit_lock(
    destination: StoragePath, owner: str, *, dead_after: float = DEAD_AFTER, waits_for: float = WAITS_FOR
) -> Iterator[Callable[[], None]]:
    """Hold the destination for a commit; `owner` is the extract id, whose other attempts are not waited for.

    Yields what is to be called right before the step that must not be taken without holding it: it raises
    ConcurrentRunError when the claim was lost. Raises the same when another extract holds the destination all the time.
    """
    claim = _Claim(destination, owner, dead_after)
    claim.take(waits_for)
    stopped = threading.Event()
    renewing = threading.Thread(target=claim.keep, args=(stopped,), name="commit-lock", daemon=True)
    renewing.start()
    try:
        yield claim.require
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
        self._renewed = time.monotonic()
        self._lost = False

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
                if self._is_lost():
                    return
                self._write()

    def require(self) -> None:
        if self._is_lost():
            raise ConcurrentRunError(
                f"This worker was cut off from the destination for some {self._dead_after:,.0f} s while it committed, and "
                "another run may have taken its turn, so nothing was committed. Run this task again."
            )

    def _is_lost(self) -> bool:
        """Whether others may have taken the claim for a dead worker's; once it is so, it stays so."""
        self._fs.invalidate_cache(self._folder.path)
        cut_off = time.monotonic() - self._renewed > self._dead_after
        self._lost = self._lost or cut_off or not self._fs.exists(self._path.path)
        return self._lost

    def release(self) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path.path)
        if is_local(self._folder):
            remove_if_empty(self._folder)

    def _write(self) -> None:
        content = json.dumps({"owner": self._owner}).encode()
        begun = time.monotonic()
        if not is_local(self._folder):
            write_whole(self._path, content)
            self._renewed = begun
            return
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another claimant found the folder empty and removed it
                write_whole(self._path, content)
                self._renewed = begun
                return

    def _other_holder(self) -> str | None:
        claims = self._claims()
        mine = claims.pop(self._path.name, None)
        for name, entry in claims.items():
            if not name.endswith(".json"):
                continue
            owner = name.split(".", 1)[0]
            if mine is None:
                return owner
            if (written_at(mine) - written_at(entry)).total_seconds() < self._dead_after:
                if owner == self._owner:
                    continue
                return owner
            log.warning("Removing the claim of extract %s, whose worker died while it committed", owner)
            with suppress(FileNotFoundError):
                self._fs.rm_file(entry["name"])
        return None if mine else self._owner

    def _claims(self) -> dict[str, dict[str, Any]]:
        """All claims by name; none at all if one went while they were listed, since nobody knows then what else did."""
        self._fs.invalidate_cache(self._folder.path)
        try:
            entries = self._fs.ls(self._folder.path, detail=True)
        except FileNotFoundError:
            return {}
        return {str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]: entry for entry in entries}
