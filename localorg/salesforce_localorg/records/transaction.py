"""Changes to records that become visible together: at once, or some time after their stamps were taken.

Salesforce stamps a record when it is saved and shows it when the transaction commits; between the two the stamp lies in the
past of a row that nobody sees yet (salesforce-protocol.md#incremental-extracts, late commit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from salesforce_localorg.clock import Clock
from salesforce_localorg.ids import full_id
from salesforce_localorg.records import changes
from salesforce_localorg.records.changes import Stamp, Tables
from salesforce_localorg.records.numbering import Numbering
from salesforce_localorg.records.row_expressions import auto_number_text
from salesforce_localorg.records.stored_values import arrow_table, naive_utc, stored_values
from salesforce_localorg.records.tables import identifier
from salesforce_localorg.schema import Schema, SObject

if TYPE_CHECKING:
    from typing_extensions import Self

Stamps = Literal["user", "system", "none"]
Change = Callable[[Tables], None]


@dataclass(frozen=True)
class Workspace:
    """What a transaction works with: `connect` reads what is visible now, `in_bin` is the recycle bin's patience."""

    schema: Schema
    clock: Clock
    connect: Callable[[], duckdb.DuckDBPyConnection]
    numbering: Numbering
    in_bin: timedelta
    commit: Callable[[Transaction], None]


