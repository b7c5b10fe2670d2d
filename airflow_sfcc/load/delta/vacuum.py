"""Removing files of a Delta table that no version within a retention needs: old versions, and what killed loads left."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow_sfcc.extract.storage import StoragePath, is_local, written_at
from airflow_sfcc.load.delta.table import DeltaTable

DEFAULT_AGE = timedelta(days=7)
"""Younger files may be of a load that is still going on, or of a version that somebody is reading."""


@dataclass(frozen=True)
class OldFile:
    """A data file that is no longer needed, by its path in the table's folder."""

    path: str
    bytes: int


def vacuum(table: DeltaTable, *, older_than: timedelta = DEFAULT_AGE, dry_run: bool = False) -> list[OldFile]:
    """Remove the files that no version of the last `older_than` refers to and that are older than that themselves.

    Returns what was removed, or would be with `dry_run`. It makes no commit, so a load that is under way goes on. Raises
    TableError where there is no table of this package, TableUnavailableError when its storage fails.
    """
    with table.explained():
        hours = math.ceil(older_than / timedelta(hours=1))
        names = table.opened().vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True)
        oldest = datetime.now(timezone.utc) - older_than
        found = [file for name in names if (file := _old(table.root, name, oldest))]
        for file in () if dry_run else found:
            with suppress(FileNotFoundError):
                table.root.fs.rm_file((table.root / file.path).path)
    return found


def _old(root: StoragePath, name: str, oldest: datetime) -> OldFile | None:
    """The file, if it is one of data and was put there before that.

    A linked file has the time of the extract's writing, so on a disk the change of its inode counts.
    """
    path = (root / name).path
    if not name.startswith("part-"):
        return None
    try:
        entry = root.fs.info(path)
        put = written_at(entry)
        if is_local(root):
            put = max(put, datetime.fromtimestamp(Path(path).stat().st_ctime, timezone.utc))
    except FileNotFoundError:
        return None
    return OldFile(name, int(entry["size"] or 0)) if put < oldest else None
