"""What Airflow discovers of this package: the connection type with its form."""

from __future__ import annotations

from typing import Any

from airflow_sfcc import __version__


def get_provider_info() -> dict[str, Any]:
    return {
        "package-name": "airflow-sfcc",
        "name": "Salesforce (Client Credentials)",
        "description": "Scheduled extracts from Salesforce",
        "versions": [__version__],
    }
