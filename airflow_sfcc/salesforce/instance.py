"""Which hosts may see the credentials and the token.

The credentials go to the My Domain host and to no other. The token goes to the *verified instance* and to no other:
the My Domain host itself, a host under Salesforce's own domains, a host the connection lists in `allowed_hosts`, or,
when the login host is loopback, another loopback host. Every link that a server sends must stay on that instance.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_sfcc.errors import MY_DOMAIN, ConfigurationError, UnexpectedResponseError, UntrustedHostError

SALESFORCE_DOMAINS = ("salesforce.com", "salesforce.mil", "crmforce.mil", "sfcrmproducts.cn")
"""Domains that only Salesforce hands out API hosts under: commercial, US government, US military, China (Alibaba)."""

LONGEST_LINK = 4_096
"""Characters of a link that the org sends; Salesforce's have some 150."""

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*", re.I | re.A)


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port: what decides who reads a request."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute URL. Raises ValueError when the URL is not one, or hides its host."""
        if any(ch in url for ch in "\\\t\r\n ") or not url.isprintable():
            raise ValueError("it holds characters that have no place in a URL")
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError("it is not an http or https URL")
        if "@" in parts.netloc:
            raise ValueError("it holds a user name")
        host = (parts.hostname or "").rstrip(".")
        if not _is_address(host) and not _is_host_name(host):
            raise ValueError("its host is not a host name")
        return cls(parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme])

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        return _is_address(self.host) and ipaddress.ip_address(self.host).is_loopback

    def is_under(self, domains: Collection[str]) -> bool:
        return any(self.host == domain or self.host.endswith("." + domain) for domain in domains)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def _is_host_name(host: str) -> bool:
    """By the lengths, too, that names of hosts can have (RFC 1035, 2.3.4)."""
    return len(host) <= 253 and all(len(label) <= 63 for label in host.split(".")) and _HOST.fullmatch(host) is not None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(url: str) -> bool:
    """Whether a URL points to this machine."""
    try:
        return Origin.of(url).is_loopback
    except ValueError:
        return False


def login_origin(host: str, *, port: int | None = None, scheme: str | None = None, allow_http: bool = False) -> Origin:
    """The origin that a person meant by what they typed as My Domain: a host name, or a URL pasted from a browser.

    Raises ConfigurationError for hosts that never answer the client-credentials flow (salesforce-protocol.md#my-domain), and
    for plain http anywhere but on loopback.
    """
    typed = host.strip()
    if not typed:
        raise ConfigurationError(
            "The connection has no host: enter your My Domain, such as acme.my.salesforce.com.", step=MY_DOMAIN
        )
    origin = _parse_typed(typed, port, scheme)
    _refuse_hosts_without_the_flow(origin)
    if origin.scheme == "http" and not (origin.is_loopback or allow_http):
        raise ConfigurationError(
            f"{origin} would send the consumer secret unencrypted: use https, or set allow_http in the connection's "
            "extra if this really is a test server.",
            step=MY_DOMAIN,
        )
    return origin


def _parse_typed(typed: str, port: int | None, scheme: str | None) -> Origin:
    bare = "://" not in typed
    try:
        origin = Origin.of(f"{scheme or 'https'}://{_bracketed(typed)}" if bare else typed)
    except ValueError as problem:
        raise ConfigurationError(
            f"The connection's host is not usable, since {problem}: enter your My Domain, such as "
            "acme.my.salesforce.com.",
            step=MY_DOMAIN,
        ) from None
    chosen_scheme = "http" if bare and not scheme and origin.is_loopback else origin.scheme
    explicit_port = urlsplit(f"//{_bracketed(typed)}" if bare else typed).port or port
    return Origin(chosen_scheme, origin.host, explicit_port or _DEFAULT_PORTS[chosen_scheme])


def _bracketed(typed: str) -> str:
    return f"[{typed}]" if _is_address(typed) and ":" in typed else typed


