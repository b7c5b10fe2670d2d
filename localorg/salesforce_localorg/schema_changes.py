"""Changes that an administrator makes to the schema of a running org: fields and objects that come, go and change type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from salesforce_localorg.records import Records
from salesforce_localorg.schema import ChildRelationship, Field, Schema, SObject

OBJECT_FLAGS = ("queryable", "replicateable", "createable", "updateable", "deletable", "undeletable", "mergeable")


class SchemaChanges:
    """Changes schema and tables together. Queries that run already go on with the schema they began with."""

    def __init__(self, schema: Schema, records: Records) -> None:
        self._schema = schema
        self._records = records

    def add_field(self, sobject: str, field: Mapping[str, Any], value: Any = None, formula: str | None = None) -> Field:
        """Add a field; `field` holds describe keys, of which `name` and `type` are needed.

        Rows that exist hold `value`, or what `formula` (SQL over the object's columns, such as `"Amount__c" * 2`)
        computes; their stamps do not move, as in Salesforce. Raises ValueError for a field that exists or cannot be.
        """
        found = self._sobject(sobject)
        added = _field(field)
        if found.field(added.name) is not None:
            raise ValueError(f"{found.name} has a field {added.name} already; change that one, or choose another name.")
        if not added.is_compound:
            self._records.add_column(found, added)
        changed = replace(found, fields=(*found.fields, added))
        self._schema.put(changed)
        self._link(changed, added)
        try:
            if formula is not None:
                self._records.change_formula(changed, added, formula)
            elif value is not None:
                self._records.fill_column(changed, added, value)
        except ValueError:
            self.remove_field(sobject, added.name)
            raise
        return added

    def remove_field(self, sobject: str, name: str) -> None:
        """Delete a field with its values. Raises ValueError when there is none."""
        found, field = self._field(sobject, name)
        kept = tuple(each for each in found.fields if each is not field)
        self._schema.put(replace(found, fields=kept))
        self._unlink(found, field)
        if not field.is_compound:
            self._records.drop_column(found, field)

    def change_field(self, sobject: str, name: str, changes: Mapping[str, Any]) -> Field:
        """Change describe keys of a field, such as `{"type": "double", "scale": 2}` or `{"length": 80}`.

        What follows from a new type (soapType, flags) follows. Values that do not fit it become null. No stamp moves.
        """
        found, field = self._field(sobject, name)
        kept = field.to_describe() if changes.get("type", field.type) == field.type else _type_free(field)
        changed = _field({**kept, **changes, "name": field.name})
        fields = tuple(changed if each is field else each for each in found.fields)
        self._schema.put(replace(found, fields=fields))
        if changed.type != field.type:
            self._records.retype_column(found, changed)
        return changed

    def change_formula(self, sobject: str, name: str, formula: str) -> None:
        """Give a field another formula (SQL over the object's columns): all values change, no stamp moves."""
        self._records.change_formula(*self._field(sobject, name), formula)

    def add_object(self, describe: Mapping[str, Any]) -> SObject:
        """Add an object without records; `describe` is a describe answer, of which `name` and `fields` are needed."""
        added = next(iter(Schema.from_describes([describe])))
        if self._schema.sobject(added.name) is not None:
            raise ValueError(f"The org has an object {added.name} already; drop that one, or choose another name.")
        self._records.add_table(added)
        self._schema.put(added)
        for field in added.fields:
            self._link(added, field)
        return added

    def drop_object(self, name: str) -> None:
        """Delete an object with its records. Raises ValueError when there is none."""
        found = self._sobject(name)
        self._schema.remove(found.name)
        self._records.drop_table(found)

    def set_flags(self, sobject: str, **flags: bool) -> SObject:
        """Change what may be done with an object.

        `bulk` and `needs_filter`, or a flag of describe: queryable, replicateable, createable, updateable, deletable,
        undeletable, mergeable. Raises ValueError for another name.
        """
        found = self._sobject(sobject)
        unknown = sorted(set(flags) - {*OBJECT_FLAGS, "bulk", "needs_filter"})
        if unknown or not all(isinstance(value, bool) for value in flags.values()):
            known = ", ".join(("bulk", "needs_filter", *OBJECT_FLAGS))
            raise ValueError(f"An object's flags are {known}, each true or false.")
        described = {name: value for name, value in flags.items() if name in OBJECT_FLAGS}
        changed = replace(
            found,
            attributes={**found.attributes, **described},
            bulk_allowed=flags.get("bulk", found.bulk_allowed),
            filter_required=flags.get("needs_filter", found.filter_required),
        )
        self._schema.put(changed)
        return changed

    def _sobject(self, name: str) -> SObject:
        found = self._schema.sobject(name)
        if found is None:
            known = ", ".join(sorted(each.name for each in self._schema))
            raise ValueError(f"The local org has no object {name!r}; it has {known}.")
        return found

    def _field(self, sobject: str, name: str) -> tuple[SObject, Field]:
        found = self._sobject(sobject)
        field = found.field(name)
        if field is None:
            raise ValueError(f"{found.name} has no field {name!r}; check its describe.")
        return found, field

    def _link(self, sobject: SObject, field: Field) -> None:
        """Let the parents that a reference field names know of their children."""
        for name in field.reference_to:
            parent = self._schema.sobject(name)
            if parent is not None:
                child = ChildRelationship(sobject.name, field.name, None, cascade_delete=field.cascade_delete)
                self._schema.put(replace(parent, child_relationships=(*parent.child_relationships, child)))

    def _unlink(self, sobject: SObject, field: Field) -> None:
        gone = (sobject.name, field.name)
        for parent in list(self._schema):
            kept = tuple(each for each in parent.child_relationships if (each.child_sobject, each.field) != gone)
            if kept != parent.child_relationships:
                self._schema.put(replace(parent, child_relationships=kept))


def _field(describe: Mapping[str, Any]) -> Field:
    try:
        return Field.from_describe({"custom": str(describe.get("name", "")).endswith("__c"), **describe})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"A field needs `name` and `type`, with describe's keys; {error} is wrong or missing."
        ) from None


def _type_free(field: Field) -> dict[str, Any]:
    """What stays of a field's describe when its type changes."""
    kept = ("label", "custom", "nillable", "createable", "updateable", "inlineHelpText")
    return {key: value for key, value in field.to_describe().items() if key in kept}
