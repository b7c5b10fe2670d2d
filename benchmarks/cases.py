"""Which systems do what: the cases, and the task that each system's script is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.running_org import Org
from benchmarks.workload import (
    BULK_ROWS,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    MEMORY_SHARE,
    PAGE_ROWS,
    PARALLEL_PAGES,
    REST_ROWS,
    THROTTLE,
    THROTTLED_ROWS,
    soql,
)


@dataclass(frozen=True)
class Measurement:
    """One row of the results. `rows` is what the query returns; slow readers get a share of the pages."""

    case: str
    system: str
    format: str
    rows: int
    api: str = "bulk"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.case}/{self.system}/{self.format}"

    def on(self, org: Org) -> Reading:
        """The measurement on that org."""
        return Reading(self, org)

    def task(self, org: Org, folder: Path) -> dict[str, Any]:
        """What the system's script reads."""
        pages = org.pages(self.rows) if self.rows else None
        return {
            "url": org.url,
            "consumer_key": CONSUMER_KEY,
            "consumer_secret": CONSUMER_SECRET,
            "token": org.token,
            "version": org.client.api_version,
            "api": self.api,
            "soql": soql(self.rows),
            "types": org.types(),
            "format": self.format,
            "rows": pages.rows if pages else 0,
            "page_rows": PAGE_ROWS,
            "page_urls": pages.urls if pages else [],
            "page_files": pages.files if pages else [],
            "parallel": PARALLEL_PAGES,
            "options": self.options,
            "folder": str(folder),
        }


class Measurable(Protocol):
    """A measurement with all that it needs. `expected_rows` are those that the system must have handled, 0 where it has none;
    `csv_mb` is how much it read, 0 where that says nothing."""

    @property
    def case(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def expected_rows(self) -> int: ...
    @property
    def csv_mb(self) -> float: ...

    def surroundings(self) -> AbstractContextManager[None]: ...
    def task(self, folder: Path) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Reading:
    """A measurement that reads from an org."""

    measurement: Measurement
    org: Org

    @property
    def case(self) -> str:
        return self.measurement.case

    @property
    def system(self) -> str:
        return self.measurement.system

    @property
    def format(self) -> str:
        return self.measurement.format

    @property
    def label(self) -> str:
        return self.measurement.label

    @property
    def expected_rows(self) -> int:
        return self.org.pages(self.measurement.rows).rows if self.measurement.rows else 0

    @property
    def csv_mb(self) -> float:
        return round(self.org.pages(self.measurement.rows).csv_bytes / 1e6, 1) if self.measurement.rows else 0.0

    def surroundings(self) -> AbstractContextManager[None]:
        return self.org.throttled(THROTTLE) if self.case == "bulk_throttled" else nullcontext()

    def task(self, folder: Path) -> dict[str, Any]:
        return self.measurement.task(self.org, folder)


def measurements(scale: float = 1.0) -> Iterator[Measurement]:
    """All rows of the results; `scale` makes everything smaller, in whole pages."""

    def rows(full: int) -> int:
        return max(PAGE_ROWS, round(full * scale / PAGE_ROWS) * PAGE_ROWS) if scale != 1 else full

    whole, share = rows(BULK_ROWS), rows(2 * PAGE_ROWS)
    five = {"parallel_pages": PARALLEL_PAGES}
    yield Measurement("bulk", "airflow-sfcc", "parquet", whole)
    yield Measurement("bulk", "bare-pyarrow", "parquet", whole)
    yield Measurement("bulk", "airflow-sfcc", "csv.gz", whole, options=five)
    yield Measurement("bulk", "curl", "none", whole)
    yield Measurement("bulk", "simple-salesforce", "csv", whole)
    yield Measurement("bulk", "airflow-sfcc", "jsonl", rows(5 * PAGE_ROWS))
    yield Measurement("bulk", "official-provider", "csv", rows(3 * PAGE_ROWS), api="rest")
    yield Measurement("bulk", "airbyte", "none", share)
    throttled = rows(THROTTLED_ROWS)
    yield Measurement("bulk_throttled", "airflow-sfcc", "parquet", throttled, options=five)
    yield Measurement("bulk_throttled", "airflow-sfcc-one-stream", "parquet", throttled, options={"parallel_pages": 1})
    yield Measurement("bulk_throttled", "curl", "none", throttled)
    yield Measurement("rest", "airflow-sfcc", "parquet", rows(REST_ROWS), api="rest")
    yield Measurement("rest", "simple-salesforce", "csv", rows(REST_ROWS), api="rest")
    yield Measurement("rest", "official-provider", "csv", rows(REST_ROWS), api="rest")
    yield Measurement("rest", "singer-tap", "jsonl", rows(PAGE_ROWS), api="rest")
    for case, count in (("memory_1x", rows(BULK_ROWS // MEMORY_SHARE)), ("memory_10x", whole)):
        yield Measurement(case, "idle-airflow-task", "none", 0)
        yield Measurement(case, "airflow-sfcc", "parquet", count)
