"""What is on disk while an extract runs, after it failed, after it was repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.land.vacuum import Leftover, vacuum
from airflow_sfcc.extract.model import Request, StagedFile
from airflow_sfcc.extract.plan.planner import make_plan
from tests.conftest import RunningOrg
from tests.extract.runs import extract, run_identity, wait_for_job
from tests.storages import files_below

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
    "deletes",
    "include_deleted",
    "rows",
    "carried_rows",
    "deleted_rows",
    "bytes",
    "files",
    "deleted_files",
    "schema",
    "schema_fingerprint",
    "schema_changes",
    "stale_fields",
    "api_calls",
    "started_at",
    "finished_at",
    "dag_id",
    "task_id",
    "run_id",
    "map_index",
    "package_version",
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
    assert files(tmp_path) == [
        f"extract={manifest['extract_id']}/{name}" for name in ["_manifest.json", "part-00000.parquet"]
    ]


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
    assert [Path(name).name for name in files(tmp_path)] == ["_manifest.json", "part-00000.parquet"]


def test_a_failed_rerun_leaves_what_was_committed(org: RunningOrg, tmp_path: Path) -> None:
    extract(org, tmp_path, **REQUEST)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    org.fail("job_create", job_error="x")
    with pytest.raises(Exception, match="failed"):
        extract(org, tmp_path, **REQUEST)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_leftovers_of_a_dead_try_are_swept(org: RunningOrg, tmp_path: Path) -> None:
    staged = tmp_path / "_staging" / f"extract={run_identity().extract_id}"
    staged.mkdir(parents=True)
    (staged / "part-00099.parquet").write_bytes(b"half")
    extract(org, tmp_path, **REQUEST)
    assert not [name for name in files(tmp_path) if "00099" in name]


def test_vacuum_leaves_a_commit_alone_that_is_under_way() -> None:
    """Between the two halves of a commit that replaces an earlier one, an object store has neither manifest."""
    root = UPath("memory://lake/Account")
    found: list[Leftover] = []

    def commit(rows: bytes, require: Callable[[], None]) -> Landing:
        landing = Landing(root, run_identity().extract_id)
        landing.start_afresh()
        with landing.open_file("page-00000.parquet") as file:
            file.write(rows)
        manifest = {"extract_id": run_identity().extract_id}
        landing.commit(manifest, {"part-00000.parquet": "page-00000.parquet"}, require)
        return landing

    commit(b"before", lambda: None)
    landing = commit(b"after", lambda: found.extend(vacuum(root)))
    assert found == [] and landing.find_manifest() is not None
    assert (landing.folder / "part-00000.parquet").read_bytes() == b"after"


def test_vacuum_leaves_a_run_alone_that_has_just_begun(tmp_path: Path) -> None:
    landing = Landing(UPath(tmp_path), run_identity().extract_id)
    landing.start_afresh()
    assert vacuum(UPath(tmp_path)) == []
    with landing.open_file("page-00000.parquet") as file:
        file.write(b"rows")
    assert len(vacuum(UPath(tmp_path), older_than=timedelta(0))) == 1


@pytest.mark.parametrize("root", ["memory://lake/Contact", "disk"])
def test_a_dry_vacuum_changes_nothing_and_a_real_one_puts_back_what_a_dead_commit_set_aside(
    root: str, tmp_path: Path
) -> None:
    destination = UPath(tmp_path) if root == "disk" else UPath(root)
    landing = Landing(destination, run_identity().extract_id)

    def commit(rows: bytes, require: Callable[[], None]) -> None:
        landing.start_afresh()
        with landing.open_file("page-00000.parquet") as file:
            file.write(rows)
        landing.commit({"rows": 1}, {"part-00000.parquet": "page-00000.parquet"}, require)

    commit(b"before", lambda: None)
    landing.start_afresh()
    landing._set_aside()  # and here the worker was shut off
    before = files_below(destination)
    would_go = vacuum(destination, dry_run=True, older_than=timedelta(0))
    assert [leftover.path for leftover in would_go] == [landing.staging.path]
    assert files_below(destination) == before and landing.is_half_committed()
    removed = vacuum(destination, older_than=timedelta(0))
    assert [leftover.path for leftover in removed] == [landing.staging.path]
    assert (landing.folder / "part-00000.parquet").read_bytes() == b"before"
    assert not destination.fs.exists(landing.staging.path)


def test_a_receipt_of_another_version_counts_for_nothing(tmp_path: Path) -> None:
    landing = Landing(UPath(tmp_path), run_identity().extract_id)
    landing.start_afresh()
    for index in range(4):
        with landing.open_file(f"page-{index:05d}.parquet") as file:
            file.write(b"rows")
        landing.save_receipt(StagedFile(index, f"page-{index:05d}.parquet", 1, 4, file.sha256))
    receipts = [landing.staging / f"page-{index:05d}.json" for index in range(4)]
    receipts[1].write_text(json.dumps({**json.loads(receipts[1].read_text()), "crc32": 1}))
    receipts[2].write_text(json.dumps({"index": 2, "name": "page-00002.parquet", "bytes": 4}))
    receipts[3].write_text("{")
    assert list(landing.landed_pages()) == [0]


def test_another_run_has_another_folder(org: RunningOrg, tmp_path: Path) -> None:
    extract(org, tmp_path, **REQUEST)
    extract(org, tmp_path, run_id="other", **REQUEST)
    assert len({name.split("/")[0] for name in files(tmp_path)}) == 2


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_equal_rows_give_equal_bytes(org: RunningOrg, tmp_path: Path, file_format: str) -> None:
    once = extract(org, tmp_path / "a", **{**REQUEST, "file_format": file_format})
    again = extract(org, tmp_path / "b", **{**REQUEST, "file_format": file_format})
    assert [file["sha256"] for file in once["files"]] == [file["sha256"] for file in again["files"]]
