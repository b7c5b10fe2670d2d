"""The Salesforce client. Knows HTTP and the wire; imports no Airflow."""

from __future__ import annotations

from airflow_sfcc.errors import SalesforceError
from airflow_sfcc.salesforce.client import SalesforceClient, connect

__all__ = ["SalesforceClient", "SalesforceError", "connect"]
