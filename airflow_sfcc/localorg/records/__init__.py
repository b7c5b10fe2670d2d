"""The org's rows: generated, queried, changed and exported."""

from __future__ import annotations

from airflow_sfcc.localorg.records.csv_export import CsvExport, CsvPage
from airflow_sfcc.localorg.records.cursor import Cursor
from airflow_sfcc.localorg.records.store import Records
from airflow_sfcc.localorg.records.transaction import Transaction

__all__ = ["CsvExport", "CsvPage", "Cursor", "Records", "Transaction"]
