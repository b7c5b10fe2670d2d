"""The permission set: read access to the objects that extracts name, and nothing else.

Source: Metadata API Developer Guide, "PermissionSet"; help, "Object Permissions" and "Field-Level Security".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_sfcc.errors import ConfigurationError
from airflow_sfcc.org_setup.metadata import PERMISSION_SET, Component, Structure

_NAME = re.compile(r"[A-Za-z]\w*", re.A)

API_PERMISSIONS = ("ApiEnabled", "ApiUserOnly")
VIEW_SETUP = ("ViewRoles", "ViewSetup")
"""View Setup and Configuration, and View Roles and Role Hierarchy, which it depends on [K]."""

_ALWAYS_READABLE = frozenset(
    "id isdeleted name createddate createdbyid lastmodifieddate lastmodifiedbyid systemmodstamp lastvieweddate "
    "lastreferenceddate ownerid".split()
)
"""In lower case, as queries may have them in any.

Fields that have no permission of their own: whoever reads the object reads them. Salesforce refuses a permission set
that names a required field ("You cannot deploy to a required field")."""

_ADDRESS_PART = re.compile(
    r"(\w*?)(Street|City|State|StateCode|PostalCode|Country|CountryCode|Latitude|Longitude|GeocodeAccuracy)", re.A
)
_ADDRESS_PREFIXES = frozenset(("Billing", "Shipping", "Mailing", "Other", "", "Permanent", "QuoteTo", "Additional"))
_LOCATION_PART = re.compile(r"(\w+?)__(Latitude|Longitude)__s", re.A)

_WITHOUT_OBJECT_PERMISSIONS = {
    "User": "Salesforce shows users by the org's sharing setting for User; grant View All Users where that is private",
    "Task": "grant the permission Access Activities",
    "Event": "grant the permission Access Activities",
    "ContentDocument": "files need View All Data and Query All Files",
    "ContentVersion": "files need View All Data and Query All Files",
    "ContentDocumentLink": "files need View All Data and Query All Files",
    "EventLogFile": "grant the permission View Event Log Files",
    "OpportunityLineItem": "it follows Opportunity",
    "OpportunityContactRole": "it follows Opportunity",
    "OpportunityHistory": "it follows Opportunity",
    "QuoteLineItem": "it follows Quote",
    "OrderItem": "it follows Order",
    "CampaignMember": "it follows Campaign",
    "CaseComment": "it follows Case",
    "CaseHistory": "it follows Case",
    "AccountContactRole": "it follows Account",
    "ContractContactRole": "it follows Contract",
    "PricebookEntry": "it follows Product2 and Pricebook2",
    "RecordType": "everybody may read it",
    "UserRole": "grant View Roles and Role Hierarchy",
    "Profile": "grant View Setup and Configuration (--view-setup)",
    "PermissionSet": "grant View Setup and Configuration (--view-setup)",
    "PermissionSetAssignment": "grant View Setup and Configuration (--view-setup)",
    "LoginHistory": "grant Manage Users",
    "Group": "everybody may read it",
    "GroupMember": "everybody may read it",
    "Organization": "everybody may read it",
}
"""Objects that a permission set cannot name, and what decides instead. From the help pages of the permissions and from
deployments that were refused [M]; an object that is missing here is refused by the deployment, by name."""

_DERIVED = ("history", "share", "feed", "changeevent")
"""In lower case: `AccountHistory`, `Invoice__Share`: objects that belong to another one and share its permissions."""

_READ_DEPENDS_ON = {
    "Contact": ("Account",),
    "Opportunity": ("Account",),
    "Case": ("Account", "Contact"),
    "Contract": ("Account",),
    "Order": ("Account",),
    "Asset": ("Account", "Contact"),
    "Quote": ("Opportunity",),
}
"""Objects that Salesforce lets nobody read who may not read these too: the deployment is refused with "depends on
permission(s)" [M]. Custom details depend on their masters likewise, which only the org knows."""


@dataclass(frozen=True)
class ObjectAccess:
    """An object, and the fields to be read; no fields means all, those that are made later too."""

    sobject: str
    fields: tuple[str, ...] = ()

    def is_named(self, name: str) -> bool:
        """Whether it is the object `name`, in any case."""
        return self.sobject.lower() == name.lower()

    @classmethod
    def parse(cls, text: str) -> ObjectAccess:
        """From `Account` or `Account:Name,Industry`. Raises ConfigurationError for what is no name."""
        sobject, colon, listed = text.partition(":")
        fields = tuple(name.strip() for name in listed.split(",")) if colon else ()
        for name in (sobject.strip(), *fields):
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"{name!r} in {text!r} is not a name: write an object's API name, with the fields after a colon where "
                    "not all are wanted, such as Invoice__c or Account:Name,Industry."
                )
        return cls(sobject.strip(), fields)


