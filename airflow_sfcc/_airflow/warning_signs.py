"""What a person should be told of an extract that succeeded: fewer rows than usual, nothing new, other columns, few calls left.

Told as part of the asset event, as the XCom `salesforce_warnings`, as metrics, and in the task's log (docs/monitoring.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_sfcc._airflow.compat import conf
from airflow_sfcc._airflow.event_facts import Extracted, ExtractFacts, Warned

if TYPE_CHECKING:
    from airflow_sfcc.salesforce.usage import ApiUsage

log = logging.getLogger(__name__)

WARNINGS_KEY = "salesforce_warnings"
"""The XCom of an extract that has something to tell: a list of sentences."""

SECTION = "sfcc"
FEWEST_USUAL_ROWS = 100
"""Of smaller objects a few rows are many percent."""

USUAL_EXTRACTS = 7
MOST_EVENTS = 200


@dataclass(frozen=True)
class Thresholds:
    """When something is worth a person's attention. 0 turns a check off.

    :param rows_fell_percent: a full extract has that much fewer rows than usual, the median of the seven before it.
    :param nothing_new_days: an incremental extract has brought no row for so many days.
    :param budget_percent: that much of the API calls which the connection may use are used.
    """

    rows_fell_percent: float = 50.0
    nothing_new_days: float = 7.0
    budget_percent: float = 80.0

    @classmethod
    def configured(cls) -> Thresholds:
        """From Airflow's configuration, section `sfcc`, such as AIRFLOW__SFCC__ROWS_FELL_PERCENT."""
        usual = cls()
        return cls(**{name: _configured(name, getattr(usual, name)) for name in usual.__dataclass_fields__})


def _configured(name: str, usual: float) -> float:
    """The option's value. What has landed is not lost for a mistake in the configuration: it is told, and the usual holds."""
    written = conf.get(SECTION, name, fallback=None)
    try:
        return usual if written is None else float(written)
    except ValueError:
        log.warning("%s = %s in section [%s] is no number: %s holds.", name, written, SECTION, usual)
        return usual


Earlier = Sequence[tuple[datetime, ExtractFacts]]
"""Events of the same asset, newest first, with their times."""


def warnings_of(
    extracted: Extracted,
    result: Mapping[str, Any],
    usage: ApiUsage,
    earlier: Earlier,
    thresholds: Thresholds,
    now: datetime,
) -> list[Warned]:
    """What is worth telling of an extract that landed."""
    found = [
        _rows_fell(extracted, result, earlier, thresholds),
        _nothing_new(extracted, result, earlier, thresholds, now),
        _schema_change(extracted),
        _budget(usage, thresholds),
    ]
    return [each for each in found if each is not None]


def _rows_fell(
    extracted: Extracted, result: Mapping[str, Any], earlier: Earlier, thresholds: Thresholds
) -> Warned | None:
    before = [facts.rows for _, facts in earlier if facts.mode != "incremental"][:USUAL_EXTRACTS]
    if extracted.mode != "full" or len(before) < 3 or not thresholds.rows_fell_percent:
        return None
    usual, rows = median(before), result["rows"]
    if usual < FEWEST_USUAL_ROWS or rows >= usual * (1 - thresholds.rows_fell_percent / 100):
        return None
    return Warned(
        "rows_fell",
        f"{extracted.sobject} has {rows:,} rows, {1 - rows / usual:.0%} fewer than the usual {usual:,.0f}. See in "
        "Salesforce whether they were deleted, or whether the Run As user no longer sees them.",
    )


def _nothing_new(
    extracted: Extracted, result: Mapping[str, Any], earlier: Earlier, thresholds: Thresholds, now: datetime
) -> Warned | None:
    if extracted.mode != "incremental" or not thresholds.nothing_new_days or result["rows"]:
        return None
    if result["deleted_rows"]:
        return None
    since = now - timedelta(days=thresholds.nothing_new_days)
    newest = next((at for at, facts in earlier if facts.rows or facts.deleted_rows), None)
    oldest = earlier[-1][0] if earlier else now
    if (newest or oldest) > since:
        return None
    known = f"since {newest:%Y-%m-%d}" if newest else f"in the {(now - oldest).days} days that Airflow remembers"
    return Warned(
        "nothing_new",
        f"{extracted.sobject} has brought nothing new {known}. See in Salesforce whether records still change, and whether "
        "the Run As user still sees them.",
    )


def _schema_change(extracted: Extracted) -> Warned | None:
    from airflow_sfcc.extract.incremental.schema_drift import OF_THE_TASK, sentence

    changes = [each for each in extracted.schema_changes if each["change"] not in OF_THE_TASK]
    if not changes:
        return None
    more = f", and {len(changes) - 10} more" if len(changes) > 10 else ""
    return Warned(
        "schema_change", f"{extracted.sobject} has other columns: {'; '.join(map(sentence, changes[:10]))}{more}."
    )


def _budget(usage: ApiUsage, thresholds: Thresholds) -> Warned | None:
    if not usage.limit or usage.used is None or not thresholds.budget_percent:
        return None
    share = usage.budget_percent if usage.budget_percent is not None else 100.0
    ceiling = usage.limit * share / 100
    if not ceiling or usage.used < ceiling * thresholds.budget_percent / 100:
        return None
    what = "the connection's budget" if usage.budget_percent is not None else "the org's limit"
    return Warned(
        "budget",
        f"{usage.used:,} API calls were made in the last 24 hours, {usage.used / ceiling:.0%} of {what} of {ceiling:,.0f}. "
        "Make fewer calls, or raise it, before extracts stop.",
    )


def earlier_events(outlets: Sequence[object], uri: str) -> Earlier:
    """What Airflow knows of the extracts before, newest first; nothing where it cannot say, which is told in the log."""
    try:
        found = list(_events(outlets, uri))
    except Exception as problem:  # the first extract has no asset yet; a context of one's own has no Airflow
        log.debug("Earlier events of %s are not known (%s: %s)", uri, type(problem).__name__, problem)
        return ()
    return sorted(found, key=lambda each: each[0], reverse=True)


def _events(outlets: Sequence[object], uri: str) -> Iterator[tuple[datetime, ExtractFacts]]:
    from airflow.sdk import Asset
    from airflow.sdk.execution_time.context import InletEventsAccessors

    asset = next((each for each in outlets if isinstance(each, Asset)), Asset(uri=uri))
    events: Any = InletEventsAccessors([asset])[asset]
    if hasattr(events, "limit"):  # Airflow 3.1 returns a list of all
        events = events.ascending(False).limit(MOST_EVENTS)
    for event in events:
        try:
            yield event.timestamp, msgspec.convert(event.extra, ExtractFacts)
        except msgspec.ValidationError:
            continue  # another producer's


def now() -> datetime:
    return datetime.now(timezone.utc)
