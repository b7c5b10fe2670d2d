"""What a run of a sync is going to do: discovered, compared with what the destination holds, and shared out to tasks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Literal

from msgspec import structs

from airflow_sfcc.errors import ApiBudgetError, ApiLimitError, OptionError, QueryError, SalesforceError, StateError
from airflow_sfcc.extract.incremental.state import State, latest_state
from airflow_sfcc.extract.incremental.windows import plan_window
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.model import DEFAULT_LAG, DEFAULT_LOOKBACK, Deletes, Mode, RunIdentity, Window
from airflow_sfcc.extract.plan.planner import require_clock
from airflow_sfcc.extract.protect.rules import Rules
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.sync.catalog import Catalog, OrgObject, read_catalog
from airflow_sfcc.sync.changes import Question, changed_rows
from airflow_sfcc.sync.model import COMPLETE, DUE_AGAIN, Batch, Outcome, Report, SyncPlan, Usage, Wanted
from airflow_sfcc.sync.patterns import Patterns
from airflow_sfcc.sync.rules import require_objects, see_rules
from airflow_sfcc.sync.schedule import batches_of
from airflow_sfcc.timestamps import timestamp
from airflow_sfcc.wording import did_you_mean, plural

log = logging.getLogger(__name__)

_READERS = 16
_LOG_DAYS = (5, 12)
"""With deletes="hard", an object in which nothing changes is extracted every so many days nevertheless, before the org's log
of deletions (15 days) no longer reaches back to what the destination knows. Each object has a number of its own, so that they do
not all come in one night."""

_COMMIT_TAKES = timedelta(minutes=10)
"""How long after its manifest was made an extract of others may become visible, by another worker's clock."""


@dataclass(frozen=True)
class SyncRequest:
    """What to sync; names and meanings are those of salesforce_sync. `where` has conditions by object name, and `columns`
    is what the extracts get: here it is only looked up whether its rules are for objects and fields of the org.
    """

    objects: Sequence[str] = ("*",)
    where: Mapping[str, str] = field(default_factory=dict)
    mode: Mode = "incremental"
    deletes: Deletes = "ignore"
    lookback: timedelta = DEFAULT_LOOKBACK
    lag: timedelta = DEFAULT_LAG
    initial_start: datetime | None = None
    calculated: Literal["as_read", "refresh"] = "as_read"
    columns: Mapping[str, str] = field(default_factory=dict)
    table: str | None = None
    shared_tasks: int = 8

    def condition_of(self, sobject: str) -> str | None:
        return next((text for name, text in self.where.items() if name.lower() == sobject.lower()), None)


def plan_sync(
    client: SalesforceClient,
    request: SyncRequest,
    run: RunIdentity,
    destination: Callable[[str], StoragePath],
    last: Report | None,
) -> SyncPlan:
    """The plan of a run; `destination` says where the extracts of an object live, `last` what the run before reported.

    Raises what a request raises, OptionError where the patterns select nothing or a rule that hides columns is for none, and
    UnexpectedResponseError where the org and this machine disagree about the time.
    """
    planned_at, calls = datetime.now(timezone.utc), client.usage.calls
    rules = Rules(request.columns).rules
    try:
        catalog = read_catalog(client, Patterns(request.objects), request.where)
        require_clock(client)
    except ApiBudgetError as problem:
        if last is None:
            raise
        log.warning("Nothing is extracted: %s", problem.message)
        late = tuple(Outcome(name, "late", sentence=problem.message) for name in _known(last))
        plan = _plan_of(client, planned_at, calls, batches_of([], request.shared_tasks), late)
        return structs.replace(plan, rules=last.rules)
    missing = _missing(client, catalog, last)
    remarks = _log_selection(request, catalog, last)
    if not (catalog.objects or missing):
        raise OptionError(f"objects={list(request.objects)!r} selects nothing. {' '.join(catalog.unmatched)}".strip())
    require_objects(rules, catalog.names)
    extracted = [each for each in catalog.objects if each.is_extracted]
    seen = see_rules(client, rules, _largest_first(extracted), last.rules if last else (), planned_at)
    for remark in seen.remarks:
        log.warning("%s", remark)
    states = _states(destination, [each.name for each in extracted], request.initial_start)
    planner = _Planner(request, run, last, client.now, client.auth.token.org_id)
    questions = [question for each in extracted if (question := planner.question(each, states[each.name]))]
    changed = changed_rows(client, questions)
    unchanged = {name for name, rows in changed.items() if rows == 0}
    wanted = [
        planner.wanted(each, states[each.name], changed.get(each.name, each.rows))
        for each in extracted
        if each.name not in unchanged
    ]
    settled = [Outcome(name, "unchanged") for name in sorted(unchanged)]
    settled += [Outcome(o.name, "left_out", sentence=str(o.reason)) for o in catalog.objects if not o.is_extracted]
    settled += missing
    log.info(
        "%s to extract, %s unchanged, %s left out", plural(len(wanted), "object"), len(unchanged), _left_out(settled)
    )
    plan = _plan_of(client, planned_at, calls, batches_of(wanted, request.shared_tasks), settled)
    return structs.replace(plan, remarks=(*remarks, *seen.remarks), rules=seen.rules)


