"""The org's rows, in DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from airflow_sfcc.localorg.clock import Clock
from airflow_sfcc.localorg.records.csv_export import CsvExport
from airflow_sfcc.localorg.records.cursor import Cursor
from airflow_sfcc.localorg.schema import Schema, SObject, Viewer


class Records:
    """The org's rows, in DuckDB."""

    @classmethod
    def open(cls, schema: Schema, *, clock: Clock, path: Path | None = None) -> Records:
        raise NotImplementedError

    def generate(
        self, counts: Mapping[str, int], *, seed: int, progress: Callable[[str, int], None] | None = None
    ) -> None:
        raise NotImplementedError

    def count(self, sobject: str) -> int:
        raise NotImplementedError

    def open_cursor(self, soql: str, *, include_deleted: bool, viewer: Viewer) -> Cursor:
        raise NotImplementedError

    def export_csv(
        self,
        soql: str,
        *,
        include_deleted: bool,
        viewer: Viewer,
        directory: Path,
        page_rows: int,
        delimiter: str = ",",
        line_ending: str = "\n",
    ) -> CsvExport:
        raise NotImplementedError

    def check_bulk(self, soql: str, *, viewer: Viewer) -> SObject:
        raise NotImplementedError

    def insert(self, sobject: str, values: Mapping[str, Any], *, user_id: str) -> str:
        raise NotImplementedError

    def update(self, sobject: str, record_id: str, values: Mapping[str, Any], *, user_id: str) -> None:
        raise NotImplementedError

    def delete(self, sobject: str, record_id: str, *, user_id: str) -> None:
        raise NotImplementedError

    def undelete(self, sobject: str, record_id: str, *, user_id: str) -> None:
        raise NotImplementedError

    def get(self, sobject: str, record_id: str, *, viewer: Viewer) -> dict[str, Any] | None:
        raise NotImplementedError

    def deleted_between(self, sobject: str, start: datetime, end: datetime) -> list[tuple[str, datetime]]:
        raise NotImplementedError

    def updated_between(self, sobject: str, start: datetime, end: datetime) -> list[str]:
        raise NotImplementedError

    def raw(self) -> duckdb.DuckDBPyConnection:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
