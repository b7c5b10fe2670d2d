"""What an extract needs of a storage, on disks and in object stores alike: whole files, files that must not exist yet, and
files that outlive a power cut."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from airflow_sfcc.errors import DamagedFileError

if TYPE_CHECKING:
    from upath import UPath
    from upath.extensions import ProxyUPath

log = logging.getLogger(__name__)

StoragePath = Union["UPath", "ProxyUPath"]
"""Any universal-pathlib path; Airflow's ObjectStoragePath is one."""

_LOCAL = frozenset({"", "file", "local"})
_PUTS_IF_ABSENT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})
"""Protocols whose fsspec file system writes an object only if there is none, as one step of the store: S3's `If-None-Match`,
Google's generation match, Azure's condition. What is in memory belongs to one process."""

_READ_AGAIN = 5
"""How often a small file is read anew that was written again, or went, while it was read."""

_HASHED_AT_ONCE = 4 * 1024 * 1024


def storage_path(destination: StoragePath | str) -> StoragePath:
    """`destination` as a path: text becomes a universal-pathlib path."""
    if not isinstance(destination, str):
        return destination
    from upath import UPath

    path: StoragePath = UPath(destination)
    return path


def is_local(path: StoragePath) -> bool:
    """Whether the path is on a disk, where there are folders and renames."""
    return path.protocol in _LOCAL


def exists(path: StoragePath) -> bool:
    path.fs.invalidate_cache(path.parent.path)
    return bool(path.fs.exists(path.path))


def listed(folder: StoragePath) -> dict[str, Mapping[str, Any]]:
    """What is in a folder, by name, as it is now; nothing when it is not there."""
    folder.fs.invalidate_cache(folder.path)
    try:
        entries = folder.fs.ls(folder.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]: entry for entry in entries}


def remove(path: StoragePath) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        path.fs.rm(path.path, recursive=True)


def end_uploads(folder: StoragePath, is_dead: Callable[[str], bool]) -> None:
    """End uploads below a folder that dead workers left open, by their names there: S3 shows them to nobody, and charges
    for them."""
    fs: Any = folder.fs
    if not hasattr(fs, "call_s3"):
        return
    bucket, key, _ = fs.split_path(folder.path)
    with suppress(OSError):  # without the right to list them, the bucket's lifecycle rules end them
        for upload in fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key}/").get("Uploads", ()):
            if is_dead(upload["Key"].removeprefix(f"{key}/")):
                fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def remove_if_empty(folder: StoragePath) -> None:
    """Remove a folder on a disk unless somebody has something in it. The path's own rmdir would remove that too."""
    if is_local(folder):
        with suppress(OSError):
            folder.fs.rmdir(folder.path)


@contextmanager
def open_whole(path: StoragePath) -> Iterator[BinaryIO]:
    """A file to write: it has its name once it is complete and on the disk, and is not there when writing it fails."""
    with _open_local(path) if is_local(path) else _open_object(path) as file:
        yield file


@contextmanager
def _open_local(path: StoragePath, *, flushed: bool = True) -> Iterator[BinaryIO]:
    target = Path(path.path)
    written = target.with_name(f"{target.name}.{uuid.uuid4().hex}.writing")
    try:
        with written.open("wb") as file:
            yield file
            if flushed:
                file.flush()
                os.fsync(file.fileno())
        written.replace(target)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


@contextmanager
def _open_object(path: StoragePath) -> Iterator[BinaryIO]:
    """An object appears when its upload is completed; one that is given up never does."""
    file: Any = path.open("wb", autocommit=False)
    try:
        yield file
        file.close()
    except BaseException:
        with suppress(Exception):
            file.close()
        with suppress(Exception):
            file.discard()
        raise
    file.commit()


def write_whole(path: StoragePath, content: bytes) -> None:
    """Write a small file that nobody sees half written, and that is on the disk with its name."""
    _write(path, content, flushed=True)
    flush_folder(path.parent)


def write_spare(path: StoragePath, content: bytes) -> None:
    """Write a small file that nobody sees half written while the machine runs; a power cut may empty or take it."""
    _write(path, content, flushed=False)


