"""What becomes of each Id that a step touches.

Of each Id the row with the newest cursor counts, of equal ones that which was read last. A row in the recycle bin is no
row, and neither is one whose deletion is later than it. What is in the table takes part with its cursor: a row that is
older than it is skipped. docs/loading.md has the same as a table of events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from airflow_sfcc.load.events import EXTRACT, READ, deletions_sql, rows_sql
from airflow_sfcc.load.model import (
    DELETED_AT,
    IS_CURRENT,
    MODE_COLUMNS,
    TIMESTAMP,
    VALID_FROM,
    VALID_TO,
    Counts,
    Extract,
    Mode,
    Step,
    TableColumn,
)
from airflow_sfcc.load.scratch import Scratch, duckdb_type, literal, quoted
from airflow_sfcc.load.targets import Change, Existing

_BEGINNING = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"
_MOST_LOOKED_AT = 1_000_000
"""Rows of an extract whose Ids are counted although its row groups are in their order."""


@dataclass(frozen=True)
class Table:
    """The table of a step: `columns` are the object's, without those that the mode adds; `exists` tells whether there is
    one yet."""

    target: Existing
    columns: tuple[TableColumn, ...]
    cursor: str
    exists: bool

    @property
    def stamp(self) -> str:
        """The cursor as SQL; rows without one are the oldest."""
        return f"coalesce({quoted(self.cursor)}, {_BEGINNING})"

    @property
    def is_deleted(self) -> str:
        """Whether a row lies in the recycle bin, as SQL."""
        return '"IsDeleted" IS TRUE' if any(each.name == "IsDeleted" for each in self.columns) else "false"

    @property
    def names(self) -> str:
        return names(self.columns)


def names(columns: Sequence[TableColumn]) -> str:
    return ", ".join(quoted(column.name) for column in columns)


def changes_of(scratch: Scratch, table: Table, step: Step, mode: Mode) -> Change:
    """The changes that a step brings to a table of that mode."""
    if step.kind == "base":
        return _base(scratch, table, step.extracts)
    return _CHANGES[mode](scratch, table, step)


def _base(scratch: Scratch, table: Table, extracts: Sequence[Extract]) -> Change:
    """The table is what these extracts say and nothing else."""
    rows = f"SELECT * FROM ({rows_sql(scratch, extracts, table.columns)})"
    one = extracts[0] if len(extracts) == 1 else None
    if one is None or _has_duplicates(scratch, one):
        rows = _newest(table, rows)
    conditions = [f"NOT ({table.is_deleted})"]
    if any(extract.deleted_files for extract in extracts):
        scratch.run(f"CREATE OR REPLACE TEMP TABLE gone AS {_gone(deletions_sql(extracts))}")
        _void(scratch, "gone", "gone_at", extracts)
        conditions.append(f'NOT EXISTS (FROM gone WHERE gone."Id" = found."Id" AND gone.gone_at > {table.stamp})')
    kept = f"SELECT {table.names} FROM ({rows}) AS found WHERE {' AND '.join(conditions)}"
    is_whole = one is not None and not one.deleted_files and kept.count("QUALIFY") == 0 and _no_bin(scratch, table, one)
    is_sorted = one is not None and _is_sorted(scratch, one)
    return Change(
        'SELECT NULL::VARCHAR AS "Id" WHERE false',
        kept,
        Counts(),
        replaces_all=True,
        unchanged_files_of=one if is_whole and is_sorted else None,
        order="" if is_sorted else '"Id"',
    )


def _newest(table: Table, rows: str) -> str:
    return f'{rows} QUALIFY row_number() OVER (PARTITION BY "Id" ORDER BY {table.stamp} DESC, {READ} DESC) = 1'


def _gone(deletions: str) -> str:
    return f'SELECT "Id", max("DeletedDate") AS gone_at FROM ({deletions}) GROUP BY "Id"'


def _id_ranges(scratch: Scratch, extract: Extract) -> list[tuple[str | None, str | None]]:
    """The first and last Id of each row group, in the order of the files, from their footers."""
    found: list[tuple[str | None, str | None]] = []
    for file in extract.files:
        found += scratch.rows(
            f"SELECT stats_min_value, stats_max_value FROM parquet_metadata({literal(file)}) WHERE path_in_schema = 'Id' "
            "ORDER BY row_group_id"
        )
    return found


def _is_sorted(scratch: Scratch, extract: Extract) -> bool:
    """Whether the row groups follow one another by Id, so that each Id lies in one of them."""
    last = ""
    for least, greatest in _id_ranges(scratch, extract):
        if least is None or greatest is None or least <= last:
            return False
        last = greatest
    return True


def _has_duplicates(scratch: Scratch, extract: Extract) -> bool:
    """Whether one extract has an Id twice, as one that was read while records moved between its pages may.

    Of a large one in the order of Ids, only neighbours within a row group could be; its first load is to read no rows.
    """
    if not extract.files or (extract.rows > _MOST_LOOKED_AT and _is_sorted(scratch, extract)):
        return False
    files = ", ".join(map(literal, extract.files))
    return bool(
        scratch.value(
            f'SELECT count(*) <> count(DISTINCT "Id") FROM read_parquet([{files}], hive_partitioning = false)'
        )
    )


def _no_bin(scratch: Scratch, table: Table, extract: Extract) -> bool:
    """Whether none of the rows lies in the recycle bin, by the files' statistics."""
    if not any(column.name == "IsDeleted" for column in extract.columns):
        return True
    for file in extract.files:
        greatest = scratch.rows(
            f"SELECT DISTINCT stats_max_value FROM parquet_metadata({literal(file)}) WHERE path_in_schema = 'IsDeleted'"
        )
        if greatest != [("false",)]:
            return False
    return True


