"""apache-airflow-providers-salesforce: the hook's `make_query`, then its `write_object_to_file`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from airflow.providers.salesforce.hooks.salesforce import SalesforceHook
from loopback import plain_session
from measured import Task, main
from simple_salesforce import Salesforce


class Hook(SalesforceHook):
    """The hook with a connection to the org of the benchmark."""

    conn: Salesforce


def prepare(task: Task) -> Callable[[], int]:
    host = task["url"].removeprefix("http://")
    hook = Hook()
    hook.__dict__["conn"] = Salesforce(
        session_id=task["token"], instance=host, session=plain_session(), version=task["version"]
    )

    def work() -> int:
        records = hook.make_query(task["soql"])["records"]
        hook.write_object_to_file(records, filename=str(Path(task["folder"]) / "rows.csv"), fmt="csv")
        return len(records)

    return work


Hook.conn = property(lambda self: self.__dict__["conn"])
main(prepare)
