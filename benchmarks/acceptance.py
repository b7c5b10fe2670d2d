"""The ratios that the project promises, judged from one run's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]


class Results:
    """Results by case, system and format."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._found = {(row["case"], row["system"], row["format"]): row for row in results}

    def speed(self, case: str, system: str, file_format: str) -> float:
        """MB of CSV a second."""
        row = self._found[case, system, file_format]
        return float(row["csv_mb"]) / float(row["seconds"])

    def memory(self, case: str, system: str, file_format: str) -> float:
        return float(self._found[case, system, file_format]["peak_rss_mb"])

    def times(self, what: str, ours: tuple[str, str, str], theirs: tuple[str, str, str]) -> float:
        """A measured value of ours as a multiple of theirs."""
        return float(self._found[ours][what]) / float(self._found[theirs][what])

    def seconds(self, case: str, system: str, file_format: str) -> float:
        return float(self._found[case, system, file_format]["seconds"])

    def faster(self, ours: tuple[str, str, str], theirs: tuple[str, str, str]) -> float:
        return self.speed(*ours) / self.speed(*theirs)

    def above_idle(self, case: str) -> float:
        """MB above a task that has done nothing."""
        return self.memory(case, "airflow-sfcc", "parquet") - self.memory(case, "idle-airflow-task", "none")


@dataclass(frozen=True)
class Promise:
    """A number from the results, and the bound that it must keep; without a bound it is measured, not promised."""

    text: str
    value: Callable[[Results], float]
    least: float | None = None
    most: float | None = None

    def judge(self, results: Results) -> str | None:
        """A line for people; None when the run did not measure what it needs."""
        try:
            value = self.value(results)
        except KeyError:
            return None
        held = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        if self.least is None and self.most is None:
            return f"measured  {self.text}: {value:.2f}"
        bound = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        return f"{'holds   ' if held else 'BROKEN  '}  {self.text}: {value:.2f} ({bound})"


OURS = "airflow-sfcc-load"
BULK = ("bulk", "airflow-sfcc", "parquet")
REST = ("rest", "airflow-sfcc", "parquet")
SLOW = ("bulk_throttled", "airflow-sfcc", "parquet")
ONE_STREAM = ("bulk_throttled", "airflow-sfcc-one-stream", "parquet")
HOOK = ("rest", "official-provider", "csv")

DELTA_1M, DELTA_10M = (("merge_1m", OURS, "delta"), ("merge_10m", OURS, "delta"))
BARE_10M = ("merge_10m", "deltalake-merge", "delta")


def _loads(form: str, against: str) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    return ("merge_1m", OURS, form), ("merge_1m", "dlt", against)


PROMISES = (
    Promise("Bulk to Parquet / bare pyarrow", lambda r: r.faster(BULK, ("bulk", "bare-pyarrow", "parquet")), 1.0),
    Promise("Bulk to Parquet / simple-salesforce", lambda r: r.faster(BULK, ("bulk", "simple-salesforce", "csv"))),
    Promise("Bulk to Parquet / official hook", lambda r: r.faster(BULK, ("bulk", "official-provider", "csv")), 12),
    Promise("Bulk to Parquet / Airbyte", lambda r: r.faster(BULK, ("bulk", "airbyte", "none")), 20),
    Promise(
        "Bulk to csv.gz / parallel curl",
        lambda r: r.faster(("bulk", "airflow-sfcc", "csv.gz"), ("bulk", "curl", "none")),
        0.8,
    ),
    Promise("Throttled: five streams / one", lambda r: r.faster(SLOW, ONE_STREAM), 4.5),
    Promise("Memory above an idle task, MB", lambda r: r.above_idle("memory_1x"), most=200),
    Promise("Memory above an idle task at ten times the rows, MB", lambda r: r.above_idle("memory_10x"), most=200),
    Promise(
        "Peak memory at ten times the rows / once",
        lambda r: r.memory("memory_10x", "airflow-sfcc", "parquet") / r.memory("memory_1x", "airflow-sfcc", "parquet"),
        most=1.15,
    ),
    Promise("REST / official hook", lambda r: r.faster(REST, HOOK), 7),
    Promise("Memory by REST / official hook", lambda r: r.memory(*REST) / r.memory(*HOOK), most=0.25),
    Promise("Merging into 10 million rows in Delta, MB", lambda r: r.memory(*DELTA_10M), most=450),
    Promise("Its peak memory / into 1 million", lambda r: r.times("peak_rss_mb", DELTA_10M, DELTA_1M), most=1.1),
    Promise("Its time / delta-rs's MERGE", lambda r: r.times("seconds", DELTA_10M, BARE_10M), most=0.6),
    Promise("Its memory / delta-rs's MERGE", lambda r: r.times("peak_rss_mb", DELTA_10M, BARE_10M), most=0.25),
    Promise("First load of 10 million rows by links, s", lambda r: r.seconds("first_load_10m", OURS, "delta"), most=2),
    Promise("Merging into DuckDB, time / dlt", lambda r: r.times("seconds", *_loads("duckdb", "duckdb")), most=0.7),
    Promise(
        "Merging into PostgreSQL, time / dlt", lambda r: r.times("seconds", *_loads("postgres", "postgres")), most=1
    ),
    Promise("Merging into Delta, time / dlt", lambda r: r.times("seconds", *_loads("delta", "delta"))),
)


def judged(results: Sequence[Result], *, also_unmeasured: bool = False) -> list[str]:
    """A line for each promise that the results can judge; with `also_unmeasured`, for the others too."""
    found = Results(results)
    lines = [promise.judge(found) or f"UNMEASURED  {promise.text}" for promise in PROMISES]
    return [line for line in lines if also_unmeasured or not line.startswith("UNMEASURED")]
