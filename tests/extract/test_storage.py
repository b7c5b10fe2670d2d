"""Small files of a store that others write and remove while they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.extract.storage import read_small
from tests.storages import on_all_storages


def meanwhile(monkeypatch: pytest.MonkeyPatch, path: UPath, change: Callable[[], object]) -> None:
    """Have `change` called once, between the opening of the file and its reading."""
    filesystem = type(path.fs)
    opened, waiting = filesystem.open, [change]

    def open_and_change(self: Any, *arguments: Any, **options: Any) -> Any:
        file = opened(self, *arguments, **options)
        if waiting and options.get("mode", arguments[1] if len(arguments) > 1 else "rb") == "rb":
            waiting.pop()()
        return file

    monkeypatch.setattr(filesystem, "open", open_and_change)


@on_all_storages
def test_a_small_file_that_is_written_again_while_it_is_read(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "_plan.json"
    path.write_bytes(b"the version before")
    meanwhile(monkeypatch, path, lambda: path.fs.pipe_file(path.path, b"the version after"))
    assert read_small(path, 100) in (b"the version before", b"the version after")


@on_all_storages
def test_a_small_file_that_goes_while_it_is_read(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "_plan.json"
    path.write_bytes(b"a plan")
    meanwhile(monkeypatch, path, lambda: path.fs.rm(path.path))
    try:
        assert read_small(path, 100) == b"a plan"  # a disk keeps what is open
    except FileNotFoundError:
        assert path.fs.protocol != ("file", "local")
