"""Change sets as Parquet files, for warehouses that are merged into by their own COPY and MERGE.

    crm/Account/_loaded/00000012.json            what has been loaded so far: the record that a table would have
    crm/Account/changes/changes-00000012-….parquet   the changes of one commit

Each row has `_sequence` (the commit), `_deleted`, and `_replaces`: with it, the change set is all that is to stay. Nothing is
known of the rows in the warehouse, so each change set says of every Id that it touches what holds now, from the history of the
extracts. Of one Id the row with the greatest `_sequence` counts; merging change sets again changes nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from airflow_sfcc.errors import ConcurrentRunError, TableBusyError, TableUnavailableError
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.storage import StoragePath, is_local, listed, put_if_absent
from airflow_sfcc.load.model import Commit, Source, TableColumn, TableState
from airflow_sfcc.load.problems import ChangedMeanwhileError, changed_by_hand
from airflow_sfcc.load.scratch import Scratch, duckdb_type, quoted
from airflow_sfcc.load.targets import Change

if TYPE_CHECKING:
    import pyarrow as pa

SEQUENCE, DELETED, REPLACES = "_sequence", "_deleted", "_replaces"
FOLDER, RECORDS = "changes", "_loaded"
FILE_BYTES = 128 * 1024 * 1024
_BATCH_ROWS = 32_768
_LOCK_WAITS = 30.0


class ChangeFiles:
    """`root` is the folder of one object's change sets."""

    knows_rows = False

    def __init__(self, root: StoragePath, name: str, *, stopped: Callable[[], bool] = lambda: False) -> None:
        self._root = root
        self._stopped = stopped
        self._require_lock: Callable[[], None] = lambda: None
        self.name = name

    @contextmanager
    def locked(self, scratch: Scratch) -> Iterator[None]:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with commit_lock(self._root, uuid.uuid4().hex, waits_for=_LOCK_WAITS) as self._require_lock:
                yield
        except ConcurrentRunError as problem:
            raise TableBusyError(
                f"Another load of {self.name} is under way: this one did nothing, and the task's retry loads what is left. "
                "Give the DAG max_active_runs=1 to have runs wait for one another."
            ) from problem
        except InterruptedError as problem:
            raise TableUnavailableError(f"The load of {self.name} was stopped; nothing of it is there.") from problem
        except OSError as problem:
            if isinstance(problem, FileNotFoundError):
                raise
            raise TableUnavailableError(
                f"The storage of {self.name} failed ({type(problem).__name__}: {problem}); nothing was loaded. See that the "
                "folder or bucket is there, that the worker may write to it, and that it has room."
            ) from problem

    def column_type(self, kind: str) -> str:
        """A time of the day is text, since not every warehouse reads one from Parquet."""
        return "string" if kind == "time32[ms]" else kind

    def state(self, known: Sequence[str]) -> TableState | None:
        name = max((name for name in listed(self._root / RECORDS) if name.endswith(".json")), default=None)
        if name is None:
            return None
        try:
            record = json.loads(self._root.fs.cat_file((self._root / RECORDS / name).path))
            return TableState(
                source=Source(**record["source"]),
                mode=record["mode"],
                columns=tuple(TableColumn(**column) for column in record["columns"]),
                loaded={str(each): int(read) for each, read in record["loaded"].items()},
                version=int(record["version"]),
                rows=int(record["rows"]),
            )
        except (ValueError, TypeError, KeyError):
            raise changed_by_hand(self.name, f"{RECORDS}/{name} cannot be read") from None

    def existing(self, scratch: Scratch, ids: str | None, columns: Sequence[TableColumn]) -> str:
        """Each touched Id may be there, with whatever row."""
        if ids is None:
            raise AssertionError("change sets know no rows but the extracts'")
        values = ", ".join(
            '"Id"' if column.name == "Id" else f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}"
            for column in columns
        )
        return f"(SELECT {values} FROM {ids})"

    def apply(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        version = commit.before.version + 1 if commit.before else 1
        self._forget_uncommitted(version)
        files: list[StoragePath] = []
        try:
            rows = self._write(scratch, _rows_sql(change, commit, version), commit, version, files)
            self._require_lock()
            self._record(commit, version, rows)
        except BaseException:
            for file in files:
                with suppress(OSError):
                    self._root.fs.rm_file(file.path)
            raise
        return rows - int(change.replaces_all)

    def _forget_uncommitted(self, version: int) -> None:
        """Remove what a load that died before its commit left."""
        for name in pending(self._root):
            if _version_of(name) >= version:
                self._root.fs.rm_file((self._root / FOLDER / name).path)

    def _write(self, scratch: Scratch, sql: str, commit: Commit, version: int, files: list[StoragePath]) -> int:
        """Rows into files of about FILE_BYTES, which are added to `files`; returns how many rows."""
        schema = _schema(commit)
        rows = 0
        batches = iter(scratch.batches(sql, _BATCH_ROWS))
        folder = self._root / FOLDER
        if is_local(self._root):
            folder.mkdir(parents=True, exist_ok=True)
        batch = next(batches, None)
        while batch is not None:
            path = folder / f"changes-{version:08d}-{uuid.uuid4().hex}.parquet"
            files.append(path)
            written, batch = self._write_file(path, schema, batch, batches)
            rows += written
        return rows

    def _write_file(
        self, path: StoragePath, schema: pa.Schema, batch: pa.RecordBatch | None, batches: Iterator[pa.RecordBatch]
    ) -> tuple[int, pa.RecordBatch | None]:
        """Returns how many rows it got, and the batch after it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = 0
        # Every warehouse reads Snappy.
        with (
            path.fs.open(path.path, "wb") as out,
            pq.ParquetWriter(out, schema, compression="snappy", store_schema=False) as writer,
        ):
            while batch is not None and out.tell() < FILE_BYTES:
                if self._stopped():
                    raise InterruptedError
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                rows += batch.num_rows
                batch = next(batches, None)
        return rows, batch

    def _record(self, commit: Commit, version: int, rows: int) -> None:
        before = {} if commit.before is None or commit.forgets else dict(commit.before.loaded)
        record = {
            "source": asdict(commit.source),
            "mode": commit.mode,
            "columns": [asdict(column) for column in commit.columns],
            "loaded": {**before, **commit.loaded},
            "version": version,
            "rows": rows,
        }
        folder = self._root / RECORDS
        if is_local(self._root):
            folder.mkdir(parents=True, exist_ok=True)
        if not put_if_absent(folder / f"{version:08d}.json", json.dumps(record).encode()):
            raise ChangedMeanwhileError(f"{self.name} was changed while this load was under way.")
        for name in listed(folder):
            if name < f"{version - 1:08d}.json":
                with suppress(FileNotFoundError):
                    self._root.fs.rm_file((folder / name).path)


def _schema(commit: Commit) -> pa.Schema:
    import pyarrow as pa

    from airflow_sfcc.load.delta.files import arrow_schema

    own = [pa.field(SEQUENCE, pa.int64()), pa.field(DELETED, pa.bool_()), pa.field(REPLACES, pa.bool_())]
    return pa.schema([*own, *arrow_schema(commit.columns)])


def _rows_sql(change: Change, commit: Commit, version: int) -> str:
    """The rows of a change set, as SQL over the scratch."""
    own = f"{version}::BIGINT AS {SEQUENCE}, {{deleted}} AS {DELETED}, {str(change.replaces_all).lower()} AS {REPLACES}"
    names = ", ".join(quoted(column.name) for column in commit.columns)
    rows = f"SELECT {own.format(deleted='false')}, {names} FROM ({change.rows})"
    if change.replaces_all:  # a row of its own says so, for an extract without rows
        gone = 'SELECT NULL::VARCHAR AS "Id"'
    else:
        gone = f'SELECT "Id" FROM ({change.removed}) ANTI JOIN (SELECT "Id" FROM ({change.rows})) USING ("Id")'
    nothing = ", ".join(
        '"Id"' if column.name == "Id" else f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}"
        for column in commit.columns
    )
    return f"{rows} UNION ALL SELECT {own.format(deleted='true')}, {nothing} FROM ({gone})"


def pending(root: StoragePath) -> list[str]:
    """The names of the files in `changes`: change sets that are to be merged."""
    return sorted(name for name in listed(root / FOLDER) if name.startswith("changes-"))


def forget_merged(root: StoragePath, version: int) -> list[str]:
    """Remove the files of the change sets up to `version`, which the warehouse has merged; returns their names.

    The record of what was loaded stays.
    """
    merged = [name for name in pending(root) if _version_of(name) <= version]
    for name in merged:
        with suppress(FileNotFoundError):
            root.fs.rm_file((root / FOLDER / name).path)
    return merged


def _version_of(name: str) -> int:
    return int(name.split("-")[1])
