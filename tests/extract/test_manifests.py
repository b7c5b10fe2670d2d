"""What is known of many manifests without reading each of them every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract import latest_state, manifests, read_manifests
from airflow_sfcc.extract.manifests import INDEX, read_short_manifests
from tests.storages import files_below, on_all_storages

FEW = 3


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of extracts is many here."""
    monkeypatch.setattr(manifests, "READ_ANEW", FEW)


def hour(number: int) -> str:
    return f"2026-11-{1 + number // 24:02d}T{number % 24:02d}:00:00.000Z"


def column(name: str) -> dict[str, Any]:
    return {"name": name, "salesforce_type": "string", "type": "string", "nullable": True}


def land(root: UPath, number: int, **changes: Any) -> None:
    """A manifest of an hourly extract, as a commit leaves it."""
    manifest = {
        "extract_id": f"x{number}",
        "mode": "incremental",
        "window": {"start": hour(number - 1) if number else None, "end": hour(number)},
        "watermark": hour(number),
        "read_at": hour(number),
        "started_at": hour(number),
        "soql": "SELECT Id FROM Account",
        "sobject": "Account",
        "run_id": str(number),
        "rows": 1,
        "version": 1,
        "files": [{"path": "part-00000.parquet", "rows": 1, "bytes": 1, "sha256": ""}],
        "schema": [column("Id"), column(f"Field{number // 4}__c")],
        **changes,
    }
    folder = root / f"extract=x{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def reads(root: UPath, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Reads the state, and tells which extracts' manifests were read for it."""

    def of_state() -> list[str]:
        asked: list[str] = []
        cat = root.fs.cat
        with monkeypatch.context() as watching:
            watching.setattr(root.fs, "cat", lambda paths, **how: asked.extend(paths) or cat(paths, **how))  # type: ignore[func-returns-value]
            found = latest_state(root)
        full = [{key: value for key, value in each.items() if key not in ("soql", "files")}
                for each in read_manifests(root)]  # fmt: skip
        assert list(found.manifests) == full
        return sorted(path.split("extract=")[1].split("/")[0] for path in asked)

    return of_state


@on_all_storages
def test_only_manifests_that_are_new_or_replaced_are_read(root: UPath, reads: Callable[[], list[str]]) -> None:
    for number in range(8):
        land(root, number)
    assert len(reads()) == 8 and INDEX in files_below(root)
    assert reads() == []
    land(root, 8)
    land(root, 2, rows=5)
    assert reads() == ["x2", "x8"]
    (root / "extract=x3" / "_manifest.json").unlink()
    assert reads() == ["x2", "x8"]
    watermark = latest_state(root).watermark
    assert watermark is not None and watermark.hour == 2, "a hole is a hole"
    for number in range(9, 12):
        land(root, number)
    assert len(reads()) == 5 and reads() == []


@on_all_storages
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b half", b"{}", b"null"])
def test_an_index_that_is_of_no_use_is_not_used(root: UPath, reads: Callable[[], list[str]], content: bytes) -> None:
    for number in range(5):
        land(root, number)
    assert len(reads()) == 5
    (root / INDEX).write_bytes(content)
    assert len(reads()) == 5 and reads() == []
    (root / INDEX).unlink()
    assert len(reads()) == 5


@on_all_storages
def test_few_extracts_need_no_index(root: UPath, reads: Callable[[], list[str]]) -> None:
    assert reads() == []
    for number in range(FEW):
        land(root, number)
    assert len(reads()) == FEW and INDEX not in files_below(root)


def test_who_may_not_write_does_without(
    root: UPath, reads: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        land(root, number)

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(manifests, "write_whole", refuse)
    assert len(reads()) == 5 and INDEX not in files_below(root)


@on_all_storages
def test_what_is_no_manifest_is_named(root: UPath) -> None:
    for content in ("[]", "half {", '{"rows": 1}'):
        land(root, 0)
        (root / "extract=x0" / "_manifest.json").write_text(content)
        for read in (read_manifests, read_short_manifests):
            with pytest.raises(StateError, match=r"extract=x0/_manifest.json is not a manifest of this package"):
                read(root)