def _largest_first(objects: Sequence[OrgObject]) -> list[str]:
    """Rules are for fields that people fill in."""
    return [each.name for each in sorted(objects, key=lambda each: -(each.rows or 0))]


def _plan_of(
    client: SalesforceClient,
    planned_at: datetime,
    calls_before: int,
    batches: tuple[Batch, ...],
    settled: Sequence[Outcome],
) -> SyncPlan:
    calls = client.usage.calls - calls_before
    dated = tuple(structs.replace(batch, planned_at=planned_at) for batch in batches)
    return SyncPlan(dated, tuple(settled), calls, str(client.instance), usage_of(client), planned_at)


def usage_of(client: SalesforceClient) -> Usage:
    """What the org last said of its calls."""
    return Usage(client.usage.used, client.usage.limit, client.usage.budget_percent)


def _left_out(settled: Iterable[Outcome]) -> int:
    return sum(each.result == "left_out" for each in settled)


def _known(last: Report | None) -> list[str]:
    """The objects that the last run extracted, or was to extract."""
    return [each.name for each in last.of(*COMPLETE, *DUE_AGAIN)] if last else []


def _without_effect(request: SyncRequest, names: Collection[str], selected: Collection[str]) -> Iterator[str]:
    """A sentence for each condition of an object that is not selected, and each rule that keeps columns of one that is not
    there."""
    there, chosen = ({name.lower() for name in some} for some in (names, selected))
    for name in request.where:
        if name.lower() in there - chosen:
            yield f"where has {name!r}, and objects does not select it."
    for rule in Rules(request.columns).rules:
        if rule.action == "keep" and not rule.is_for_objects and rule.sobject not in there:
            hint = did_you_mean(rule.sobject, names)
            yield f"columns has a rule for {rule.text}, and the org has no object of that name. {hint}".strip()


def _log_selection(request: SyncRequest, catalog: Catalog, last: Report | None) -> list[str]:
    """Returns what is to be told in the report too."""
    selected = {each.name for each in catalog.objects}
    remarks = [*catalog.unmatched, *_without_effect(request, catalog.names, selected)]
    for sentence in remarks:
        log.warning("%s", sentence)
    dropped = [name for name in _known(last) if name in catalog.names and name not in selected]
    if dropped:
        log.warning("No longer selected by objects, so no longer extracted: %s", ", ".join(sorted(dropped)))
    known = set(_known(last))
    for each in catalog.objects:
        if each.name in known and not each.is_extracted:
            log.warning("%s is not extracted any more: %s", each.name, each.reason)
    return remarks


def _states(
    destination: Callable[[str], StoragePath], names: Sequence[str], initial_start: datetime | None
) -> dict[str, State]:
    places = [destination(name) for name in names]  # Airflow's connections are not looked up from threads

    def read(place: StoragePath) -> State:
        try:
            return latest_state(place, initial_start=initial_start)
        except StateError as problem:
            log.warning("What is in %s cannot be read, which its extract will tell: %s", place, problem.message)
            return State((), initial_start)

    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(names, pool.map(read, places)))