# What a step touches


def _gather(scratch: Scratch, table: Table, step: Step) -> None:
    """The temporary tables `touched` (Ids), `seen` (rows that count) and `deletions`."""
    own_deletions = deletions_sql(step.extracts)
    if step.kind == "late":
        ids = rows_sql(scratch, step.extracts, [_ID])
        scratch.run(f'CREATE OR REPLACE TEMP TABLE brought AS SELECT DISTINCT "Id" FROM ({ids})')
        scratch.run(f'CREATE OR REPLACE TEMP TABLE touched AS FROM brought UNION SELECT "Id" FROM ({own_deletions})')
        if any(extract.is_snapshot for extract in step.extracts):
            existing = table.target.existing(scratch, None, [_ID])
            scratch.run(f'INSERT INTO touched SELECT DISTINCT "Id" FROM {existing} AS t ANTI JOIN touched USING ("Id")')
        history = rows_sql(scratch, step.known, table.columns, ' SEMI JOIN touched ON touched."Id" = files."Id"')
        deletions = f'SELECT * FROM ({deletions_sql(step.known)}) SEMI JOIN touched USING ("Id")'
        scratch.run(f"CREATE OR REPLACE TEMP TABLE seen AS {history}")
        scratch.run(f"CREATE OR REPLACE TEMP TABLE deletions AS {deletions}")
        _void(scratch, "deletions", '"DeletedDate"', step.known)
        return
    scratch.run(f"CREATE OR REPLACE TEMP TABLE seen AS {rows_sql(scratch, step.extracts, table.columns)}")
    scratch.run(
        f'CREATE OR REPLACE TEMP TABLE touched AS SELECT "Id" FROM seen UNION SELECT "Id" FROM ({own_deletions})'
    )
    scratch.run(f"CREATE OR REPLACE TEMP TABLE deletions AS {own_deletions}")
    _add_known_deletions(scratch, table, step)
    _void(scratch, "deletions", '"DeletedDate"', (*step.extracts, *step.known))


def _void(scratch: Scratch, table: str, stamp: str, extracts: Sequence[Extract]) -> None:
    """Remove from `table`, which has Ids and when they went, what reconciliations found in the org after that."""
    healing = [extract for extract in extracts if extract.heals]
    if healing:
        healed = f'SELECT "Id", max({READ}) AS read_ms FROM ({rows_sql(scratch, healing, [_ID])}) GROUP BY "Id"'
        scratch.run(
            f"DELETE FROM {table} AS t USING ({healed}) AS h "
            f'WHERE h."Id" = t."Id" AND t.{stamp} <= make_timestamptz(h.read_ms * 1000)'
        )


