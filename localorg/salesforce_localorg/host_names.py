"""Salesforce's host names as the local org uses them: My Domain hosts, login hosts, and listening sockets for its own.

Facts: salesforce-protocol.md#my-domain; help "My Domain URL Formats" for the host names of sandboxes and other editions.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
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


def host_name(base_url: str) -> str:
    """The host of a URL, in lower case; empty where it has none."""
    try:
        return (urlsplit(base_url).hostname or "").lower()
    except ValueError:
        return ""


def is_address(host: str) -> bool:
    """Whether the host is an IP address, which no DNS server has a say in."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    return host in LOOPBACK_NAMES or (is_address(host) and ipaddress.ip_address(host).is_loopback)
