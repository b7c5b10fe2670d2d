"""Removing what nobody reads: leftovers of runs that died, and extracts that a newer full one has superseded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_sfcc.extract.commit_lock import commit_lock
from airflow_sfcc.extract.landing import MANIFEST, STAGING, Landing, StoragePath, written_at
from airflow_sfcc.extract.manifests import storage_path
from airflow_sfcc.extract.state import latest_state

DEFAULT_AGE = timedelta(days=2)
"""Leftovers younger than this may belong to a run that is still going on, or that Airflow is about to retry."""


@dataclass(frozen=True)
class Leftover:
    """A folder to remove, why, and what it holds."""

    path: str
    reason: str
    files: int
    bytes: int


def vacuum(
    destination: StoragePath | str,
    *,
    superseded: bool = False,
    older_than: timedelta = DEFAULT_AGE,
    dry_run: bool = False,
    now: datetime | None = None,
) -> list[Leftover]:
    """Remove leftovers below a destination, and with `superseded` the extracts read before the newest full one.

    A leftover goes when nothing of its extract was written within `older_than`. Committed extracts that count for the current
    table or for the state of the next extract never go. Returns what was removed, or would be with `dry_run`.
    """
    root = storage_path(destination)
    root.fs.invalidate_cache()
    oldest = (now or datetime.now(timezone.utc)) - older_than
    with commit_lock(root, "vacuum"):
        found = [*_uncommitted(root, oldest), *(_superseded(root) if superseded else ())]
        if not dry_run:
            for leftover in found:
                # The manifest goes first, so that nobody takes what is left of the folder for an extract.
                with suppress(FileNotFoundError):
                    root.fs.rm_file(f"{leftover.path}/{MANIFEST}")
                with suppress(FileNotFoundError):
                    root.fs.rm(leftover.path, recursive=True)
    return found


def _uncommitted(root: StoragePath, oldest: datetime) -> Iterator[Leftover]:
    """What runs that died left, of each extract where nothing at all was written of late: a run that is about to commit has
    just staged its pages, and must find them, and what it has copied, as it left them."""
    folders = [*_folders(root, STAGING), *_folders(root, "")]
    for name in sorted({folder.rsplit("/", 1)[-1] for folder in folders}):
        if not name.startswith("extract="):
            continue
        landing = Landing(root, name.removeprefix("extract="))
        both = (landing.staging.path, landing.folder.path)
        if not all(_is_untouched(root, folder, oldest) for folder in both):
            continue
        landing.put_back()
        for folder in both:
            if root.fs.isdir(folder) and not root.fs.exists(f"{folder}/{MANIFEST}"):
                yield _leftover(folder, "a run that did not commit left it", _files(root, folder))


def _is_untouched(root: StoragePath, folder: str, oldest: datetime) -> bool:
    """Whether nothing was written there since `oldest`; an empty folder was, when it was made: by a run that has just begun."""
    try:
        entries = _files(root, folder) or [root.fs.info(folder)]
    except FileNotFoundError:
        return True
    return all(written_at(entry) < oldest for entry in entries)


def _superseded(root: StoragePath) -> Iterator[Leftover]:
    state = latest_state(root)
    if state.snapshot is None:
        return
    for manifest in state.manifests[: state.manifests.index(state.snapshot)]:
        folder = f"{root.path.rstrip('/')}/extract={manifest['extract_id']}"
        reason = f"superseded by the full extract {state.snapshot['extract_id']}"
        yield _leftover(folder, reason, _files(root, folder))


def _folders(root: StoragePath, name: str) -> list[str]:
    with suppress(FileNotFoundError):
        entries = root.fs.ls(f"{root.path.rstrip('/')}/{name}".rstrip("/"), detail=True)
        return [str(each["name"]).rstrip("/") for each in entries if each["type"] == "directory"]
    return []


def _files(root: StoragePath, folder: str) -> list[dict[str, Any]]:
    return [entry for entry in root.fs.find(folder, detail=True).values() if entry["type"] == "file"]


def _leftover(folder: str, reason: str, files: list[dict[str, Any]]) -> Leftover:
    return Leftover(folder, reason, len(files), sum(int(entry["size"] or 0) for entry in files))
