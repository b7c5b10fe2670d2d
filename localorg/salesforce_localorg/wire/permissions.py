"""UserPermissionAccess: what the calling user may do, in one record (Object Reference; API 41.0 on)."""

from __future__ import annotations

import re
from typing import Any

from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire.errors import ApiError

PERMISSIONS = ("ApiEnabled", "ApiUserOnly", "ViewSetup", "ViewAllData")
_QUERY = re.compile(
    r"\s*SELECT\s+(?P<fields>[\w\s,]+?)\s+FROM\s+UserPermissionAccess\s*(LIMIT\s+\d+\s*)?", re.IGNORECASE
)


def asks_for_permissions(soql: str) -> bool:
    """Whether a query reads UserPermissionAccess."""
    return re.search(r"\bFROM\s+UserPermissionAccess\b", soql, re.IGNORECASE) is not None


def permission_record(org: LocalOrg, soql: str) -> dict[str, Any]:
    """The answer to a query of that object. Raises ApiError for a field or a clause that is not supported here."""
    found = _QUERY.fullmatch(soql)
    if found is None:
        raise ApiError(400, "MALFORMED_QUERY", "the local org reads UserPermissionAccess without conditions only")
    spelled = {f"permissions{name}".lower(): f"Permissions{name}" for name in PERMISSIONS}
    record: dict[str, Any] = {"attributes": {"type": "UserPermissionAccess"}}
    for asked in (field.strip() for field in found["fields"].split(",")):
        name = spelled.get(asked.lower())
        if name is None:
            raise ApiError(400, "INVALID_FIELD", f"No such column '{asked}' on entity 'UserPermissionAccess'.")
        record[name] = name.removeprefix("Permissions") in org.permissions
    return {"totalSize": 1, "done": True, "records": [record]}
