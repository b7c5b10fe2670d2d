"""The commit: a version of an extract is published by one step that only one attempt can take.

The step is to write the manifest of the next version where there is none yet. A first version on a disk is a folder that
gets its name complete, by a rename that fails where there is one. Every later version, and every version in an object store,
has part files of its own names, then `_manifest-00002.json` (`_manifest.json` for the first) put only if it is absent.
Whoever is late finds the version taken, or a newer one, and removes nothing but its own files. What is superseded is removed
afterwards, by the attempt that superseded it. docs/file-formats.md tells what readers see meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from airflow_sfcc.extract.land.staging import Landing, attempt_in
from airflow_sfcc.extract.manifests import MANIFEST, Manifest, version_name, version_of
from airflow_sfcc.extract.storage import (
    StoragePath,
    exists,
    flush_folder,
    give_name,
    is_local,
    listed,
    put_if_absent,
    remove,
    write_whole,
)

log = logging.getLogger(__name__)

_READY = "_commit"
_TIMES = 20


def publish(
    landing: Landing,
    manifest: Manifest,
    files: Mapping[str, str],
    before: Manifest | None,
    require: Callable[[], None] = lambda: None,
) -> Manifest | None:
    """Publish files with their manifest as the version after `before`, which this extract committed last (None: nothing).

    `files` says which staged file becomes which file of the extract. Returns the manifest as it was written, or None when an
    earlier attempt has just committed that version: then the next one is to be made. `require` is called right before
    readers see the extract, and raises when they must not. Raises ConcurrentRunError when a newer attempt is under way.
    """
    landing.require_newest(before)
    version = before["version"] + 1 if before else 1
    manifest = {**manifest, "version": version, "attempt": landing.attempt}
    if version == 1 and is_local(landing.folder) and not exists(landing.folder):
        return _publish_folder(landing, manifest, files, require)
    return _publish_version(landing, manifest, files, require)


def _publish_folder(
    landing: Landing, manifest: Manifest, files: Mapping[str, str], require: Callable[[], None]
) -> Manifest | None:
    ready = landing.staging / landing.attempt / _READY
    remove(ready)
    ready.mkdir(parents=True)
    for name, staged in files.items():
        give_name(landing.open_staged(staged), ready / name)
    write_whole(ready / MANIFEST, _encoded(manifest))
    require()
    landing.require_newest()
    try:
        Path(ready.path).rename(landing.folder.path)
    except OSError:
        if not exists(landing.folder):
            raise
        return None
    flush_folder(landing.destination)
    return manifest


def _publish_version(
    landing: Landing, manifest: Manifest, files: Mapping[str, str], require: Callable[[], None]
) -> Manifest | None:
    names = {name: _name_of_attempt(name, landing.attempt) for name in files}
    for key in ("files", "deleted_files"):
        manifest[key] = [{**file, "path": names[file["path"]]} for file in manifest[key]]
    own = [landing.folder / name for name in names.values()]
    path = landing.folder / version_name(manifest["version"])
    try:
        if is_local(landing.folder):
            landing.folder.mkdir(parents=True, exist_ok=True)
        for name, target in zip(files, own):
            give_name(landing.open_staged(files[name]), target)
        flush_folder(landing.folder)
        require()
        landing.require_newest()
        is_first = put_if_absent(path, _encoded(manifest))
    except BaseException:
        _remove_all(own)
        raise
    newest = landing.committed()
    if is_first and newest and newest["version"] == manifest["version"]:
        return manifest
    _remove_all(own)
    if is_first and newest and newest["version"] > manifest["version"]:
        # The version was free only because a newer one has superseded it since this attempt looked.
        remove(path)
    landing.require_newest(newest)
    return None


def finish(landing: Landing) -> None:
    """Have `_manifest.json` be the newest version, and remove what that one has superseded.

    May be done again, and by several at once: what is removed is settled by the newest version alone.
    """
    newest = _refresh(landing)
    if newest is None:
        return
    kept = {file["path"] for key in ("files", "deleted_files") for file in newest.get(key, ())}
    attempt = str(newest.get("attempt", ""))
    for name in listed(landing.folder):
        version = version_of(name)
        is_old_version = name != MANIFEST and version is not None and version < newest["version"]
        is_old_part = name.startswith(("part-", "deleted-")) and name not in kept and attempt_in(name) <= attempt
        if is_old_version or is_old_part:
            remove(landing.folder / name)


def _refresh(landing: Landing) -> Manifest | None:
    """A writer that pauses here may wake after the next version was committed, so it looks again after it has written."""
    written = 1
    for _ in range(_TIMES):
        newest = landing.committed()
        if newest is None or newest["version"] == written:
            return newest
        with suppress(FileNotFoundError):
            written = newest["version"]
            content = landing.folder.fs.cat_file((landing.folder / version_name(written)).path)
            write_whole(landing.folder / MANIFEST, content)
    return newest


def _name_of_attempt(name: str, attempt: str) -> str:
    """`part-00000-<attempt>.parquet` for `part-00000.parquet`."""
    stem, _, extension = name.partition(".")
    return f"{stem}-{attempt}.{extension}"


def _encoded(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _remove_all(paths: list[StoragePath]) -> None:
    for path in paths:
        with suppress(OSError):
            remove(path)
