"""The tests of landing and of result pages once more, on s3://, and what is particular to object stores."""

from __future__ import annotations

from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.extract.land.staging import Landing
from tests.extract.test_bulk_pages import (  # noqa: F401
    test_a_job_whose_pages_do_not_add_up_lands_nothing,
    test_a_page_that_stays_broken_lands_nothing,
    test_an_empty_result_is_a_file_with_its_schema,
)
from tests.extract.test_landing import *  # noqa: F403
from tests.extract.test_landing import (
    ATTEMPT,
    LATER,
    files,
    test_duckdb_globs_see_parts_only,
    test_what_is_no_extract_is_never_removed,
)

del test_what_is_no_extract_is_never_removed  # of folders and links on a disk
del test_duckdb_globs_see_parts_only  # its reader of s3:// is a download; the other tests see the names

LARGE = 7_000_000  # more than a part of a multipart upload


@pytest.fixture
def tmp_path(s3_folder: UPath) -> UPath:
    """Where the tests of the other storage land, on this one."""
    return s3_folder


def uploads(folder: UPath) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = folder.fs.call_s3("list_multipart_uploads", Bucket="lake").get("Uploads", [])
    return [upload for upload in found if f"lake/{upload['Key']}".startswith(folder.path)]


def test_a_large_object_appears_when_it_is_complete(s3_folder: Any) -> None:
    landing = Landing(s3_folder, "x", "t")
    with landing.open_file("t/page-00000.parquet") as file:
        for _ in range(10):
            file.write(b"x" * (LARGE // 5))
        assert len(uploads(s3_folder)) == 1 and files(s3_folder) == []
    s3_folder.fs.invalidate_cache()
    assert files(s3_folder) == ["_staging/extract=x/t/page-00000.parquet"]
    assert uploads(s3_folder) == []


@pytest.mark.parametrize("size", [10, LARGE * 2])
def test_a_failure_while_uploading_leaves_nothing(s3_folder: Any, size: int) -> None:
    landing = Landing(s3_folder, "x", "t")
    with pytest.raises(RuntimeError), landing.open_file("t/page-00000.parquet") as file:
        file.write(b"x" * size)
        raise RuntimeError
    s3_folder.fs.invalidate_cache()
    assert files(s3_folder) == [] and uploads(s3_folder) == []


def test_uploads_of_a_dead_try_are_ended_and_others_are_left_alone(s3_folder: UPath) -> None:
    for extract in ("x", "y"):
        dead = (Landing(s3_folder, extract).staging / ATTEMPT / "page-00000.parquet").open("wb", autocommit=False)
        dead.write(b"x" * LARGE * 2)
        dead.flush()
    assert len(uploads(s3_folder)) == 2
    Landing(s3_folder, "x", LATER).discard_all()
    assert [upload["Key"].split("/")[2] for upload in uploads(s3_folder)] == ["extract=y"]