@dataclass(eq=False)
class Transaction:
    """Changes written down now, visible after `commit`; leaving a `with` block commits, an exception drops them.

    Stamps are those of the time of each call by the org's clock. With `commit_after` the changes show only when the
    clock has gone on by that much after `commit`: to queries, Bulk jobs, getUpdated, getDeleted and record reads alike.
    Calls raise LookupError for a record that is not there (or, for edits, is in the recycle bin) and ValueError for
    values that fields cannot hold; then nothing of the call is written down.
    """

    workspace: Workspace
    user_id: str
    commit_after: timedelta = timedelta(0)
    pending: list[Change] = field(default_factory=list)
    first_stamp: datetime | None = None
    _own_ids: set[str] = field(default_factory=set)

    def insert(self, sobject: str, values: Mapping[str, Any]) -> str:
        """Add a record; returns its id. Values given for system fields go before the org's own stamps."""
        return self.insert_many(sobject, [values])[0]

    def insert_many(self, sobject: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Add records; returns their ids."""
        found = self._sobject(sobject)
        written = [_checked_values(found, values) for values in rows]
        stamps = self._stamp().created(found)
        complete = []
        for row in written:
            new_id = self.workspace.numbering.next_id(found)
            complete.append({**self._defaults(found), **_named_by_id(found, new_id), **stamps, **row, "Id": new_id})
        if complete:
            self._write(partial(changes.insert_rows, name=found.name, rows=arrow_table(found, complete)))
        ids = [str(row["Id"]) for row in complete]
        self._own_ids.update(ids)
        return ids

    def update(self, sobject: str, record_id: str, values: Mapping[str, Any], *, stamps: Stamps = "user") -> None:
        """Change fields of a record.

        `stamps` tells what moves: "user" LastModifiedDate and SystemModstamp, "system" (a process ran) SystemModstamp
        alone, "none" neither, as when a formula's value changes.
        """
        self.update_many(sobject, {record_id: values}, stamps=stamps)

    def update_many(
        self, sobject: str, values_by_id: Mapping[str, Mapping[str, Any]], *, stamps: Stamps = "user"
    ) -> None:
        """Change fields of several records."""
        found = self._sobject(sobject)
        written = {full_id(record_id): _checked_values(found, values) for record_id, values in values_by_id.items()}
        if any("Id" in row for row in written.values()):
            raise ValueError("The Id of a record cannot change; leave it out of the values.")
        self._require(found, list(written))
        moved = self._moved(found, stamps)
        by_columns: dict[frozenset[str], list[dict[str, Any]]] = {}
        for record_id, row in written.items():
            by_columns.setdefault(frozenset(row), []).append({**moved, **row, "Id": record_id})
        for rows in by_columns.values():
            self._write(partial(changes.update_rows, name=found.name, rows=arrow_table(found, rows)))

    def upsert(self, sobject: str, external_id_field: str, value: Any, values: Mapping[str, Any]) -> tuple[str, bool]:
        """Change the record whose external id field holds `value`, or add one; returns its id and whether it is new.

        Raises ValueError when the field is no external id (or Id lookup) or several records hold the value.
        """
        found = self._sobject(sobject)
        ids = matching_ids(self.workspace.connect(), found, external_id_field, value)
        if len(ids) > 1:
            raise ValueError(
                f"{len(ids)} {found.name} records hold {value!r} in {external_id_field}; it must be unique."
            )
        if ids:
            self.update(found.name, ids[0], values)
            return ids[0], False
        return self.insert(found.name, {**values, external_id_field: value}), True

    def delete(self, sobject: str, *record_ids: str) -> None:
        """Move records to the recycle bin, with the children whose relationship says so (cascadeDelete)."""
        found, ids = self._existing(sobject, record_ids)
        stamp, in_bin = self._stamp(), self.workspace.in_bin
        self._write(partial(changes.delete_records, name=found.name, ids=ids, stamp=stamp, in_bin=in_bin))

    def undelete(self, sobject: str, *record_ids: str) -> None:
        """Take records out of the recycle bin, with the children that went along.

        Raises LookupError when one is not in the bin.
        """
        found, ids = self._existing(sobject, record_ids, deleted=True)
        self._write(partial(changes.undelete_records, name=found.name, ids=ids, stamp=self._stamp()))

    def hard_delete(self, sobject: str, *record_ids: str) -> None:
        """Delete records for good, whether they are in the recycle bin or not; getDeleted goes on telling of them."""
        found, ids = self._existing(sobject, record_ids, deleted=None)
        self._write(partial(changes.remove_records, name=found.name, ids=ids, stamp=self._stamp()))

    def merge(self, sobject: str, master_id: str, *loser_ids: str, values: Mapping[str, Any] | None = None) -> None:
        """Merge records into one, as the merge() call does.

        The losers go to the recycle bin with MasterRecordId set, what referred to them refers to the master (its
        SystemModstamp moves), and `values` are written to the master.
        """
        found, losers = self._existing(sobject, loser_ids)
        if not found.flag("mergeable"):
            raise ValueError(f"{found.name} records cannot be merged; Account, Contact, Lead and Case ones can.")
        if full_id(master_id) in losers:
            raise ValueError("The master of a merge cannot be among the records that are merged into it.")
        self.update(found.name, master_id, values or {})
        self._write(
            partial(
                changes.merge_records,
                name=found.name,
                master_id=full_id(master_id),
                losers=losers,
                stamp=self._stamp(),
                in_bin=self.workspace.in_bin,
            )
        )

    def commit(self) -> None:
        """Make the changes visible, or start the wait of `commit_after`."""
        self.workspace.commit(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
        else:
            self.pending.clear()

    def _write(self, change: Change) -> None:
        self.pending.append(change)

    def _stamp(self) -> Stamp:
        when = naive_utc(self.workspace.clock.now()).replace(microsecond=0)
        self.first_stamp = min(self.first_stamp or when, when)
        return Stamp(self.user_id, when)

    def _moved(self, sobject: SObject, stamps: Stamps) -> dict[str, Any]:
        if stamps == "none":
            return {}
        stamp = self._stamp()
        return stamp.modified(sobject) if stamps == "user" else stamp.touched(sobject)

    def _sobject(self, name: str) -> SObject:
        found = self.workspace.schema.sobject(name)
        if found is None:
            raise ValueError(f"The local org has no object {name!r}.")
        return found

    def _existing(
        self, sobject: str, record_ids: Sequence[str], *, deleted: bool | None = False
    ) -> tuple[SObject, list[str]]:
        found = self._sobject(sobject)
        ids = list(dict.fromkeys(full_id(each) for each in record_ids))
        self._require(found, ids, deleted=deleted)
        return found, ids

    def _require(self, sobject: SObject, ids: Sequence[str], *, deleted: bool | None = False) -> None:
        """Raise LookupError unless all records exist, in the recycle bin or out of it as asked (None: either)."""
        sought = [each for each in ids if each not in self._own_ids]
        if not sought:
            return
        in_bin = "FALSE" if sobject.field("IsDeleted") is None else '"IsDeleted"'
        sql = f'SELECT "Id", {in_bin} FROM {identifier(sobject.name)} WHERE "Id" IN (SELECT unnest(?))'
        states = dict(self.workspace.connect().execute(sql, [sought]).fetchall())
        for each in sought:
            if each not in states:
                raise LookupError(
                    f"{sobject.name} has no record with the id {each!r}; query its Id to find those it has."
                )
            if deleted is not None and states[each] is not deleted:
                where = "is in the recycle bin; undelete it first" if states[each] else "is not in the recycle bin"
                raise LookupError(f"The {sobject.name} record {each} {where}.")

    def _defaults(self, sobject: SObject) -> dict[str, Any]:
        defaults: dict[str, Any] = {"OwnerId": self.user_id} if sobject.field("OwnerId") else {}
        for each in sobject.fields:
            if each.type == "boolean":
                defaults[each.name] = each.default_value is True
            elif each.auto_number:
                number = self.workspace.numbering.next_auto_number(sobject, each)
                defaults[each.name] = auto_number_text(sobject, number)
            elif each.type == "picklist":
                chosen = [entry["value"] for entry in each.picklist_values if entry.get("defaultValue")]
                defaults |= {each.name: chosen[-1]} if chosen else {}
        return defaults


def _named_by_id(sobject: SObject, record_id: str) -> dict[str, str]:
    """The name that Salesforce gives to a record of a custom object when nobody does: the 15 characters of its id."""
    name = sobject.name_field
    is_named = name is not None and name.name == "Name" and name.type == "string" and not name.auto_number
    return {"Name": record_id[:15]} if sobject.custom and is_named else {}


def matching_ids(
    connection: duckdb.DuckDBPyConnection, sobject: SObject, external_id_field: str, value: Any
) -> list[str]:
    """Ids of live records that hold the value in an external id field.

    Raises ValueError when the object has no such field or it is no external id.
    """
    key = sobject.field(external_id_field)
    if key is None or not (key.external_id or key.id_lookup or key.type == "id"):
        raise ValueError(f"{external_id_field!r} is no external id field of {sobject.name}; check its describe.")
    stored = stored_values(sobject, {key.name: value})[key.name]
    stored = full_id(stored) if key.type == "id" and isinstance(stored, str) else stored
    live = ' AND NOT "IsDeleted"' if sobject.field("IsDeleted") else ""
    column = identifier(key.name)
    equal = f"{column} = ?" if key.case_sensitive or not isinstance(stored, str) else f"lower({column}) = lower(?)"
    sql = f'SELECT "Id" FROM {identifier(sobject.name)} WHERE {equal}{live} ORDER BY "Id"'
    return [found for (found,) in connection.execute(sql, [stored]).fetchall()]


def _checked_values(sobject: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
    written = stored_values(sobject, values)
    if "IsDeleted" in written:
        raise ValueError("IsDeleted cannot be written; use delete, undelete or hard_delete.")
    return written