_ID = TableColumn("Id", "string")


def _add_known_deletions(scratch: Scratch, table: Table, step: Step) -> None:
    """Deletions that loaded extracts know of, if they may be later than a row that was just read.

    None is where the windows follow one another; runs that overlapped can bring a row after its deletion.
    """
    oldest = scratch.value(f"SELECT epoch_ms(min({table.stamp})) FROM seen")
    if oldest is None:
        return
    known = [each for each in step.known if each.ends is None or each.ends.timestamp() * 1000 > oldest]
    later = f'"DeletedDate" > {_at(oldest)}'
    scratch.run(
        f'INSERT INTO deletions SELECT * FROM ({deletions_sql(known)}) SEMI JOIN touched USING ("Id") WHERE {later}'
    )
    binned = [each for each in known if any(column.name == "IsDeleted" for column in each.columns)]
    if binned:
        columns = [_ID, TableColumn(table.cursor, TIMESTAMP), TableColumn("IsDeleted", "boolean")]
        condition = f' WHERE "IsDeleted" AND files.{quoted(table.cursor)} > {_at(oldest)}'
        rows = rows_sql(scratch, binned, columns, condition)
        scratch.run(
            f'INSERT INTO deletions SELECT "Id", {quoted(table.cursor)}, {READ} FROM ({rows}) SEMI JOIN touched USING ("Id")'
        )


def _at(ms: int) -> str:
    return f"make_timestamptz({ms * 1000}::BIGINT)"


# mode="current"


def _current(scratch: Scratch, table: Table, step: Step) -> Change:
    _gather(scratch, table, step)
    # What the history of a late extract says is the table's present, whatever is there.
    _weigh(scratch, table, [_ID, TableColumn(table.cursor, TIMESTAMP)], guarded=step.kind != "late")
    scratch.run(
        """CREATE OR REPLACE TEMP TABLE verdict AS
        SELECT "Id", was, has_row, wins, (wins OR was) AND NOT coalesce(newest_deleted, false)
               AND coalesce(gone_at <= newest_at, true) AS lives
        FROM weighed"""
    )
    counts = _counts(scratch, step, "lives", "was AND NOT lives")
    return Change(
        'SELECT "Id" FROM verdict WHERE was AND (wins OR NOT lives)',
        f'SELECT {table.names} FROM seen SEMI JOIN (FROM verdict WHERE wins AND lives) USING ("Id")',
        counts,
    )


def _weigh(scratch: Scratch, table: Table, existing: Sequence[TableColumn], *, guarded: bool = True) -> None:
    """`seen`: only the newest row of each Id. `existing`: what the table has of them. `weighed`: which of both counts."""
    _keep_newest(scratch, table)
    relation = table.target.existing(scratch, "touched", existing) if table.exists else _nothing(existing)
    scratch.run(f"CREATE OR REPLACE TEMP TABLE existing AS SELECT * FROM {relation}")
    _keep_one(scratch, "existing", f'PARTITION BY "Id" ORDER BY {table.stamp} DESC')
    in_table = f"coalesce(e.{quoted(table.cursor)}, {_BEGINNING})"
    incoming = f"coalesce(i.{quoted(table.cursor)}, {_BEGINNING})"
    guard = f'e."Id" IS NULL OR {incoming} >= {in_table}' if guarded else "true"
    scratch.run(
        f"""CREATE OR REPLACE TEMP TABLE weighed AS
        WITH ids AS (
            SELECT t."Id", e."Id" IS NOT NULL AS was, i."Id" IS NOT NULL AS has_row,
                   i."Id" IS NOT NULL AND ({guard}) AS wins, i.{EXTRACT} AS {EXTRACT},
                   CASE WHEN wins THEN {incoming} WHEN was THEN {in_table} END AS newest_at,
                   CASE WHEN wins THEN i.deleted_row ELSE false END AS newest_deleted
            FROM touched AS t LEFT JOIN existing AS e USING ("Id")
            LEFT JOIN (SELECT *, {table.is_deleted} AS deleted_row FROM seen) AS i USING ("Id")
        )
        SELECT ids.*, (SELECT max("DeletedDate") FROM deletions AS d WHERE d."Id" = ids."Id") AS gone_at,
            (SELECT min("DeletedDate") FROM deletions AS d WHERE d."Id" = ids."Id" AND d."DeletedDate" > newest_at) AS first_gone
        FROM ids"""
    )


