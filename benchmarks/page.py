"""How long the server works on the page "Salesforce" with 200 objects and 60 nights: processor time, which a busy machine does
not change much, and wall time.

    python -m benchmarks.page            PAGE_DATABASE=postgresql+psycopg2://... for another database than SQLite
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

TIMES = 15


def main() -> None:
    with TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        database = os.environ.get("PAGE_DATABASE", f"sqlite:///{Path(home) / 'airflow.db'}")
        os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
        _measure()


def _measure() -> None:
    """Objects that have an event each night, and objects of a sync, most of which its report tells of."""
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    from airflow_sfcc.page import web
    from dev.page_nights import Nights, clear, seed

    initdb()
    for dag_id, is_sync in (("crm_nightly", False), ("whole_org", True)):
        with create_session() as session:
            clear(session)
            seed(session, Nights(nights=60, objects=200, dag_id=dag_id, is_sync=is_sync))
        _time(dag_id, web)


def _time(dag_id: str, web: Any) -> None:
    reader = web.Reader({dag_id}, sees_errors=True)
    body = web.show_page(reader).body  # the first one imports, compiles templates and reads the timetable
    used, waited = [], []
    for _ in range(TIMES):
        began, began_to_work = time.perf_counter(), time.process_time()
        web.show_page(reader)
        used.append(time.process_time() - began_to_work)
        waited.append(time.perf_counter() - began)
    print(
        f"{dag_id}: 200 objects x 60 nights: {median(used) * 1000:.0f} ms of processor time, {median(waited) * 1000:.0f} ms in "
        f"all (median of {TIMES}), {len(body) / 1000:.0f} kB of HTML"
    )


if __name__ == "__main__":
    main()
