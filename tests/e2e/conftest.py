"""A real Airflow for the tests of this folder: one for all of them, since it takes some twenty seconds to start.

It ends with the last of them, so that it does not slow down what runs after.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.local_airflow import LocalAirflow

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A machine that does other work beside these tests takes minutes for what usually takes seconds."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(1800))


EXAMPLE_DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="package")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example DAGs land: ``<landing>/<Object>``."""
    return tmp_path_factory.mktemp("landing")


@pytest.fixture(scope="package")
def local_airflow(tmp_path_factory: pytest.TempPathFactory, landing: Path) -> Iterator[LocalAirflow]:
    """Airflow with the example DAGs; a test may write more into ``local_airflow.dags``, they appear within seconds.

    It has no connection: a test stores one with ``local_airflow.api.put_connection("sfcc_default", …)``.
    """
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    shutil.copytree(EXAMPLE_DAGS, dags, ignore=shutil.ignore_patterns("__pycache__"))
    home = folder / "home"
    lineage = {"type": "file", "log_file_path": str(home / "openlineage.jsonl"), "append": True}
    settings = {
        "SFCC_LANDING": f"file://{landing}/{{sobject}}",
        "SFCC_DUCKDB": str(landing / "salesforce.duckdb"),
        "SFCC_TABLES": f"delta+file://{landing}/tables/{{sobject}}",
        "SFCC_WATCH_SECONDS": "1",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage),
        "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",  # each event costs a process; tests of lineage ask for them
    }
    with LocalAirflow(home, dags, extra_env=settings) as airflow:
        yield airflow