@dataclass(frozen=True)
class PermissionSet:
    """Read access to `objects` for the API user.

    `all_records` adds View All Records: without it, only records that are shared with the user are read, and the rest is
    missing without an error.
    """

    name: str
    label: str
    objects: Sequence[ObjectAccess]
    all_records: bool = True
    view_setup: bool = False

    def component(self) -> Component:
        granted = [each for each in self.objects if not _other_gate(each.sobject)]
        permissions = API_PERMISSIONS + (VIEW_SETUP if self.view_setup else ())
        fields: list[Structure] = [
            {"editable": False, "field": field, "readable": True} for each in granted for field in _field_names(each)
        ]
        objects: list[Structure] = [self._object(each) for each in granted]
        users: list[Structure] = [{"enabled": True, "name": name} for name in sorted(permissions)]
        return Component(
            PERMISSION_SET,
            self.name,
            {
                "description": "What extracts by Apache Airflow may read. Written by airflow-sfcc setup.",
                "hasActivationRequired": False,
                "label": self.label,
                **({"fieldPermissions": fields} if fields else {}),
                **({"objectPermissions": objects} if objects else {}),
                "userPermissions": users,
            },
        )

    def _object(self, access: ObjectAccess) -> Structure:
        return {
            "allowCreate": False,
            "allowDelete": False,
            "allowEdit": False,
            "allowRead": True,
            "modifyAllRecords": False,
            "object": access.sobject,
            "viewAllFields": not access.fields,
            "viewAllRecords": self.all_records,
        }

    def remarks(self) -> list[str]:
        """What this set does not do, though the objects or fields were named, each as a sentence."""
        return [*self._without_permissions(), *self._missing_parents(), *self._fields_left_out()]

    def _without_permissions(self) -> Iterable[str]:
        for each in self.objects:
            if gate := _other_gate(each.sobject):
                yield f"{each.sobject} is not in the permission set, since it has no object permissions: {gate}."

    def _missing_parents(self) -> Iterable[str]:
        named = {each.sobject.lower() for each in self.objects}
        for each in self.objects:
            parents = next((parents for name, parents in _READ_DEPENDS_ON.items() if each.is_named(name)), ())
            missing = [parent for parent in parents if parent.lower() not in named]
            if missing:
                yield (
                    f"Salesforce lets nobody read {each.sobject} who may not read {' and '.join(missing)}, and refuses "
                    f"the deployment: add --object {' --object '.join(missing)}."
                )

    def _fields_left_out(self) -> Iterable[str]:
        for each in self.objects:
            left_out = sorted(name for name in each.fields if name.lower() in _ALWAYS_READABLE)
            if left_out:
                yield (
                    f"{each.sobject}: {', '.join(left_out)} need no field permission, since whoever reads the object "
                    "reads them. If the deployment refuses another field as required, leave that out too."
                )


def merged(accesses: Iterable[ObjectAccess]) -> list[ObjectAccess]:
    """One entry for each object, in alphabetical order; all fields win over some. Names count in any case, as in queries; of
    those that differ in it alone the first holds."""
    found: dict[str, ObjectAccess] = {}
    for each in accesses:
        key = each.sobject.lower()
        known = found.get(key)
        if known is None:
            found[key] = each
        elif known.fields and each.fields:
            fields = {name.lower(): name for name in reversed((*known.fields, *each.fields))}
            found[key] = ObjectAccess(known.sobject, (*reversed(fields.values()),))
        else:
            found[key] = ObjectAccess(known.sobject)
    return sorted(found.values(), key=lambda each: each.sobject)


def not_granted(granted: Sequence[ObjectAccess], needed: Iterable[ObjectAccess]) -> Iterable[str]:
    """A sentence for each object of which fields are needed that are not granted, such as those of conditions."""
    for need in needed:
        for grant in granted:
            if grant.is_named(need.sobject) and grant.fields:
                has = {_whole_field(name).lower() for name in grant.fields} | _ALWAYS_READABLE
                missing = [name for name in need.fields if _whole_field(name).lower() not in has]
                if missing:
                    yield (
                        f"Extracts of {grant.sobject} filter by {', '.join(missing)}, which --object leaves out: they fail "
                        "unless that is added to it."
                    )


def _other_gate(sobject: str) -> str | None:
    """What decides over an object that has no object permissions; None for one that has."""
    for name, gate in _WITHOUT_OBJECT_PERMISSIONS.items():
        if name.lower() == sobject.lower():
            return gate
    if sobject.lower().endswith(_DERIVED):
        return "it follows the object whose history, shares, feed or changes it holds"
    return None


def _field_names(access: ObjectAccess) -> list[str]:
    """`Object.Field` for each field that has a permission; parts of an address or location share that of the whole."""
    whole = (_whole_field(name) for name in access.fields if name.lower() not in _ALWAYS_READABLE)
    return sorted({f"{access.sobject}.{name}" for name in whole})


def _whole_field(name: str) -> str:
    if found := _LOCATION_PART.fullmatch(name):
        return f"{found[1]}__c"
    found = _ADDRESS_PART.fullmatch(name)
    return f"{found[1]}Address" if found and found[1] in _ADDRESS_PREFIXES else name
