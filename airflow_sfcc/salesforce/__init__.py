"""The Salesforce client. Knows HTTP and the wire; imports no Airflow."""

from __future__ import annotations

from airflow_sfcc.salesforce.client import SalesforceClient, connect
from airflow_sfcc.salesforce.errors import SalesforceError

__all__ = ["SalesforceClient", "SalesforceError", "connect"]
