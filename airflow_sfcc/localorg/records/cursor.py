"""A finished query whose rows no longer change, read by offset."""

from __future__ import annotations

from typing import Any

from airflow_sfcc.localorg.schema import SObject


class Cursor:
    """A finished query whose rows are frozen (snapshot) and paged by offset."""

    kind: str
    sobject: SObject
    total_size: int

    def records(self, start: int, stop: int, api_version: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
