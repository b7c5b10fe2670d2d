"""The benchmark's harness works: a tiny run measures, judges and reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loads
from benchmarks.__main__ import run_case
from benchmarks.acceptance import judged
from benchmarks.cases import Measurement, measurements
from benchmarks.environments import FOLDER, SYSTEMS
from benchmarks.load_work import rows_after
from benchmarks.loads import LoadMeasurement, load_measurements
from benchmarks.report import write_report
from benchmarks.running_org import running_org


def test_a_tiny_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = [("airflow-sfcc", "parquet"), ("airflow-sfcc", "nonsense"), ("bare-pyarrow", "parquet")]
    with running_org(tmp_path / "org", 900, page_rows=300) as org:
        results = run_case([Measurement("bulk", system, form, 900).on(org) for system, form in wanted], runs=1)
    assert [row["rows"] for row in results] == [900] * 2
    assert "FAILED  bulk/airflow-sfcc/nonsense" in capsys.readouterr().out, "the others are measured all the same"
    for row in results:
        assert {"case", "system", "version", "format", "rows", "csv_mb", "seconds", "cpu_seconds", "peak_rss_mb"} <= {
            *row
        }
        assert row["seconds"] > 0 and row["peak_rss_mb"] > 10
    assert len(judged(results)) == 1, "only one promise can be judged from these"
    write_report(results, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "results.json").read_text()) == results
    readme = (tmp_path / "report" / "README.md").read_text()
    assert "| bulk | bare-pyarrow |" in readme and "UNMEASURED  REST / official hook" in readme
    assert (tmp_path / "report" / "bulk.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("first", [False, True])
def test_a_tiny_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    monkeypatch.setattr(loads, "FOLDER", tmp_path)
    FOLDER.mkdir(exist_ok=True)
    systems = ("airflow-sfcc-load", "deltalake-merge")
    chosen = [LoadMeasurement("merge_1m", system, "delta", 20_000, first) for system in systems]
    for each in chosen:
        each.prepare()
    results = run_case(chosen, runs=1)
    assert [row["rows"] for row in results] == [20_000 if first else rows_after(20_000)] * 2


def row(case: str, system: str, form: str, seconds: float, peak: float = 100) -> dict[str, Any]:
    return {"case": case, "system": system, "format": form, "csv_mb": 100, "seconds": seconds, "peak_rss_mb": peak}


def test_promises_are_judged_by_ratios() -> None:
    results = [row("bulk", "airflow-sfcc", "parquet", 2), row("bulk", "bare-pyarrow", "parquet", 2.5)]
    results += [row("bulk", "simple-salesforce", "csv", 3.8)]
    results += [row("rest", "airflow-sfcc", "parquet", 1, 30), row("rest", "official-provider", "csv", 3, 100)]
    assert judged(results) == [
        "holds     Bulk to Parquet / bare pyarrow: 1.25 (at least 1)",
        "measured  Bulk to Parquet / simple-salesforce: 1.90",
        "BROKEN    REST / official hook: 3.00 (at least 7)",
        "BROKEN    Memory by REST / official hook: 0.30 (at most 0.25)",
    ]


def test_every_measurement_names_a_system_and_stands_once() -> None:
    everything: list[Measurement | LoadMeasurement] = [*measurements(), *load_measurements()]
    labels = [measurement.label for measurement in everything]
    assert len(labels) == len(set(labels))
    assert {measurement.system for measurement in everything} == set(SYSTEMS)
