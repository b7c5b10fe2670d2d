"""Loading: the committed extracts of a destination become, or change, one table.

    manifests -> next_step -> changes_of -> target.apply, until nothing is left to load

Each step is one commit of the table, and the loaded extracts are recorded in it. A load that dies is repeated from what
the table says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from airflow_sfcc.errors import TableError, TableUnavailableError
from airflow_sfcc.extract.current_table import duckdb_url
from airflow_sfcc.extract.manifests import read_manifests
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.load.changes import Table, changes_of
from airflow_sfcc.load.events import INEXACT, cast
from airflow_sfcc.load.model import (
    MODE_COLUMNS,
    Commit,
    Counts,
    Destination,
    Extract,
    Mode,
    Step,
    TableColumn,
    TableState,
    destination_of,
    widened,
)
from airflow_sfcc.load.problems import ChangedMeanwhileError, does_not_fit
from airflow_sfcc.load.scratch import MEMORY_LIMIT, Scratch, duckdb_type, is_of_scratch, no_room, quoted, scratch
from airflow_sfcc.load.steps import next_step, waiting_of
from airflow_sfcc.load.targets import Change, Target

OnSchemaChange = Literal["evolve", "fail"]
_READ_AGAIN = 3
"""Attempts at a step whose files were replaced, or whose table was changed by another writer, meanwhile."""


@dataclass(frozen=True)
class LoadOptions:
    """How a table is loaded; names and meanings are those of SalesforceLoadOperator."""

    mode: Mode = "current"
    on_schema_change: OnSchemaChange = "evolve"
    memory_limit: str = MEMORY_LIMIT
    sobject: str | None = None
    """The object that the extracts have to be of; None takes any."""
    threads: int | None = None
    log: Callable[[str], None] = lambda line: None
    stopped: Callable[[], bool] = lambda: False


def load(destination: StoragePath, target: Target, options: LoadOptions | None = None) -> dict[str, Any]:
    """Bring a table up to the committed extracts of a destination.

    Returns `table, version, inserted, updated, deleted, skipped_as_older, extracts, rows, seconds`; `extracts` are the ids of
    those loaded now. Raises TableError, TableUnavailableError, and StateError for what is no destination.
    """
    options = options or LoadOptions()
    started = time.monotonic()
    with _explained(target.name, options.memory_limit), scratch(options.memory_limit, options.threads) as database:
        database.register(destination)
        with target.locked(database):
            counts, loaded, state = _Load(destination, target, options, database).run()
    return {
        "table": target.name,
        "version": state.version,
        **asdict(counts),
        "extracts": loaded,
        "rows": state.rows,
        "seconds": round(time.monotonic() - started, 3),
    }


@contextmanager
def _explained(table: str, memory_limit: str) -> Iterator[None]:
    """What DuckDB cannot do, as a sentence."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as problem:
        raise TableUnavailableError(
            f"The changes to {table} need more than memory_limit={memory_limit!r}, or more room than there is in the worker's "
            f"temporary folder ({str(problem).splitlines()[0]}); nothing was loaded. Raise memory_limit, or make room "
            "there (TMPDIR)."
        ) from problem
    except duckdb.Error as problem:
        if is_of_scratch(problem):
            raise no_room(problem) from problem
        if isinstance(problem, duckdb.DataError) or INEXACT in str(problem):
            raise does_not_fit(table, str(problem).splitlines()[0].removeprefix("Invalid Input Error: ")) from problem
        raise TableUnavailableError(
            f"The extracts for {table} could not be read ({str(problem).splitlines()[0]}); nothing was loaded. See that their "
            "storage can be reached, and that nobody removes files from it."
        ) from problem


