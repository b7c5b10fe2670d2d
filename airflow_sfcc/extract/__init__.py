"""The extract engine: plan -> fetch -> convert -> land. Knows data; imports no Airflow.

It writes to any universal-pathlib path. For those who read what landed: `read_manifests` and `latest_state` tell what a
destination holds, `newest_extract` names the files of the newest full extract, `current_table_sql` is the query that
makes one table of incremental ones, and `newest_extract_sql` that for the rows of the newest extract, wherever
`register_storage` lets DuckDB read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_sfcc.extract.current_table import current_table_sql, newest_extract_sql, register_storage
    from airflow_sfcc.extract.incremental.state import latest_state
    from airflow_sfcc.extract.manifests import read_manifests
    from airflow_sfcc.extract.newest import newest_extract

# jemalloc keeps what a batch frees for the next ones, and gives back what is idle for a second: with mimalloc, Arrow's
# default, a worker's peak is 25 MB higher, with the C library's allocator 200 MB. Arrow reads this when it is first loaded;
# whoever sets it keeps their choice.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

__all__ = [
    "current_table_sql",
    "latest_state",
    "newest_extract",
    "newest_extract_sql",
    "read_manifests",
    "register_storage",
]

_HOMES = {
    "current_table_sql": "current_table",
    "latest_state": "incremental.state",
    "newest_extract": "newest",
    "newest_extract_sql": "current_table",
    "read_manifests": "manifests",
    "register_storage": "current_table",
}


def __getattr__(name: str) -> Any:
    """Loaded when they are used: they need pyarrow, and this package is imported wherever Airflow parses DAGs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
