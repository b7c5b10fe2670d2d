"""Which objects share a task: large ones have one of their own, small ones are spread over a few.

What is overdue comes first, then what is large.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence

from airflow_sfcc.extract.plan.api_choice import FEWEST_BULK_ROWS
from airflow_sfcc.sync.model import Batch, Wanted
from airflow_sfcc.wording import plural

MOST_TASKS_OF_THEIR_OWN = 500
"""Airflow maps a task at most 1,024 times unless told otherwise."""

FEWEST_IN_A_TASK = 5
"""A task takes seconds to start, in which it could have read as many small objects."""

_ROWS_OF_AN_OBJECT = 2_000
"""What an object costs besides its rows: a few API calls, a folder, a manifest, which is what that many rows cost."""


def batches_of(wanted: Iterable[Wanted], shared_tasks: int) -> tuple[Batch, ...]:
    """The tasks, in the order in which they are to start: at least one, so that what comes after is never skipped."""
    ordered = sorted(wanted, key=_urgency)
    large = [each for each in ordered if (each.rows or 0) >= FEWEST_BULK_ROWS][:MOST_TASKS_OF_THEIR_OWN]
    alone = {each.name for each in large}
    groups = [[each] for each in large] + _spread([each for each in ordered if each.name not in alone], shared_tasks)
    groups.sort(key=lambda group: (not any(each.is_overdue for each in group), -sum(map(_weight, group))))
    return tuple(Batch(_label(group), tuple(group)) for group in groups) or (Batch("nothing to extract"),)


def _spread(small: Sequence[Wanted], tasks: int) -> list[list[Wanted]]:
    """The heaviest first, each to the task that has least to do."""
    number = min(tasks, math.ceil(len(small) / FEWEST_IN_A_TASK))
    groups: list[list[Wanted]] = [[] for _ in range(number)]
    loads = [(0, place) for place in range(number)]
    for each in sorted(small, key=_weight, reverse=True):
        load, place = heapq.heappop(loads)
        groups[place].append(each)
        heapq.heappush(loads, (load + _weight(each), place))
    return [sorted(group, key=_urgency) for group in groups]


def _urgency(wanted: Wanted) -> tuple[bool, int, str]:
    return not wanted.is_overdue, -(wanted.rows or 0), wanted.name


def _weight(wanted: Wanted) -> int:
    return _ROWS_OF_AN_OBJECT + (wanted.rows or 0)


def _label(group: Sequence[Wanted]) -> str:
    return group[0].name if len(group) == 1 else plural(len(group), "object")
