"""Where an extract's files go: first below `_staging`, then, complete, in one step to where readers look.

    <destination>/_staging/extract=<id>/page-00000.parquet, page-00000.json, _plan.json     while it runs
    <destination>/extract=<id>/part-00000.parquet, _manifest.json                           once it is committed

A page's receipt (`page-00000.json`) is written after its file, so what it names is whole. Readers skip names that start
with `_`, and the staged files are one folder deeper than `*/*.parquet` reaches, so a run that dies leaves nothing that
could be taken for data.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from airflow_sfcc.errors import ExtractError
from airflow_sfcc.extract.convert.writers import CountedFile
from airflow_sfcc.extract.model import StagedFile, from_plain, plain

if TYPE_CHECKING:
    from upath import UPath
    from upath.extensions import ProxyUPath

StoragePath = Union["UPath", "ProxyUPath"]
"""Any universal-pathlib path; Airflow's ObjectStoragePath is one."""

STAGING = "_staging"
MANIFEST = "_manifest.json"
PLAN = "_plan.json"
_COMMIT = "_commit"
_REPLACED = "_replaced"
_LOCAL = frozenset({"", "file", "local"})


class Landing:
    """The folders of one extract below its destination."""

    def __init__(self, destination: StoragePath, extract_id: str) -> None:
        self.destination = destination
        self.folder = destination / f"extract={extract_id}"
        self._staging_root = destination / STAGING
        self.staging = self._staging_root / f"extract={extract_id}"

    @property
    def _fs(self) -> Any:
        return self.destination.fs

    @property
    def _is_local(self) -> bool:
        return is_local(self.destination)

    def start_afresh(self) -> None:
        """An empty staging folder, whatever an earlier try left there."""
        self.put_back()
        self._remove(self.staging)
        self._abort_uploads()
        self.keep_staged()

    def keep_staged(self) -> None:
        """A staging folder with all that an earlier try left there."""
        self.put_back()
        self.staging.mkdir(parents=True, exist_ok=True)

    def save_plan(self, plan: Mapping[str, Any]) -> None:
        self._write_json(self.staging / PLAN, plan)

    def load_plan(self) -> dict[str, Any]:
        """The staged plan. Raises ExtractError when somebody removed it meanwhile."""
        plan = self.find_plan()
        if plan is None:
            raise ExtractError(
                f"The staged plan {self.staging / PLAN} is gone, so this extract cannot go on: clear the task to run it "
                "from the start."
            )
        return plan

    def find_plan(self) -> dict[str, Any] | None:
        """The staged plan, if there is one."""
        return _read_json(self.staging / PLAN)

    def find_manifest(self) -> dict[str, Any] | None:
        """The manifest that this extract committed, if it did."""
        self.put_back()
        return _read_json(self.folder / MANIFEST)

    @contextmanager
    def open_file(self, name: str) -> Iterator[CountedFile]:
        """A staged file to write: it has its name once it is complete, and is removed when writing it fails."""
        path = self.staging / name
        with self._open_local(path) if self._is_local else _open_object(path) as file:
            yield file

    @contextmanager
    def _open_local(self, path: StoragePath) -> Iterator[CountedFile]:
        """A file on a disk would be seen half written, so it is written under another name."""
        written = path.with_name(f"{path.name}.{uuid.uuid4().hex}.writing")
        file = CountedFile(written.open("wb"))
        try:
            yield file
            file.close()
            self._fs.mv(written.path, path.path)
        except BaseException:
            with contextlib.suppress(Exception):
                file.close()
            self._remove(written)
            raise

    def open_staged(self, name: str) -> StoragePath:
        """The path of a staged file, to read it."""
        return self.staging / name

    def save_receipt(self, page: StagedFile) -> None:
        """Leave word that the page's file is complete."""
        self._write_json(self._receipt(page.index), plain(page))

    def landed_pages(self) -> dict[int, StagedFile]:
        """The pages that are staged whole, by index: those with a receipt, and a file of the size it names."""
        sizes = self._staged_sizes()
        receipts = [name for name in sizes if name.startswith("page-") and name.endswith(".json")]
        pages = [_receipt_of(_read_json(self.staging / name)) for name in receipts]
        return {page.index: page for page in pages if page is not None and sizes.get(page.name) == page.bytes}

    def _staged_sizes(self) -> dict[str, int]:
        self._fs.invalidate_cache(self.staging.path)
        try:
            entries = self._fs.ls(self.staging.path, detail=True)
        except FileNotFoundError:
            return {}
        return {str(entry["name"]).rsplit("/", 1)[-1]: int(entry["size"] or 0) for entry in entries}

    def _receipt(self, index: int) -> StoragePath:
        return self.staging / f"page-{index:05d}.json"

    def commit(
        self, manifest: Mapping[str, Any], files: Mapping[str, str], require: Callable[[], None] = lambda: None
    ) -> StoragePath:
        """Publish files with their manifest, replacing what this extract landed before; returns the manifest's path.

        `files` says which staged file becomes which file of the extract. On a local disk the folder appears in one
        rename. Object stores have no rename: there the old manifest goes first and the new one comes last. Until it is
        done the staged pages stay, so that a commit that dies can be repeated. `require` is called just before readers see
        the extract, and raises when they must not.
        """
        if self._is_local:
            self._commit_by_rename(manifest, files, require)
        else:
            self._commit_by_copies(manifest, files, require)
        self.discard()
        return self.folder / MANIFEST

    def _commit_by_rename(
        self, manifest: Mapping[str, Any], files: Mapping[str, str], require: Callable[[], None]
    ) -> None:
        ready = self.staging / _COMMIT
        self._remove(ready)
        ready.mkdir(parents=True)
        for name, staged in files.items():
            _link((self.staging / staged).path, (ready / name).path)
        self._write_json(ready / MANIFEST, manifest)
        require()
        self._set_aside()
        self._fs.mv(ready.path, self.folder.path, recursive=True)

    def _commit_by_copies(
        self, manifest: Mapping[str, Any], files: Mapping[str, str], require: Callable[[], None]
    ) -> None:
        self._set_aside()
        for name, staged in files.items():
            self._fs.copy((self.staging / staged).path, (self.folder / name).path)
        require()
        self._write_json(self.folder / MANIFEST, manifest)

    def _set_aside(self) -> None:
        """Keep what was committed before, until what replaces it is: it may hold the only copy of a row."""
        replaced = self.staging / _REPLACED
        if self._exists(self.folder / MANIFEST):
            self._remove(replaced)
            if self._is_local:
                self._fs.mv(self.folder.path, replaced.path, recursive=True)
                return
            self._fs.copy(self.folder.path, replaced.path, recursive=True)
        self._remove(self.folder / MANIFEST)
        self._remove(self.folder)

    def is_half_committed(self) -> bool:
        """Whether a commit died after it had set aside what was committed before."""
        return not self._exists(self.folder / MANIFEST) and self._exists(self.staging / _REPLACED / MANIFEST)

    def put_back(self) -> None:
        """Undo the first half of a commit that died before its second."""
        if not self.is_half_committed():
            return
        replaced = self.staging / _REPLACED
        self._remove(self.folder)
        if self._is_local:
            self._fs.mv(replaced.path, self.folder.path, recursive=True)
            return
        files = [path for path in self._fs.find(replaced.path) if not path.endswith(f"/{MANIFEST}")]
        for path in [*files, (replaced / MANIFEST).path]:
            self._fs.copy(path, f"{self.folder.path}/{path.rsplit('/', 1)[-1]}")

    def _exists(self, path: StoragePath) -> bool:
        self._fs.invalidate_cache(path.parent.path)
        return bool(self._fs.exists(path.path))

    def discard(self) -> None:
        """Remove what is staged, and what was copied of a commit that failed; what was committed before stays."""
        self.put_back()
        if not self._is_local and not self._exists(self.folder / MANIFEST):
            self._remove(self.folder)
        self._remove(self.staging)
        if self._is_local:
            remove_if_empty(self._staging_root)

    def _abort_uploads(self) -> None:
        """End uploads into the staging folder that a dead try left open: S3 shows them to nobody, and charges for them."""
        fs = self._fs
        if not hasattr(fs, "call_s3"):
            return
        bucket, key, _ = fs.split_path(self.staging.path)
        with contextlib.suppress(OSError):  # without the right to list them, the bucket's lifecycle rules end them
            found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key}/")
            for upload in found.get("Uploads", ()):
                fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def _remove(self, path: StoragePath) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(path.path, recursive=True)

    def _write_json(self, path: StoragePath, data: Mapping[str, Any]) -> None:
        with path.open("wb") as file:
            file.write((json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def _open_object(path: StoragePath) -> Iterator[CountedFile]:
    """An object appears when its upload is completed; one that is given up never does."""
    raw: Any = path.open("wb", autocommit=False)
    file = CountedFile(raw)
    try:
        yield file
        file.close()
    except BaseException:
        with contextlib.suppress(Exception):
            file.close()
        with contextlib.suppress(Exception):
            raw.discard()
        raise
    raw.commit()


def is_local(path: StoragePath) -> bool:
    """Whether the path is on a disk, where there are folders and renames."""
    return path.protocol in _LOCAL


def remove_if_empty(folder: StoragePath) -> None:
    """Remove a folder on a disk unless somebody has something in it. The path's own rmdir would remove that too."""
    with contextlib.suppress(OSError):
        folder.fs.rmdir(folder.path)


def write_whole(path: StoragePath, content: bytes) -> None:
    """Write a small file that nobody sees half written: on a disk it gets its name once it is complete."""
    if not is_local(path):
        path.fs.pipe_file(path.path, content)
        return
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex}.writing")
    path.fs.pipe_file(written.path, content)
    path.fs.mv(written.path, path.path)


def written_at(entry: Mapping[str, Any]) -> datetime:
    """When a file was written; stores call it by different names."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = entry.get(key)
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, timezone.utc)
        if isinstance(value, str):
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return datetime.now(timezone.utc)


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:  # a file system without hard links
        Path(source).rename(target)


def _receipt_of(data: object) -> StagedFile | None:
    """None for what is no receipt of this version of the package; such a page is fetched again."""
    with contextlib.suppress(ExtractError):
        return from_plain(data, StagedFile, "A receipt")
    return None


def _read_json(path: StoragePath) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is no file, or one that was cut off when its writer died."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
