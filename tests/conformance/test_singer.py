"""Singer's tap-salesforce as a black box, over REST and over Bulk API 1.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import ForeignOrg
from tests.conformance.environments import SINGER
from tests.conformance.rows import assert_read_whole, whole_object

pytestmark = pytest.mark.conformance


@pytest.fixture(params=["REST", "BULK"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(foreign_org: ForeignOrg, tmp_path: Path, api: str) -> str:
    org = foreign_org.org.config
    path = tmp_path / "config.json"
    content = {
        "client_id": org.consumer_key,
        "client_secret": org.consumer_secret,
        "refresh_token": org.refresh_token,
        "start_date": "2015-01-01T00:00:00Z",
        "api_type": api,
        "select_fields_by_default": True,
        "lookback_window": 0,
    }
    path.write_text(json.dumps(content))
    return str(path)


def as_bulk_reads(text: str) -> str | None:
    """Of Bulk results the tap strips NUL, and reads all line ends as LF."""
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n") or None


def select_all(catalog: dict[str, Any], *names: str) -> dict[str, Any]:
    """The catalog with these streams selected, all their fields with them."""
    streams = [stream for stream in catalog["streams"] if stream["tap_stream_id"] in names]
    assert len(streams) == len(names)
    for stream in streams:
        for entry in stream["metadata"]:
            if entry["metadata"].get("inclusion") != "unsupported":
                entry["metadata"]["selected"] = True
    return {"streams": streams}


def as_written(foreign_org: ForeignOrg, sobject: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record with its nulls, and with its dates as dates: Singer writes them as moments at midnight."""
    types = whole_object(foreign_org.org, sobject)
    row = {**dict.fromkeys(types), **record}
    dates = [name for name, kind in types.items() if kind == "date" and row[name] is not None]
    return {**row, **{name: row[name].removesuffix("T00:00:00.000000Z") for name in dates}}


def test_objects_are_discovered_and_read(foreign_org: ForeignOrg, config: str, api: str, tmp_path: Path) -> None:
    tap = SINGER.path("bin/tap-salesforce")
    discovered = json.loads(foreign_org.run([tap, "--config", config, "--discover"], cwd=tmp_path))
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps(select_all(discovered, "Account", "Invoice__c")))

    said = foreign_org.run([tap, "--config", config, "--properties", str(catalog)], cwd=tmp_path)

    messages = [json.loads(line) for line in said.split("\n") if line]
    for sobject in ("Account", "Invoice__c"):
        found = [each["record"] for each in messages if each["type"] == "RECORD" and each["stream"] == sobject]
        rows = [as_written(foreign_org, sobject, record) for record in found]
        damage = as_bulk_reads if api == "BULK" else None
        assert_read_whole(foreign_org.org, sobject, rows, include_deleted=True, damage=damage)
    assert any(each["type"] == "STATE" for each in messages)
