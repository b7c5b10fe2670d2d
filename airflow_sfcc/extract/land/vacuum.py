"""Removing what nobody reads: leftovers of runs that died, and extracts that a newer full one has superseded.

What is removed is named by where it lies below the destination, never by what a file says of itself; names that no extract
bears are left alone.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow_sfcc.errors import ExtractError, OptionError
from airflow_sfcc.extract.incremental.state import latest_state, require_one_source
from airflow_sfcc.extract.land import describe_file
from airflow_sfcc.extract.land.commit import finish
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.land.staging import STAGING, Landing
from airflow_sfcc.extract.manifests import MANIFEST, extract_id_of, newest_name, version_of
from airflow_sfcc.extract.storage import StoragePath, end_uploads, is_local, listed, storage_path, written_at

log = logging.getLogger(__name__)

DEFAULT_AGE = timedelta(days=2)
"""Leftovers younger than this may belong to a run that is still going on, or that Airflow is about to retry."""


@dataclass(frozen=True)
class Leftover:
    """A folder or a file to remove, why, and what it holds."""

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
    with commit_lock(root, f"vacuum-{uuid.uuid4().hex}"):
        abandoned = _abandoned(root, oldest)
        found = [
            *(leftover for landing in abandoned for leftover in _leftovers(landing)),
            *(_superseded(root, kept) if kept else ()),
        ]
        found += _unnamed_describes(root, oldest, {leftover.path for leftover in found})
        if not dry_run:
            for leftover in found:
                # The manifest goes first, so that nobody takes what is left of the folder for an extract.
                with suppress(FileNotFoundError, NotADirectoryError):
                    root.fs.rm_file(f"{leftover.path}/{MANIFEST}")
                with suppress(FileNotFoundError):
                    root.fs.rm(leftover.path, recursive=True)
            for landing in abandoned:
                end_uploads(landing.staging, lambda name: True)
                finish(landing)
                if is_local(root):
                    for folder in (landing.staging, landing.staging.parent):
                        with suppress(OSError):
                            Path(folder.path).rmdir()
    return found


def _abandoned(root: StoragePath, oldest: datetime) -> list[Landing]:
    """The extracts where nothing at all was written of late: a run that is about to commit has just staged its pages, and
    must find them, and what it has copied, as it left them."""
    ids = sorted({*_ids(root / STAGING), *_ids(root)})
    landings = [Landing(root, extract_id) for extract_id in ids]
    return [
        landing
        for landing in landings
        if all(_is_untouched(root, folder, oldest) for folder in (landing.staging.path, landing.folder.path))
    ]


def _ids(folder: StoragePath) -> Iterator[str]:
    """The extracts that have a folder there."""
    for name, entry in listed(folder).items():
        if not name.startswith("extract="):
            continue
        extract_id = extract_id_of(name)
        if extract_id is None or entry["type"] != "directory" or entry.get("islink"):
            log.warning("%s/%s is no extract's folder by its name or kind, so it is left alone", folder, name)
        else:
            yield extract_id


def _is_untouched(root: StoragePath, folder: str, oldest: datetime) -> bool:
    """Whether nothing was written there since `oldest`; an empty folder was, when it was made: by a run that has just begun."""
    try:
        entries = _files(root, folder) or [root.fs.info(folder)]
    except FileNotFoundError:
        return True
    return all(written_at(entry) < oldest for entry in entries)


def _leftovers(landing: Landing) -> Iterator[Leftover]:
    """What attempts that died left of one extract: staged files, a folder without a manifest, files that no manifest lists."""
    root = landing.destination
    reason = "a run that did not commit left it"
    if listed(landing.staging):
        yield _leftover(landing.staging.path, reason, _files(root, landing.staging.path))
    names = listed(landing.folder)
    if not names:
        return
    if newest_name(names) is None:
        yield _leftover(landing.folder.path, reason, _files(root, landing.folder.path))
        return
    for name in _unlisted(landing, names):
        yield _leftover(f"{landing.folder.path}/{name}", f"{reason}, and no manifest lists it", [names[name]])


def _unlisted(landing: Landing, names: Mapping[str, Any]) -> Iterable[str]:
    manifest = landing.committed() or {}
    listed_files = {file["path"] for key in ("files", "deleted_files") for file in manifest.get(key, ())}
    for name in names:
        is_part = name.startswith(("part-", "deleted-")) and name not in listed_files
        is_old_manifest = name != MANIFEST and (version_of(name) or 10**9) < manifest.get("version", 1)
        if is_part or is_old_manifest or name.endswith(".writing"):
            yield name


def _superseded(root: StoragePath, keep: int) -> Iterator[Leftover]:
    """The extracts read before the newest `keep` full ones, as far as nothing goes on from them."""
    state = latest_state(root)
    full = [manifest for manifest in state.manifests if manifest["mode"] == "full"]
    if len(full) < keep or (state.snapshot is None and len(full) < len(state.manifests)):
        return
    oldest_kept = min((full[-keep], *state.relevant[:1]), key=state.manifests.index) if state.snapshot else full[-keep]
    for manifest in state.manifests[: state.manifests.index(oldest_kept)]:
        # Reading it has made sure that the manifest lies in the folder of its own id.
        folder = (root / f"extract={manifest['extract_id']}").path
        reason = f"superseded by the full extract {oldest_kept['extract_id']}"
        yield _leftover(folder, reason, _files(root, folder))


def _unnamed_describes(root: StoragePath, oldest: datetime, going: set[str]) -> list[Leftover]:
    """What describe said, where no plan that is staged and no manifest that stays names it any more.

    The plans are looked at first: one that is gone by then has its manifest.
    """
    old = {name: entry for name, entry in describe_file.describe_files(root).items() if written_at(entry) < oldest}
    named = set(_named_by_plans(root)) if old else set()
    if set(old) <= named:
        return []
    for manifest in latest_state(root).manifests:
        if (root / f"extract={manifest['extract_id']}").path not in going:
            named.add(manifest.get("describe"))
    reason = "no manifest names it"
    return [_leftover((root / name).path, reason, [old[name]]) for name in sorted(set(old) - named)]


def _named_by_plans(root: StoragePath) -> Iterator[str | None]:
    for extract_id in _ids(root / STAGING):
        landing = Landing(root, extract_id)
        for attempt in landing.attempts():
            with suppress(ExtractError):
                plan = landing.plan_of(attempt)
                yield describe_file.name_of(plan.described) if plan else None


def _files(root: StoragePath, folder: str) -> list[dict[str, Any]]:
    return [entry for entry in root.fs.find(folder, detail=True).values() if entry["type"] == "file"]


def _leftover(path: str, reason: str, files: Iterable[Mapping[str, Any]]) -> Leftover:
    sizes = [int(entry["size"] or 0) for entry in files]
    return Leftover(path, reason, len(sizes), sum(sizes))
