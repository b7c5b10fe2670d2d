"""Scheduled extracts from Salesforce with client credentials, run by Apache Airflow."""

__version__ = "0.1.0"
