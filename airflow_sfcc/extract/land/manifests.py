"""Reading what a destination's committed manifests say.

There can be thousands of them, so what was read once is kept in one file beside them, which knows the version of each
manifest that it was read from. The file is no state: whatever it lacks, or knows another version of, is read from the
manifest itself, and without it all are.
"""

from __future__ import annotations

import gzip
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.land.staging import MANIFEST, StoragePath, is_local, write_whole

Manifest = dict[str, Any]

INDEX = "_manifests.json.gz"

READ_ANEW = 32
"""Manifests that an index may lack before it is written anew."""

_LONG = ("soql", "files", "deleted_files")
_FORMAT = 1


def read_manifests(destination: StoragePath | str) -> list[Manifest]:
    """The manifests of all committed extracts below `destination`, in the order in which they were read from the org.

    Each has one more key, `path`: the extract's folder, as the operator returns it. Raises StateError for a file that is
    no manifest.
    """
    root = storage_path(destination)
    return _in_order(_read(root, _versions(root)).values())


def read_short_manifests(destination: StoragePath | str) -> list[Manifest]:
    """The same without the keys soql, files and deleted_files, and without reading each manifest every time."""
    root = storage_path(destination)
    versions = _versions(root)
    known = _read_index(root) if len(versions) > READ_ANEW else {}
    current = {folder: entry for folder, entry in known.items() if versions.get(folder) == entry["version"]}
    found = {folder: _with_path(root, folder, entry["manifest"]) for folder, entry in current.items()}
    missing = {folder: version for folder, version in versions.items() if folder not in current}
    found |= {folder: _short(manifest) for folder, manifest in _read(root, missing).items()}
    if len(missing) > READ_ANEW or len(known) > len(found) + READ_ANEW:
        with suppress(OSError):  # whoever may only read does without
            _write_index(root, {folder: (versions[folder], manifest) for folder, manifest in found.items()})
    return _in_order(found.values())


def file_format_of(destination: StoragePath, extract_id: str) -> str | None:
    """The format of a committed extract's files: parquet, csv or jsonl; None where it has none, or is gone by now."""
    folder = f"extract={extract_id}"
    for manifest in _read(destination, [folder]).values():
        for file in manifest.get("files") or ():
            _, _, extension = str(file["path"]).rsplit("/", 1)[-1].partition(".")
            return extension.partition(".")[0] or None
    return None


def storage_path(destination: StoragePath | str) -> StoragePath:
    """`destination` as a path: text becomes a universal-pathlib path."""
    if not isinstance(destination, str):
        return destination
    from upath import UPath

    path: StoragePath = UPath(destination)
    return path


def _in_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda each: (str(each.get("read_at") or each["started_at"]), each["extract_id"]))


def _versions(root: StoragePath) -> dict[str, str]:
    """The folders with a manifest, and which version of it is there."""
    root.fs.invalidate_cache()  # other processes write here too
    return dict(_versions_on_disk(root) if is_local(root) else _versions_in_store(root))


def _versions_on_disk(root: StoragePath) -> Iterator[tuple[str, str]]:
    with suppress(FileNotFoundError), os.scandir(root.path) as entries:
        for entry in entries:
            if entry.name.startswith("extract="):
                with suppress(FileNotFoundError, NotADirectoryError):
                    status = (Path(entry.path) / MANIFEST).stat()
                    yield entry.name, f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"


def _versions_in_store(root: StoragePath) -> Iterator[tuple[str, str]]:
    """By one listing without folders, which stores give in pages of a thousand; a listing of each folder takes ages."""
    prefix = f"{root.path.rstrip('/')}/"
    with suppress(FileNotFoundError):
        for path, entry in root.fs.find(root.path, detail=True).items():
            folder, _, name = path.removeprefix(prefix).rpartition("/")
            if name == MANIFEST and folder.startswith("extract=") and "/" not in folder:
                yield folder, _version(entry)


def _version(entry: Mapping[str, Any]) -> str:
    """What changes when an object is written anew; stores call it by different names. Never the same where there is none."""
    named = [str(entry[key]) for key in ("ETag", "etag", "generation", "md5Hash", "mtime", "created") if key in entry]
    return ".".join(named) or uuid.uuid4().hex


def _read(root: StoragePath, folders: Iterable[str]) -> dict[str, Manifest]:
    paths = [f"{root.path.rstrip('/')}/{folder}/{MANIFEST}" for folder in folders]
    contents = root.fs.cat(paths, on_error="return") if paths else {}
    found = {path.rsplit("/", 2)[-2]: (path, data) for path, data in contents.items()}
    return {
        folder: _with_path(root, folder, _parsed(path, data))
        for folder, (path, data) in found.items()
        if not isinstance(data, FileNotFoundError)  # replaced between listing and reading
    }


def _with_path(root: StoragePath, folder: str, manifest: Manifest) -> Manifest:
    return {**manifest, "path": str(root / folder)}


def _parsed(path: str, data: Any) -> Manifest:
    if isinstance(data, Exception):
        raise data
    try:
        manifest = json.loads(data)
        manifest["extract_id"], manifest["started_at"]
    except (ValueError, TypeError, KeyError):
        raise StateError(
            f"{path} is not a manifest of this package. Move it away, with its folder, or use another destination."
        ) from None
    found: Manifest = manifest
    return found


def _short(manifest: Manifest) -> Manifest:
    return {key: value for key, value in manifest.items() if key not in _LONG}


def _read_index(root: StoragePath) -> dict[str, Any]:
    """What is known of each folder: `version` and `manifest`. Nothing, when the file is missing or of no use."""
    try:
        index = json.loads(gzip.decompress(root.fs.cat_file((root / INDEX).path)))
        schemas, entries = index["schemas"], index["entries"] if index["format"] == _FORMAT else {}
        return {
            folder: {**entry, "manifest": {**entry["manifest"], "schema": schemas[entry["schema"]]}}
            for folder, entry in entries.items()
        }
    except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def _write_index(root: StoragePath, found: Mapping[str, tuple[str, Manifest]]) -> None:
    """Each schema is written once: a destination has few of them."""
    schemas: dict[str, int] = {}
    entries = {}
    for folder, (version, manifest) in found.items():
        schema = schemas.setdefault(json.dumps(manifest["schema"]), len(schemas))
        short = {key: value for key, value in manifest.items() if key not in ("schema", "path")}
        entries[folder] = {"version": version, "schema": schema, "manifest": short}
    index = {"format": _FORMAT, "schemas": [json.loads(text) for text in schemas], "entries": entries}
    content = gzip.compress(json.dumps(index).encode(), 6)
    write_whole(root / INDEX, content)
