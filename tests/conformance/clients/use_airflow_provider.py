"""Runs in an Airflow with the official Salesforce provider: its hook reads an object, its description, and a file."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from airflow.providers.salesforce.hooks.salesforce import SalesforceHook

csv.field_size_limit(1 << 24)


def main() -> None:
    task = json.load(sys.stdin)
    hook = SalesforceHook("salesforce_default")
    fields = task["soql"].removeprefix("SELECT ").partition(" FROM ")[0].split(", ")
    read = hook.get_object_from_salesforce(task["sobject"], fields)
    with_deleted = hook.make_query(task["soql"], include_deleted=True)
    done = {
        "version": version("apache-airflow-providers-salesforce"),
        "total": read["totalSize"],
        "rows": read["records"],
        "rows_with_deleted": with_deleted["records"],
        "fields": hook.get_available_fields(task["sobject"]),
        "ndjson": written(hook, read["records"]),
    }
    Path(task["answer"]).write_text(json.dumps(done))


def written(hook: SalesforceHook, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows by way of the file that the hook writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.ndjson"
        hook.write_object_to_file(rows, filename=str(path), fmt="ndjson")
        return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


if __name__ == "__main__":
    main()
