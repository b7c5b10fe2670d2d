"""`python -m dev.containers.check`: the example DAGs through the scheduler and Celery, and what landed in the bucket."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import fsspec
import pyarrow.parquet as pq
import requests

from dev.airflow_api import AirflowApi, AirflowApiError
from dev.containers.compose import ComposeStack
from dev.containers.engine import running_engine
from dev.containers.images import base_images
from dev.containers.shell import CommandError
from dev.errors import StackError
from dev.processes import stop_on_signals

RUN_SECONDS = 900
BUCKET = "salesforce-landing"


def main() -> int:
    stop_on_signals()
    try:
        with running_engine():
            images = base_images()
            stack = ComposeStack(images)
            print("==> Building the stack's image and bringing the stack up", flush=True)
            with stack:
                print("==> All services are healthy", flush=True)
                check(stack)
            left = stack.leftovers()
            if left:
                raise CommandError(f"The stack left something behind: {left}")
    except (StackError, requests.RequestException) as problem:
        print(f"The stack failed: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("==> Stopped; the stack is down", file=sys.stderr)
        return 130
    print("==> The stack is down; no container, network or volume is left", flush=True)
    return 0


def check(stack: ComposeStack) -> None:
    """Run both DAGs and compare the bucket with what the org says it has; no log shows a secret."""
    api = stack.api()
    bucket = fsspec.filesystem(
        "s3",
        key=stack.secret("s3_access_key"),
        secret=stack.secret("s3_secret_key"),
        client_kwargs={"endpoint_url": stack.s3_url, "region_name": "us-east-1"},
    )
    run_id = finish(api, "salesforce_nightly")
    compare("salesforce_nightly", landed(bucket, "salesforce_nightly", run_id), stack)
    # Its schedule starts a run as soon as the DAG is unpaused; ours waits for that one, and lands what changed since.
    run_id = finish(api, "salesforce_incremental")
    compare("salesforce_incremental", api.xcom("salesforce_incremental", run_id, "current_tables"), stack)
    if shown := stack.secrets_in_logs():
        raise CommandError(f"The containers' logs show secrets: {', '.join(shown)}")


def compare(dag_id: str, rows: Mapping[str, int], stack: ComposeStack) -> None:
    """Raise CommandError unless an extract has as many records of each object as the org says it has."""
    counted = stack.record_counts(rows)
    if not rows or dict(rows) != counted:
        raise CommandError(f"{dag_id} landed {dict(rows)}, and the org has {counted}.")
    print(f"    {dag_id}: {len(rows)} objects, {sum(rows.values()):,} rows, as many as the org has", flush=True)


def finish(api: AirflowApi, dag_id: str) -> str:
    """Run a DAG to its end and return its run id. Raises CommandError unless it ends well."""
    deadline = time.monotonic() + RUN_SECONDS
    run_id = None
    while time.monotonic() < deadline:
        try:
            if run_id is None and api.dag_exists(dag_id):
                api.unpause(dag_id)
                run_id = api.trigger(dag_id)
            elif run_id is not None:
                state = api.run_state(dag_id, run_id)
                if state in ("success", "failed"):
                    tasks = {task.label: task.state for task in api.task_states(dag_id, run_id)}
                    if state == "failed":
                        raise CommandError(f"{dag_id} failed: {tasks}")
                    return run_id
        except (requests.Timeout, requests.ConnectionError, AirflowApiError) as busy:
            print(f"    (Airflow's API is slow: {type(busy).__name__})", flush=True)
        time.sleep(2)
    raise CommandError(f"{dag_id} did not end within {RUN_SECONDS} s.")


def landed(bucket: Any, dag_id: str, run_id: str) -> dict[str, int]:
    """The rows that a run's files hold, by object. Raises CommandError where a manifest says something else."""
    bucket.invalidate_cache()
    rows: dict[str, int] = {}
    for path in bucket.find(BUCKET):
        if not path.endswith("/_manifest.json"):
            continue
        manifest = json.loads(bucket.cat_file(path))
        if (manifest["dag_id"], manifest["run_id"]) == (dag_id, run_id):
            found = sum(rows_of(bucket, path, file["path"]) for file in manifest["files"])
            if found != manifest["rows"]:
                raise CommandError(f"{path} says {manifest['rows']:,} rows, and its files hold {found:,}.")
            rows[manifest["sobject"]] = found
    return rows


def rows_of(bucket: Any, manifest: str, name: str) -> int:
    """The rows of a Parquet file beside a manifest."""
    file = io.BytesIO(bucket.cat_file(f"{manifest.rpartition('/')[0]}/{name}"))
    rows: int = pq.read_metadata(file).num_rows
    return rows


if __name__ == "__main__":
    sys.exit(main())
