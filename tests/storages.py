"""Where tests land: on a disk, or in an S3-compatible server, so that one suite holds for both.

`root` is a folder of a test's own. A test that is marked with `on_all_storages` runs on each of them, any other on the one
that TEST_STORAGE names (`make s3-test` says s3), which is the disk unless it is set.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from upath import UPath

CREDENTIALS = {"key": "AKIASTORAGEKEY", "secret": "storage-secret-0123456789"}


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Where an S3-compatible server listens that has the bucket `lake`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    requests.put(f"{url}/lake", timeout=30).raise_for_status()
    yield url
    server.stop()


def s3_options(url: str) -> dict[str, Any]:
    smallest_upload_part = 5 * 1024 * 1024
    return {
        **CREDENTIALS,
        "default_block_size": smallest_upload_part,
        "client_kwargs": {"endpoint_url": url, "region_name": "us-east-1"},
    }


on_all_storages = pytest.mark.parametrize("root", ["file", "s3"], indirect=True)
on_disk_and_slowly_on_s3 = pytest.mark.parametrize(
    "root", ["file", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """A folder of the test's own; see the module."""
    storage = getattr(request, "param", os.environ.get("TEST_STORAGE", "file"))
    folder: UPath = request.getfixturevalue("s3_folder") if storage == "s3" else UPath(tmp_path)
    return folder


@pytest.fixture
def root_url(root: UPath, monkeypatch: pytest.MonkeyPatch) -> str:
    """`root` as a DAG names it: in the S3-compatible server by the Airflow connection `lake`."""
    if root.protocol != "s3":
        return f"file://{root.path}"
    client = root.storage_options["client_kwargs"]
    connection = {"conn_type": "aws", "login": CREDENTIALS["key"], "password": CREDENTIALS["secret"], "extra": client}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    return f"s3://lake@{root.path}"


def files_below(folder: UPath) -> dict[str, int]:
    """The size of each file, by its path from the folder, as another process would find them."""
    folder.fs.invalidate_cache()
    found = folder.fs.find(folder.path, detail=True) if folder.exists() else {}
    return {path.removeprefix(f"{folder.path}/"): int(entry["size"]) for path, entry in found.items()}


@pytest.fixture
def s3_folder(s3_url: str) -> UPath:
    """A folder of its own in the bucket."""
    folder: UPath = UPath(f"s3://lake/{uuid.uuid4().hex}", **s3_options(s3_url))
    return folder
