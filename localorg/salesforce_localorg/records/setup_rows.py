"""The few records that every org has before anybody enters data: users, profiles, queues, its own Organization record."""

from __future__ import annotations

from collections.abc import Mapping

SETUP_COUNTS: Mapping[str, int] = {
    "Organization": 1,
    "Profile": 3,
    "User": 12,
    "Group": 3,
    "RecordType": 2,
    "CaseStatus": 4,
}

# Values by row; objects larger than the list repeat it.
SETUP_VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Organization": {"Name": ("Local Org",), "OrganizationType": ("Enterprise Edition",), "InstanceName": ("LOC1",)},
    "Profile": {"Name": ("Minimum Access - API Only Integrations", "System Administrator", "Standard User")},
    "Group": {"Name": ("Support Queue", "Sales Queue", "Partner Queue"), "Type": ("Queue",)},
    "RecordType": {
        "Name": ("Business", "Household"),
        "DeveloperName": ("Business", "Household"),
        "SobjectType": ("Account",),
    },
    "CaseStatus": {
        "MasterLabel": ("New", "Working", "Escalated", "Closed"),
        "ApiName": ("New", "Working", "Escalated", "Closed"),
    },
}
