"""Fixtures of the load tests."""

from __future__ import annotations

from tests.load.tables import loaded, postgres, store

__all__ = ["loaded", "postgres", "store"]