def _keep_newest(scratch: Scratch, table: Table) -> None:
    """Remove from `seen` what is not the newest row of its Id, by narrow columns only."""
    _keep_one(scratch, "seen", f'PARTITION BY "Id" ORDER BY {table.stamp} DESC, {READ} DESC')


def _keep_one(scratch: Scratch, rows: str, order: str) -> None:
    """Of each Id's rows only the first in that order; a table may have some twice that somebody else wrote."""
    if scratch.value(f'SELECT count(*) = count(DISTINCT "Id") FROM {rows}'):
        return
    older = f"SELECT rowid AS number FROM {rows} QUALIFY row_number() OVER ({order}) > 1"
    scratch.run(f"DELETE FROM {rows} WHERE rowid IN (SELECT number FROM ({older}))")


def _nothing(columns: Sequence[TableColumn]) -> str:
    values = ", ".join(f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}" for column in columns)
    return f"(SELECT {values} WHERE false)"


def _counts(scratch: Scratch, step: Step, lives: str, deleted: str) -> Counts:
    """`skipped_as_older` are Ids of which a newer row is there already."""
    own = ", ".join(literal(extract.extract_id) for extract in step.extracts)
    older = f"NOT wins OR {EXTRACT} NOT IN ({own})" if step.kind == "late" else "NOT wins"
    brought = ' AND "Id" IN (FROM brought)' if step.kind == "late" else ""
    inserted, updated, gone, skipped = scratch.rows(
        f"""SELECT count(*) FILTER (NOT was AND wins AND {lives}), count(*) FILTER (was AND wins AND {lives}),
            count(*) FILTER ({deleted}), count(*) FILTER (has_row AND ({older}){brought})
        FROM weighed JOIN (SELECT "Id", lives FROM verdict) USING ("Id")"""
    )[0]
    return Counts(inserted, updated, gone, skipped)


# mode="soft"


def _soft(scratch: Scratch, table: Table, step: Step) -> Change:
    _gather(scratch, table, step)
    if step.kind == "snapshot" and table.exists:
        _touch_everything(scratch, table)
    columns = (*table.columns, *MODE_COLUMNS["soft"])
    _weigh(scratch, table, columns)
    _missing_from_snapshots(scratch, table, step)
    stamp = quoted(DELETED_AT)
    scratch.run(
        f"""CREATE OR REPLACE TEMP TABLE verdict AS
        SELECT w."Id", was, has_row, wins, e.{stamp} AS deleted_before,
            CASE WHEN newest_deleted THEN newest_at ELSE
                least(first_gone, CASE WHEN NOT wins THEN e.{stamp} END, m.missing_at) END AS deleted_at,
            deleted_at IS NULL AS lives
        FROM weighed AS w LEFT JOIN existing AS e USING ("Id") LEFT JOIN missing AS m USING ("Id")"""
    )
    counts = _counts(scratch, step, "lives", "NOT lives AND (wins OR was)")
    changed = "wins OR (was AND deleted_at IS DISTINCT FROM deleted_before)"
    incoming = f'SELECT {table.names}, v.deleted_at AS {stamp} FROM seen JOIN verdict AS v USING ("Id") WHERE v.wins'
    kept = (
        f'SELECT {table.names}, v.deleted_at AS {stamp} FROM existing JOIN verdict AS v USING ("Id") '
        "WHERE NOT v.wins AND v.deleted_at IS DISTINCT FROM v.deleted_before"
    )
    return Change(
        f'SELECT "Id" FROM verdict WHERE was AND ({changed})',
        f"{incoming} UNION ALL {kept}",
        replace(counts, deleted=_newly_deleted(scratch)),
    )


