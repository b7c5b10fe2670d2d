"""What landed: Id and stamps of each record, in a table of DuckDB's that is corrected as the search finds what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from airflow_sfcc.errors import TableError
from airflow_sfcc.extract.current_table import current_table_sql, duckdb_url
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.load.events import deletions_sql, rows_sql
from airflow_sfcc.load.model import DELETED_AT, IS_CURRENT, TableColumn, destination_of
from airflow_sfcc.load.scratch import Scratch, literal, quoted
from airflow_sfcc.load.targets import Target
from airflow_sfcc.reconcile.model import NOTHING, Compared, Record, Stats
from airflow_sfcc.reconcile.org_side import Hour, Month

_STATS = "count(*), epoch_ms(min(stamp)), epoch_ms(max(stamp))"


class LocalSide:
    """The records as they landed, in `landed`. All of its timestamps are in UTC."""

    def __init__(self, scratch: Scratch, compared: Compared) -> None:
        self._scratch = scratch
        self._compared = compared
        self._extracts: Sequence[Manifest] = ()
        self._root = ""

    # Where the records come from

    def read_destination(self, destination: StoragePath, manifests: Sequence[Manifest]) -> None:
        """The current table of a destination."""
        self._remember(destination, manifests)
        self._fill(f"({current_table_sql(destination)})")

    def read_table(self, destination: StoragePath, manifests: Sequence[Manifest], target: Target) -> None:
        """The records that a table holds, which must have loaded all extracts. Raises TableError otherwise."""
        self._remember(destination, manifests)
        extracts = destination_of(self._root, manifests).extracts
        with target.locked(self._scratch):
            state = target.state([extract.extract_id for extract in extracts])
            if state is None:
                raise TableError(f"{target.name} does not exist: load the extracts first.")
            newest = max((each.read_ms for each in extracts if each.is_snapshot), default=0)
            missing = [
                each.extract_id
                for each in extracts
                if each.read_ms >= newest and state.loaded.get(each.extract_id) != each.read_ms
            ]
            if missing:
                raise TableError(
                    f"{target.name} has not loaded the extract {missing[0]} yet, so it cannot be complete: load first, then "
                    "reconcile."
                )
            wanted = {"Id", *self._compared.dimensions, DELETED_AT, IS_CURRENT}
            columns = [column for column in state.columns if column.name in wanted]
            names = {column.name for column in columns}
            live = [f"{DELETED_AT} IS NULL"] if DELETED_AT in names else [IS_CURRENT] if IS_CURRENT in names else []
            self._fill(target.existing(self._scratch, None, columns), live)

    def _remember(self, destination: StoragePath, manifests: Sequence[Manifest]) -> None:
        self._extracts = manifests
        self._root = duckdb_url(destination)

    def _fill(self, relation: str, conditions: Sequence[str] = ()) -> None:
        compared = self._compared
        created = f"{quoted(compared.created)}::TIMESTAMPTZ" if compared.created else "NULL::TIMESTAMPTZ"
        stamp = f"{quoted(compared.cursor)}::TIMESTAMPTZ"
        where = [*conditions, f"{stamp} < {_at(compared.until)}"]
        where += [f"{stamp} >= {_at(compared.since)}"] if compared.since else []
        self._scratch.run(
            f'CREATE OR REPLACE TEMP TABLE landed AS SELECT "Id" AS id, {stamp} AS stamp, '
            f"{created} AS created FROM {relation} AS source WHERE {' AND '.join(where)}"
        )

    # What it says

    @property
    def rows(self) -> int:
        return int(self._scratch.value("SELECT count(*) FROM landed"))

    def take_doubled(self) -> list[str]:
        """The Ids that are there more than once; afterwards the newest of each is left."""
        doubled = [
            str(row[0])
            for row in self._scratch.rows("SELECT id FROM landed GROUP BY id HAVING count(*) > 1 ORDER BY id")
        ]
        if doubled:
            older = (
                "SELECT rowid AS number FROM landed QUALIFY row_number() OVER (PARTITION BY id ORDER BY stamp DESC) > 1"
            )
            self._scratch.run(f"DELETE FROM landed WHERE rowid IN (SELECT number FROM ({older}))")
        return doubled

    def by_month(self, field: str, hour: Hour | None = None) -> dict[Month, Stats]:
        """As OrgSide.by_month."""
        within = f"day({self._of(field)}) = {hour[0]} AND hour({self._of(field)}) = {hour[1]}" if hour else "true"
        return self._grouped(field, "year", "month", within)

    def by_hour(self, field: str, month: Month | None = None) -> dict[Hour, Stats]:
        """As OrgSide.by_hour."""
        within = f"year({self._of(field)}) = {month[0]} AND month({self._of(field)}) = {month[1]}" if month else "true"
        return self._grouped(field, "day", "hour", within)

    def stats(self, field: str, interval: tuple[datetime, datetime], ids: tuple[str, str]) -> Stats:
        """Of the records in an interval of the field, with Ids in a range."""
        (row,) = self._scratch.rows(f"SELECT {_STATS} FROM landed WHERE {self._within(field, interval, ids)}")
        return _stats(row)

    def records(self, field: str, interval: tuple[datetime, datetime], ids: tuple[str, str]) -> dict[str, datetime]:
        """Stamps by Id of the same."""
        rows = self._scratch.rows(f"SELECT id, epoch_ms(stamp) FROM landed WHERE {self._within(field, interval, ids)}")
        return {str(each): _time(ms) for each, ms in rows}

    def middle(self, field: str, interval: tuple[datetime, datetime], ids: tuple[str, str]) -> str | None:
        """An Id that halves the same; None where there is none within."""
        found = self._scratch.value(
            f"SELECT quantile_disc(id, 0.5) FROM landed WHERE {self._within(field, interval, ids)}"
        )
        return str(found) if found is not None and str(found) > ids[0] else None

    def stamps_of(self, ids: Iterable[str]) -> dict[str, datetime]:
        """Stamps of these Ids, as far as they are there."""
        listed = ", ".join(map(literal, ids))
        rows = self._scratch.rows(f"SELECT id, epoch_ms(stamp) FROM landed WHERE id IN ({listed})") if listed else []
        return {str(each): _time(ms) for each, ms in rows}

    def known_deleted(self, ids: Iterable[str]) -> set[str]:
        """Those of the Ids that some extract says to be deleted."""
        listed = ", ".join(map(literal, ids))
        if not listed:
            return set()
        extracts = destination_of(self._root, self._extracts).extracts
        found = self._scratch.rows(f'SELECT DISTINCT "Id" FROM ({deletions_sql(extracts)}) WHERE "Id" IN ({listed})')
        binned = [each for each in extracts if any(column.name == "IsDeleted" for column in each.columns)]
        if binned:
            columns = [TableColumn("Id", "string"), TableColumn("IsDeleted", "boolean")]
            rows = rows_sql(self._scratch, binned, columns, f' WHERE files."IsDeleted" AND files."Id" IN ({listed})')
            found += self._scratch.rows(f'SELECT DISTINCT "Id" FROM ({rows})')
        return {str(row[0]) for row in found}

    # Corrected

    def remove(self, ids: Iterable[str]) -> int:
        """Leave out these Ids; returns how many there were."""
        self._scratch.empty("removed", ["id VARCHAR"])
        ids = list(ids)
        for start in range(0, len(ids), 10_000):
            values = ", ".join(f"({literal(each)})" for each in ids[start : start + 10_000])
            self._scratch.run(f"INSERT INTO removed VALUES {values}")
        before = self.rows
        self._scratch.run("DELETE FROM landed WHERE id IN (SELECT id FROM removed)")
        return before - self.rows

    def put(self, record: Record) -> None:
        """The record as the org has it."""
        self.remove([record.id])
        created = _at(record.created) if record.created else "NULL"
        self._scratch.run(f"INSERT INTO landed VALUES ({literal(record.id)}, {_at(record.stamp)}, {created})")

    def _grouped(self, field: str, first: str, second: str, within: str) -> dict[tuple[int, int], Stats]:
        of = self._of(field)
        rows = self._scratch.rows(
            f"SELECT {first}({of}), {second}({of}), {_STATS} FROM landed WHERE {of} IS NOT NULL AND {within} GROUP BY ALL"
        )
        return {(int(row[0]), int(row[1])): _stats(row[2:]) for row in rows}

    def _of(self, field: str) -> str:
        return "stamp" if field == self._compared.cursor else "created"

    def _within(self, field: str, interval: tuple[datetime, datetime], ids: tuple[str, str]) -> str:
        of, (start, end), (first, after) = self._of(field), interval, ids
        bounds = f" AND id < {literal(after)}" if after else ""
        return f"{of} >= {_at(start)} AND {of} < {_at(end)} AND id >= {literal(first)}{bounds}"


def _at(when: datetime) -> str:
    return f"make_timestamptz({round(when.timestamp() * 1_000_000)}::BIGINT)"


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, timezone.utc)


def _stats(row: Sequence[int | None]) -> Stats:
    rows, oldest, newest = row
    if not rows:
        return NOTHING
    return Stats(rows, None if oldest is None else _time(oldest), None if newest is None else _time(newest))
