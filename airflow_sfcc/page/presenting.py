"""The model in words and numbers for the templates, which only place them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from airflow_sfcc._airflow.web_pages import bulk_job_page, list_view
from airflow_sfcc.page.charts import Chart, Point, bars, gauge
from airflow_sfcc.page.model import (
    BUDGET_ENDED,
    READ,
    UNCHANGED,
    WORST_FIRST,
    ApiCalls,
    Attempt,
    Dag,
    Landed,
    Night,
    ObjectLine,
    Org,
    Overview,
    State,
    TableLine,
    TaskKey,
    hours,
)
from airflow_sfcc.wording import plural

MOST_LISTED = 5
"""Lines of each list beside the grid."""

_CELLS = {state: f'<td class="{state.value}">{state.sign}</td>' for state in State}
_EMPTY = "<td></td>"


@dataclass(frozen=True)
class Links:
    """Addresses of Airflow's own pages below `base`, the path of its base URL."""

    base: str

    def dag(self, dag_id: str) -> str:
        return f"{self.base}/dags/{quote(dag_id, safe='')}"

    def run(self, key: TaskKey) -> str:
        return f"{self.dag(key.dag_id)}/runs/{quote(key.run_id, safe='')}"

    def task(self, key: TaskKey) -> str:
        """The task instance with its log."""
        mapped = f"/mapped/{key.map_index}" if key.map_index >= 0 else ""
        return f"{self.run(key)}/tasks/{quote(key.task_id, safe='')}{mapped}"

    @property
    def connections(self) -> str:
        return f"{self.base}/connections"

    @property
    def dags(self) -> str:
        return f"{self.base}/dags"


@dataclass(frozen=True)
class Shown:
    """What the reader chose to see; it is the page's address, so that it can be sent to somebody."""

    org: str | None = None
    search: str = ""
    only: str = "all"
    sort: str = "name"
    nights: int = 60

    def url(self, **changes: Any) -> str:
        """The page's address with these changes; what is left as it usually is, is left out."""
        values = {
            "org": self.org,
            "q": self.search,
            "show": self.only,
            "sort": self.sort,
            "nights": self.nights,
            **changes,
        }
        usual = {"q": "", "show": "all", "sort": "name", "nights": 60, "org": None}
        chosen = {name: value for name, value in values.items() if value != usual[name]}
        return f"?{urlencode(chosen)}" if chosen else "./"


class _Page:
    """What every page has: times for people."""

    def __init__(self, model: Overview, links: Links, zone: tzinfo) -> None:
        self.model = model
        self.links = links
        self._zone = zone

    @property
    def zone(self) -> str:
        return self.model.now.astimezone(self._zone).tzname() or "UTC"

    def time(self, when: datetime | None) -> str:
        """`02:14` today, `Fri 02:14` this week, else with the date."""
        if when is None:
            return ""
        local, now = when.astimezone(self._zone), self.model.now.astimezone(self._zone)
        if local.date() == now.date():
            return f"{local:%H:%M}"
        if timedelta() < now.date() - local.date() < timedelta(days=6):
            return f"{local:%a %H:%M}"
        return f"{local:%d %b %H:%M}"

    def stamp(self, when: datetime | None) -> str:
        return f"{when.astimezone(self._zone):%Y-%m-%d %H:%M:%S}" if when else ""


@dataclass(frozen=True)
class Row:
    """One line of the grid."""

    line: ObjectLine
    cells: Markup
    problem: str | None


@dataclass(frozen=True)
class Listed:
    """One line of a list beside the grid: a name that links to the object, and a number."""

    name: str
    id: str
    value: str
    note: str = ""
    href: str = ""


