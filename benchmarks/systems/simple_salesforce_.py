"""simple-salesforce: what its bulk2 `download` does once the job is complete, or `query_all_iter` with a CSV writer."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from loopback import plain_session
from measured import Task, main
from simple_salesforce import Salesforce
from simple_salesforce.bulk2 import Operation


def prepare(task: Task) -> Callable[[], int]:
    host = task["url"].removeprefix("http://")
    salesforce = Salesforce(session_id=task["token"], instance=host, session=plain_session(), version=task["version"])
    return by_rest(salesforce, task) if task["api"] == "rest" else by_bulk(salesforce, task)


def by_bulk(salesforce: Salesforce, task: Task) -> Callable[[], int]:
    jobs = salesforce.bulk2.Account._client
    job_id = jobs.create_job(Operation.query, task["soql"])["id"]
    jobs.wait_for_job(job_id, True, 0.1)

    def work() -> int:
        rows, locator = 0, ""
        while True:
            page = jobs.download_job_data(task["folder"], job_id, locator, task["page_rows"])
            rows += page["number_of_records"]
            locator = page["locator"]
            if not locator:
                return rows

    return work


def by_rest(salesforce: Salesforce, task: Task) -> Callable[[], int]:
    def work() -> int:
        rows = 0
        with (Path(task["folder"]) / "rows.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, task["types"], extrasaction="ignore")
            writer.writeheader()
            for record in salesforce.query_all_iter(task["soql"]):
                writer.writerow(record)
                rows += 1
        return rows

    return work


main(prepare)
