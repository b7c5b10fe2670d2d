"""The HTTP side of the local org: Salesforce's routes, errors and formats over ASGI."""

from __future__ import annotations

from salesforce_localorg.wire.gateway import Gateway

__all__ = ["Gateway"]
