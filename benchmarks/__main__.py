"""`make bench`: run every measurement, write results.json and README.md, and say which promises hold."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.acceptance import judged
from benchmarks.cases import Measurable, Measurement, measurements
from benchmarks.environments import FOLDER, SYSTEMS
from benchmarks.loads import POSTGRES, LoadMeasurement, load_measurements
from benchmarks.report import write_report
from benchmarks.running_org import running_org
from benchmarks.workload import BULK_ROWS, RUNS

HERE = Path(__file__).parent
LONGEST_RUN = 900


class MeasurementError(Exception):
    """A system failed, or read other rows than it should have."""


def measure(measurement: Measurable) -> dict[str, Any]:
    """One run, in a process of its own. Raises MeasurementError."""
    system = SYSTEMS[measurement.system]
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, measurement.surroundings():
        measured = _run(system.python, system.path, measurement.task(Path(folder)))
    if measurement.expected_rows and measured["rows"] != measurement.expected_rows:
        raise MeasurementError(f"It has {measured['rows']:,} rows, not {measurement.expected_rows:,}.")
    return measured


def summary(measurement: Measurable, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians of several runs, as a row of the results."""
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0] if name != "rows"}
    return {
        "case": measurement.case,
        "system": measurement.system,
        "version": SYSTEMS[measurement.system].version(),
        "format": measurement.format,
        "rows": runs[0]["rows"],
        "csv_mb": measurement.csv_mb,
        **medians,
    }


def _run(python: str, script: Path, task: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [python, str(script)],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=LONGEST_RUN,
            check=False,
            env={**_environment(), "AIRFLOW_HOME": task["folder"], "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"It took more than {LONGEST_RUN} seconds.") from None
    if done.returncode:
        raise MeasurementError(f"{script.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}


def run_case(chosen: Sequence[Measurable], runs: int) -> list[dict[str, Any]]:
    """A case's measurements in turn, `runs` times: what slows the machine for a while slows all systems.

    A system that fails is named, and has no row.
    """
    found: dict[str, list[dict[str, Any]]] = {measurement.label: [] for measurement in chosen}
    for _ in range(runs):
        for measurement in chosen:
            if measurement.label not in found:
                continue
            try:
                found[measurement.label].append(measure(measurement))
            except MeasurementError as problem:
                print(f"  FAILED  {measurement.label}: {problem}", flush=True)
                del found[measurement.label]
    return [summary(row, found[row.label]) for row in chosen if row.label in found]


def run_all(chosen: Sequence[Measurable], runs: int) -> list[dict[str, Any]]:
    """Every case; prints how far it is."""
    results = []
    for case in dict.fromkeys(measurement.case for measurement in chosen):
        began = time.monotonic()
        measured = run_case([row for row in chosen if row.case == case], runs)
        print(f"==> {case} ({time.monotonic() - began:.0f} s)", *map(_line, measured), sep="\n", flush=True)
        results += measured
    return results


def run_readings(chosen: Sequence[Measurement], scale: float, runs: int) -> list[dict[str, Any]]:
    """What reads from an org."""
    if not chosen:
        return []
    whole = max(BULK_ROWS if scale == 1 else 0, *(row.rows for row in chosen))
    print(f"==> Starting the org with {whole:,} rows (made once, kept in .bench)", flush=True)
    with running_org(FOLDER / f"org-{whole}", whole) as org:
        for rows in sorted({row.rows for row in chosen if row.rows}):
            print(f"==> Preparing {rows:,} rows (once)", flush=True)
            org.pages(rows)
        for rows in {row.rows for row in chosen if row.api == "rest"}:
            org.warm_rest(rows)
        print(f"==> {len(chosen)} measurements, {runs} runs each", flush=True)
        return run_all([row.on(org) for row in chosen], runs)


def run_loads(chosen: Sequence[LoadMeasurement], runs: int) -> list[dict[str, Any]]:
    """What loads extracts into tables."""
    with POSTGRES.running() if any(row.format == "postgres" for row in chosen) else nullcontext():
        for row in chosen:
            row.prepare()
        return run_all(chosen, runs)


def _line(row: dict[str, Any]) -> str:
    rate = f"{row['csv_mb'] / row['seconds']:7.1f} MB/s" if row["seconds"] and row["csv_mb"] else " " * 12
    label = f"{row['system']}/{row['format']}"
    return f"  {label:32} {row['seconds']:8.2f} s {rate} cpu {row['cpu_seconds']:6.2f} s  peak {row['peak_rss_mb']:7.1f} MB"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help="run the measurements whose case/system/format contains this text")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often; the median counts")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--output", type=Path, help="a folder for the results; a whole run writes them to benchmarks/")
    options = parser.parse_args(arguments)

    def chosen(row: Measurement | LoadMeasurement) -> bool:
        return any(text in row.label for text in options.only.split(","))

    readings = list(filter(chosen, measurements(options.scale)))
    loads = list(filter(chosen, load_measurements(options.scale)))
    FOLDER.mkdir(exist_ok=True)
    for name in dict.fromkeys([*(row.system for row in readings), *(row.system for row in loads)]):
        SYSTEMS[name].install()
    results = [*run_readings(readings, options.scale, options.runs), *run_loads(loads, options.runs)]
    print("==> Promises", *judged(results), sep="\n  ", flush=True)
    target = options.output or (HERE if not options.only and options.scale == 1 else None)
    if target:
        write_report(results, target)
        print(f"==> Wrote results.json, README.md and bulk.svg to {target}")
    for leftover in FOLDER.glob("tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return int(len(results) < len(readings) + len(loads))


if __name__ == "__main__":
    sys.exit(main())
