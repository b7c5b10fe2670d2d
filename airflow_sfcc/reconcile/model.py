"""What reconciling compares, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.salesforce.soql import datetime_literal

Kind = Literal["lost", "stale", "doubled", "not_deleted", "wrongly_deleted"]
KINDS: tuple[Kind, ...] = ("lost", "stale", "doubled", "not_deleted", "wrongly_deleted")

MEANING: Mapping[Kind, str] = {
    "lost": "the org has the record, and here it is missing",
    "stale": "the org has a newer version than there is here",
    "doubled": "the record is here more than once",
    "not_deleted": "the record is here, and the org deleted it",
    "wrongly_deleted": "here the record counts as deleted, and the org has it",
}


@dataclass(frozen=True)
class Compared:
    """What is compared. `cursor` is the field by which versions are ordered, `created` CreatedDate where the extracts have
    it. Records that the org changed at or after `until` are left out on both sides. `where` is the extracts' condition,
    `source` what stands after FROM in their query, `prefix` what stands before its fields.
    """

    sobject: str
    source: str
    prefix: str
    where: str | None
    cursor: str
    created: str | None
    until: datetime
    reads_deleted: bool
    """Whether the extracts read archived records too, which only queryAll has."""

    since: datetime | None
    """Where the extracts begin (`initial_start`): records that did not change since are in none of them. None: everything."""

    newest: Manifest = field(repr=False)
    """The newest extract, whose columns a heal reads."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The fields whose intervals are compared."""
        return tuple(dict.fromkeys(name for name in (self.cursor, self.created) if name))

    @property
    def since_condition(self) -> tuple[str, ...]:
        """What leaves out the records from before `since`, as SOQL; empty where there are none."""
        return (f"{self.prefix}{self.cursor} >= {datetime_literal(self.since)}",) if self.since else ()


@dataclass(frozen=True)
class Stats:
    """An interval's number of records, with their oldest and newest stamp; None where that is not known."""

    rows: int
    oldest: datetime | None = None
    newest: datetime | None = None

    def differs(self, other: Stats) -> bool:
        stamps = ((self.oldest, other.oldest), (self.newest, other.newest))
        known = [(one, two) for one, two in stamps if one is not None and two is not None]
        return self.rows != other.rows or any(one != two for one, two in known)


NOTHING = Stats(0)


@dataclass(frozen=True)
class Record:
    """A record as far as reconciling looks at it."""

    id: str
    stamp: datetime
    created: datetime | None
    is_deleted: bool = False


@dataclass(frozen=True)
class Finding:
    """A record that is wrong. `deleted_at` is when the org deleted it, as far as that is known."""

    id: str
    kind: Kind
    deleted_at: datetime | None = None


@dataclass
class Findings:
    """What was found. `in_flight` are records that changed since, `outside` those that no longer meet the extracts' condition;
    `unresolved` says which intervals differ without a record that explains it."""

    wrong: dict[str, Finding] = field(default_factory=dict)
    in_flight: int = 0
    outside: int = 0
    unresolved: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return not (self.wrong or self.unresolved)

    def ids(self, kinds: Sequence[Kind]) -> list[str]:
        return sorted(each.id for each in self.wrong.values() if each.kind in kinds)