def _newly_deleted(scratch: Scratch) -> int:
    return int(
        scratch.value(
            "SELECT count(*) FROM verdict WHERE (wins OR was) AND deleted_at IS NOT NULL "
            "AND (NOT was OR deleted_before IS NULL)"
        )
    )


def _touch_everything(scratch: Scratch, table: Table) -> None:
    existing = table.target.existing(scratch, None, [_ID])
    scratch.run(f'INSERT INTO touched SELECT DISTINCT "Id" FROM {existing} AS t ANTI JOIN touched USING ("Id")')


def _missing_from_snapshots(scratch: Scratch, table: Table, step: Step) -> None:
    """`missing`: Ids whose newest row was read before a full extract that lacks them, and since when they are gone.

    That is the full extract's watermark, up to which it has everything, or just after the row.
    """
    scratch.empty("missing", ['"Id" VARCHAR', "missing_at TIMESTAMPTZ"])
    snapshots = [each for each in (*step.extracts, *step.known) if each.is_snapshot]
    for snapshot in dict.fromkeys(snapshots) if step.kind in ("late", "snapshot") else ():
        scratch.run(
            f"""INSERT INTO missing
            SELECT w."Id", greatest({_at(_ms(snapshot))}, w.newest_at + INTERVAL 1 MILLISECOND)
            FROM weighed AS w LEFT JOIN seen AS i ON i."Id" = w."Id" AND w.wins
            ANTI JOIN ({rows_sql(scratch, [snapshot], [_ID])}) AS s ON s."Id" = w."Id"
            WHERE (w.was OR w.wins) AND coalesce(i.{READ}, 0) < {snapshot.read_ms} AND w.newest_at <= {_at(snapshot.read_ms)}"""
        )
    scratch.run(
        'CREATE OR REPLACE TEMP TABLE missing AS SELECT "Id", min(missing_at) AS missing_at FROM missing GROUP BY "Id"'
    )


def _ms(snapshot: Extract) -> int:
    return round(snapshot.watermark.timestamp() * 1000)


# mode="history"


def _history(scratch: Scratch, table: Table, step: Step) -> Change:
    """Versions of the touched Ids, from those in the table and those that were read, cut anew where they follow one
    another or where a deletion ends them."""
    _gather(scratch, table, step)
    if step.kind == "snapshot" and table.exists:
        _touch_everything(scratch, table)
    columns = (*table.columns, *MODE_COLUMNS["history"])
    relation = table.target.existing(scratch, "touched", columns) if table.exists else _nothing(columns)
    scratch.run(f"CREATE OR REPLACE TEMP TABLE existing AS SELECT * FROM {relation}")
    _versions(scratch, table)
    _closings(scratch, table, step)
    scratch.run(
        f"""CREATE OR REPLACE TEMP TABLE intervals AS
        SELECT "Id", stamp AS {VALID_FROM}, following AS {VALID_TO}, is_known, was_read, place FROM (
            SELECT *, lead(stamp) OVER (PARTITION BY "Id" ORDER BY stamp, opens) AS following FROM (
                SELECT "Id", stamp, true AS opens, is_known, was_read, place FROM versions
                UNION ALL SELECT DISTINCT "Id", stamp, false, false, false, NULL FROM closings))
        WHERE opens"""
    )
    inserted, updated, skipped = scratch.rows(
        "SELECT count(*) FILTER (was_read AND NOT is_known), count(*) FILTER (was_read AND is_known), 0 FROM intervals"
    )[0]
    before = f'SELECT "Id" FROM existing WHERE {VALID_TO} IS NULL UNION SELECT "Id" FROM versions WHERE was_read'
    deleted = scratch.value(
        f'SELECT count(*) FROM ({before}) ANTI JOIN (FROM intervals WHERE {VALID_TO} IS NULL) USING ("Id")'
    )
    interval = f"i.{VALID_FROM} AS {VALID_FROM}, i.{VALID_TO} AS {VALID_TO}, i.{VALID_TO} IS NULL AS {IS_CURRENT}"
    of_version = ", ".join(f"v.{quoted(column.name)}" for column in table.columns)
    rows = " UNION ALL ".join(
        f"SELECT {of_version}, {interval} FROM {source} AS v JOIN intervals AS i ON i.place = v.rowid AND {condition}"
        for source, condition in (("seen", "i.was_read"), ("existing", "NOT i.was_read"))
    )
    return Change(
        'SELECT DISTINCT "Id" FROM existing',
        rows,
        Counts(inserted, updated, deleted, skipped),
        order=f'"Id", {VALID_FROM}',
    )


