"""What the ready file of `make up` says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests


@dataclass(frozen=True)
class Stack:
    """A running `make up`: its Airflow, its org and where their files are."""

    home: Path
    url: str
    username: str
    password: str
    pid: int
    org_url: str
    connection: dict[str, Any]

    def tokens(self) -> list[str]:
        """Every access token that the org gave out."""
        with requests.Session() as session:
            session.trust_env = False
            response = session.get(f"{self.org_url}/_org/sessions", timeout=30)
            response.raise_for_status()
            issued: list[str] = response.json()["issued"]
            return issued

    def change_settings(self, **settings: Any) -> None:
        """Change what the org allows, such as `run_as`."""
        with requests.Session() as session:
            session.trust_env = False
            session.patch(f"{self.org_url}/_org/settings", json=settings, timeout=30).raise_for_status()
            session.delete(f"{self.org_url}/_org/sessions", timeout=30).raise_for_status()