class _Load:
    def __init__(self, destination: StoragePath, target: Target, options: LoadOptions, database: Scratch) -> None:
        self._destination = destination
        self._target = target
        self._options = options
        self._scratch = database
        self._is_new = False
        """Whether this load made the table, whose columns nobody relies on yet."""

    def run(self) -> tuple[Counts, list[str], TableState]:
        counts = Counts()
        loaded: list[str] = []
        while True:
            found, extracts, state = self._next()
            if extracts is None:
                if state is None:
                    raise AssertionError("a destination with extracts gives a table")
                return counts, loaded, state
            counts += found
            loaded += [extract.extract_id for extract in extracts]

    def _next(self) -> tuple[Counts, tuple[Extract, ...] | None, TableState | None]:
        """One step, again where what it read was replaced meanwhile."""
        for attempt in range(1, _READ_AGAIN + 1):
            if self._options.stopped():
                raise TableUnavailableError("The load was stopped; what it had not committed is not in the table.")
            try:
                return self._step()
            except (ChangedMeanwhileError, FileNotFoundError) as problem:
                if attempt == _READ_AGAIN:
                    raise
                self._options.log(f"Computing the changes again: {problem}")
            except Exception as problem:
                if attempt == _READ_AGAIN or not _is_missing_file(problem):
                    raise
                self._options.log("An extract was committed again while it was read: reading what is there now")
        raise AssertionError

    def _step(self) -> tuple[Counts, tuple[Extract, ...] | None, TableState | None]:
        destination = destination_of(duckdb_url(self._destination), read_manifests(self._destination))
        _require_object(self._target.name, self._options.sobject, destination)
        state = self._target.state([extract.extract_id for extract in destination.extracts])
        if state is not None:
            _require_same(self._target.name, state, destination, self._options.mode)
        self._is_new = self._is_new or state is None
        if state is not None and self._options.on_schema_change == "fail" and not self._is_new:
            self._require_same_columns(destination, state)
        step = next_step(destination.extracts, state.loaded if state else None, self._options.mode)
        if step is None:
            return Counts(), None, state
        if step.kind == "append" and not self._target.knows_rows:
            step = replace(step, kind="late", known=(*step.known, *step.extracts))
        commit = self._commit_of(destination, step, state)
        change = self._change(step, commit)
        written = self._target.apply(self._scratch, change, commit)
        counts = replace(change.counts, inserted=written) if change.replaces_all else change.counts
        return counts, step.extracts, None

    def _change(self, step: Step, commit: Commit) -> Change:
        own = tuple(column for column in commit.columns if column not in MODE_COLUMNS[commit.mode])
        table = Table(_Cast(self._target, commit), own, commit.source.cursor, commit.before is not None)
        return changes_of(self._scratch, table, step, commit.mode)

    def _commit_of(self, destination: Destination, step: Step, state: TableState | None) -> Commit:
        columns = self._columns(step.extracts, state)
        commit = Commit(
            source=destination.source,
            mode=self._options.mode,
            columns=(*columns, *MODE_COLUMNS[self._options.mode]),
            loaded={extract.extract_id: extract.read_ms for extract in step.extracts},
            before=state,
            forgets=step.kind == "base",
        )
        for name, (was, now) in commit.retyped.items():
            self._options.log(f"Column {name} becomes {now}, it was {was}: the table is written anew")
        return commit

    def _require_same_columns(self, destination: Destination, state: TableState) -> None:
        """Before the first of what is waiting is loaded: a table that has to change at a later step must not change at an
        earlier one."""
        mode = self._options.mode
        columns = self._columns(waiting_of(destination.extracts, state.loaded, mode), state)
        commit = Commit(destination.source, mode, (*columns, *MODE_COLUMNS[mode]), {}, state)
        if commit.added or commit.retyped:
            raise TableError(
                f"{_differences(commit)}, so {self._target.name} would have to change. Nothing was loaded. Look at what reads "
                "the table, then let the task go on once with on_schema_change='evolve'."
            )

    def _columns(self, waiting: Sequence[Extract], state: TableState | None) -> tuple[TableColumn, ...]:
        mode_columns = {column.name for column in MODE_COLUMNS[self._options.mode]}
        before = [column for column in state.columns if column.name not in mode_columns] if state else []
        extracts = [
            replace(each, columns=tuple(replace(c, type=self._target.column_type(c.type)) for c in each.columns))
            for each in waiting
        ]
        return widened(before, extracts, max(state.loaded.values(), default=-1) if state else -1)


class _Cast:
    """A target whose rows come with the types that the table is to have."""

    def __init__(self, target: Target, commit: Commit) -> None:
        self._target = target
        self._was = {column.name: column for column in commit.before.columns} if commit.before else {}

    def existing(self, scratch: Scratch, ids: str | None, columns: Sequence[TableColumn]) -> str:
        there = [self._was[column.name] for column in columns if column.name in self._was]
        relation = self._target.existing(scratch, ids, there)
        types = {column.name: duckdb_type(column.type) for column in there}
        values = ", ".join(f"{cast(column, types.get(column.name))} AS {quoted(column.name)}" for column in columns)
        return f"(SELECT {values} FROM {relation})"


def _require_object(name: str, sobject: str | None, destination: Destination) -> None:
    found = destination.source.sobject
    if sobject and found and sobject.lower() != found.lower():
        raise TableError(
            f"The extracts are of {found}, and sobject says {sobject!r}, so nothing was loaded into {name}: leave sobject out, "
            "or name the destination of that object. Tasks that are mapped over both take pairs of them by expand_kwargs(); "
            "expand() makes a task of each extract with each object."
        )


def _require_same(name: str, state: TableState, destination: Destination, mode: Mode) -> None:
    if state.source != destination.source:
        is_same_object = replace(state.source, cursor=destination.source.cursor) == destination.source
        advice = (
            "drop the table to have it built anew from the newest full extract on."
            if is_same_object
            else "give each object and org its own table, for example with {sobject} in its name."
        )
        raise TableError(
            f"{name} holds {state.source.told}, and the extracts are of {destination.source.told}: {advice}"
        )
    if state.mode != mode:
        raise TableError(
            f"{name} was made with mode={state.mode!r}, and this task has {mode!r}: use that mode, or another table."
        )


def _differences(commit: Commit) -> str:
    added = [f"{column.name} was added" for column in commit.added]
    retyped = [f"{name} was {was} and is {now}" for name, (was, now) in commit.retyped.items()]
    return "; ".join([*added, *retyped])


def _is_missing_file(problem: Exception) -> bool:
    """DuckDB's own error for a file that is gone."""
    text = str(problem)
    return type(problem).__module__.endswith("duckdb") and ("No files found" in text or "No such file" in text)


def counts_of(result: Mapping[str, Any]) -> str:
    """What a load did, for people."""
    what = ("inserted", "updated", "deleted", "skipped_as_older")
    return ", ".join(f"{result[name]:,} {name.replace('_', ' ')}" for name in what)
