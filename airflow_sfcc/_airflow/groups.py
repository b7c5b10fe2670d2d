"""Task groups: what their tasks inherit from the DAG and from groups around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow.sdk import TaskGroup

RETRIES = 2
"""Of the tasks of a group, unless somebody says otherwise: a later try goes on where an earlier one ended."""


@contextmanager
def group_of_tasks(group_id: str, default_args: Mapping[str, Any]) -> Iterator[TaskGroup]:
    """A task group. `retries` is RETRIES unless `default_args`, a group around it, or the DAG says otherwise: what a group
    gives goes before what the DAG gives, so it must not give what nobody asked it for."""
    settings: Any = {**default_args}
    with TaskGroup(group_id, default_args=settings) as group:
        if "retries" not in defaults_in(group):
            group.default_args = {**group.default_args, "retries": RETRIES}
        yield group


def defaults_in(group: TaskGroup) -> dict[str, Any]:
    """The `default_args` of the group's tasks: those of the DAG, of the groups around it, and its own."""
    return {**(group.dag.default_args if group.dag else {}), **group.default_args}


def connection_of(salesforce_conn_id: str | None) -> dict[str, str]:
    """The argument of a group's tasks; none where the group was given none, so that `default_args` may have it."""
    return {} if salesforce_conn_id is None else {"salesforce_conn_id": salesforce_conn_id}
