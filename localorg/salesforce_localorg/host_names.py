"""Salesforce's host names as the local org uses them: My Domain hosts, login hosts, and listening sockets for its own.

Facts: salesforce-protocol.md#my-domain; help "My Domain URL Formats" for the host names of sandboxes and other editions.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase

MY_DOMAIN = "localorg.my.salesforce.com"
ANY_MY_DOMAIN = "*.my.salesforce.com"
LOGIN_HOSTS = ("login.salesforce.com", "test.salesforce.com")
REFUSING_HOSTS = ("*.salesforce-setup.com", "*.lightning.force.com")  # people paste these; no token is to be had there
# A certificate's wildcard stands for one label only, so each kind of org needs a name of its own.
CERTIFICATE_NAMES = (
    ANY_MY_DOMAIN,
    *(f"*.{kind}.my.salesforce.com" for kind in ("sandbox", "develop", "scratch", "trailblaze", "demo", "patch")),
    *LOGIN_HOSTS,
    *REFUSING_HOSTS,
)


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host name is one of `patterns`, in which `*` stands for any text."""
    return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in patterns)


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket bound to the address; `port` 0 takes a free one. Raises OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio recognises the connections as TCP and switches Nagle's delay off.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
