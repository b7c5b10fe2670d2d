"""Airbyte's source-salesforce as a black box: its own command line, its own log-in, its own JSON messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import ForeignOrg
from tests.conformance.environments import AIRBYTE
from tests.conformance.rows import Damage, assert_read_whole, whole_object

pytestmark = pytest.mark.conformance

START = "2015-01-01T00:00:00Z"
# What pandas takes for a missing value, and Airbyte's Bulk reader with it, unless it is told to preserve them.
PANDAS_NULLS = {"#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}

Messages = list[dict[str, Any]]


class Source:
    """The source with its files: a configuration, and the catalog that it discovered."""

    def __init__(self, foreign_org: ForeignOrg, folder: Path) -> None:
        self._foreign_org = foreign_org
        self._folder = folder
        self._program = AIRBYTE.path("bin/source-salesforce")
        org = foreign_org.org.config
        self._config = {
            "auth_type": "Client",
            "client_id": org.consumer_key,
            "client_secret": org.consumer_secret,
            "refresh_token": org.refresh_token,
            "start_date": START,
            "stream_slice_step": "P3650D",
        }

    def run(self, command: str, *, catalog: Any = None, **changed: Any) -> Messages:
        config = self._file("config", {**self._config, **changed})
        catalog_arguments = [] if catalog is None else ["--catalog", self._file("catalog", catalog)]
        said = self._foreign_org.run([self._program, command, "--config", config, *catalog_arguments], cwd=self._folder)
        return [json.loads(line) for line in said.split("\n") if line.startswith("{")]

    def _file(self, name: str, content: Any) -> str:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(content))
        return str(path)


@pytest.fixture(scope="module")
def source(foreign_org: ForeignOrg, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(foreign_org, tmp_path_factory.mktemp("airbyte"))


@pytest.fixture(scope="module")
def streams(source: Source) -> dict[str, dict[str, Any]]:
    """The streams that the source discovers, by object."""
    catalog = next(each["catalog"] for each in source.run("discover") if each["type"] == "CATALOG")
    return {stream["name"]: stream for stream in catalog["streams"]}


def records(messages: Messages, foreign_org: ForeignOrg, sobject: str) -> list[dict[str, Any]]:
    """The rows of one stream; Airbyte leaves out what is null."""
    found = (each["record"] for each in messages if each["type"] == "RECORD")
    nulls = dict.fromkeys(whole_object(foreign_org.org, sobject))
    return [{**nulls, **record["data"]} for record in found if record["stream"] == sobject]


def configured(sync_mode: str, *streams: dict[str, Any]) -> dict[str, Any]:
    """A catalog that asks for these streams."""
    modes = {"sync_mode": sync_mode, "destination_sync_mode": "append"}
    return {"streams": [{"stream": stream, **modes} for stream in streams]}


def without_nul_and_cr(text: str) -> str | None:
    """Airbyte's Bulk reader strips NUL, makes every line end LF, and takes blank text for null."""
    kept = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    return kept if kept.strip() else None


def without_pandas_nulls(text: str) -> str | None:
    kept = without_nul_and_cr(text)
    return None if kept in PANDAS_NULLS else kept


def test_check(source: Source) -> None:
    status = next(each for each in source.run("check") if each["type"] == "CONNECTION_STATUS")
    assert status["connectionStatus"]["status"] == "SUCCEEDED"


def test_wrong_secret_is_understood(source: Source) -> None:
    said = source.run("check", client_secret="wrong")

    status = next(each for each in said if each["type"] == "CONNECTION_STATUS")
    assert status["connectionStatus"]["status"] == "FAILED"


def test_every_object_is_discovered_with_its_fields(
    streams: dict[str, dict[str, Any]], foreign_org: ForeignOrg
) -> None:
    for sobject in foreign_org.org.schema:
        if sobject.queryable:
            properties = streams[sobject.name]["json_schema"]["properties"]
            assert set(properties) == {field.name for field in sobject.fields}


def test_objects_are_read_over_rest(
    source: Source, streams: dict[str, dict[str, Any]], foreign_org: ForeignOrg
) -> None:
    said = source.run("read", catalog=configured("incremental", streams["Account"], streams["CaseStatus"]))

    org = foreign_org.org
    assert_read_whole(org, "Account", records(said, foreign_org, "Account"), include_deleted=True)
    assert len(records(said, foreign_org, "CaseStatus")) == org.records.count("CaseStatus")
    assert [each for each in said if each["type"] == "STATE"]


@pytest.mark.parametrize(
    ("sobject", "preserve", "damage"),
    [("Account", True, without_nul_and_cr), ("Invoice__c", False, without_pandas_nulls)],
)
def test_objects_are_read_over_bulk(
    source: Source,
    streams: dict[str, dict[str, Any]],
    foreign_org: ForeignOrg,
    sobject: str,
    preserve: bool,
    damage: Damage,
) -> None:
    catalog = configured("full_refresh", streams[sobject])
    said = source.run("read", catalog=catalog, force_use_bulk_api=True, preserve_na_values=preserve)

    assert foreign_org.org.calls.of("job_results")
    assert_read_whole(
        foreign_org.org, sobject, records(said, foreign_org, sobject), include_deleted=True, damage=damage
    )
