"""From intervals that differ down to the records that explain it.

Months of years and hours of the months' days are compared first: two aggregate queries a field, whatever the number of records.
An hour that differs is halved by Id until it is small enough to be listed. Each record that comes out is looked up once more,
since the org goes on changing; what it says then is put into the local side, and the comparison goes on until nothing differs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

from airflow_sfcc.extract.plan.api_choice import REST_PAGE_ROWS
from airflow_sfcc.reconcile.local_side import LocalSide
from airflow_sfcc.reconcile.model import NOTHING, Compared, Finding, Findings, Record, Stats
from airflow_sfcc.reconcile.org_side import IDS_AT_ONCE, Hour, Month, OrgSide
from airflow_sfcc.salesforce import soql

log = logging.getLogger(__name__)

FEW = 4_000
"""Records that are listed rather than halved: two pages."""

MANY_WRONG = 0.005
"""Share of an interval's records that is missing or too much, from which on listing all of them takes fewer calls."""

MOST_PASSES = 3
"""Comparisons from the beginning, where records changed between the queries of one."""

MOST_LOOKS_AT_LOG = 3
LOG_DELAY = timedelta(minutes=1)
"""The log of deletions is told in whole minutes."""

_HOUR = timedelta(hours=1)
Cell = tuple[int, int, int, int]
"""Year, month, day, hour."""
Interval = tuple[datetime, datetime]
IdRange = tuple[str, str]
"""From, before; empty for no bound."""


def pause(delay: timedelta) -> None:
    """Wait for the log of deletions."""
    time.sleep(delay.total_seconds())


class _BudgetReachedError(Exception):
    """No more calls may be made."""


