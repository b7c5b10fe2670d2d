"""What a destination already holds. Its committed manifests are the state of the next extract; there is no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.incremental.windows import covered_until
from airflow_sfcc.extract.manifests import Manifest, file_format_of, read_short_manifests
from airflow_sfcc.extract.model import Column, Plan, RunIdentity, Window, from_plain
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.timestamps import iso, timestamp
from airflow_sfcc.wording import plural

_LONGEST_RUN = timedelta(days=2)
"""Mapped tasks of one run land within it."""


@dataclass(frozen=True)
class State:
    """What the manifests of one destination say together; they may lack soql, files and deleted_files.

    `base` is where the destination is meant to begin (`initial_start`), None for everything.
    """

    manifests: tuple[Manifest, ...]
    base: datetime | None = None

    def __repr__(self) -> str:
        """Short: the manifests themselves may be thousands."""
        newest = self.newest
        if newest is None:
            return "<State: no extracts>"
        watermark = iso(self.watermark) if self.watermark else None
        return (
            f"<State of {newest['sobject']}: {plural(len(self.manifests), 'extract')}, newest {newest['extract_id']}, "
            f"watermark {watermark}>"
        )

    @cached_property
    def snapshot(self) -> Manifest | None:
        """The newest full extract of everything: it says what there was, so nothing read before it matters any more."""
        return next((each for each in reversed(self.manifests) if is_snapshot(each)), None)

    @cached_property
    def relevant(self) -> tuple[Manifest, ...]:
        """The newest snapshot and what was read after it."""
        if self.snapshot is None:
            return self.manifests
        return self.manifests[self.manifests.index(self.snapshot) :]

    @cached_property
    def newest(self) -> Manifest | None:
        """The extract that was read last."""
        return self.manifests[-1] if self.manifests else None

    @cached_property
    def watermark(self) -> datetime | None:
        """Up to where every change is in the files: by windows, not by when they were committed. None: nowhere yet."""
        return covered_until(filter(None, map(_rows_window, self.relevant)), self.base)

    @cached_property
    def deletes_watermark(self) -> datetime | None:
        """Up to where every hard delete is in the files."""
        return covered_until(filter(None, map(_deletes_window, self.relevant)), None)

    @cached_property
    def oldest_end(self) -> datetime | None:
        """The earliest end of a window: rows deleted before it never came, those deleted after it may be in the files."""
        windows = [window for window in map(_rows_window, self.relevant) if window]
        return min((window.end for window in windows), default=None)

    def own(self, extract_id: str) -> Manifest | None:
        """What this extract committed before."""
        return next((each for each in self.manifests if each["extract_id"] == extract_id), None)

    def without(self, extract_id: str) -> State:
        return State(tuple(each for each in self.manifests if each["extract_id"] != extract_id), self.base)


def latest_state(destination: StoragePath | str, *, initial_start: datetime | None = None) -> State:
    """The state that the next incremental extract into `destination` goes on from."""
    return State(tuple(read_short_manifests(destination)), initial_start)


def is_snapshot(manifest: Mapping[str, Any]) -> bool:
    """Whether an extract holds everything the object had when it was read."""
    return manifest["mode"] == "full" and manifest.get("watermark") is not None


def _rows_window(manifest: Manifest) -> Window | None:
    if is_snapshot(manifest):
        return Window(None, timestamp(manifest["watermark"]))
    return window_of(manifest["window"]) if manifest.get("window") else None


def _deletes_window(manifest: Manifest) -> Window | None:
    if is_snapshot(manifest):
        return Window(None, timestamp(manifest["watermark"]))
    return window_of(manifest["deletes"]) if manifest.get("deletes") else None


def window_of(data: Mapping[str, Any]) -> Window:
    """A window as manifests write it."""
    return from_plain(data, Window, "A window in a manifest")


def check_same_source(manifests: Iterable[Manifest], wanted: Mapping[str, Any]) -> None:
    """Raise StateError unless the extracts come from where the next one comes from.

    `wanted` has org_id and sobject; where and cursor_field too unless they may differ.
    """
    for manifest in manifests:
        for name, (is_called, fix) in _SOURCE.items():
            if name not in wanted:
                continue
            there = manifest.get(name)
            if name == "where" and manifest.get("watermark") is None:
                continue  # the result of a query that lies here and moves nothing
            if name == "cursor_field" and not manifest.get("window"):
                continue
            if (there or None) != (wanted[name] or None):
                raise StateError(
                    f"The destination holds an extract ({manifest['extract_id']}) with {_called(is_called, there)}, and "
                    f"this one has {_called(is_called, wanted[name])}, so they cannot share it: {fix}"
                )


def _called(what: str, value: Any) -> str:
    return f"{what} {value!r}" if value else what.replace("the ", "no ", 1)


def refuse_sibling(
    manifests: Iterable[Manifest], run: RunIdentity | Plan, where: str | None, columns: Iterable[Column]
) -> None:
    """Raise StateError when another mapped task of the same run has landed an extract with another condition or other columns:
    each is taken for the whole object, so readers would have a part of its rows or columns only."""
    names = {column.name for column in columns}
    for manifest in manifests:
        if not _is_sibling(manifest, run):
            continue
        there, here = manifest.get("where"), where
        others = sorted({str(column["name"]) for column in manifest["schema"]} ^ names)
        if (there or None) != (here or None):
            differ = f"{_called('the condition', there)} there, and {_called('the condition', here)} here"
        elif others:
            differ = f"{', '.join(others[:5])}{', …' if len(others) > 5 else ''} only in one of them"
        else:
            continue
        raise StateError(
            f"Another mapped task of this run has landed an extract of the same object here ({manifest['extract_id']}), "
            f"and the two differ ({differ}): readers would take each for all there is. Give each a destination of its own, or "
            "extract them by one task."
        )


def _is_sibling(manifest: Manifest, run: RunIdentity | Plan) -> bool:
    """Not what is left from before a run was cleared, by a task whose number is now another object's."""
    of_run = all(manifest.get(name) == getattr(run, name) for name in ("dag_id", "task_id", "run_id"))
    is_extract = manifest.get("kind", "extract") == "extract"
    is_old = timestamp(manifest["started_at"]) < datetime.now(timezone.utc) - _LONGEST_RUN
    return of_run and is_extract and manifest.get("map_index") != run.map_index and not is_old


