"""Removing what nobody reads: leftovers of runs that died, and extracts that a newer full one has superseded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_sfcc.errors import OptionError
from airflow_sfcc.extract.incremental.state import latest_state, require_one_source
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.land.manifests import storage_path
from airflow_sfcc.extract.land.staging import MANIFEST, STAGING, Landing, StoragePath, written_at

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
    keep: int | None = None,
    older_than: timedelta = DEFAULT_AGE,
    dry_run: bool = False,
    now: datetime | None = None,
) -> list[Leftover]:
    """Remove leftovers below a destination, and with `superseded` the extracts read before the newest full one.

    With `keep`, the extracts read before the newest `keep` full ones go; `superseded` is `keep=1`. A leftover goes when nothing
    of its extract was written within `older_than`. Committed extracts that count for the current table or for the state of
    the next extract never go. Returns what was removed, or would be with `dry_run`. Raises StateError for a destination
    with extracts of several objects or orgs, and OptionError for a `keep` that would keep nothing.
    """
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
        raise OptionError(f"keep must be a whole number greater than 0, not {keep!r}.")
    root = storage_path(destination)
    root.fs.invalidate_cache()
    require_one_source(root, latest_state(root).manifests)
    kept = min(filter(None, (keep, 1 if superseded else None)), default=None)
    oldest = (now or datetime.now(timezone.utc)) - older_than
    with commit_lock(root, "vacuum"):
        abandoned = _abandoned(root, oldest)
        if not dry_run:
            for landing in abandoned:
                landing.put_back()
        found = [*_uncommitted(root, abandoned), *(_superseded(root, kept) if kept else ())]
        if not dry_run:
            for leftover in found:
                # The manifest goes first, so that nobody takes what is left of the folder for an extract.
                with suppress(FileNotFoundError):
                    root.fs.rm_file(f"{leftover.path}/{MANIFEST}")
                with suppress(FileNotFoundError):
                    root.fs.rm(leftover.path, recursive=True)
    return found


def _uncommitted(root: StoragePath, abandoned: Iterable[Landing]) -> Iterator[Leftover]:
    """What runs that died left. A folder whose commit is half done is none: what was set aside is to be put back there."""
    for landing in abandoned:
        for folder in [landing.staging.path] if landing.is_half_committed() else _both(landing):
            if root.fs.isdir(folder) and not root.fs.exists(f"{folder}/{MANIFEST}"):
                yield _leftover(folder, "a run that did not commit left it", _files(root, folder))


def _abandoned(root: StoragePath, oldest: datetime) -> list[Landing]:
    """The extracts where nothing at all was written of late: a run that is about to commit has just staged its pages, and
    must find them, and what it has copied, as it left them."""
    folders = [*_folders(root, STAGING), *_folders(root, "")]
    names = sorted({folder.rsplit("/", 1)[-1] for folder in folders})
    found = [Landing(root, name.removeprefix("extract=")) for name in names if name.startswith("extract=")]
    return [landing for landing in found if all(_is_untouched(root, folder, oldest) for folder in _both(landing))]


def _both(landing: Landing) -> list[str]:
    return [landing.staging.path, landing.folder.path]


def _is_untouched(root: StoragePath, folder: str, oldest: datetime) -> bool:
    """Whether nothing was written there since `oldest`; an empty folder was, when it was made: by a run that has just begun."""
    try:
        entries = _files(root, folder) or [root.fs.info(folder)]
    except FileNotFoundError:
        return True
    return all(written_at(entry) < oldest for entry in entries)


def _superseded(root: StoragePath, keep: int) -> Iterator[Leftover]:
    """The extracts read before the newest `keep` full ones, as far as nothing goes on from them."""
    state = latest_state(root)
    full = [manifest for manifest in state.manifests if manifest["mode"] == "full"]
    if len(full) < keep or (state.snapshot is None and len(full) < len(state.manifests)):
        return
    oldest_kept = min((full[-keep], *state.relevant[:1]), key=state.manifests.index) if state.snapshot else full[-keep]
    for manifest in state.manifests[: state.manifests.index(oldest_kept)]:
        folder = f"{root.path.rstrip('/')}/extract={manifest['extract_id']}"
        reason = f"superseded by the full extract {oldest_kept['extract_id']}"
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
