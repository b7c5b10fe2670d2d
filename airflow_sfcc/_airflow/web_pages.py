"""Addresses of Salesforce's own pages, for people."""

from __future__ import annotations

from urllib.parse import quote


def bulk_job_page(instance: str, job_id: str) -> str:
    """The job's page in Setup, Bulk Data Load Jobs. `instance` is an origin such as `https://acme.my.salesforce.com`."""
    return f"{instance}/lightning/setup/AsyncApiJobStatus/page?address={quote(f'/{job_id}', safe='')}"


def list_view(instance: str, sobject: str) -> str:
    """The object's list view, as a person sees its records."""
    return f"{instance}/lightning/o/{quote(sobject, safe='')}/list"