class OverviewPage(_Page):
    """The page `/`."""

    def __init__(self, model: Overview, shown: Shown, links: Links, zone: tzinfo) -> None:
        super().__init__(model, links, zone)
        self.shown = shown

    @property
    def states(self) -> list[State]:
        """For the legend."""
        return [State.COMPLETE, State.LATE, State.INCOMPLETE, State.SCHEMA, State.FAILED, State.RUNNING, State.NOT_RUN]

    @property
    def org(self) -> Org | None:
        """The org whose objects are shown: the chosen one, else the first that needs a look."""
        orgs = self.model.orgs
        chosen = [each for each in orgs if each.key == self.shown.org]
        wrong = [each for each in orgs if each.verdict in ("bad", "look")]
        return next(iter([*chosen, *wrong, *orgs]), None)

    def sentence(self, org: Org) -> str:
        return org.sentence(self.time(org.as_of))

    def summary(self) -> dict[str, Any]:
        return {
            "orgs": [
                {
                    "org": org.name,
                    "verdict": org.verdict,
                    "sentence": self.sentence(org),
                    "objects": len(org.current),
                    "complete": len(org.complete),
                    "url": self.shown.url(org=org.key),
                }
                for org in self.model.orgs
            ]
        }

    @property
    def months(self) -> list[tuple[str, int]]:
        """The grid's months, each with its number of nights."""
        by_month = groupby(self.model.nights, key=lambda night: (night.year, night.month))
        grouped = [list(nights) for _, nights in by_month]
        return [(_month(nights), len(nights)) for nights in grouped]

    @property
    def days(self) -> list[tuple[str, str]]:
        """Each night's ISO date, and the day of the month of Mondays: there is no room for all."""
        return [(night.isoformat(), str(night.day) if night.weekday() == 0 else "") for night in self.model.nights]

    @property
    def rows(self) -> list[Row]:
        """The grid's lines, as the reader chose to filter and sort them."""
        org = self.org
        if org is None:
            return []
        wanted = self.shown.search.strip().lower()
        lines = [each for each in org.objects if wanted in each.name.lower()]
        if self.shown.only == "problems":
            lines = [each for each in lines if each.problem]
        return [Row(each, self._cells(each), each.problem) for each in sorted(lines, key=self._order)]

    def _order(self, line: ObjectLine) -> tuple[Any, ...]:
        name = line.name.lower()
        last = line.last_night
        by: dict[str, tuple[Any, ...]] = {
            "state": (WORST_FIRST.index(line.state), -(line.late_by or timedelta()).total_seconds(), name),
            "rows": (-((last.rows if last else None) or 0), name),
            "growth": (-(line.growth if line.growth is not None else -9.0), name),
            "seconds": (-(line.seconds or 0.0), name),
        }
        return by.get(self.shown.sort, (name,))

    def _cells(self, line: ObjectLine) -> Markup:
        nights = line.nights
        cells = [_CELLS[nights[when].state] if when in nights else _EMPTY for when in self.model.nights]
        return Markup("".join(cells))  # noqa: S704  # of our own states only

    def rows_of(self, line: ObjectLine) -> str:
        last = line.recent(1)
        return f"{last[0].rows:,}" if last and last[0].rows is not None else ""

    # Beside the grid

    @property
    def slowest(self) -> list[Listed]:
        org = self.org
        known = [(each.seconds, each) for each in (org.current if org else []) if each.seconds is not None]
        known.sort(key=lambda pair: -pair[0])
        return [Listed(each.name, each.id, duration(seconds)) for seconds, each in known[:MOST_LISTED]]

    @property
    def growing(self) -> list[Listed]:
        org = self.org
        known = [
            (each.growth, each) for each in (org.current if org else []) if each.growth is not None and each.growth > 0
        ]
        known.sort(key=lambda pair: -pair[0])
        return [
            Listed(each.name, each.id, f"+{growth:.0%}", f"{self.rows_of(each)} rows")
            for growth, each in known[:MOST_LISTED]
        ]

    @property
    def jobs(self) -> list[Listed]:
        """The newest night's Bulk jobs, the longest first."""
        org = self.org
        landed = [each.newest for each in (org.current if org else []) if each.newest and each.newest.facts.job_id]
        nights = {each.at.astimezone(self._zone).date() for each in landed}
        newest = [each for each in landed if each.at.astimezone(self._zone).date() == max(nights)]
        newest.sort(key=lambda each: -(each.facts.seconds or 0.0))
        return [
            Listed(
                each.facts.sobject or "",
                "",
                duration(each.facts.seconds),
                speed(each),
                job_link(each) or "",
            )
            for each in newest[:MOST_LISTED]
        ]

    @property
    def number_of_jobs(self) -> int:
        org = self.org
        return sum(bool(each.newest and each.newest.facts.job_id) for each in (org.current if org else []))

    @property
    def tables(self) -> list[Listed]:
        org = self.org
        tables = sorted(org.tables if org else [], key=lambda each: (each.behind_since or self.model.now, each.name))
        return [
            Listed(
                each.name,
                "",
                self._freshness(each),
                f"{plural(each.behind, 'extract')} to load" if each.behind else f"{each.loaded.facts.rows:,} rows",
                self.links.task(each.loaded.key),
            )
            for each in tables
        ]

    def _freshness(self, table: TableLine) -> str:
        if table.behind_by:
            return f"{hours(table.behind_by)} behind"
        if table.has_all:
            return "up to date"
        late = f", {hours(table.line.late_by)} late" if table.line.late_by else ""
        return f"as of {self.time(table.as_of)}{late}"

    @property
    def api(self) -> ApiCalls | None:
        return self.org.api if self.org else None

    @property
    def api_sentence(self) -> str:
        api = self.api
        if api is None:
            return ""
        text = f"{api.used:,} of {api.limit:,} calls in the 24 hours before {self.time(api.at)} ({api.share:.0%})."
        text += f" Tonight: about {api.forecast:,} ({api.forecast / api.limit:.0%})" if api.limit else ""
        if api.forecast > api.ceiling:
            return (
                f"{text}, more than the budget of {api.ceiling:,}: extracts will stop. Raise it, or make fewer calls."
            )
        return f"{text}."

    @property
    def gauge(self) -> Markup:
        api = self.api
        if api is None or not api.limit:
            return Markup("")
        return gauge(self.api_sentence, api.share, api.forecast / api.limit, api.ceiling / api.limit)

    @property
    def paused(self) -> list[str]:
        """DAGs that are paused, whose objects grow old."""
        ours = {line.key.dag_id for org in self.model.orgs for line in org.current}
        return sorted(dag_id for dag_id, dag in self.model.dags.items() if dag.is_paused and dag_id in ours)

    @property
    def has_landed(self) -> bool:
        return any(org.objects for org in self.model.orgs)