def _versions(scratch: Scratch, table: Table) -> None:
    """`versions`: one row for each Id and stamp, as it was read last; without those that a deletion at the same stamp ends.

    Only their `place` in `seen`, or in `existing`: whole rows would need far more memory to be put in order.
    """
    scratch.run(
        f"""CREATE OR REPLACE TEMP TABLE versions AS
        SELECT * FROM (
            SELECT "Id", {table.stamp} AS stamp, {READ}, {table.is_deleted} AS is_bin, true AS was_read, rowid AS place FROM seen
            UNION ALL SELECT "Id", {VALID_FROM}, -1, false, false, rowid FROM existing
        ) QUALIFY row_number() OVER (PARTITION BY "Id", stamp ORDER BY {READ} DESC) = 1"""
    )
    scratch.run('CREATE OR REPLACE TEMP TABLE binned AS SELECT "Id", stamp FROM versions WHERE is_bin')
    scratch.run("DELETE FROM versions WHERE is_bin")
    scratch.run("ALTER TABLE versions ADD COLUMN is_known BOOLEAN")
    scratch.run(
        f'UPDATE versions SET is_known = EXISTS (FROM existing AS e WHERE e."Id" = versions."Id" '
        f"AND e.{VALID_FROM} = versions.stamp)"
    )


def _closings(scratch: Scratch, table: Table, step: Step) -> None:
    """`closings`: when records went: deletions, rows in the recycle bin, ends that the table knows of versions which were not
    read again, and full extracts that lack a record which was read before them.

    Of a version that only the table has, since its extract was committed again without it, nobody knows when it was read: not
    before its stamp.
    """
    scratch.run(
        f"""CREATE OR REPLACE TEMP TABLE closings AS
        SELECT "Id", "DeletedDate" AS stamp FROM deletions
        UNION ALL SELECT "Id", stamp FROM binned
        UNION ALL SELECT e."Id", e.{VALID_TO} FROM existing AS e
            ANTI JOIN (FROM versions WHERE was_read) AS v ON v."Id" = e."Id" AND v.stamp = e.{VALID_FROM}
            WHERE e.{VALID_TO} IS NOT NULL"""
    )
    _void_closings(scratch, table, step)
    snapshots = [each for each in (*step.extracts, *step.known) if each.is_snapshot]
    for snapshot in dict.fromkeys(snapshots) if step.kind in ("late", "snapshot") else ():
        scratch.run(
            f"""INSERT INTO closings
            SELECT v."Id", greatest({_at(_ms(snapshot))}, max(v.stamp) + INTERVAL 1 MILLISECOND) FROM versions AS v
            ANTI JOIN ({rows_sql(scratch, [snapshot], [_ID])}) AS s ON s."Id" = v."Id"
            WHERE v.{READ} < {snapshot.read_ms} AND v.stamp <= {_at(snapshot.read_ms)} GROUP BY v."Id\""""
        )


def _void_closings(scratch: Scratch, table: Table, step: Step) -> None:
    """Remove what would end a version that a reconciliation read in this step: the record was there after that."""
    healing = [extract for extract in step.extracts if extract.heals]
    if healing:
        columns = [_ID, TableColumn(table.cursor, TIMESTAMP)]
        scratch.run(
            f'DELETE FROM closings AS t USING ({rows_sql(scratch, healing, columns)}) AS h WHERE h."Id" = t."Id" '
            f"AND t.stamp > h.{quoted(table.cursor)} AND t.stamp <= make_timestamptz(h.{READ} * 1000)"
        )


_CHANGES: Mapping[Mode, Callable[[Scratch, Table, Step], Change]] = {
    "current": _current,
    "soft": _soft,
    "history": _history,
}
