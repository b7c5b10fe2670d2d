"""Reading what a destination's committed manifests say.

    extract=<id>/_manifest.json             the newest version of the extract, for people and for other programs
    extract=<id>/_manifest-00002.json       the versions after the first, by number: the highest one is what counts

A manifest is data: it is checked when it is read, and bounded. There can be thousands of them, so what was read once is kept
in one file beside them, which knows the version of each manifest that it was read from. The file is no state: whatever it
lacks, or knows another version of, is read from the manifest itself, and without it all are.
"""

from __future__ import annotations

import json
import logging
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.described import DescribeName
from airflow_sfcc.extract.model import ColumnType, Count, Kind, Mode, PlainId, Timestamp, Window
from airflow_sfcc.extract.storage import StoragePath, is_local, listed, storage_path, write_whole

log = logging.getLogger(__name__)

T = TypeVar("T")
Manifest = dict[str, Any]

MANIFEST = "_manifest.json"
INDEX = "_manifests.json.gz"

READ_ANEW = 32
"""Manifests that an index may lack before it is written anew."""

MOST_BYTES = 64 * 1024 * 1024
"""Of a manifest; one of 100,000 files has 20 MB."""

_MOST_INDEX_BYTES = 1024 * 1024 * 1024
_LONG = ("soql", "files", "deleted_files")
_FORMAT = 2
_READ_AGAIN = 10
"""Times that an extract is looked up again which was committed anew between listing and reading."""

_VERSION = re.compile(r"_manifest-(\d{5,9})\.json")
_FOLDER = re.compile(r"extract=([A-Za-z0-9][A-Za-z0-9-]{0,99})")

FileName = Annotated[str, msgspec.Meta(pattern=r"\A(part|deleted)-[A-Za-z0-9-]+(\.[a-z0-9]+)+\Z", max_length=200)]


class _File(msgspec.Struct):
    path: FileName
    rows: Count
    bytes: Count
    sha256: str


class _Column(msgspec.Struct):
    name: str
    salesforce_type: str
    type: ColumnType
    nullable: bool = True


class _Short(msgspec.Struct):
    """What every reader relies on. Keys that are not here are not checked."""

    extract_id: PlainId
    sobject: str
    mode: Mode
    started_at: Timestamp
    schema: list[_Column]
    run_id: str
    rows: Count
    org_id: str | None = None
    where: str | None = None
    cursor_field: str | None = None
    window: Window | None = None
    watermark: Timestamp | None = None
    read_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    deletes: Window | None = None
    job_id: str | None = None
    describe: DescribeName | None = None
    deleted_rows: Count | None = None
    kind: Kind = "extract"
    include_deleted: bool = False
    stale_fields: list[str] = []
    dropped_columns: list[str] = []
    version: Annotated[int, msgspec.Meta(ge=1, lt=10**9)] = 1
    attempt: str = ""


class _Whole(_Short, kw_only=True):
    files: list[_File]
    deleted_files: list[_File] = []


class _Entry(NamedTuple):
    """The newest manifest of an extract: its name, and what changes when it is written anew."""

    name: str
    version: str
    bytes: int


def extract_id_of(folder: str) -> str | None:
    """The id in a folder's name; None where the folder is no extract's."""
    found = _FOLDER.fullmatch(folder)
    return found[1] if found else None


def version_name(version: int) -> str:
    """What a version's manifest is called when it is committed."""
    return MANIFEST if version == 1 else f"_manifest-{version:05d}.json"


def version_of(name: str) -> int | None:
    """The version in a manifest's name, 1 for `_manifest.json`; None for other files."""
    found = _VERSION.fullmatch(name)
    return int(found[1]) if found else 1 if name == MANIFEST else None


def newest_name(names: Iterable[str]) -> str | None:
    """Of the files in an extract's folder, the manifest that counts."""
    versions = {version: name for name in names if (version := version_of(name))}
    return versions[max(versions)] if versions else None


def read_manifests(destination: StoragePath | str) -> list[Manifest]:
    """The manifests of all committed extracts below `destination`, in the order in which they were read from the org.

    Each has one more key, `path`: the extract's folder, as the operator returns it. Raises StateError for a file that is
    no manifest.
    """
    root = storage_path(destination)
    return _in_order(_read(root, _entries(root), _Whole).values())


