"""The results for people: a table, a chart, and which promises hold."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.acceptance import Result, judged

INTRODUCTION = """# Benchmarks

`make bench` installs the peers in environments of their own, starts one local org, lets every system read the same rows
with the same columns from it, and writes this page. `make bench BENCH_ARGS="--only bulk/airflow-sfcc"` runs single
cases. All times are on one machine over the loopback interface: compare lines with one another, not with other machines.

- Time counts from the first request for results to the last byte on disk; logging in and waiting for the job do not count.
- Each run is a process of its own; the systems of a case run in turn, and the table shows medians. `peak` is the
  process's resident memory, with what its libraries take.
- `official-provider` reads by REST (it has no Bulk query), `airbyte` is the Bulk page reader of its Salesforce source
  (airbyte-cdk) without the source around it, `simple-salesforce` stores CSV without types, `singer-tap` is Singer's
  tap-salesforce, which reads by REST (its Bulk mode speaks Bulk API 1.0) and writes its messages to a file. Slow readers
  get fewer rows; compare MB/s.
- `bulk_throttled` has 5 MB/s for each connection and 300 ms before each response; its 40 pages are eight for each of five
  streams. `airflow-sfcc-one-stream` is ours with `parallel_pages=1`.
- `bare-pyarrow` reads the pages from local files, checks nothing, and writes with the settings pyarrow has by itself; `curl`
  unpacks them to nowhere. Both are ceilings.
- `merge_1m` and `merge_10m` bring an extract of 90,000 changed rows and 10,000 deletions into a table of 1 or 10 million rows of
  40 columns; four fifths lie in the newest tenth of the Ids. `first_load_10m` makes the table. `airflow-sfcc-load` computes the
  changes and records the extract in the same commit; `deltalake-merge` is delta-rs's MERGE by Id, and its writer; `dlt` merges by
  primary key with a column that marks deletions. Both are given what ours computes. Each run has a copy of a table that
  is made once, by the system itself (the MERGE's by ours).
- `idle-airflow-task` is a process that has loaded what an Airflow task loads.
"""


def write_report(results: Sequence[Result], folder: Path) -> None:
    """Write results.json, README.md and bulk.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = json.dumps(results, indent=2) + "\n"
    (folder / "results.json").write_text(rows, encoding="utf-8")
    (folder / "bulk.svg").write_text(chart([row for row in results if row["case"] == "bulk"]), encoding="utf-8")
    promises = "\n".join(f"    {line}" for line in judged(results, also_unmeasured=True))
    chart_line = "![Bulk results, MB of CSV a second](bulk.svg)"
    text = f"{INTRODUCTION}- {machine()}\n\n{chart_line}\n\n{table(results)}\n## Promises\n\n{promises}\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def machine() -> str:
    """What the results were measured on."""
    system = f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}"
    return f"Measured with {os.cpu_count()} processor cores, {system}; the org runs beside the systems."


def table(results: Sequence[Result]) -> str:
    lines = [
        "| case | system | version | format | rows | CSV MB | seconds | MB/s | CPU s | peak MB |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results:
        cells = [
            *(row[name] for name in ("case", "system", "version", "format")),
            f"{row['rows']:,}",
            _number(row["csv_mb"], 0),
            f"{row['seconds']:.2f}",
            _number(speed(row), 1),
            f"{row['cpu_seconds']:.2f}",
            f"{row['peak_rss_mb']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value else "–"


def speed(row: Result) -> float:
    return float(row["csv_mb"]) / float(row["seconds"]) if row["csv_mb"] and row["seconds"] else 0.0


def chart(results: Sequence[Result]) -> str:
    """Bars of MB a second."""
    bar, gap, left, width = 22, 8, 260, 760
    longest = max((speed(row) for row in results), default=0.0) or 1.0
    height = len(results) * (bar + gap) + gap
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, row in enumerate(sorted(results, key=speed, reverse=True)):
        top = gap + index * (bar + gap)
        length = max(1.0, (width - left - 90) * speed(row) / longest)
        colour = "#0b5cab" if row["system"] == "airflow-sfcc" else "#9aa5b1"
        lines += [
            f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{row["system"]} ({row["format"]})</text>',
            f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{bar}" fill="{colour}"/>',
            f'<text x="{left + length + 6:.1f}" y="{top + 15}">{speed(row):.0f} MB/s</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