@dataclass(frozen=True)
class Fact:
    """A line of a night's details; `href` makes a link of it."""

    name: str
    value: str
    href: str = ""
    is_external: bool = False


@dataclass(frozen=True)
class Happened:
    """One run of a night: what landed, or what did not."""

    title: str
    state: State
    facts: list[Fact] = field(default_factory=list)
    error: str | None = None
    warnings: Sequence[str] = ()
    changes: Sequence[str] = ()


class _ObjectPage(_Page):
    def __init__(self, model: Overview, org: Org, line: ObjectLine, links: Links, zone: tzinfo) -> None:
        super().__init__(model, links, zone)
        self.org = org
        self.line = line

    def happened(self, night: Night) -> Iterator[Happened]:
        """The night's runs, newest first."""
        for attempt in reversed(night.attempts):
            yield self._attempted(attempt)
        for landed in reversed(night.landed):
            yield self._landed(landed, night)

    def _attempted(self, attempt: Attempt) -> Happened:
        reported = _REPORTED.get(attempt.state or "")
        in_airflow = [
            Fact("State in Airflow", attempt.state or "not scheduled yet"),
            Fact("Tries", str(attempt.try_number) if attempt.try_number else ""),
        ]
        facts = [
            *([Fact("Result", reported[1])] if reported else in_airflow),
            Fact("Reported" if reported else "Ended", self.stamp(attempt.ended)),
            *self._links_of(
                attempt.key, attempt.note.get("instance"), attempt.note.get("job_id"), attempt.note.get("sobject")
            ),
        ]
        error = attempt.note.get("error")
        if error is None and attempt.state == "failed":
            error = "The task left no error: its worker ended without a word, or its XComs are not yours to read. See its log."
        state = State.FAILED if attempt.state == "failed" else State.NOT_RUN
        if reported:
            state = reported[0]
        elif attempt.state not in ("failed", "upstream_failed", "skipped"):
            state = State.RUNNING
        return Happened(f"Run due {self._due(attempt.key)}", state, [each for each in facts if each.value], error)

    def _landed(self, landed: Landed, night: Night) -> Happened:
        facts = landed.facts
        window = facts.window
        found = [
            Fact("Landed", self.stamp(landed.at) + (" (late)" if night.is_late and landed is night.last else "")),
            Fact("Rows", f"{facts.rows:,}"),
            Fact(
                "Size",
                f"{size(facts.bytes)} in {plural(facts.files, 'file')}"
                if facts.files is not None
                else size(facts.bytes),
            ),
            Fact("Duration", duration(facts.seconds)),
            Fact("Speed", speed(landed)),
            Fact("API", {"bulk": "Bulk API 2.0", "rest": "REST"}.get(facts.api or "", facts.api or "")),
            Fact("Why this API", facts.api_reason or ""),
            Fact("API calls", f"{facts.api_calls:,}" if facts.api_calls is not None else ""),
            Fact(
                "Org's calls",
                f"{facts.api_used:,} of {facts.api_limit:,}" if facts.api_used is not None and facts.api_limit else "",
            ),
            Fact("Window", f"{window.start or 'the beginning'} to {window.end or 'the end'}" if window else ""),
            Fact("Watermark", facts.watermark or ""),
            Fact("Deleted rows", f"{facts.deleted_rows:,}" if facts.deleted_rows else ""),
            Fact("Manifest", facts.manifest),
            *self._links_of(landed.key, facts.instance, facts.job_id, facts.sobject),
        ]
        changes = [f"{each.column}: {_CHANGES.get(each.change, each.change)}" for each in facts.schema_changes]
        state = night.state if landed is night.last and not night.attempts else State.COMPLETE
        return Happened(
            f"Run due {self._due(landed.key)}",
            state,
            [each for each in found if each.value],
            warnings=[each.sentence for each in facts.warnings],
            changes=changes,
        )

    def _due(self, key: TaskKey) -> str:
        run = self.model.runs.get(key[:2])
        return self.time(run.due) if run else "(no longer in Airflow)"

    def _links_of(self, key: TaskKey, instance: object, job_id: object, sobject: object) -> Iterator[Fact]:
        yield Fact("Task", f"{key.task_id} of {key.dag_id}: log", self.links.task(key))
        yield Fact("Run", key.run_id, self.links.run(key))
        origin = web_origin(instance)
        if origin and job_id:
            yield Fact("Bulk job", str(job_id), bulk_job_page(origin, str(job_id)), is_external=True)
        elif job_id:
            yield Fact("Bulk job", str(job_id))
        if origin and sobject:
            yield Fact("Object in Salesforce", str(sobject), list_view(origin, str(sobject)), is_external=True)