def check_same_format(destination: StoragePath, newest: Manifest | None, file_format: str) -> None:
    """Raise StateError unless the newest extract is in the same file format, since no reader reads two at once."""
    there = file_format_of(destination, newest["extract_id"]) if newest else None
    if newest and there and there != file_format:
        raise StateError(
            f"The destination holds an extract ({newest['extract_id']}) in {there} files, and this one has "
            f"file_format={file_format!r}, so they cannot share it: give each file_format its own destination."
        )


def require_one_source(destination: object, manifests: Sequence[Manifest]) -> None:
    """Raise StateError when the extracts of a destination are of several objects or orgs, which no reader can tell apart."""
    for name in ("sobject", "org_id"):
        found = sorted({str(manifest[name]) for manifest in manifests if manifest.get(name)})
        if len(found) > 1:
            raise StateError(
                f"{destination} holds extracts of several {_SEVERAL[name]} ({', '.join(found)}), which are not told apart "
                "there. Move each one's folders extract=… to a destination of its own (each _manifest.json names its "
                f"{name}), and put {{sobject}} into the DAG's destination."
            )


_SEVERAL = {"sobject": "objects", "org_id": "orgs"}
_ELSEWHERE = "give each its own destination."
_FULL_RUN = "use another destination, or run once with mode='full', from which incremental extracts then go on."
_SOURCE = {
    "org_id": ("the org", _ELSEWHERE),
    "sobject": ("the object", "give each object its own destination, for example with {sobject} in it."),
    "where": ("the condition", "give each condition its own destination."),
    "cursor_field": ("the cursor field", _FULL_RUN),
}
