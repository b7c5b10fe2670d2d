"""A Salesforce org that runs on your machine: real wire, generated records, no account needed."""

from __future__ import annotations

__version__ = "0.1.0"
