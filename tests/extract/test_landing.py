"""What is on disk while an extract runs, after it failed, after it was repeated."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.errors import ConcurrentRunError, StateError
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.land import commit as commits
from airflow_sfcc.extract.land.commit import finish, publish
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.land.vacuum import Leftover, vacuum
from airflow_sfcc.extract.manifests import Manifest, version_name
from airflow_sfcc.extract.model import Request, StagedFile
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.storage import StoragePath, write_whole
from tests.conftest import RunningOrg
from tests.extract.runs import extract, run_identity, wait_for_job
from tests.storages import files_below, on_all_storages

ATTEMPT, LATER = "t00001-00001-00000000", "t00001-00002-00000000"
REQUEST: dict[str, Any] = {"sobject": "Contact", "fields": ["Id", "LastName"], "api": "bulk"}
MANIFEST_KEYS = [
    "format_version",
    "extract_id",
    "org_id",
    "instance",
    "sobject",
    "soql",
    "api",
    "api_version",
    "job_id",
    "job_ids",
    "mode",
    "cursor_field",
    "where",
    "window",
    "watermark",
    "read_at",
    "kind",
    "deletes",
    "include_deleted",
    "rows",
    "carried_rows",
    "deleted_rows",
    "bytes",
    "files",
    "deleted_files",
    "schema",
    "dropped_columns",
    "left_out_fields",
    "schema_fingerprint",
    "describe",
    "schema_changes",
    "stale_fields",
    "api_calls",
    "started_at",
    "finished_at",
    "dag_id",
    "task_id",
    "run_id",
    "map_index",
    "run_key",
    "package_version",
    "version",
    "attempt",
]


def files(destination: Path) -> list[str]:
    return sorted(files_below(UPath(destination)))


def test_the_manifest_tells_all_and_tells_the_truth(org: RunningOrg, tmp_path: Path) -> None:
    manifest = extract(org, tmp_path, **REQUEST)
    assert list(manifest) == MANIFEST_KEYS
    folder = tmp_path / f"extract={manifest['extract_id']}"
    for file in manifest["files"]:
        data = (folder / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert manifest["bytes"] == sum(file["bytes"] for file in manifest["files"])
    assert manifest["api_calls"] == sum(call.path.startswith("/services/data/v") for call in org.org.calls)
    name = f"part-00000-{manifest['attempt']}.parquet" if tmp_path.as_uri().startswith("s3") else "part-00000.parquet"
    below = [f"extract={manifest['extract_id']}/{name}" for name in ["_manifest.json", name]]
    assert files(tmp_path) == [manifest["describe"], *below]


def test_duckdb_globs_see_parts_only(org: RunningOrg, records: Records, tmp_path: Path) -> None:
    extract(org, tmp_path, **REQUEST)
    counted = duckdb.connect().execute(f"SELECT count(*) FROM read_parquet('{tmp_path}/*/*.parquet')").fetchone()
    assert counted == (records.count("Contact"),)


def test_while_it_runs_readers_see_nothing(org: RunningOrg, tmp_path: Path) -> None:
    client = org.client()
    plan = make_plan(client, Request(**REQUEST), run_identity())
    extraction = Extraction(client, UPath(tmp_path), plan)
    extraction.start()
    extraction.stage_plan()
    wait_for_job(extraction)
    pages = extraction.land()
    assert files(tmp_path) and all(name.startswith("_staging/") for name in files(tmp_path))
    assert not list(tmp_path.glob("*/*.parquet"))
    extraction.commit(pages)
    assert not (tmp_path / "_staging").exists()


def test_another_process_goes_on_from_the_staged_plan(org: RunningOrg, records: Records, tmp_path: Path) -> None:
    client = org.client()
    first = Extraction(client, UPath(tmp_path), make_plan(client, Request(**REQUEST), run_identity()))
    first.start()
    first.stage_plan()
    later = Extraction.resume(org.client(), UPath(tmp_path), run_identity().extract_id)
    wait_for_job(later)
    result = later.commit(later.land(), other_calls=3)
    assert result["rows"] == records.count("Contact")
    manifest = json.loads((tmp_path / f"extract={run_identity().extract_id}" / "_manifest.json").read_text())
    assert manifest["api_calls"] == client.usage.calls + later.client.usage.calls + 3


def test_running_again_replaces_and_never_mixes(org: RunningOrg, tmp_path: Path) -> None:
    first = extract(org, tmp_path, **{**REQUEST, "api": "rest", "file_format": "csv"})
    second = extract(org, tmp_path, **REQUEST)
    assert first["extract_id"] == second["extract_id"]
    names = [Path(name).name for name in files(tmp_path) if "/" in name]
    assert names == ["_manifest-00002.json", "_manifest.json", f"part-00000-{second['attempt']}.parquet"]
    assert (first["version"], second["version"]) == (1, 2)


def test_a_failed_rerun_leaves_what_was_committed(org: RunningOrg, tmp_path: Path) -> None:
    extract(org, tmp_path, **REQUEST)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    org.fail("job_create", job_error="x")
    with pytest.raises(Exception, match="failed"):
        extract(org, tmp_path, **REQUEST)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_leftovers_of_a_dead_attempt_go_with_the_next_commit(org: RunningOrg, tmp_path: Path) -> None:
    staged = UPath(tmp_path) / "_staging" / f"extract={run_identity().extract_id}" / "t00001-00001-00000000"
    staged.mkdir(parents=True)
    (staged / "part-00099.parquet").write_bytes(b"half")
    extract(org, tmp_path, **REQUEST)
    assert not [name for name in files(tmp_path) if "00099" in name]


def landing_of(root: UPath, rows: bytes, attempt: str = ATTEMPT) -> Landing:
    """An attempt that has staged a page."""
    landing = Landing(root, run_identity().extract_id, attempt)
    (landing.staging / attempt).mkdir(parents=True, exist_ok=True)
    with landing.open_file(landing.own("page-00000.parquet")) as file:
        file.write(rows)
    return landing


def commit(landing: Landing, require: Callable[[], None] = lambda: None) -> Manifest | None:
    size = len(landing.open_staged(landing.own("page-00000.parquet")).read_bytes())
    manifest = {
        "extract_id": run_identity().extract_id,
        "sobject": "Contact",
        "mode": "full",
        "started_at": "2026-11-23T02:00:00.000Z",
        "schema": [],
        "run_id": "one",
        "rows": 1,
        "files": [{"path": "part-00000.parquet", "rows": 1, "bytes": size, "sha256": ""}],
        "deleted_files": [],
    }
    files = {"part-00000.parquet": landing.own("page-00000.parquet")}
    return publish(landing, manifest, files, landing.committed(), require)


def rows_of(landing: Landing) -> bytes:
    manifest = landing.committed()
    assert manifest
    content: bytes = (landing.folder / manifest["files"][0]["path"]).read_bytes()
    return content


@on_all_storages
def test_vacuum_leaves_a_commit_alone_that_is_under_way(root: UPath) -> None:
    found: list[Leftover] = []
    assert commit(landing_of(root, b"before"))
    landing = landing_of(root, b"after", LATER)
    assert commit(landing, lambda: found.extend(vacuum(root)))
    finish(landing)
    assert found == [] and rows_of(landing) == b"after"


def test_vacuum_leaves_a_run_alone_that_has_just_begun(tmp_path: Path) -> None:
    landing = landing_of(UPath(tmp_path), b"rows")
    assert vacuum(UPath(tmp_path)) == [] and (landing.staging / ATTEMPT).exists()
    assert len(vacuum(UPath(tmp_path), older_than=timedelta(0))) == 1
    assert files(tmp_path) == []


@on_all_storages
def test_a_dry_vacuum_changes_nothing_and_a_real_one_removes_what_a_dead_commit_left(root: UPath) -> None:
    assert commit(landing_of(root, b"before"))
    landing = landing_of(root, b"after", LATER)
    (landing.folder / f"part-00000-{LATER}.parquet").write_bytes(b"after")  # and here the worker was shut off
    before = files_below(root)
    would_go = vacuum(root, dry_run=True, older_than=timedelta(0))
    expected = [landing.staging.path, f"{landing.folder.path}/part-00000-{LATER}.parquet"]
    assert [leftover.path for leftover in would_go] == expected and files_below(root) == before
    assert vacuum(root, older_than=timedelta(0)) == would_go
    assert rows_of(landing) == b"before" and len(files_below(root)) == 2


@on_all_storages
def test_a_version_is_published_by_one_attempt_only(root: UPath) -> None:
    """Each that is late finds the version taken, and is told to make the next one, or that a newer attempt was quicker."""
    older, newer = landing_of(root, b"older"), landing_of(root, b"newer", LATER)
    with pytest.raises(ConcurrentRunError, match="one commits nothing"):
        commit(older)
    assert commit(newer)
    finish(newer)
    newer.discard()
    with pytest.raises(ConcurrentRunError, match="one commits nothing"):
        commit(older)
    assert rows_of(newer) == b"newer"


@on_all_storages
def test_an_attempt_that_wakes_up_in_its_commit_publishes_and_destroys_nothing(root: UPath) -> None:
    """It sleeps right before the step that publishes, while the retry commits, and another one after that."""
    for first in (True, False):
        older = landing_of(root, b"older", f"t00002-0000{3 if first else 6}-00000000")
        middle, newest = (f"t00002-0000{number + (0 if first else 3)}-00000000" for number in (4, 5))

        def sleep(middle: str = middle, newest: str = newest) -> None:
            for attempt in (middle, newest):
                landing = landing_of(root, attempt.encode(), attempt)
                assert commit(landing)
                finish(landing)
                landing.discard()

        with suppress(ConcurrentRunError):
            assert commit(older, sleep) is None
        assert rows_of(older) == newest.encode()
        kept = [name for name in files_below(root) if name.startswith("extract=")]
        assert sorted(name.split("/")[1] for name in kept) == sorted(
            ["_manifest.json", version_name(older.committed()["version"]), f"part-00000-{newest}.parquet"]  # type: ignore[index]
        )


@on_all_storages
def test_manifest_json_is_the_newest_version_whoever_wrote_it_last(
    root: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = landing_of(root, b"1", "t00001-00001-00000000")
    assert commit(landing)
    landing = landing_of(root, b"2", "t00001-00002-00000000")
    assert commit(landing)
    write = write_whole

    def sleeping(path: StoragePath, content: bytes) -> None:
        monkeypatch.setattr(commits, "write_whole", write)
        later = landing_of(root, b"3", "t00001-00003-00000000")
        assert commit(later)
        finish(later)
        write(path, content)

    monkeypatch.setattr(commits, "write_whole", sleeping)
    finish(landing)
    assert json.loads((landing.folder / "_manifest.json").read_bytes())["version"] == 3
    assert rows_of(landing) == b"3"


def test_what_is_no_extract_is_never_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A copied folder, one whose manifest names a path, one that is a link to elsewhere."""
    root, elsewhere = UPath(tmp_path) / "lake", tmp_path / "VICTIM"
    landing = landing_of(root, b"rows")
    assert commit(landing)
    landing.discard()
    elsewhere.mkdir()
    (elsewhere / "part-00000.parquet").write_bytes(b"not ours")
    shutil.copytree(landing.folder.path, f"{landing.folder.path}.bak")
    Path(f"{root.path}/extract=link").symlink_to(elsewhere)
    before = files_below(root)
    assert vacuum(root, superseded=True, older_than=timedelta(0)) == []
    assert "left alone" in caplog.text and files_below(root) == before
    manifest = json.loads((landing.folder / "_manifest.json").read_bytes())
    for extract_id, folder in (("evil/../../VICTIM", "extract=evil"), (landing.folder.name[8:], "extract=copy")):
        (root / folder).mkdir()
        (root / folder / "_manifest.json").write_text(json.dumps({**manifest, "extract_id": extract_id}))
        with pytest.raises(StateError, match=r"is not a manifest|it is a copy"):
            vacuum(root, superseded=True, older_than=timedelta(0))
        shutil.rmtree(f"{root.path}/{folder}")
    assert (elsewhere / "part-00000.parquet").exists() and files_below(root) == before