_REPORTED = {
    UNCHANGED: (State.COMPLETE, "unchanged: by the org's count no row has changed since the extract before"),
    READ: (State.COMPLETE, "extracted, by a task that failed before its details were stored: see the manifest"),
    BUDGET_ENDED: (
        State.LATE,
        "not extracted: the calls that the connection may make were used up before its turn. The next run begins with it.",
    ),
}
"""What the report of a sync says of an object."""

_CHANGES = {
    "added": "new",
    "removed": "gone, or hidden from the Run As user",
    "access_lost": "hidden from the Run As user",
    "retyped": "has another type",
    "unselected": "no longer selected",
    "selected": "newly selected",
}


class NightDetails(_ObjectPage):
    """What a cell of the grid opens."""

    def __init__(self, model: Overview, org: Org, line: ObjectLine, when: date, links: Links, zone: tzinfo) -> None:
        super().__init__(model, org, line, links, zone)
        self.when = when

    @property
    def night(self) -> Night:
        return self.line.nights.get(self.when, Night())

    @property
    def title(self) -> str:
        return f"{self.line.name}, {self.when:%d %B %Y}"

    @property
    def explanation(self) -> str:
        """Why a night without a run is as it is."""
        dag: Dag | None = self.model.dags.get(self.line.key.dag_id)
        if self.night.state is State.NOT_RUN:
            paused = " The DAG is paused." if dag and dag.is_paused else ""
            return f"The schedule of {self.line.key.dag_id} had a run this night, and the object was not in it.{paused}"
        return "Nothing was expected this night."