class Search:
    """One comparison of both sides; `max_calls` are the API calls that it may make."""

    def __init__(self, org: OrgSide, local: LocalSide, compared: Compared, *, max_calls: int) -> None:
        self._org = org
        self._local = local
        self._compared = compared
        self._most = org.calls + max_calls
        self._in_flight: set[str] = set()
        self._gone: set[str] = set()
        self._log_ends: datetime | None = None
        self.findings = Findings()

    def run(self) -> Findings:
        """Everything that is wrong, as far as `max_calls` allow."""
        for each in self._local.take_doubled():
            self.findings.wrong[each] = Finding(each, "doubled")
        differing: list[str] = []
        try:
            for _ in range(MOST_PASSES):
                self._leave_out_in_flight()
                differing = self._pass()
                if not differing:
                    break
        except _BudgetReachedError:
            differing = differing or ["the search ended at max_calls"]
        self.findings.unresolved = differing
        self.findings.in_flight = len(self._in_flight)
        return self.findings

    def _leave_out_in_flight(self) -> None:
        """Records that changed since are compared by nobody: what they were before, the org no longer tells."""
        self._require_calls()
        since = self._org.changed_since(self._require_calls)
        self._read_log()
        self._leave_out(since | self._gone)

    def _read_log(self) -> None:
        """Read what was deleted for good since, and up to when the log is complete."""
        self._require_calls()
        gone, self._log_ends = self._org.deleted_since()
        self._gone |= gone

    def _leave_out(self, ids: set[str]) -> None:
        self._local.remove(ids)
        self._in_flight |= ids

    def _require_calls(self, rows: int = 1, rows_in_one: int = 1) -> None:
        """Raise where so many rows would take more calls than may be made."""
        if self._org.calls + max(1, math.ceil(rows / rows_in_one)) > self._most:
            raise _BudgetReachedError

    def _pass(self) -> list[str]:
        """Compare all intervals of all fields; returns those that still differ, for people."""
        differing: list[str] = []
        for field in self._compared.dimensions:
            self._require_calls()
            differing += _Drill(self, field, self._org.by_month(field), self._org.by_hour(field)).run()
        return differing

    # One interval

    def settle(self, field: str, interval: Interval, org: Stats) -> None:
        """Find the records that make an interval differ, and correct the local side."""
        self._verify(self._narrow(field, interval, ("", ""), org, must=True))

    def _narrow(
        self, field: str, interval: Interval, ids: IdRange, org: Stats, *, must: bool = False
    ) -> dict[str, bool]:
        """Ids that differ in a range, and whether the org's list has each; `must`: something in it is known to differ."""
        local = self._local.stats(field, interval, ids)
        if not (must or org.differs(local)):
            return {}
        middle = None if _is_few(org, local) else self._local.middle(field, interval, ids)
        if middle is None:
            return self._listed(field, interval, ids, org)
        self._require_calls()
        lower_ids, upper_ids = (ids[0], middle), (middle, ids[1])
        lower = self._org.stats(self._conditions(field, interval, lower_ids))
        upper = _rest(org, lower)
        found = self._narrow(field, interval, lower_ids, lower)
        return found | self._narrow(field, interval, upper_ids, upper, must=must and not found)

    def _listed(self, field: str, interval: Interval, ids: IdRange, org: Stats) -> dict[str, bool]:
        there: Mapping[str, datetime] = {}
        if org.rows:
            self._require_calls(org.rows, REST_PAGE_ROWS)
            there = {each.id: each.stamp for each in self._org.records(self._conditions(field, interval, ids))}
        here = self._local.records(field, interval, ids)
        return {each: each in there for each in there.keys() | here.keys() if there.get(each) != here.get(each)}

    def _conditions(self, field: str, interval: Interval, ids: IdRange) -> list[str]:
        prefix = self._compared.prefix
        start, end = map(soql.datetime_literal, interval)
        conditions = [f"{prefix}{field} >= {start}", f"{prefix}{field} < {end}"]
        conditions += [f"{prefix}Id >= {soql.literal(ids[0])}"] if ids[0] else []
        return conditions + ([f"{prefix}Id < {soql.literal(ids[1])}"] if ids[1] else [])

    # Single records

    def _verify(self, candidates: Mapping[str, bool]) -> None:
        """Look the records up, and say what is wrong with each."""
        if not candidates:
            return
        self._require_calls(len(candidates), IDS_AT_ONCE)
        there = self._org.look_up(candidates)
        here = self._local.stamps_of(candidates)
        self._judge_absent(here.keys() - there.keys())
        missing = [each for each in candidates if each not in here and each in there]
        deleted = self._local.known_deleted(missing)
        outside = self._outside([each for each in there.keys() & here.keys() if not candidates[each]], there)
        for each, is_listed in candidates.items():
            if each in outside:
                self.findings.outside += self._local.remove([each])
            elif each in there:
                self._judge(each, is_listed, there[each], here.get(each), each in deleted)

    def _outside(self, ids: Sequence[str], there: Mapping[str, Record]) -> set[str]:
        """Those of the Ids whose records are there, and do not meet the condition of the extracts any more."""
        asked = [each for each in ids if there[each].stamp < self._compared.until and not there[each].is_deleted]
        if not asked or not self._compared.where:
            return set()
        self._require_calls(len(asked), IDS_AT_ONCE)
        return set(asked) - self._org.meeting_condition(asked)

    def _judge(
        self, record_id: str, is_listed: bool, there: Record, here: datetime | None, is_known_deleted: bool
    ) -> None:
        if there.stamp >= self._compared.until:
            self._leave_out({record_id})
        elif there.is_deleted:
            self._found(Finding(record_id, "not_deleted", there.stamp), here is not None)
            self._local.remove([record_id])
        elif here is None:
            self._found(Finding(record_id, "wrongly_deleted" if is_known_deleted else "lost"), is_listed)
            self._local.put(there)
        elif here != there.stamp:
            self._found(Finding(record_id, "stale"), True)
            self._local.put(there)

    def _judge_absent(self, ids: set[str]) -> None:
        """Records that are here, and not in the org. Of a deletion that is in no log, only one that the log would have by
        now if it were new is an old one. Where the org keeps no log, no extract will ever tell of it, however new it is."""
        if not ids:
            return
        if not self._org.logs_deletions:
            for each in ids:
                self._found(Finding(each, "not_deleted"), True)
            self._local.remove(ids)
            return
        looked_up_at = self._org.now
        self._require_calls()
        before = self._org.deleted_before()
        self._read_log()
        for _ in range(MOST_LOOKS_AT_LOG):
            if ids <= before.keys() | self._gone or self._log_ends is None or self._log_ends >= looked_up_at:
                break
            pause(LOG_DELAY)
            self._read_log()
        is_told = self._log_ends is not None and self._log_ends >= looked_up_at
        lost = {each for each in ids - self._gone if each in before or is_told}
        for each in lost:
            self._found(Finding(each, "not_deleted", before.get(each)), True)
        self._local.remove(lost)
        self._leave_out(ids - lost)

    def _found(self, finding: Finding, is_so: bool) -> None:
        if is_so:
            self.findings.wrong.setdefault(finding.id, finding)


