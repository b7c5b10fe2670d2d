"""Why a task failed, from Airflow's log of it (JSON lines)."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any


def reason(log: Path) -> str:
    """The last exception in the log as ``Type: message``, or a sentence that there is none."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in reversed(lines):
        with suppress(ValueError):
            for exception in _exceptions(json.loads(line)):
                return f"{exception['exc_type']}: {exception['exc_value']}"
    return "its log names no exception."


def _exceptions(record: Any) -> list[dict[str, Any]]:
    details = record.get("error_detail") if isinstance(record, dict) else None
    return details if isinstance(details, list) else []
