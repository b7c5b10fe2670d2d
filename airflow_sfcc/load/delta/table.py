"""A Delta table as a target: what it says of itself, and one commit for each step.

The loaded extracts are application transactions, `sfcc:<extract_id>` with the time of reading as version, in the same
commit as the rows. `sfcc:table` has the version that the last load made, so that somebody else's changes are noticed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from airflow_sfcc.errors import TableError, TableUnavailableError
from airflow_sfcc.extract.storage import StoragePath, is_local
from airflow_sfcc.load.events import cast
from airflow_sfcc.load.in_order import batches_of
from airflow_sfcc.load.model import MODES, Commit, Extract, Source, TableColumn, TableState
from airflow_sfcc.load.problems import ChangedMeanwhileError, changed_by_hand
from airflow_sfcc.load.scratch import Scratch, duckdb_type, in_temporary_folder, literal, quoted
from airflow_sfcc.load.targets import Change

HARMLESS = frozenset(
    {"OPTIMIZE", "VACUUM START", "VACUUM END", "ADD COLUMN", "SET TBLPROPERTIES", "FSCK", "REORG", "UPGRADE PROTOCOL",
     "UPDATE FIELD METADATA", "UPDATE TABLE METADATA", "ADD CONSTRAINT", "CLUSTER BY"}
)  # fmt: skip
"""Operations of others that change no row."""

_KINDS = {
    "string": "string",
    "boolean": "boolean",
    "long": "int64",
    "double": "float64",
    "date": "date32",
    "timestamp": "timestamp[ms, UTC]",
}
_OWN = "salesforce"
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")


class DeltaTable:
    """`root` is the table's folder; `storage_options` are delta-rs's for it. `source` is where the extracts lie."""

    knows_rows = True

    def __init__(
        self,
        root: StoragePath,
        name: str,
        storage_options: dict[str, str] | None = None,
        *,
        source: StoragePath | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._root = root
        self._options = storage_options
        self._source = source
        self._stopped = stopped
        self.name = name
        self._table: Any = None

    @property
    def root(self) -> StoragePath:
        return self._root

    def opened(self) -> Any:
        """delta-rs's table. Raises TableError where there is none that this package made."""
        from deltalake import DeltaTable as Table

        if not Table.is_deltatable(self._uri, self._options):
            raise TableError(f"{self.name} is no Delta table: name the folder of one table, as the DAG's table does.")
        table = Table(self._uri, storage_options=self._options)
        self._described(table)
        return table

    @property
    def _uri(self) -> str:
        path = self._root.path.rstrip("/")
        if _ESCAPED.search(path):
            raise TableError(
                f"{self.name} cannot be a Delta table: delta-rs takes a percent sign before two digits for another character and "
                "would write elsewhere. Give the table a folder without it."
            )
        return path if is_local(self._root) else f"{self._root.protocol}://{path}"

    @contextmanager
    def locked(self, scratch: Scratch) -> Iterator[None]:
        """There is no lock: a commit fails unless the table still has the version that it was computed from."""
        self._register(scratch)
        with self.explained():
            yield

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the storage cannot do, as a sentence."""
        from deltalake.exceptions import DeltaError

        try:
            yield
        except DeltaError as problem:
            raise self._explained(problem) from problem
        except InterruptedError as problem:
            raise TableUnavailableError(
                f"The load of {self.name} was stopped; nothing of it is in the table."
            ) from problem
        except OSError as problem:
            if isinstance(problem, FileNotFoundError):
                raise
            raise self._explained(problem) from problem

    def _explained(self, problem: Exception) -> TableUnavailableError:
        text = " ".join(str(problem).split())[:300]
        return TableUnavailableError(
            f"The storage of {self.name} failed ({type(problem).__name__}: {text}); nothing was loaded. See that the folder or "
            "bucket is there, that the worker may write to it, and that it has room."
        )

    def _register(self, scratch: Scratch) -> None:
        """DuckDB reads the table by a file system of its own, since extracts may lie in one of the same protocol."""
        if is_local(self._root):
            return
        from fsspec.implementations.dirfs import DirFileSystem

        if "dir" in scratch.connection.list_filesystems():
            scratch.connection.unregister_filesystem("dir")
        scratch.connection.register_filesystem(DirFileSystem(self._root.path, self._root.fs))

    def _url(self, file: str) -> str:
        return f"{self._root.path.rstrip('/')}/{file}" if is_local(self._root) else f"dir://{file}"

    def column_type(self, kind: str) -> str:
        return "string" if kind == "time32[ms]" else kind

    # What is there

    def state(self, known: Sequence[str]) -> TableState | None:
        from deltalake import DeltaTable as Table

        self._table = None
        if not Table.is_deltatable(self._uri, self._options):
            if is_local(self._root) and self._root.exists() and any(self._root.iterdir()):
                self._require_only_leftovers()
            return None
        table = Table(self._uri, storage_options=self._options)
        self._table = table
        source, mode = self._described(table)
        self._require_unchanged(table)
        loaded = {each: table.transaction_version(f"sfcc:{each}") for each in known}
        return TableState(
            source=source,
            mode=mode,
            columns=tuple(self._column(field) for field in table.schema().fields),
            loaded={each: version for each, version in loaded.items() if version is not None},
            version=int(table.version()),
            rows=sum(file.rows for file in self._files()),
        )

    def _require_only_leftovers(self) -> None:
        """A folder with other things than files of loads that died is not where a table is to be made."""
        others = [path.name for path in self._root.iterdir() if not path.name.startswith(("part-", "_delta_log"))]
        if others:
            raise TableError(
                f"{self.name} cannot be made: its folder holds other things ({', '.join(sorted(others)[:3])}). Give the table "
                "a folder of its own."
            )

    def _described(self, table: Any) -> tuple[Source, Any]:
        try:
            own = json.loads(table.metadata().description or "")[_OWN]
            mode = own.pop("mode")
            if mode not in MODES:
                raise ValueError(mode)
            return Source(**own), mode
        except (ValueError, TypeError, KeyError, AttributeError):
            raise changed_by_hand(
                self.name, "a Delta table is there that this package did not make, or its description was changed"
            ) from None

    def _require_unchanged(self, table: Any) -> None:
        ours, now = table.transaction_version("sfcc:table"), table.version()
        if ours is None or ours > now:
            raise changed_by_hand(self.name, "it lacks the record of the last load")
        if ours < now:
            for entry in table.history(now - ours):
                if entry["version"] > ours and str(entry["operation"]).upper() not in HARMLESS:
                    raise changed_by_hand(
                        self.name, f"version {entry['version']} is a {entry['operation']} by another writer"
                    )
        vectors = table.deletion_vectors()
        if vectors is not None and _arrow(vectors).num_rows:
            raise TableError(
                f"{self.name} has deletion vectors, which loads do not read. Nothing was loaded. Set "
                "delta.enableDeletionVectors to false and run REORG TABLE … APPLY (PURGE)."
            )

    def _column(self, field: Any) -> TableColumn:
        kind = str(getattr(field.type, "type", field.type))
        if kind.startswith("decimal"):
            precision, scale = kind[len("decimal(") : -1].split(",")
            return TableColumn(field.name, f"decimal128({int(precision)}, {int(scale)})")
        if kind not in _KINDS:
            raise changed_by_hand(self.name, f"the column {field.name} has the type {kind}")
        return TableColumn(field.name, _KINDS[kind])

    def _files(self) -> list[Any]:
        from airflow_sfcc.load.delta.files import DataFile

        table = _arrow(self._table.get_add_actions(flatten=True))
        names = set(table.schema.names)
        found = []
        for row in table.to_pylist():
            rows, path = row["num_records"], row["path"]
            if rows is None:
                raise changed_by_hand(self.name, f"the file {path} has no statistics")
            least, greatest = (row.get("min.Id"), row.get("max.Id")) if "min.Id" in names else (None, None)
            found.append(DataFile(path, row["size_bytes"], rows, least, greatest))
        return found

    def existing(self, scratch: Scratch, ids: str | None, columns: Sequence[TableColumn]) -> str:
        files = self._touched_by(scratch, ids) if ids else self._files()
        if not files:
            values = ", ".join(f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}" for column in columns)
            return f"(SELECT {values} WHERE false)"
        listed = ", ".join(literal(self._url(file.path)) for file in files)
        source = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        found = scratch.columns(source)
        values = ", ".join(f"{cast(column, found.get(column.name))} AS {quoted(column.name)}" for column in columns)
        semi = f' SEMI JOIN {ids} ON {ids}."Id" = files."Id"' if ids else ""
        return f"(SELECT {values} FROM {source} AS files{semi})"

    def _touched_by(self, scratch: Scratch, ids: str) -> list[Any]:
        """The files that may hold one of the Ids."""
        files = self._files()
        known = [file for file in files if file.least is not None]
        touched = {file.path for file in files if file.least is None}
        if known:
            values = ", ".join(f"({literal(f.path)}, {literal(f.least)}, {literal(f.greatest)})" for f in known)
            query = (
                f"SELECT path FROM (VALUES {values}) AS files(path, least, greatest) "
                f'WHERE EXISTS (SELECT 1 FROM {ids} AS i WHERE i."Id" BETWEEN least AND greatest)'
            )
            touched |= {row[0] for row in scratch.rows(query)}
        return [file for file in files if file.path in touched]

    # Changes

    def apply(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        if commit.before is None or change.replaces_all:
            return self._replace_all(scratch, change, commit)
        if commit.retyped:
            return self._replace_all(scratch, self._with_existing(scratch, change, commit), commit)
        return self._merge(scratch, change, commit)

    def _with_existing(self, scratch: Scratch, change: Change, commit: Commit) -> Change:
        """All rows, with those that stay in the new types."""
        was = {column.name: column for column in commit.before.columns} if commit.before else {}
        existing = self.existing(scratch, None, list(was.values()))
        values = ", ".join(
            f"{cast(column, duckdb_type(was[column.name].type) if column.name in was else None)} AS {quoted(column.name)}"
            for column in commit.columns
        )
        kept = f'SELECT {values} FROM {existing} ANTI JOIN ({change.removed}) AS gone USING ("Id")'
        rows = f"{kept} UNION ALL BY NAME ({change.rows})"
        return Change(change.removed, rows, change.counts, replaces_all=True)

    def _replace_all(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        from airflow_sfcc.load.delta.files import discard

        files = self._linked(change.unchanged_files_of, commit) if change.unchanged_files_of else None
        if files is None:
            files = self._written(scratch, change, commit)
        try:
            if commit.before is None:
                self._make(files, commit)
            else:
                self._commit([file.added() for file in files], "overwrite", commit)
        except BaseException:
            discard(self._root, files)
            raise
        return sum(file.rows for file in files)

    def _linked(self, extract: Extract, commit: Commit) -> list[Any] | None:
        from airflow_sfcc.load.delta.files import linked

        return linked(self._source, extract.files, self._root, commit.columns) if self._source is not None else None

    def _written(self, scratch: Scratch, change: Change, commit: Commit) -> list[Any]:
        import pyarrow as pa

        from airflow_sfcc.load.delta import files

        schema = files.arrow_schema(commit.columns)
        writer = files.FileWriter(self._root, schema)
        try:
            for batch in batches_of(scratch, change, files.GROUP_ROWS):
                if self._stopped():
                    raise InterruptedError
                writer.write(pa.Table.from_batches([batch]).cast(schema))
            return writer.finish()
        except BaseException:
            writer.discard()
            raise

    def _make(self, files: Sequence[Any], commit: Commit) -> None:
        from deltalake import Schema
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import create_table_with_add_actions

        from airflow_sfcc.load.delta.files import arrow_schema

        try:
            create_table_with_add_actions(
                self._uri,
                Schema.from_arrow(arrow_schema(commit.columns)),
                [file.added() for file in files],
                name=commit.source.sobject,
                description=json.dumps({_OWN: {**asdict(commit.source), "mode": commit.mode}}),
                configuration={"delta.dataSkippingStatsColumns": "Id"},
                storage_options=self._options,
                commit_properties=self._properties(commit, 0),
            )
        except CommitFailedError as problem:
            raise ChangedMeanwhileError(f"{self.name} was made by somebody else meanwhile.") from problem
        except DeltaError as problem:
            if "already exists" in str(problem):
                raise ChangedMeanwhileError(f"{self.name} was made by somebody else meanwhile.") from problem
            raise

    def _merge(self, scratch: Scratch, change: Change, commit: Commit) -> int:
        from deltalake.transaction import RemoveAction

        from airflow_sfcc.load.delta.files import arrow_schema, discard
        from airflow_sfcc.load.delta.rewrite import Changes, rewrite
        from airflow_sfcc.load.delta.sorted_rows import GROUP_ROWS, write_sorted

        schema = arrow_schema(commit.columns)
        changes = Changes(scratch.folder / "removed.parquet", scratch.folder / "rows.parquet")
        scratch.run(f"CREATE OR REPLACE TEMP TABLE removed_ids AS {change.removed}")
        with in_temporary_folder():
            ids = arrow_schema([TableColumn("Id", "string")])
            removed = write_sorted(changes.removed, scratch.batches('FROM removed_ids ORDER BY "Id"'), ids)
            written = write_sorted(changes.rows, batches_of(scratch, change, GROUP_ROWS), schema)
        self._add_columns(commit)
        if not removed and not written:
            self._commit([], "append", commit)
            return 0
        scratch.run(
            f'CREATE OR REPLACE TEMP TABLE changed_ids AS FROM removed_ids UNION SELECT "Id" FROM '
            f"read_parquet({literal(str(changes.rows))})"
        )
        touched = {file.path for file in self._touched_by(scratch, "changed_ids")}
        scratch.forget()
        done = rewrite(self._root, self._files(), lambda file: file.path in touched, changes, schema, self._stopped)
        now = int(time.time() * 1000)
        actions = [RemoveAction(file.path, True, now, file.size) for file in done.removed]
        try:
            self._commit([*actions, *(file.added() for file in done.added)], "append", commit)
        except BaseException:
            discard(self._root, done.added)
            raise
        return written

    def _add_columns(self, commit: Commit) -> None:
        """A commit of its own, since one that adds files ignores a wider schema."""
        if not commit.added:
            return
        from deltalake import Field
        from deltalake.exceptions import CommitFailedError
        from deltalake.schema import Schema

        from airflow_sfcc.load.delta.files import arrow_schema

        fields = list(Schema.from_arrow(arrow_schema(commit.added)).fields)
        try:
            self._table.alter.add_columns([Field(field.name, field.type) for field in fields])
        except CommitFailedError as problem:
            raise ChangedMeanwhileError(f"{self.name} was changed meanwhile.") from problem
        if commit.before is not None and int(self._table.version()) != commit.before.version + 1:
            raise ChangedMeanwhileError(f"{self.name} was changed meanwhile.")  # delta-rs commits it on top of that

    def _commit(self, actions: Sequence[Any], mode: str, commit: Commit) -> None:
        from deltalake import Schema
        from deltalake.exceptions import CommitFailedError

        from airflow_sfcc.load.delta.files import arrow_schema

        schema = Schema.from_arrow(arrow_schema(commit.columns))
        properties = self._properties(commit, int(self._table.version()) + 1)
        try:
            self._table.create_write_transaction(list(actions), mode, schema, commit_properties=properties)
        except CommitFailedError as problem:
            raise ChangedMeanwhileError(
                f"{self.name} was changed while this load was under way, so its commit was refused: give the DAG "
                "max_active_runs=1, and let nobody else write to the table."
            ) from problem

    def _properties(self, commit: Commit, version: int) -> Any:
        from deltalake import CommitProperties, Transaction

        loaded = [Transaction(f"sfcc:{extract_id}", read_ms) for extract_id, read_ms in commit.loaded.items()]
        return CommitProperties(
            max_commit_retries=0,  # makes the commit a compare-and-set
            app_transactions=[*loaded, Transaction("sfcc:table", version)],
            custom_metadata={"userMetadata": f"airflow-sfcc: {len(loaded)} extracts loaded"},
        )


def _arrow(table: Any) -> Any:
    import pyarrow as pa

    return pa.table(table)
