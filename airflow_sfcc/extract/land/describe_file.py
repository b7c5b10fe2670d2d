"""`<destination>/_describe-<hash>.json`: what describe said, once for each change, named by the manifests it belongs to.

The hash is that of the content, so whoever finds the file has nothing to write, and whoever reads it knows that it is what the
manifest names. It is written before the manifest; a vacuum removes it when nothing names it any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.described import MOST_BYTES, Described, describe_name, encoded
from airflow_sfcc.extract.storage import StoragePath, exists, listed, put_if_absent

_FILE = re.compile(r"_describe-[0-9a-f]{32}\.json")


def keep(destination: StoragePath, described: Described | None) -> None:
    """Have the file in the destination, unless it is there or there is nothing to keep."""
    if described is not None:
        content = encoded(described)
        path = destination / describe_name(content)
        if not exists(path):
            put_if_absent(path, content)


def name_of(described: Described | None) -> str | None:
    """What manifests call it."""
    return describe_name(encoded(described)) if described is not None else None


def read(destination: StoragePath, name: str) -> Described | None:
    """What a manifest names; None when it is gone. Raises StateError for a file that is not what was written."""
    path = destination / name
    with suppress(FileNotFoundError):
        size = int(path.fs.info(path.path).get("size") or 0)
        if size > MOST_BYTES:
            raise _damaged(path, f"it has {size:,} bytes")
        content: bytes = path.fs.cat_file(path.path)
        if describe_name(content) != name:
            raise _damaged(path, "its name is not the hash of its content")
        try:
            return msgspec.json.decode(content, type=Described)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
            raise _damaged(path, str(problem)) from None
    return None


def _damaged(path: StoragePath, why: str) -> StateError:
    return StateError(
        f"{path} is not what an extract wrote there ({why}). Remove it: the next extract writes it again, and until then the "
        "dictionary has names and types only."
    )


def describe_files(destination: StoragePath) -> dict[str, Mapping[str, Any]]:
    """All such files of a destination, by name."""
    return {name: entry for name, entry in listed(destination).items() if _FILE.fullmatch(name)}
