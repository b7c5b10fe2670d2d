"""The org's tables as they change: transactions, late commits, the recycle bin's end, columns that come and go."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import duckdb

from salesforce_localorg.clock import Clock
from salesforce_localorg.ids import INTEGRATION_USER
from salesforce_localorg.records.changes import Stamp, Tables, remove_records
from salesforce_localorg.records.delete_log import create_delete_log, due_for_purge, next_purge
from salesforce_localorg.records.derived import Formulas
from salesforce_localorg.records.numbering import Numbering
from salesforce_localorg.records.stored_values import naive_utc, stored_values
from salesforce_localorg.records.tables import column_type, create_table, identifier
from salesforce_localorg.records.transaction import Change, Stamps, Transaction, Workspace, matching_ids
from salesforce_localorg.records.views import create_views, is_view
from salesforce_localorg.schema import Field, Schema, SObject

NOW = timedelta(0)
OUTDATED = datetime(1970, 1, 1)  # of the views: they are made anew before the next reading
VIEWS_KEPT = timedelta(hours=1)  # how late an event may be seen to be over
RECYCLE_BIN = timedelta(days=15)  # Salesforce Help, "Manage the Recycle Bin"

logger = logging.getLogger(__name__)


class _Held(threading.local):
    """The connection with the open transaction of a thread; None outside of `all_or_nothing`."""

    connection: duckdb.DuckDBPyConnection | None = None


class ChangingTables:
    """The writing half of `Records`.

    Every writing call takes `user_id`, whom the change is written down to, and `commit_after`: stamps are taken now, the
    change shows when the org's clock has gone on by that much.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, schema: Schema, clock: Clock, in_bin: timedelta = RECYCLE_BIN
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._clock = clock
        self._writing = threading.RLock()
        self._held = _Held()
        self._formulas = Formulas()
        self._late: list[tuple[datetime, Transaction]] = []
        self._open_transactions: weakref.WeakSet[Transaction] = weakref.WeakSet()
        connection.begin()  # one commit for hundreds of tables
        for sobject in schema:
            if not is_view(sobject):
                connection.execute(create_table(sobject))
        connection.commit()
        self._views_since = naive_utc(clock.now())
        create_views(connection, schema, self._views_since)
        create_delete_log(connection)
        self._next_purge = next_purge(connection)
        numbering = Numbering(self._connect)
        self._workspace = Workspace(schema, clock, self._connect, numbering, in_bin, self._commit)

    def transaction(self, *, user_id: str = INTEGRATION_USER, commit_after: timedelta = NOW) -> Transaction:
        """Several changes that become visible together; see `Transaction`.

        `with records.transaction(commit_after=timedelta(minutes=3)) as change: change.insert("Account", {...})`
        """
        with self._writing:
            self._settle()
        transaction = Transaction(self._workspace, user_id, commit_after)
        self._open_transactions.add(transaction)
        return transaction

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What this thread changes meanwhile shows to itself at once, and to others at the end; an exception takes all back.

        Within another one it is part of that, which then must not outlive the exception. Other threads cannot write
        meanwhile.
        """
        if self._held.connection is not None:
            yield
            return
        with self._writing:
            self._settle()
            connection = self._connection.cursor()
            connection.begin()
            self._held.connection = connection
            try:
                yield
            except BaseException:
                connection.rollback()
                raise
            else:
                connection.commit()
            finally:
                self._held.connection = None
                self._next_purge = next_purge(self._connect())

    def insert(
        self, sobject: str, values: Mapping[str, Any], *, user_id: str = INTEGRATION_USER, commit_after: timedelta = NOW
    ) -> str:
        """Add a record; returns its id. Raises ValueError for values that its fields cannot hold."""
        return self.insert_many(sobject, [values], user_id=user_id, commit_after=commit_after)[0]

    def insert_many(
        self,
        sobject: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        user_id: str = INTEGRATION_USER,
        commit_after: timedelta = NOW,
    ) -> list[str]:
        """Add records in one go; returns their ids."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            return change.insert_many(sobject, rows)

    def update(
        self,
        sobject: str,
        record_id: str,
        values: Mapping[str, Any],
        *,
        stamps: Stamps = "user",
        user_id: str = INTEGRATION_USER,
        commit_after: timedelta = NOW,
    ) -> None:
        """Change fields of a record; see `Transaction.update` for `stamps`.

        Raises LookupError when there is no such record, ValueError for values its fields cannot hold.
        """
        self.update_many(sobject, {record_id: values}, stamps=stamps, user_id=user_id, commit_after=commit_after)

    def update_many(
        self,
        sobject: str,
        values_by_id: Mapping[str, Mapping[str, Any]],
        *,
        stamps: Stamps = "user",
        user_id: str = INTEGRATION_USER,
        commit_after: timedelta = NOW,
    ) -> None:
        """Change fields of several records in one go."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            change.update_many(sobject, values_by_id, stamps=stamps)

    def upsert(
        self,
        sobject: str,
        external_id_field: str,
        value: Any,
        values: Mapping[str, Any],
        *,
        user_id: str = INTEGRATION_USER,
        commit_after: timedelta = NOW,
    ) -> tuple[str, bool]:
        """Change the record with this external id, or add one; returns its id and whether it is new."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            return change.upsert(sobject, external_id_field, value, values)

    def delete(
        self, sobject: str, *record_ids: str, user_id: str = INTEGRATION_USER, commit_after: timedelta = NOW
    ) -> None:
        """Move records to the recycle bin, from which they vanish after 15 days. Raises LookupError when one is missing."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            change.delete(sobject, *record_ids)

    def undelete(
        self, sobject: str, *record_ids: str, user_id: str = INTEGRATION_USER, commit_after: timedelta = NOW
    ) -> None:
        """Take records out of the recycle bin. Raises LookupError when one is not there."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            change.undelete(sobject, *record_ids)

    def hard_delete(
        self, sobject: str, *record_ids: str, user_id: str = INTEGRATION_USER, commit_after: timedelta = NOW
    ) -> None:
        """Delete records for good: queryAll no longer finds them, getDeleted does. Raises LookupError when one is missing."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            change.hard_delete(sobject, *record_ids)

    def merge(
        self,
        sobject: str,
        master_id: str,
        *loser_ids: str,
        values: Mapping[str, Any] | None = None,
        user_id: str = INTEGRATION_USER,
        commit_after: timedelta = NOW,
    ) -> None:
        """Merge records into a master; see `Transaction.merge`."""
        with self._writing, self.transaction(user_id=user_id, commit_after=commit_after) as change:
            change.merge(sobject, master_id, *loser_ids, values=values)

    def find_by(self, sobject: str, external_id_field: str, value: Any) -> list[str]:
        """Ids of live records that hold the value in an external id field. Raises ValueError when it is none."""
        self._settled()
        return matching_ids(self._connect(), self._sobject(sobject), external_id_field, value)

    def earliest_uncommitted(self) -> datetime | None:
        """The oldest stamp of changes that are not visible yet (aware, UTC); None when there are none."""
        with self._writing:
            waiting = [each for _, each in self._late] + [each for each in self._open_transactions if each.pending]
        stamps = [each.first_stamp for each in waiting if each.first_stamp is not None]
        return min(stamps).replace(tzinfo=timezone.utc) if stamps else None

    def _commit(self, transaction: Transaction) -> None:
        self._open_transactions.discard(transaction)
        if not transaction.pending:
            return
        with self._writing:
            if transaction.commit_after > NOW:
                self._late.append((self._clock.now() + transaction.commit_after, transaction))
            else:
                self._apply(transaction.pending)
                transaction.pending = []

    def _apply(self, changes: Sequence[Change]) -> None:
        connection = self._connect()
        tables = Tables(connection, self._schema, self._formulas)
        if self._held.connection is not None:
            for change in changes:
                change(tables)
            return
        connection.begin()
        try:
            for change in changes:
                change(tables)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        self._next_purge = next_purge(connection)

    def _settled(self) -> None:
        """Bring the tables up to the org's present: late changes that are due, and the recycle bin's end."""
        with self._writing:
            self._settle()

    def _settle(self) -> None:
        if self._held.connection is not None:
            return  # what falls due meanwhile is no part of the changes
        now = self._clock.now()
        due = [entry for entry in self._late if entry[0] <= now]
        for entry in sorted(due, key=lambda each: each[0]):
            self._late.remove(entry)
            self._apply_late(entry[1])
        if self._next_purge is not None and self._next_purge <= naive_utc(now):
            self._purge(naive_utc(now))
        if abs(naive_utc(now) - self._views_since) >= VIEWS_KEPT:
            self._renew_views()

    def _renew_views(self) -> None:
        """Let the views of activities follow the clock and the tables."""
        self._views_since = naive_utc(self._clock.now())
        create_views(self._connect(), self._schema, self._views_since)

    def _apply_late(self, transaction: Transaction) -> None:
        try:
            self._apply(transaction.pending)
        except duckdb.Error:  # whoever reads now has no part in it
            logger.exception("A change that was to become visible late could not be made, and is dropped.")

    def _purge(self, now: datetime) -> None:
        for name, ids in due_for_purge(self._connect(), now).items():
            stamp = Stamp(INTEGRATION_USER, now)
            self._apply([partial(remove_records, name=name, ids=ids, stamp=stamp)])

    def add_column(self, sobject: SObject, field: Field) -> None:
        """Give the table of an object a column for a new field."""
        self._alter(sobject, f"ADD COLUMN {identifier(field.name)} {column_type(field)}")

    def drop_column(self, sobject: SObject, field: Field) -> None:
        """Take the column of a removed field away, with its values."""
        self._alter(sobject, f"DROP COLUMN IF EXISTS {identifier(field.name)}")

    def retype_column(self, sobject: SObject, field: Field) -> None:
        """Change the type of a field's column; values that do not fit the new type become null."""
        kind, column = column_type(field), identifier(field.name)
        cast = f"try_cast({column} AS {kind})"
        # Text such as "nan" is a number to DuckDB, but none to Salesforce.
        value = f"CASE WHEN isfinite({cast}) THEN {cast} END" if kind == "DOUBLE" else cast
        self._alter(sobject, f"ALTER COLUMN {column} TYPE {kind} USING {value}")

    def fill_column(self, sobject: SObject, field: Field, value: Any) -> None:
        """Write one value to all records without moving any stamp, as the default of a new field is."""
        stored = stored_values(sobject, {field.name: value})[field.name]
        with self._writing:
            sql = f"UPDATE {identifier(sobject.name)} SET {identifier(field.name)} = ?"
            self._connect().execute(sql, [stored])

    def change_formula(self, sobject: SObject, field: Field, sql: str) -> None:
        """Compute a field by another expression, in all records at once; no stamp moves.

        Raises ValueError for an expression that cannot be computed.
        """
        column = identifier(field.name)
        with self._writing:
            try:
                self._connect().execute(f"UPDATE {identifier(sobject.name)} SET {column} = {sql}")
            except duckdb.Error as error:
                why = str(error).partition("\n")[0]
                raise ValueError(f"The formula of {sobject.name}.{field.name} cannot be computed: {why}") from None
            self._formulas.change(sobject, field.name, sql)

    def add_table(self, sobject: SObject) -> None:
        """Make the table of a new object."""
        with self._writing:
            self._connect().execute(create_table(sobject))
            self._views_since = OUTDATED

    def drop_table(self, sobject: SObject) -> None:
        """Take the table of a dropped object away."""
        with self._writing:
            kind = "VIEW" if is_view(sobject) else "TABLE"
            self._connect().execute(f"DROP {kind} IF EXISTS {identifier(sobject.name)}")
            self._views_since = OUTDATED

    def _alter(self, sobject: SObject, change: str) -> None:
        with self._writing:
            if is_view(sobject):
                raise ValueError(f"{sobject.name} shows tasks and events, and has no columns of its own to change.")
            self._connect().execute(f"ALTER TABLE {identifier(sobject.name)} {change}")
            self._views_since = OUTDATED

    def _connect(self) -> duckdb.DuckDBPyConnection:
        return self._held.connection or self._connection.cursor()

    def _sobject(self, name: str) -> SObject:
        found = self._schema.sobject(name)
        if found is None:
            raise ValueError(f"The local org has no object {name!r}.")
        return found
