"""What is known of many manifests without reading each of them every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract import latest_state, manifests, read_manifests
from airflow_sfcc.extract.manifests import INDEX, read_files, read_manifest, read_short_manifests
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


BAD_FILE = {"rows": 1, "bytes": 1, "sha256": ""}
NOT_TO_BE_TRUSTED: dict[str, Any] = {
    "a path for an id": {"extract_id": "evil/../../VICTIM"},
    "a path for a file": {"files": [{"path": "../x1/part-00000.parquet", **BAD_FILE}]},
    "an absolute path": {"files": [{"path": "/etc/passwd", **BAD_FILE}]},
    "another file": {"files": [{"path": "_manifest.json", **BAD_FILE}]},
    "a line break": {"files": [{"path": "part-00000.parquet\n", **BAD_FILE}]},
    "no mode": {"mode": None},
    "an unknown mode": {"mode": "both"},
    "a watermark without zone": {"watermark": "2026-11-23T02:00:00"},
    "no timestamp": {"started_at": 5},
    "a negative count": {"rows": -1},
    "an endless number": {"rows": int("9" * 4_000)},
    "a column without a name": {"schema": [{"type": "string"}]},
    "a type that is SQL": {"schema": [{**column("Id"), "type": "text); DROP TABLE x; --"}]},
    "deletions that are no number": {"deleted_rows": "many"},
    "a kind that is none": {"kind": "x\nforged"},
    "stale fields that are no list": {"stale_fields": 5},
    "dropped columns that are no names": {"dropped_columns": [5]},
    "a window of text": {"window": "all"},
}


@pytest.mark.parametrize("changes", NOT_TO_BE_TRUSTED.values(), ids=NOT_TO_BE_TRUSTED)
def test_a_manifest_is_data_that_is_checked(root: UPath, changes: dict[str, Any]) -> None:
    land(root, 0)
    path = root / "extract=x0" / "_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    reads_files = [read_manifests] if set(changes) == {"files"} else [read_manifests, read_short_manifests]
    for read in reads_files:
        with pytest.raises(StateError, match=r"is not a manifest of this package \("):
            read(root)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 10_000])
def test_what_no_parser_likes_is_told_as_no_manifest(root: UPath, content: bytes) -> None:
    land(root, 0)
    (root / "extract=x0" / "_manifest.json").write_bytes(content)
    with pytest.raises(StateError, match="is not a manifest of this package"):
        read_manifests(root)


def test_a_manifest_that_is_too_large_is_not_read(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    land(root, 0)
    monkeypatch.setattr(manifests, "MOST_BYTES", 100)
    for read in (lambda: read_manifests(root), lambda: read_manifest(root / "extract=x0")):
        with pytest.raises(StateError, match=r"it has .* bytes"):
            read()


@on_all_storages
def test_the_version_with_the_highest_number_counts(root: UPath) -> None:
    land(root, 0)
    folder = root / "extract=x0"
    manifest = json.loads((folder / "_manifest.json").read_text())
    for version in (2, 10, 9):
        (folder / f"_manifest-{version:05d}.json").write_text(
            json.dumps({**manifest, "version": version, "rows": version})
        )
    for read in (read_manifests, read_short_manifests):
        assert [(each["version"], each["rows"]) for each in read(root)] == [(10, 10)]
    del manifest["version"]
    land(root, 1)
    (root / "extract=x1" / "_manifest.json").write_text(json.dumps({**manifest, "extract_id": "x1"}))
    assert {each["extract_id"]: each["version"] for each in read_manifests(root)} == {"x0": 10, "x1": 1}


@on_all_storages
def test_a_file_that_was_superseded_while_it_was_to_be_read_is_looked_up_again(root: UPath) -> None:
    land(root, 0)
    folder = root / "extract=x0"
    (before,) = read_manifests(root)
    newer = {**json.loads((folder / "_manifest.json").read_text()), "version": 2}
    newer["files"] = [{"path": "part-00000-new.parquet", **BAD_FILE}]
    (folder / "_manifest-00002.json").write_text(json.dumps(newer))
    (folder / "part-00000-new.parquet").write_bytes(b"new")
    assert read_files(before, lambda manifest: (folder / manifest["files"][0]["path"]).read_bytes(), root) == b"new"
    (folder / "part-00000-new.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        read_files(before, lambda manifest: (folder / manifest["files"][0]["path"]).read_bytes(), root)