def read_short_manifests(destination: StoragePath | str) -> list[Manifest]:
    """The same without the keys soql, files and deleted_files, and without reading each manifest every time."""
    root = storage_path(destination)
    entries = _entries(root)
    known = _read_index(root) if len(entries) > READ_ANEW else {}
    current = {
        folder: found
        for folder, (version, found) in known.items()
        if folder in entries and entries[folder].version == version
    }
    missing = {folder: entry for folder, entry in entries.items() if folder not in current}
    found = {folder: _with_path(root, folder, manifest) for folder, manifest in current.items()}
    found |= {folder: _short(manifest) for folder, manifest in _read(root, missing, _Short).items()}
    if len(missing) > READ_ANEW or len(known) > len(found) + READ_ANEW:
        with suppress(OSError):  # whoever may only read does without
            _write_index(root, {folder: (entries[folder].version, manifest) for folder, manifest in found.items()})
    return _in_order(found.values())


def read_manifest(folder: StoragePath) -> Manifest | None:
    """The newest manifest in an extract's folder, with `path`; None when nothing is committed there. Raises StateError."""
    root = folder.parent
    for _ in range(_READ_AGAIN):
        names = listed(folder)
        name = newest_name(names)
        if name is None:
            return None
        _require_size(f"{folder}/{name}", int(names[name].get("size") or 0))
        with suppress(FileNotFoundError):
            data = root.fs.cat_file((folder / name).path)
            return _with_path(root, folder.name, _checked(str(folder / name), data, _Whole))
    raise _keeps_changing(folder)


def file_format_of(destination: StoragePath, extract_id: str) -> str | None:
    """The format of a committed extract's files: parquet, csv or jsonl; None where it has none, or is gone by now."""
    manifest = read_manifest(destination / f"extract={extract_id}") or {}
    for file in manifest.get("files", ()):
        return str(file["path"]).partition(".")[2].partition(".")[0] or None
    return None


def read_files(manifest: Manifest, read: Callable[[Manifest], T], destination: StoragePath | str) -> T:
    """What `read` makes of the files that a manifest lists. When one of them is gone, since the extract was committed again
    meanwhile, `read` is called with the manifest that is there now. Raises FileNotFoundError when it is the same one."""
    folder = storage_path(destination) / f"extract={manifest['extract_id']}"
    for _ in range(_READ_AGAIN):
        try:
            return read(manifest)
        except FileNotFoundError:
            now = read_manifest(folder)
            if now is None or now["version"] == manifest["version"]:
                raise
            manifest = now
    raise _keeps_changing(folder)


def _keeps_changing(folder: StoragePath) -> StateError:
    return StateError(f"The extract in {folder} was committed again and again while it was read. Run this task again.")


def _in_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda each: (str(each.get("read_at") or each["started_at"]), each["extract_id"]))


def _entries(root: StoragePath) -> dict[str, _Entry]:
    """The folders of committed extracts, and the newest manifest in each."""
    root.fs.invalidate_cache()  # other processes write here too
    found: dict[str, _Entry] = {}
    for folder, entry in _entries_on_disk(root) if is_local(root) else _entries_in_store(root):
        if extract_id_of(folder) is None:
            log.warning("%s/%s has a manifest, and its name is no extract's, so it is not read", root, folder)
        else:
            found[folder] = entry
    return found


def _entries_on_disk(root: StoragePath) -> Iterator[tuple[str, _Entry]]:
    with suppress(FileNotFoundError), os.scandir(root.path) as entries:
        for entry in entries:
            if entry.name.startswith("extract="):
                for _ in range(_READ_AGAIN):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        name = newest_name(each.name for each in Path(entry.path).iterdir())
                        if name is not None:
                            status = (Path(entry.path) / name).stat()
                            version = f"{name}.{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"
                            yield entry.name, _Entry(name, version, status.st_size)
                        break


def _entries_in_store(root: StoragePath) -> Iterator[tuple[str, _Entry]]:
    """By one listing without folders, which stores give in pages of a thousand; a listing of each folder takes ages."""
    prefix = f"{root.path.rstrip('/')}/"
    manifests: dict[str, dict[str, Mapping[str, Any]]] = {}
    with suppress(FileNotFoundError):
        for path, entry in root.fs.find(root.path, detail=True).items():
            folder, _, name = path.removeprefix(prefix).rpartition("/")
            if version_of(name) and folder.startswith("extract=") and "/" not in folder:
                manifests.setdefault(folder, {})[name] = entry
    for folder, entries in manifests.items():
        newest = newest_name(entries)
        if newest is not None:
            entry = entries[newest]
            yield folder, _Entry(newest, f"{newest}.{_object_version(entry)}", int(entry.get("size") or 0))