def _write(path: StoragePath, content: bytes, *, flushed: bool) -> None:
    if not is_local(path):
        path.fs.pipe_file(path.path, content)
        return
    with _open_local(path, flushed=flushed) as file:
        file.write(content)


def put_if_absent(path: StoragePath, content: bytes) -> bool:
    """Write a small file unless there is one of that name: of several writers exactly one is told True."""
    try:
        if is_local(path):
            _link_new(Path(path.path), content)
        elif path.protocol in _PUTS_IF_ABSENT:
            path.fs.pipe_file(path.path, content, mode="create")
        else:
            _put_after_look(path, content)
    except FileExistsError:
        # A request that was repeated after its response got lost finds its own file.
        return _read(path) == content
    return True


def _link_new(target: Path, content: bytes) -> None:
    written = target.with_name(f"{target.name}.{uuid.uuid4().hex}.writing")
    try:
        with written.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(written, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with target.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _flush(target.parent)
    finally:
        with suppress(OSError):
            written.unlink()


def _put_after_look(path: StoragePath, content: bytes) -> None:
    log.warning(
        "The file system of %s cannot write an object only if there is none, so two commits in the same second may both be "
        "taken for done: let one task at a time write there",
        path,
    )
    if exists(path):
        raise FileExistsError(str(path))
    path.fs.pipe_file(path.path, content)


def _read(path: StoragePath) -> bytes | None:
    path.fs.invalidate_cache(path.parent.path)
    try:
        content: bytes = path.fs.cat_file(path.path)
    except FileNotFoundError:
        return None
    return content


def read_small(path: StoragePath, most: int) -> bytes:
    """At most `most` bytes of a small file, as one version of it. Raises FileNotFoundError where there is none, also when it
    goes meanwhile."""
    for _ in range(_READ_AGAIN):
        path.fs.invalidate_cache(path.parent.path)
        try:
            with path.open("rb") as file:
                content: bytes = file.read(most)
                return content
        except OSError as problem:
            if problem.errno != errno.EBUSY:  # s3fs: it is another object than it was when it was opened, or gone
                raise
    raise FileNotFoundError(errno.ENOENT, "it is written again all the time", str(path))


def give_name(source: StoragePath, target: StoragePath) -> None:
    """Have a complete file under another name too: by a hard link on a disk, by a copy within the store elsewhere."""
    if not is_local(source):
        source.fs.copy(source.path, target.path)
        return
    with suppress(FileNotFoundError):
        Path(target.path).unlink()
    try:
        os.link(source.path, target.path)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        with source.open("rb") as file, _open_local(target) as copy:
            while block := file.read(_HASHED_AT_ONCE):
                copy.write(block)


def give_names(pairs: Sequence[tuple[StoragePath, StoragePath]]) -> None:
    """`give_name` for many files, side by side where the storage is remote; those that are gone are left out."""
    if not pairs:
        return
    fs = pairs[0][0].fs
    if is_local(pairs[0][0]) or not getattr(fs, "async_impl", False):
        for source, target in pairs:
            with suppress(FileNotFoundError):
                give_name(source, target)
        return
    fs.copy([source.path for source, _ in pairs], [target.path for _, target in pairs], on_error="ignore")


def flush_folder(folder: StoragePath) -> None:
    """See that the names in a folder on a disk outlive a power cut."""
    if is_local(folder):
        _flush(Path(folder.path))


def _flush(folder: Path) -> None:
    with suppress(OSError):  # some file systems flush no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def require_content(path: StoragePath, size: int, sha256: str) -> None:
    """Raise DamagedFileError unless the file is there and holds what was written into it."""
    digest, read = hashlib.sha256(), 0
    with suppress(FileNotFoundError), path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
            read += len(block)
    if (read, digest.hexdigest()) != (size, sha256):
        raise DamagedFileError(
            f"The staged file {path} is damaged or gone: it should hold {size:,} bytes and holds {read:,}, or others. Clear "
            "the task that downloaded it, with everything downstream."
        )


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
