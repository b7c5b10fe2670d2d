"""What an object held when: an independent record, read off the org's own table after every change.

It knows nothing of extracts. A version is what a record was from the moment its change became visible; `stamp` is the
change's SystemModstamp, or the moment of deletion for a record that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from salesforce_localorg.records import Records

from tests.extract.test_value_by_value import canonical

Row = Mapping[str, str]
"""Values in one spelling each, by column, so that rows compare value by value."""


@dataclass(frozen=True)
class Version:
    """`row` is None while the record is in the recycle bin or gone."""

    seen_from: datetime
    stamp: datetime
    row: Row | None


def row_of(values: Mapping[str, Any]) -> Row:
    """0.0 and -0.0 count as one: DuckDB's files, which the org's own rows are in, do not tell them apart where both are
    neighbours."""
    return {name: canonical(0.0 if isinstance(value, float) and not value else value) for name, value in values.items()}


class History:
    """All versions of all records of one object."""

    def __init__(self, records: Records, sobject: str) -> None:
        self._records = records
        self.sobject = sobject
        self.versions: dict[str, list[Version]] = {}
        self._last: dict[str, tuple[Any, ...]] = {}

    def note(self, now: datetime, deleted_at: Mapping[str, datetime]) -> None:
        """Take down what became visible by `now`; `deleted_at` has the moments of hard deletes, by id."""
        cursor = self._records.raw().execute(f'SELECT * FROM "{self.sobject}"')
        names = [column[0] for column in cursor.description]
        present = {row[names.index("Id")]: row for row in cursor.fetchall()}
        for record_id, row in present.items():
            if self._last.get(record_id) != row:
                values = dict(zip(names, row, strict=True))
                live = None if values["IsDeleted"] else row_of(values)
                self._add(record_id, Version(now, values["SystemModstamp"].replace(tzinfo=timezone.utc), live))
        for record_id in self._last.keys() - present.keys():
            if self.versions[record_id][-1].row is not None:  # else only the recycle bin was emptied
                self._add(record_id, Version(now, deleted_at[record_id], None))
        self._last = present

    def _add(self, record_id: str, version: Version) -> None:
        self.versions.setdefault(record_id, []).append(version)

    def visible(self, record_id: str, moment: datetime) -> Version | None:
        """What anybody saw of the record at `moment`."""
        seen = [version for version in self.versions[record_id] if version.seen_from <= moment]
        return seen[-1] if seen else None

    def as_of(self, record_id: str, moment: datetime) -> Version | None:
        """The record's last change stamped before `moment`."""
        stamped = [version for version in self.versions[record_id] if version.stamp < moment]
        return stamped[-1] if stamped else None

    @property
    def live(self) -> list[str]:
        """Ids of records that are there now."""
        return sorted(record_id for record_id, versions in self.versions.items() if versions[-1].row is not None)

    @property
    def binned(self) -> list[str]:
        """Ids of records that are in the recycle bin now."""
        return sorted(
            record_id
            for record_id, versions in self.versions.items()
            if versions[-1].row is None and record_id in self._last
        )