def _refuse_hosts_without_the_flow(origin: Origin) -> None:
    if origin.host in ("login.salesforce.com", "test.salesforce.com", "salesforce.com", "www.salesforce.com"):
        raise ConfigurationError(
            f"{origin.host} does not answer the client-credentials flow: use your org's My Domain, such as "
            "acme.my.salesforce.com (sandboxes: acme--uat.sandbox.my.salesforce.com).",
            step=MY_DOMAIN,
        )
    if origin.is_under(("lightning.force.com", "salesforce-setup.com", "visualforce.com", "force.com")):
        raise ConfigurationError(
            f"{origin.host} is a page host, not an API host: use your org's My Domain, probably "
            f"{_my_domain_behind(origin.host)}.",
            step=MY_DOMAIN,
        )
    if "." not in origin.host and ":" not in origin.host and not origin.is_loopback and origin.scheme == "https":
        raise ConfigurationError(
            f"'{origin.host}' is not a whole host name: use your org's My Domain, probably "
            f"{origin.host}.my.salesforce.com.",
            step=MY_DOMAIN,
        )


def _my_domain_behind(page_host: str) -> str:
    """`acme--uat.sandbox.my.salesforce.com` for `acme--uat.sandbox.lightning.force.com`."""
    found = re.match(r"(.+?)\.(?:my|lightning)\.", page_host)
    return f"{found[1] if found else page_host.split('.')[0]}.my.salesforce.com"


@dataclass(frozen=True)
class InstanceRule:
    """Decides whether an `instance_url` may be given the token."""

    login: Origin
    allowed_hosts: frozenset[str] = frozenset()
    allow_http: bool = False

    def verify(self, instance_url: str) -> Origin:
        """The origin of `instance_url`. Raises UntrustedHostError when it is none that the token may go to."""
        try:
            instance = Origin.of(instance_url)
        except ValueError as problem:
            raise UntrustedHostError(
                f"The token endpoint of {self.login} answered an instance_url that cannot be used, since {problem}; "
                "nothing was sent to it.",
                step=MY_DOMAIN,
            ) from None
        if not (self._is_known(instance) and self._is_private(instance)):
            raise UntrustedHostError(
                f"The token endpoint of {self.login} answered the instance_url {instance}, which is not a Salesforce "
                "host; nothing was sent to it. If it is right, list its host in allowed_hosts in the connection's "
                "extra.",
                step=MY_DOMAIN,
            )
        return instance

    def _is_known(self, instance: Origin) -> bool:
        if instance == self.login or instance.host in self.allowed_hosts:
            return True
        if f"{instance.host}:{instance.port}" in self.allowed_hosts:
            return True
        if self.login.is_loopback:
            return instance.is_loopback
        default_port = instance.port == _DEFAULT_PORTS[instance.scheme]
        return default_port and (instance.host == self.login.host or instance.is_under(SALESFORCE_DOMAINS))

    def _is_private(self, instance: Origin) -> bool:
        if instance.scheme == "https" or instance.is_loopback:
            return True
        return self.allow_http and self.login.scheme == "http"


def resolve_link(link: str, *, instance: Origin, api_version: str) -> str:
    """The absolute URL of a link that the instance sent.

    Links come absolute, as a path from the root (`/services/data/v67.0/query/...`, documented) or relative to the
    version's root (`/jobs/query/...`, observed; see the two shapes of resultPages in salesforce-protocol.md#parallel-results).
    Raises UntrustedHostError when the link leaves the instance, UnexpectedResponseError for one that is none by its length:
    links are remembered, so that none is followed twice.
    """
    if len(link) > LONGEST_LINK:
        raise UnexpectedResponseError(
            f"Salesforce sent a link of {len(link):,} characters, which is none of Salesforce's own; it was not followed "
            "and nothing was landed. Look for a proxy that changes responses."
        )
    if "://" in link or link.startswith("//"):
        return require_same_origin(f"{instance.scheme}:{link}" if link.startswith("//") else link, instance)
    path = link if link.startswith("/") else f"/{link}"
    if not path.startswith("/services/"):
        path = f"/services/data/v{api_version}{path}"
    return require_same_origin(f"{instance}{path}", instance)


def require_same_origin(url: str, instance: Origin) -> str:
    """`url`, when it is on the instance. Raises UntrustedHostError when it is not."""
    try:
        origin = Origin.of(url)
    except ValueError as problem:
        raise UntrustedHostError(
            f"Salesforce sent a link that cannot be used, since {problem}; it was not followed and nothing was landed."
        ) from None
    if origin != instance:
        raise UntrustedHostError(
            f"A link points to {origin}, away from the verified instance {instance}; it was not followed, the token was "
            "not sent, and nothing was landed. If nobody changed your org's My Domain meanwhile, tell your Salesforce "
            "admin."
        )
    return url
