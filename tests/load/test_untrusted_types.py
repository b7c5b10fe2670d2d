"""What manifests say of columns is data: a type that is none gets into no SQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from upath import UPath

from airflow_sfcc.errors import SfccError, StateError
from airflow_sfcc.load.loading import load
from airflow_sfcc.load.postgres_table import postgres_type
from airflow_sfcc.load.scratch import duckdb_type
from tests.load.made import Made, row
from tests.load.tables import Loaded, in_duckdb

EVIL = "VARCHAR); COPY (SELECT 42) TO '{}'; --".replace(" ", "\n")


@pytest.fixture
def lake(tmp_path: Path) -> UPath:
    lake = UPath(tmp_path / "lake")
    Made("base", 10, [row(number, 1) for number in range(3)], full=True).land(lake)
    return lake


def test_a_type_in_a_manifest_is_no_sql(lake: UPath, tmp_path: Path) -> None:
    loaded: Loaded = in_duckdb(tmp_path)
    path = tmp_path / "lake" / "extract=base" / "_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["schema"][1]["type"] = EVIL.format(tmp_path / "written")
    path.write_text(json.dumps(manifest))
    with pytest.raises(StateError, match="is not a manifest of this package"):
        load(lake, loaded.make("Account"))
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "kind",
    ["", "text", "string ", "String", "decimal128(39, 0)", "decimal128(1, 2); --", "decimal128(10,2)", "int64\n"],
)
def test_what_is_no_type_has_no_name_in_sql(kind: str) -> None:
    for name_of in (duckdb_type, postgres_type):
        with pytest.raises(SfccError, match="which no extract has"):
            name_of(kind)
    assert (duckdb_type("decimal128(38, 9)"), postgres_type("decimal128(18, -2)")) == (
        "DECIMAL(38,9)",
        "numeric(18,-2)",
    )
