"""`python -m dev.stack_test`: the example DAGs through the scheduler and Celery, and what landed in the bucket."""

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
from dev.commands import CommandError
from dev.containers.compose import ComposeStack
from dev.containers.engine import running_engine
from dev.containers.images import base_images
from dev.errors import HarnessError
from dev.processes import stop_on_signals
from dev.progress import Progress

RUN_SECONDS = 900
BUCKET = "salesforce-landing"


def main() -> int:
    stop_on_signals()
    progress = Progress()
    try:
        with running_engine(progress):
            with progress.step("Base images"):
                images = base_images(progress)
            stack = ComposeStack(images, progress)
            with stack:
                check(stack, progress)
            left = stack.leftovers()
            if left:
                raise CommandError(f"The stack left something behind: {left}")
    except (HarnessError, requests.RequestException) as problem:
        progress.say(f"The stack failed: {problem}", "red")
        return 1
    except KeyboardInterrupt:
        progress.say("Stopped; the stack is down")
        return 130
    progress.say("The stack is down; no container, network or volume is left", "bold green")
    return 0


def check(stack: ComposeStack, progress: Progress) -> None:
    """Run both DAGs and compare the bucket with what the org says it has; no log shows a secret."""
    api = stack.api()
    bucket = fsspec.filesystem(
        "s3",
        key=stack.secret("s3_access_key"),
        secret=stack.secret("s3_secret_key"),
        client_kwargs={"endpoint_url": stack.s3_url, "region_name": "us-east-1"},
    )
    with progress.step("Run of salesforce_nightly on a Celery worker"):
        run_id = finish(api, "salesforce_nightly", progress)
    progress.say(compared("salesforce_nightly", landed(bucket, "salesforce_nightly", run_id), stack))
    # Its schedule starts a run as soon as the DAG is unpaused; ours waits for that one, and lands what changed since.
    with progress.step("Run of salesforce_incremental on a Celery worker"):
        run_id = finish(api, "salesforce_incremental", progress)
    progress.say(
        compared("salesforce_incremental", api.xcom("salesforce_incremental", run_id, "current_tables"), stack)
    )
    if shown := stack.secrets_in_logs():
        raise CommandError(f"The containers' logs show secrets: {', '.join(shown)}")


def compared(dag_id: str, rows: Mapping[str, int], stack: ComposeStack) -> str:
    """A sentence that an extract is complete. Raises CommandError unless it has as many records as the org says."""
    counted = stack.record_counts(rows)
    if not rows or dict(rows) != counted:
        raise CommandError(f"{dag_id} landed {dict(rows)}, and the org has {counted}.")
    return f"{dag_id}: {len(rows)} objects, {sum(rows.values()):,} rows, as many as the org has"


def finish(api: AirflowApi, dag_id: str, progress: Progress) -> str:
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
            progress.say(f"Airflow's API is slow ({type(busy).__name__}); going on")
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