class _Planner:
    """What to do with an object, from what its destination holds and the last run reported. `now` is the org's time."""

    def __init__(
        self, request: SyncRequest, run: RunIdentity, last: Report | None, now: datetime, org_id: str | None
    ) -> None:
        self._request = request
        self._run = run
        self._now = now
        self._org_id = org_id
        self._report = last
        self._last = {each.name: each.result for each in last.outcomes} if last else {}
        # Without a report nobody knows whether the tables have loaded what the destination holds.
        self._is_trusted = last.table == request.table if last else request.table is None
        self._knows_all = last is None

    def question(self, sobject: OrgObject, state: State) -> Question | None:
        """What to ask before the object may be left as it is; None where it is extracted anyway."""
        newest, watermark = state.newest, state.watermark
        if self._request.mode == "full" or sobject.kind != "incremental" or newest is None or watermark is None:
            return None
        cursor = newest.get("cursor_field")
        is_known_complete = self._is_trusted and (self._knows_all or self._last.get(sobject.name) in COMPLETE)
        if not (cursor and is_known_complete) or self._was_read_by_this_run(state) or not self._is_loaded(state):
            return None
        if newest.get("org_id") != self._org_id:
            return None  # the extract says that the destination is of another org
        if self._request.calculated == "refresh" and newest.get("stale_fields"):
            return None  # values may have changed without a stamp
        where = self._request.condition_of(sobject.name)
        if (newest.get("where") or None) != _as_planned(sobject.name, where):
            return None  # the extract says that the destination is of another condition
        window = self._window(watermark)
        condition = window.condition(str(cursor))
        deletes = self._deletes(sobject)
        known = state.deletes_watermark or state.oldest_end
        if deletes == "hard" and (known is None or known < self._now - self._longest_unread(sobject.name)):
            return None
        return Question(
            sobject.name,
            f"({where}) AND {condition}" if where else condition,
            include_deleted=deletes != "ignore",
            deleted=Window(known - self._request.lookback, window.end) if deletes == "hard" and known else None,
            known_until=known,
        )

    def wanted(self, sobject: OrgObject, state: State, rows: int | None) -> Wanted:
        is_incremental = self._request.mode == "incremental" and sobject.kind == "incremental"
        return Wanted(
            name=sobject.name,
            mode="incremental" if is_incremental else "full",
            deletes=self._deletes(sobject),
            rows=rows,
            is_new=state.newest is None,
            is_overdue=self._last.get(sobject.name) in DUE_AGAIN,
            is_table=self._request.table is not None and sobject.may_be_a_table,
        )

    def _window(self, watermark: datetime) -> Window:
        request = self._request
        return plan_window(
            self._run.times,
            watermark,
            now=self._now,
            lag=request.lag,
            lookback=request.lookback,
            initial_start=request.initial_start,
        ).window

    def _was_read_by_this_run(self, state: State) -> bool:
        """The run was cleared: it is to read again what it has read."""
        mine = (self._run.dag_id, self._run.run_id)
        return any((each.get("dag_id"), each.get("run_id")) == mine for each in state.relevant)

    def _is_loaded(self, state: State) -> bool:
        """Whether the table has what lies in the destination: what is of the last run, and what lay there when that was
        planned. Others land there too: a reconciliation that heals, a run from before that was cleared."""
        last = self._report
        if self._request.table is None:
            return True
        if last is None or last.planned_at is None:
            return False
        run_id, at = last.run_id, last.planned_at

        def was_there(each: Manifest) -> bool:
            is_own = (each.get("dag_id"), each.get("task_id")) == (self._run.dag_id, self._run.task_id)
            finished = each.get("finished_at")
            until = at if is_own else at - _COMMIT_TAKES
            return (is_own and each.get("run_id") == run_id) or bool(finished and timestamp(finished) < until)

        return all(map(was_there, state.relevant))

    def _deletes(self, sobject: OrgObject) -> Deletes:
        """What can be known of the object's deletions: a full extract shows what there is, and no log has the rest."""
        if sobject.kind == "full":
            return "ignore"
        return "soft" if self._request.deletes == "hard" and not sobject.has_log else self._request.deletes

    @staticmethod
    def _longest_unread(name: str) -> timedelta:
        shortest, longest = _LOG_DAYS
        return timedelta(days=shortest + hashlib.sha256(name.encode()).digest()[0] % (longest - shortest + 1))


def _as_planned(sobject: str, where: str | None) -> str | None:
    """The condition as an extract's manifest has it; as it is where it cannot be read, of which the extract tells."""
    try:
        return soql.scan(soql.select(sobject, ["Id"], where)).clauses.get("WHERE")
    except QueryError:
        return where


def _missing(client: SalesforceClient, catalog: Catalog, last: Report | None) -> list[Outcome]:
    """The objects that the last run knew and this one does not see."""
    missing = sorted(name for name in _known(last) if name not in catalog.names)
    hidden = _still_defined(client, missing)
    return [
        Outcome(name, "hidden", sentence="it is still in the org, and the Run As user may not read it any more")
        if name in hidden
        else Outcome(name, "gone", sentence="the org does not list it any more; what was extracted of it stays")
        for name in missing
    ]


def _still_defined(client: SalesforceClient, names: Sequence[str]) -> set[str]:
    """Those of the objects that EntityDefinition lists (salesforce-protocol.md#describe)."""
    if not names:
        return set()
    listed = ", ".join(f"'{name}'" for name in names[:200])
    query = f"SELECT QualifiedApiName FROM EntityDefinition WHERE QualifiedApiName IN ({listed})"
    try:
        return {str(each.get("QualifiedApiName")) for each in client.query(query)}
    except ApiLimitError:
        return set()
    except SalesforceError as problem:
        log.info("Whether %s are hidden or gone cannot be told: %s", ", ".join(names[:5]), problem.message)
        return set()
