"""The faults: one table of what is done to an attempt, and the points at which it can be done in a commit.

They are put into a worker's process from outside the package: by signals, and by wrapping what the package calls of a storage.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import Any

from airflow_sfcc.extract import extraction
from airflow_sfcc.extract.fetch.page_checks import PageOrder, SeenIds
from airflow_sfcc.extract.land import commit, staging
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.storage import exists, give_name, listed, remove, write_whole

POINTS: dict[str, tuple[object, str]] = {
    "before it looks for newer attempts": (Landing, "require_newest"),
    "before a file is given its name": (commit, "give_name"),
    "before a manifest is written": (commit, "write_whole"),
    "before a version is put": (commit, "put_if_absent"),
    "before what is superseded is removed": (extraction, "finish"),
    "before a superseded file is removed": (commit, "remove"),
    "before what is staged is removed": (Landing, "discard_all"),
}
"""Where an attempt can be stopped in its commit: before a call of what the module or class has under that name."""

CALLS = {"before it looks for newer attempts": 2}
"""How often a point is passed, if more than once: the last time is right before the step that publishes."""

OF_LATER_VERSIONS = ("before a version is put", "before a superseded file is removed")
"""Points that the first version on a disk does not pass."""

STORAGE = ("open_whole", "write_whole", "give_name")
"""What of a storage can fail while an extract is staged or committed."""

DISKS = {"full disk": errno.ENOSPC, "read-only disk": errno.EROFS, "broken disk": errno.EIO}
NETWORK = {
    "reset": "the connection ends without a response",
    "truncated": "the body breaks off",
    "replayed": "the response before comes once more",
    "swapped": "the response to another page of the same job comes",
    "unavailable": "HTTP 503",
}
BROKEN = {
    "fence": "versions are put over others, and nobody looks for newer attempts",
    "pages": "a response is taken for the page's, whatever it is",
    "manifest-first": "the manifest is put before its files are there",
}


def before(point: str, act: Callable[[], None], call: int = 1) -> None:
    """Have `act` called before the call of that number at the point."""
    where, name = POINTS[point]
    _before(where, name, act, call)


def _before(where: object, name: str, act: Callable[[], None], call: int) -> None:
    original, calls = getattr(where, name), [0]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            act()
        return original(*arguments, **options)

    setattr(where, name, wrapped)


def stop_itself() -> None:
    """Pause this process, as a machine does that swaps or sleeps, until somebody wakes it up."""
    os.kill(os.getpid(), signal.SIGSTOP)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail_storage(kind: str, call: int) -> None:
    """Have the storage fail from its call of that number on, of all that are made."""
    number, calls = DISKS[kind], [0]

    def act() -> None:
        calls[0] += 1
        if calls[0] >= call:
            raise OSError(number, os.strerror(number))

    for module in (staging, commit):
        for name in STORAGE:
            if hasattr(module, name):
                _always(module, name, act)


def _always(where: object, name: str, act: Callable[[], None]) -> None:
    original = getattr(where, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        act()
        return original(*arguments, **options)

    setattr(where, name, wrapped)


def break_build(kind: str) -> None:
    """Take one of the safeguards out, so that a campaign can show that it would be missed."""
    {"fence": _without_fence, "pages": _without_page_check, "manifest-first": _manifest_first}[kind]()


def _replace(where: object, **by: Any) -> None:
    for name, replacement in by.items():
        setattr(where, name, replacement)


def _without_fence() -> None:
    def put(path: Any, content: bytes) -> bool:
        write_whole(path, content)
        return True

    _replace(commit, put_if_absent=put)
    _replace(Landing, require_newest=lambda *_: None)
    published = commit.publish

    def publish(landing: Any, manifest: Any, files: Any, before: Any, require: Any = lambda: None) -> Any:
        if exists(landing.folder):  # as a commit did that looks first and writes then
            for name in listed(landing.folder):
                remove(landing.folder / name)
            landing.folder.fs.invalidate_cache()
        return published(landing, manifest, files, before, require)

    _replace(extraction, publish=publish)


def _without_page_check() -> None:
    _replace(PageOrder, judge=lambda *_: "right")
    _replace(SeenIds, add=lambda *_: None)


def _manifest_first() -> None:
    published = commit.publish

    def publish(landing: Any, manifest: Any, files: Any, before: Any, require: Any = lambda: None) -> Any:
        names = {}

        def later(source: Any, target: Any) -> None:
            names[target] = source

        _replace(commit, give_name=later)
        try:
            result = published(landing, manifest, files, before, require)
        finally:
            _replace(commit, give_name=give_name)
        for target, source in names.items():
            place = target if str(target).startswith(str(landing.folder)) else landing.folder / target.name
            give_name(source, place)
        return result

    _replace(extraction, publish=publish)
