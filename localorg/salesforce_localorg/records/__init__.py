"""The org's rows: generated, queried, changed and exported."""

from __future__ import annotations

from salesforce_localorg.records.csv_export import CsvExport, CsvPage
from salesforce_localorg.records.cursor import Cursor
from salesforce_localorg.records.store import Records
from salesforce_localorg.records.transaction import Transaction

__all__ = ["CsvExport", "CsvPage", "Cursor", "Records", "Transaction"]
