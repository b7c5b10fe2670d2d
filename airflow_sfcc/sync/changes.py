"""How many rows of each object changed since its destination's watermark, five objects in one API call.

Salesforce's own record counts are hours old and miss what only changed, so no object is skipped because of them: the question is
the query of the extract to come, as a COUNT() that ends where the extract would be a large one anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_sfcc.errors import ApiLimitError, QueryError, SalesforceError
from airflow_sfcc.extract.incremental.deletions import whole_minutes
from airflow_sfcc.extract.model import Window
from airflow_sfcc.extract.plan.api_choice import FEWEST_BULK_ROWS
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.responses import count_of
from airflow_sfcc.salesforce.soql import datetime_literal
from airflow_sfcc.salesforce.together import MOST_QUERIES, MOST_REQUESTS, Part, ask_together, query_path
from airflow_sfcc.timestamps import timestamp

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """What to ask of an object: the rows that meet `condition`, and the ids deleted for good in `deleted` (None: not asked), of
    which the org's log must reach back to `known_until`."""

    name: str
    condition: str
    include_deleted: bool
    deleted: Window | None = None
    known_until: datetime | None = None

    @property
    def counting(self) -> str:
        soql = f"SELECT COUNT() FROM {self.name} WHERE {self.condition} LIMIT {FEWEST_BULK_ROWS}"
        return query_path(soql, include_deleted=self.include_deleted)

    @property
    def deletions(self) -> str | None:
        if self.deleted is None or self.deleted.start is None:
            return None
        start, end = map(datetime_literal, whole_minutes(self.deleted.start, self.deleted.end))
        return f"/sobjects/{self.name}/deleted/?start={start}&end={end}"


def changed_rows(client: SalesforceClient, questions: Sequence[Question]) -> dict[str, int | None]:
    """Rows and deletions by object, FEWEST_BULK_ROWS standing for any number from there on. None where the org did not say, or
    was not asked any more since the budget of API calls is used up: then only an extract can tell."""
    found: dict[str, int | None] = {}
    _ask(client, {each.name: each.counting for each in questions}, MOST_QUERIES, lambda _, body: _counted(body), found)
    logs = {each.name: each.deletions for each in questions if each.deletions and found.get(each.name) == 0}
    deleted: dict[str, int | None] = dict.fromkeys(logs)
    needed = {each.name: each.known_until for each in questions}

    def listed(name: str, body: Any) -> int | None:
        return _listed(body, needed[name])

    _ask(client, {name: path for name, path in logs.items() if path}, MOST_REQUESTS, listed, deleted)
    return {each.name: None for each in questions} | found | deleted


def _ask(
    client: SalesforceClient,
    paths: Mapping[str, str],
    at_once: int,
    read: Callable[[str, Any], int | None],
    found: dict[str, int | None],
) -> None:
    try:
        for name, part in _answered(client, paths, at_once):
            if part.problem:
                log.warning("%s: whether it changed is not known, so it is extracted: %s", name, part.problem.message)
            found[name] = None if part.problem else read(name, part.body)
    except ApiLimitError as problem:
        log.warning("No further object is asked whether it changed: %s", problem.message)


def _answered(client: SalesforceClient, paths: Mapping[str, str], at_once: int) -> Iterator[tuple[str, Part]]:
    """The parts by object. A composite request that fails as a whole leaves its objects unknown."""
    names = list(paths)
    for first in range(0, len(names), at_once):
        group = names[first : first + at_once]
        try:
            yield from zip(group, list(ask_together(client.api, [paths[name] for name in group], at_once)))
        except ApiLimitError:
            raise
        except SalesforceError as problem:
            if problem.permanent:
                raise
            yield from ((name, Part(None, problem)) for name in group)


def _counted(body: Any) -> int | None:
    try:
        return count_of(body["totalSize"])
    except (KeyError, TypeError, ValueError):
        return None


def _listed(body: Any, known_until: datetime | None) -> int | None:
    """None too where the log was cut off since: the extract says that deletions may be missing."""
    try:
        records, earliest = body["deletedRecords"], body.get("earliestDateAvailable")
        if known_until and earliest and timestamp(earliest) > known_until:
            return None
        return len(records)
    except (AttributeError, KeyError, TypeError, QueryError):
        return None
