"""What is extracted: one object, its columns, and how its rows are paged."""

from __future__ import annotations

CONSUMER_KEY = "3MVG9benchmarkconsumerkey"
CONSUMER_SECRET = "BENCHMARK0123456789ABCDEF"  # noqa: S105  opens nothing but the org that the benchmark starts

PAGE_ROWS = 20_000

SOBJECT = "Account"
COLUMNS = (
    "Id IsDeleted Name Type RecordTypeId ParentId BillingStreet BillingCity BillingState BillingPostalCode BillingCountry "
    "BillingLatitude BillingLongitude ShippingStreet ShippingCity ShippingState ShippingPostalCode ShippingCountry Phone "
    "Fax AccountNumber Website Industry AnnualRevenue NumberOfEmployees Ownership TickerSymbol Description Rating Site "
    "OwnerId CreatedDate CreatedById LastModifiedDate LastModifiedById SystemModstamp LastActivityDate AccountSource Sic "
    "YearStarted"
).split()
SOQL = f"SELECT {', '.join(COLUMNS)} FROM {SOBJECT}"

BULK_ROWS = 807_000
"""Rows of about 500 MB of CSV."""

THROTTLED_ROWS = 800_000
"""40 pages, so that five streams have eight each, and none waits for another's last."""

REST_ROWS = 100_000
MEMORY_SHARE = 10
THROTTLE = {"route": "job_results", "times": None, "latency": 0.3, "bytes_per_second": 5_000_000}
PARALLEL_PAGES = 5
RUNS = 3


def soql(rows: int) -> str:
    """The query for the first so many rows."""
    return f"{SOQL} LIMIT {rows}"
