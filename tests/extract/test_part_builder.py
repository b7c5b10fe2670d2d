"""Pages are joined while others are still being fetched; the parts do not depend on the order in which they land."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc.errors import RowCountError
from airflow_sfcc.extract.convert.writers import EXTENSIONS, part_writer
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.land.parquet_concat.join import ParquetJoin
from airflow_sfcc.extract.land.part_builder import PartBuilder
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import FileFormat, Request, StagedFile, from_plain, page_name, part_name, plain
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import RunningOrg
from tests.extract.runs import read_rows, run_identity, wait_for_job
from tests.storages import files_below

SCHEMA = pa.schema([pa.field("n", pa.int64())])
PART = "part-00000.parquet"


@pytest.fixture
def org(start_org: Callable[..., RunningOrg]) -> RunningOrg:
    """Its contacts are nine result pages."""
    return start_org(result_page_rows=100)


def landing_at(folder: Path | str) -> Landing:
    landing = Landing(UPath(folder), "one")
    landing.begin_share("t00001-00001-00000000")
    return landing


def landed(landing: Landing, file_format: FileFormat, index: int, rows: int) -> StagedFile:
    name = landing.own(page_name(index, EXTENSIONS[file_format]))
    with landing.open_file(name) as file:
        writer = part_writer(file_format, file, SCHEMA)
        writer.write(pa.record_batch([pa.array(range(rows), pa.int64())], schema=SCHEMA))
        writer.finish()
    return StagedFile(index, name, rows, file.bytes, file.sha256)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 12_000]), max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from(["parquet", "csv", "jsonl"]),
)
def test_in_whatever_order_pages_land(counts: Sequence[int], random: Any, file_format: FileFormat) -> None:
    with tempfile.TemporaryDirectory() as folder:
        landing = landing_at(folder)
        pages = [landed(landing, file_format, index, rows) for index, rows in enumerate(counts)]
        in_order, shuffled = (
            PartBuilder(landing, file_format, landing.own("a-")),
            PartBuilder(landing, file_format, landing.own("b-")),
        )
        for page in pages:
            in_order.add(page)
        for page in random.sample(pages, len(pages)):
            shuffled.add(page)
        parts = in_order.finish()
        assert list(parts) == list(shuffled.finish()) and sum(part.rows for part in parts) == sum(counts)
        for part, staged in parts.items():
            assert part.sha256 == hashlib.sha256((landing.staging / staged).read_bytes()).hexdigest()


def test_small_files_become_one_part_and_large_ones_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_sfcc.extract.land.part_builder.SMALLEST_PART", 8_000)
    landing = landing_at(tmp_path)
    builder = PartBuilder(landing, "parquet", landing.own(""))
    for index, rows in enumerate([10, 12_000, 0, 10, 10, 12_000]):
        builder.add(landed(landing, "parquet", index, rows))
    parts = builder.finish()
    assert {part.name: part.rows for part in parts} == {
        part_name(0, "parquet"): 10,
        part_name(1, "parquet"): 12_000,
        part_name(2, "parquet"): 20,
        part_name(3, "parquet"): 12_000,
    }
    assert [staged.rpartition("/")[2] for staged in parts.values()] == [
        "page-00000.parquet",
        "page-00001.parquet",
        PART.replace("0.", "2."),
        "page-00005.parquet",
    ]


def begun(org: RunningOrg, destination: Path, **options: Any) -> Extraction:
    client = org.client(**options)
    request = Request(sobject="Contact", fields=["Id", "LastName"], api="bulk")
    extraction = Extraction(client, UPath(destination), make_plan(client, request, run_identity()))
    extraction.start()
    wait_for_job(extraction)
    return extraction


def ids(result: dict[str, Any]) -> set[str]:
    manifest = json.loads(Path(result["manifest"]).read_text())
    return {row["Id"] for row in read_rows(UPath(result["path"]), manifest)}


def test_when_the_last_page_has_landed_the_part_is_there(org: RunningOrg, records: Records, tmp_path: Path) -> None:
    extraction = begun(org, tmp_path)
    pages = extraction.land()
    assert len(pages) > 3
    part = extraction.landing.open_staged(extraction.landing.own(PART))
    assert pq.read_metadata(part.path).num_rows == records.count("Contact")
    assert len(ids(extraction.commit(pages))) == records.count("Contact")


def test_another_process_can_commit_what_this_one_landed(org: RunningOrg, records: Records, tmp_path: Path) -> None:
    extraction = begun(org, tmp_path)
    extraction.stage_plan()
    pages = [from_plain(plain(page), StagedFile, "a page") for page in extraction.land()]
    later = Extraction.resume(org.client(), UPath(tmp_path), run_identity().extract_id)
    assert len(ids(later.commit(pages))) == records.count("Contact")


def test_what_cannot_be_joined_fails_and_its_pages_can_be_used(
    org: RunningOrg, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    extraction = begun(org, tmp_path)
    with monkeypatch.context() as disk, pytest.raises(OSError, match="No space"):
        disk.setattr(ParquetJoin, "finish", full)
        extraction.land()
    assert not [name for name in files_below(UPath(tmp_path)) if "part-" in name or "writing" in name]
    asked = org.calls("job_results")
    extraction.stage_plan()
    again = Extraction.resume(org.client(), extraction.landing.destination, extraction.plan.extract_id)
    assert len(ids(again.commit(again.land()))) == records.count("Contact") and org.calls("job_results") == asked


def test_a_download_that_fails_leaves_no_part_and_its_pages_can_be_used(
    org: RunningOrg, records: Records, tmp_path: Path
) -> None:
    extraction = begun(org, tmp_path, transport=TransportOptions(max_retries=0))
    org.fail("job_results", skip=3, number_of_records=99_999)
    with pytest.raises(RowCountError, match="99,999"):
        extraction.land()
    left = files_below(UPath(tmp_path))
    assert left and not [name for name in left if "part-" in name or "writing" in name]
    again = Extraction.resume(org.client(), extraction.landing.destination, extraction.plan.extract_id)
    assert len(ids(again.commit(again.land()))) == records.count("Contact")
