"""What became of each object in a run: told to people, and left for the next run.

Each run has a file of its own beside the objects' folders, `_sync/<dag>.<group>/<run>.json`, so no two writers meet. The newest
says what was complete, late or failed. Without it nothing is lost: objects are compared with their manifests alone, or extracted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from airflow_sfcc.extract.storage import StoragePath, is_local, listed, read_small, write_whole
from airflow_sfcc.sync.model import COMPLETE, Done, Outcome, Report, Result, SyncPlan
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

FOLDER = "_sync"
_FILE = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}\.json")
_MOST_BYTES = 64 * 1024 * 1024

TOLD: tuple[Result, ...] = ("failed", "late", "hidden", "gone", "new", "changed")
"""The results that are told object by object, in this order."""

_HEADER = ("object", "result", "rows", "deleted", "why")


class Reports:
    """The reports of one sync; `root` is what the objects' folders are in."""

    def __init__(self, root: StoragePath, dag_id: str, group_id: str) -> None:
        self._folder = root / FOLDER / re.sub(r"[^\w.-]", "_", f"{dag_id}.{group_id}")

    def path(self, extract_id: str) -> StoragePath:
        return self._folder / f"{extract_id}.json"

    def write(self, extract_id: str, report: Report) -> StoragePath:
        """Keep a run's report, in the place of what it reported before."""
        path = self.path(extract_id)
        if is_local(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        return path

    def last(self, before: str) -> Report | None:
        """The newest report of another run than `before`; None where there is none, or none of this package's."""
        names = sorted((name for name in listed(self._folder) if _FILE.fullmatch(name)), reverse=True)
        for name in names:
            if name != f"{before}.json":
                return self._read(self._folder / name)
        return None

    def _read(self, path: StoragePath) -> Report | None:
        try:
            return msgspec.json.decode(read_small(path, _MOST_BYTES), type=Report)
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
            log.warning(
                "%s is no report of this package (%s), so it is as if there had been no run before", path, problem
            )
            return None


def outcomes_of(plan: SyncPlan, done: Iterable[Done]) -> tuple[Outcome, ...]:
    """What became of every object of the plan; one of which no task said anything has failed."""
    told = {each.name: each for part in done for each in part.outcomes}
    missing = [
        Outcome(each.name, "failed", sentence=f"its task ended before it: see the log of the task {batch.label!r}")
        for batch in plan.batches
        for each in batch.objects
        if each.name not in told
    ]
    return (*plan.settled, *told.values(), *missing)


def counts_of(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many objects have each result, with `complete` for those that have all there is."""
    results = [each.result for each in outcomes]
    complete = sum(result in COMPLETE for result in results)
    return {"complete": complete, **{result: results.count(result) for result in _RESULTS}}


_RESULTS: tuple[Result, ...] = (*COMPLETE, "late", "failed", "gone", "hidden", "left_out")


def summary(report: Report) -> str:
    """`738 objects complete (3 new, 60 changed, 675 unchanged), 1 failed; 512 API calls`, and what the run was told without
    effect."""
    counts = counts_of(report.outcomes)
    complete = ", ".join(f"{counts[result]:,} {result}" for result in COMPLETE)
    others = [
        f"{counts[each]:,} {each.replace('_', ' ')}" for each in _RESULTS if each not in COMPLETE and counts[each]
    ]
    told = ", ".join([f"{plural(counts['complete'], 'object')} complete ({complete})", *others])
    remarks = f"; {plural(len(report.remarks), 'warning')}: {' '.join(report.remarks)}" if report.remarks else ""
    return f"{told}; {plural(report.api_calls, 'API call')}{remarks}"


def table(report: Report) -> Iterator[str]:
    """The report as lines: what there is to tell of single objects, and how many there are of the others."""
    told = [outcome for result in TOLD for outcome in report.of(result)]
    if told:
        yield from aligned([_HEADER, *map(_row, told)])
    yield f"{summary(report).removesuffix('.')}."


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of texts as lines with aligned columns; numbers to the right, the last column as it is."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width) for cell, width in zip(row[:-1], widths)
        ]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(outcome: Outcome) -> tuple[str, ...]:
    was_read = outcome.result in COMPLETE
    rows, deleted = (f"{number:,}" if was_read else "-" for number in (outcome.rows, outcome.deleted_rows))
    return outcome.name, outcome.result, rows, deleted, " ".join(outcome.sentence.split())
