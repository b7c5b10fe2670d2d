"""An S3-compatible server, so that extracts are tested on s3:// as on file://."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from upath import UPath

CREDENTIALS = {"key": "test", "secret": "test"}


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


@pytest.fixture
def s3_folder(s3_url: str) -> UPath:
    """A folder of its own in the bucket."""
    folder: UPath = UPath(f"s3://lake/{uuid.uuid4().hex}", **s3_options(s3_url))
    return folder
