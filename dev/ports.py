"""Ports on loopback."""

from __future__ import annotations

import socket

from dev.errors import HarnessError


class PortTakenError(HarnessError):
    """Another program listens on the port."""


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_if_taken(port: int) -> None:
    """Raise :class:`PortTakenError` if another program listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise PortTakenError(f"Port {port} is used by another program: stop that program or choose another port.")
