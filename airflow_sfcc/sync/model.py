"""What the tasks of a sync hand to one another, and what one night leaves for the next: plain JSON outside, checked when read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from airflow_sfcc.extract.model import Count, Deletes, Mode, Model, Timestamp

ApiName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_]{0,99}\Z")]

Result = Literal["new", "changed", "unchanged", "late", "failed", "gone", "hidden", "left_out"]
"""What became of an object in one run.

new, changed, unchanged: it is complete; `new` the first time. late: the budget of API calls ended before its turn. gone: it was
there in the run before. hidden: it still is, and the Run As user may not see it any more. left_out: it cannot be extracted.
"""

COMPLETE: tuple[Result, ...] = ("new", "changed", "unchanged")
DUE_AGAIN: tuple[Result, ...] = ("late", "failed")


class Wanted(Model, frozen=True):
    """An object that is to be extracted. `rows` is how many there may be to read, None where that is not known."""

    name: ApiName
    mode: Mode
    deletes: Deletes
    rows: Count | None = None
    is_new: bool = False
    is_overdue: bool = False
    is_table: bool = False


class Batch(Model, frozen=True):
    """The objects of one task, in the order in which they are extracted; none where nothing is to be done."""

    label: str
    objects: tuple[Wanted, ...] = ()
    planned_at: Timestamp | None = None


class Outcome(Model, frozen=True):
    """What became of an object; `sentence` says why, where something is to be said."""

    name: ApiName
    result: Result
    rows: Count = 0
    deleted_rows: Count = 0
    bytes: Count = 0
    sentence: str = ""


class Usage(Model, frozen=True):
    """Calls of the org's last 24 hours, by all that call it, of its limit; `budget` is the connection's, in percent."""

    used: Count | None = None
    limit: Count | None = None
    budget: float | None = None


class RuleSeen(Model, frozen=True):
    """The object in which the rule `text` of `columns` was seen to match a field at `at`; empty where it matched none in any."""

    text: str
    sobject: str
    at: Timestamp


class SyncPlan(Model, frozen=True):
    """What a run is going to do in the org at `instance`. `settled` are the objects that need no task.

    `remarks` are sentences on options without effect; `rules` is where those of `columns` for several objects match.

    `planned_at` tells a plan from those that the run made before it was cleared: Airflow keeps what the tasks of those said.
    """

    batches: tuple[Batch, ...]
    settled: tuple[Outcome, ...]
    api_calls: Count
    instance: str = ""
    usage: Usage = Usage()
    planned_at: Timestamp | None = None
    remarks: tuple[str, ...] = ()
    rules: tuple[RuleSeen, ...] = ()


class Done(Model, frozen=True):
    """What one task has done so far of the plan that was made at `planned_at`."""

    outcomes: tuple[Outcome, ...]
    api_calls: Count
    usage: Usage = Usage()
    planned_at: Timestamp | None = None


class Announcement(Model, frozen=True):
    """What the asset `uri` holds since a task that failed at its end: Airflow drops the events of such tasks."""

    uri: str
    facts: dict[str, Any]


class Announced(Model, frozen=True):
    """What such a task would have announced, of the plan that was made at `planned_at`."""

    announcements: tuple[Announcement, ...]
    planned_at: Timestamp | None = None


class Report(Model, frozen=True):
    """What became of each object in a run.

    `table` is where the sync loads tables, None without: what its objects' destinations held at `planned_at`, and what the run
    itself landed, the tables have. Until `finished_at` is set the run is under way, or was ended, and its objects count as late.
    """

    run_id: str
    due: Timestamp
    outcomes: tuple[Outcome, ...]
    table: str | None = None
    api_calls: Count = 0
    finished_at: Timestamp | None = None
    planned_at: Timestamp | None = None
    remarks: tuple[str, ...] = ()
    rules: tuple[RuleSeen, ...] = ()
    format_version: Literal[1] = 1

    def of(self, *results: Result) -> list[Outcome]:
        return [each for each in self.outcomes if each.result in results]