class ObjectPage(_ObjectPage):
    """The page of one object."""

    def __init__(
        self, model: Overview, org: Org, line: ObjectLine, links: Links, zone: tzinfo, night: date | None = None
    ) -> None:
        super().__init__(model, org, line, links, zone)
        self.selected = night

    @property
    def details(self) -> NightDetails | None:
        if self.selected is None:
            return None
        return NightDetails(self.model, self.org, self.line, self.selected, self.links, self._zone)

    @property
    def dag(self) -> Dag | None:
        return self.model.dags.get(self.line.key.dag_id)

    @property
    def nights(self) -> list[tuple[date, Night]]:
        """Newest first."""
        return sorted(self.line.nights.items(), reverse=True)

    @property
    def charts(self) -> list[Chart]:
        """Rows, duration, and how long after they were due the rows were there, night by night."""
        nights = [(when, self.line.nights.get(when)) for when in self.model.nights]
        rows = [self._point(when, night, _rows(night), "{:,.0f} rows") for when, night in nights]
        seconds = [self._point(when, night, _seconds(night)) for when, night in nights]
        delays = [self._point(when, night, self._delay(night)) for when, night in nights]
        return [
            bars("Rows", rows, f"{_largest(rows):,.0f}"),
            bars("Duration", seconds, duration(_largest(seconds))),
            bars("Landed after it was due", delays, duration(_largest(delays))),
        ]

    def _point(self, when: date, night: Night | None, value: float | None, text: str = "") -> Point:
        said = text.format(value) if text and value is not None else duration(value)
        return Point(when.isoformat(), value, said, night.state.value if night else "")

    def _delay(self, night: Night | None) -> float | None:
        if night is None or night.last is None:
            return None
        run = self.model.runs.get(night.last.key[:2])
        return max(0.0, (night.last.at - run.due).total_seconds()) if run else None

    def duration_of(self, night: Night) -> str:
        return duration(night.last.facts.seconds) if night.last else ""

    def landed_at(self, night: Night) -> str:
        return self.time(night.last.at) if night.last else ""


def _rows(night: Night | None) -> float | None:
    return night.rows if night else None


def _seconds(night: Night | None) -> float | None:
    return night.last.facts.seconds if night and night.last else None


def _largest(points: Sequence[Point]) -> float:
    return max((each.value or 0.0 for each in points), default=0.0)


def _month(nights: Sequence[date]) -> str:
    """The month's name as far as there is room for it."""
    if len(nights) < 3:
        return ""
    return f"{nights[0]:%b %Y}" if len(nights) > 5 else f"{nights[0]:%b}"


def web_origin(instance: object) -> str | None:
    """The instance if it is an origin that a browser may be sent to; an event's extra may hold anything."""
    text = str(instance or "")
    return text.rstrip("/") if text.startswith(("https://", "http://")) and not set(text) & set("\"'<> \\") else None


def job_link(landed: Landed) -> str | None:
    origin = web_origin(landed.facts.instance)
    return bulk_job_page(origin, landed.facts.job_id) if origin and landed.facts.job_id else None


def duration(seconds: float | None) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60):02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def size(number: int) -> str:
    """`12.3 MB`."""
    value = float(number)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def speed(landed: Landed) -> str:
    facts = landed.facts
    return f"{facts.bytes / facts.seconds / 1e6:.1f} MB/s" if facts.seconds else ""