class _Drill:
    """One field's intervals: from months, or hours of days, to single hours."""

    def __init__(self, search: Search, field: str, months: Mapping[Month, Stats], hours: Mapping[Hour, Stats]) -> None:
        self._search = search
        self._org = search._org
        self._local = search._local
        self._field = field
        self._months = months
        self._hours = hours
        self._hours_of: dict[Month, Mapping[Hour, Stats]] = {}
        self._months_of: dict[Hour, Mapping[Month, Stats]] = {}

    def run(self) -> list[str]:
        """Settle every hour that differs, once; returns what differs then, for people."""
        done: set[Cell] = set()
        while cells := {cell: org for cell, org in self._differing().items() if cell not in done}:
            for cell, org in cells.items():
                start = datetime(*cell, tzinfo=timezone.utc)
                self._search.settle(self._field, (start, start + _HOUR), org)
            done |= cells.keys()
        months = _differing(self._months, self._local.by_month(self._field))
        hours = _differing(self._hours, self._local.by_hour(self._field))
        told = [f"{self._field} in {year}-{month:02}" for year, month in months]
        return told or [f"{self._field} on days {day} at {hour} h" for day, hour in hours]

    def _differing(self) -> dict[Cell, Stats]:
        """The hours that differ, with the org's stats."""
        found: dict[Cell, Stats] = {}
        for month in _differing(self._months, self._local.by_month(self._field)):
            there = self._in_month(month)
            for hour in _differing(there, self._local.by_hour(self._field, month)):
                cell = (*month, *hour)
                found[cell] = there.get(hour, NOTHING)
        for hour in [] if found else _differing(self._hours, self._local.by_hour(self._field)):
            of_months = self._at_hour(hour)
            for month in _differing(of_months, self._local.by_month(self._field, hour)):
                cell = (*month, *hour)
                found[cell] = of_months.get(month, NOTHING)
        return found

    def _in_month(self, month: Month) -> Mapping[Hour, Stats]:
        if month not in self._hours_of:
            self._search._require_calls()
            self._hours_of[month] = self._org.by_hour(self._field, month)
        return self._hours_of[month]

    def _at_hour(self, hour: Hour) -> Mapping[Month, Stats]:
        if hour not in self._months_of:
            self._search._require_calls()
            self._months_of[hour] = self._org.by_month(self._field, hour)
        return self._months_of[hour]


def _differing(there: Mapping[tuple[int, int], Stats], here: Mapping[tuple[int, int], Stats]) -> list[tuple[int, int]]:
    """The keys at which both sides differ."""
    return sorted(key for key in there.keys() | here.keys() if there.get(key, NOTHING).differs(here.get(key, NOTHING)))


def _is_few(org: Stats, local: Stats) -> bool:
    rows = max(org.rows, local.rows)
    return org.rows == 0 or rows <= FEW or abs(org.rows - local.rows) >= MANY_WRONG * rows


def _rest(whole: Stats, lower: Stats) -> Stats:
    """What is known of the other half. Its stamps are those of the whole where the lower half does not have them."""
    rows = whole.rows - lower.rows
    if not rows:
        return NOTHING
    return Stats(
        rows,
        whole.oldest if whole.oldest != lower.oldest else None,
        whole.newest if whole.newest != lower.newest else None,
    )
