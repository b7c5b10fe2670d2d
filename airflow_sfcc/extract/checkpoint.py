"""What one try of a task leaves to the next, so that a worker's death costs the pages in flight and no more.

The checkpoint names the Bulk job; the pages that are finished are known by the files that were staged (see
`landing`). Neither is state of the extract: without them it starts afresh and lands the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_sfcc.extract.model import plain

if TYPE_CHECKING:
    from airflow_sfcc.extract.model import Plan


@dataclass(frozen=True)
class Checkpoint:
    """A submitted job, the fingerprint of what it was submitted for, when that was planned, and the calls made until then.

    `planned_at` is this machine's time; `read_at` is the org's at that moment, since a second try may find another difference
    between the two, and would cut another window. Plain JSON by `to_json`.
    """

    job_id: str
    fingerprint: str
    planned_at: str
    read_at: str
    api_calls: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Checkpoint | None:
        """The checkpoint, or None for what is none (such as one of another version of this package)."""
        if not isinstance(data, Mapping):
            return None
        try:
            texts = {name: str(data[name]) for name in ("job_id", "fingerprint", "planned_at", "read_at")}
            return cls(**texts, api_calls=int(data["api_calls"]))
        except (KeyError, TypeError, ValueError):
            return None


def fingerprint(plan: Plan) -> str:
    """SHA-256 over all that a job's result and its staged files depend on: another one means another job."""
    basis = {
        "soql": plan.soql,
        **({"slices": plan.slices} if plan.slices else {}),
        "operation": "queryAll" if plan.include_deleted else "query",
        "api_version": plan.api_version,
        "org_id": plan.org_id,
        "instance": plan.instance,
        "columns": [plain(column) for column in plan.columns],
        "file_format": plan.file_format,
    }
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()