@on_all_storages
def test_staged_files_that_are_damaged_do_not_count(root: UPath, caplog: pytest.LogCaptureFixture) -> None:
    landing = landing_of(root, b"rows")
    for index in range(6):
        with landing.open_file(landing.own(f"page-{index:05d}.parquet")) as file:
            file.write(b"rows")
        name = landing.own(f"page-{index:05d}.parquet")
        landing.save_receipt(StagedFile(index, name, 1, 4, file.sha256, url=f"/{index}"))
    receipts = [landing.staging / ATTEMPT / f"page-{index:05d}.json" for index in range(6)]
    receipts[1].write_text(json.dumps({**json.loads(receipts[1].read_text()), "crc32": 1}))
    receipts[2].write_text(json.dumps({"index": 2, "name": "page-00002.parquet", "bytes": 4}))
    receipts[3].write_text("{")
    (landing.staging / ATTEMPT / "page-00004.parquet").write_bytes(bytes(4))
    receipts[5].write_text(
        json.dumps({**json.loads(receipts[5].read_text()), "name": "../../VICTIM/page-00005.parquet"})
    )
    later = landing_of(root, b"rows", LATER)
    later.adopt()
    staged = later.staged_files()
    assert [index for index in range(6) if staged.get(index, f"/{index}")] == [0]
    assert staged.get(0, "/another") is None and "Result page 4 is fetched again" in caplog.text


def test_another_run_has_another_folder(org: RunningOrg, tmp_path: Path) -> None:
    extract(org, tmp_path, **REQUEST)
    extract(org, tmp_path, run_id="other", **REQUEST)
    assert len({name.split("/")[0] for name in files(tmp_path) if name.startswith("extract=")}) == 2


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_equal_rows_give_equal_bytes(org: RunningOrg, tmp_path: Path, file_format: str) -> None:
    once = extract(org, tmp_path / "a", **{**REQUEST, "file_format": file_format})
    again = extract(org, tmp_path / "b", **{**REQUEST, "file_format": file_format})
    assert [file["sha256"] for file in once["files"]] == [file["sha256"] for file in again["files"]]