def _object_version(entry: Mapping[str, Any]) -> str:
    """What changes when an object is written anew; stores call it by different names. Never the same where there is none."""
    named = [str(entry[key]) for key in ("ETag", "etag", "generation", "md5Hash", "mtime", "created") if key in entry]
    return ".".join(named) or uuid.uuid4().hex


def _read(root: StoragePath, entries: Mapping[str, _Entry], kind: type[_Short]) -> dict[str, Manifest]:
    for folder, entry in entries.items():
        _require_size(f"{root}/{folder}/{entry.name}", entry.bytes)
    paths = {f"{root.path.rstrip('/')}/{folder}/{entry.name}": folder for folder, entry in entries.items()}
    contents = root.fs.cat(list(paths), on_error="return") if paths else {}
    found: dict[str, Manifest] = {}
    for path, data in contents.items():
        folder = paths[path] if path in paths else path.rsplit("/", 2)[-2]
        if isinstance(data, FileNotFoundError):  # committed anew between listing and reading
            now = read_manifest(root / folder)
            if now is not None:
                found[folder] = now
            continue
        if isinstance(data, Exception):
            raise data
        found[folder] = _with_path(root, folder, _checked(path, data, kind))
    return found


def _with_path(root: StoragePath, folder: str, manifest: Manifest) -> Manifest:
    if manifest["extract_id"] != extract_id_of(folder):
        raise StateError(
            f"{root / folder} holds the manifest of the extract {manifest['extract_id']}, of which it is a copy: move it out of "
            "the destination."
        )
    return {**manifest, "version": manifest.get("version", 1), "path": str(root / folder)}


def _require_size(path: str, size: int) -> None:
    if size > MOST_BYTES:
        raise _no_manifest(path, f"it has {size:,} bytes")


def _checked(path: str, data: bytes, kind: type[_Short]) -> Manifest:
    """The JSON object as it is, if it says all that readers rely on."""
    try:
        manifest: Manifest = msgspec.json.decode(data)
        msgspec.convert(manifest, kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise _no_manifest(path, str(problem)) from None
    return manifest


def _no_manifest(path: str, why: str) -> StateError:
    return StateError(
        f"{path} is not a manifest of this package ({why}). Move it away, with its folder, or use another destination."
    )


def _short(manifest: Manifest) -> Manifest:
    return {key: value for key, value in manifest.items() if key not in _LONG}


def _read_index(root: StoragePath) -> dict[str, tuple[str, Manifest]]:
    """What is known of each folder: version and manifest. Nothing, when the file is missing or of no use."""
    try:
        index = msgspec.json.decode(_unpacked(root.fs.cat_file((root / INDEX).path)))
        schemas, entries = index["schemas"], index["entries"] if index["format"] == _FORMAT else {}
        found = {}
        for folder, entry in entries.items():
            manifest = {**entry["manifest"], "schema": schemas[entry["schema"]]}
            msgspec.convert(manifest, _Short)
            found[folder] = (str(entry["version"]), manifest)
        return found
    except (
        OSError,
        zlib.error,
        msgspec.MsgspecError,
        RecursionError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ):
        return {}


def _unpacked(data: bytes) -> bytes:
    unpack = zlib.decompressobj(wbits=31)
    plain = unpack.decompress(data, _MOST_INDEX_BYTES)
    if not unpack.eof:
        raise ValueError
    return plain


def _write_index(root: StoragePath, found: Mapping[str, tuple[str, Manifest]]) -> None:
    """Each schema is written once: a destination has few of them."""
    schemas: dict[str, int] = {}
    entries = {}
    for folder, (version, manifest) in found.items():
        schema = schemas.setdefault(json.dumps(manifest["schema"]), len(schemas))
        short = {key: value for key, value in manifest.items() if key not in ("schema", "path")}
        entries[folder] = {"version": version, "schema": schema, "manifest": short}
    index = {"format": _FORMAT, "schemas": [json.loads(text) for text in schemas], "entries": entries}
    pack = zlib.compressobj(6, wbits=31)
    write_whole(root / INDEX, pack.compress(json.dumps(index).encode()) + pack.flush())
