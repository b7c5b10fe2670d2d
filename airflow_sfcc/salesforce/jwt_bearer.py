"""The OAuth 2.0 JWT bearer flow: a login signed with a private key, whose certificate the app in Salesforce knows.

Source: Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration" (docs/salesforce-protocol.md, heading JWT
bearer). The claims are `iss`, `sub`, `aud` and `exp`; the signature is RS256.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_sfcc.errors import CERTIFICATE, RUN_AS_USER, ConfigurationError
from airflow_sfcc.redaction import register_key, register_secret
from airflow_sfcc.salesforce.error_tables import JWT_ERRORS, TokenError
from airflow_sfcc.salesforce.instance import Origin

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"

LIFETIME = timedelta(minutes=3)
"""Of an assertion, by the org's clock: the longest that Salesforce's help allows."""

FEWEST_BITS = 2048
LARGEST_KEY_FILE = 65_536

PRODUCTION, SANDBOX = "https://login.salesforce.com", "https://test.salesforce.com"

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.S)
_ENCODED_PEM = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=\s]+")


@dataclass(frozen=True)
class KeyCredentials:
    """Where to log in, as which app and which user. The key is left out of `repr`.

    `username` is that of the user whose access the token carries, `audience` the `aud` claim. `mask` is told the text of
    the key and each assertion, when the login is made: telling Airflow takes time, and an event loop must not wait for it.
    """

    login: Origin
    consumer_key: str
    username: str
    audience: str
    private_key: RSAPrivateKey = field(repr=False)
    pem: str = field(repr=False)
    mask: Callable[[str], None] | None = field(default=None, repr=False)

    @property
    def errors(self) -> Sequence[TokenError]:
        return JWT_ERRORS

    def form(self, now: datetime) -> dict[str, str]:
        """The token request's fields; `now` is the org's time."""
        import jwt

        claims = {
            "iss": self.consumer_key,
            "sub": self.username,
            "aud": self.audience,
            "exp": int((now + LIFETIME).timestamp()),
        }
        assertion = jwt.encode(claims, self.private_key, algorithm="RS256")
        for secret in (self.pem.strip(), assertion):  # the key again: by now it may be forgotten for later secrets
            register_secret(secret)
        register_key(_canonical(self.pem))
        if self.mask:
            self.mask(self.pem)
            self.mask(assertion)
        return {"grant_type": GRANT_TYPE, "assertion": assertion}


def key_credentials(
    login: Origin,
    consumer_key: str,
    private_key: str,
    username: str | None,
    audience: str | None,
    mask: Callable[[str], None] | None,
) -> KeyCredentials:
    """Credentials of a connection that has a private key. Raises ConfigurationError for what cannot be used."""
    if not username:
        raise ConfigurationError(
            "The connection has a private key, so it logs in by the JWT bearer flow, but it does not say as whom.\nSet username "
            "in its extra to the username of the integration user.",
            step=RUN_AS_USER,
        )
    key = load_private_key(private_key)
    return KeyCredentials(login, consumer_key, username, audience or audience_for(login), key, private_key, mask)


def require_no_settings(username: str | None, audience: str | None) -> None:
    """Raises ConfigurationError for settings of this flow in a connection of the other one."""
    if username or audience:
        raise ConfigurationError(
            f"The connection's extra has {'username' if username else 'audience'}, which belongs to the JWT bearer flow, but "
            "there is no private key in place of the secret.\nEnter the key, name its file as private_key_file in the extra, or "
            "remove the setting.",
            step=CERTIFICATE,
        )


def audience_for(login: Origin) -> str:
    """The `aud` that Salesforce wants from an org behind this host.

    Sandboxes and scratch orgs are of `test.salesforce.com`, all other orgs under `my.salesforce.com` of
    `login.salesforce.com`: the values that Salesforce's help names. (The Salesforce CLI tries My Domain first, then these.)
    Hosts of other clouds, gateways and loopback are named themselves.
    """
    if not login.host.endswith(".my.salesforce.com"):
        return str(login)
    is_sandbox = login.is_under(("sandbox.my.salesforce.com", "scratch.my.salesforce.com"))
    # Before enhanced domains, sandboxes had no level of their own: acme--uat.my.salesforce.com.
    return SANDBOX if is_sandbox or "--" in login.host.partition(".")[0] else PRODUCTION


def is_pem(text: str) -> bool:
    """Whether this is PEM, or base64 of it: then it is no consumer secret."""
    return "-----BEGIN " in text or _ENCODED_PEM.fullmatch(text.strip()) is not None


def read_key_file(name: str) -> str:
    """The text of the file that `private_key_file` names. Raises ConfigurationError when it cannot be read."""
    try:
        with Path(name).expanduser().open("rb") as file:
            content = file.read(LARGEST_KEY_FILE + 1)
    except (OSError, ValueError, RuntimeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else type(problem).__name__
        raise ConfigurationError(
            f"The file {name!r}, which private_key_file in the connection's extra names, could not be read ({why}). It must be "
            "on every worker, and where the triggerer and the API server run.",
            step=CERTIFICATE,
        ) from None
    if len(content) > LARGEST_KEY_FILE:
        raise ConfigurationError(f"The file {name!r} is too large for a private key.", step=CERTIFICATE)
    return content.decode("utf-8", "replace")


def load_private_key(text: str) -> RSAPrivateKey:
    """The key in a PEM text, however its line breaks were lost on the way: a form of one line, JSON, an environment variable.

    Raises ConfigurationError, which never repeats the text, for anything but an unencrypted RSA key of 2,048 bits or more.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = _canonical(text)
    register_secret(text.strip())
    register_key(pem)
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (TypeError, ValueError, UnicodeError):
        raise _unusable("it is damaged: copy the whole file again, from BEGIN to END") from None
    except Exception as problem:  # UnsupportedAlgorithm, and what later releases add
        raise _unusable(f"its kind is not supported ({type(problem).__name__})") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _unusable("it is not an RSA key, and Salesforce's signature for this flow is RS256")
    if key.key_size < FEWEST_BITS:
        raise _unusable(f"it has {key.key_size:,} bits, and {FEWEST_BITS:,} are the fewest")
    return key


def _canonical(text: str) -> str:
    """The first private key in the text, as PEM with its own line breaks."""
    text = text.strip().replace("\\r", "").replace("\\n", "\n")
    if _ENCODED_PEM.fullmatch(text):
        try:
            text = base64.b64decode("".join(text.split()), validate=True).decode("ascii", "replace")
        except (binascii.Error, ValueError):
            raise _unusable("it is damaged: copy the whole file again") from None
    blocks = _PEM.findall(text)
    for kind, body in blocks:
        if kind == "ENCRYPTED PRIVATE KEY" or "ENCRYPTED" in body:
            raise _unusable(
                "it is encrypted with a passphrase: decrypt it first (openssl pkey -in key.pem), and keep it where "
                "your secrets are kept"
            )
        if kind.endswith("PRIVATE KEY"):
            digits = "".join(body.split())
            lines = [digits[start : start + 64] for start in range(0, len(digits), 64)]
            return "\n".join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""))
    if blocks:
        raise _unusable(f"it is a {blocks[0][0].lower()}: enter the private key that belongs to it")
    raise _unusable("it has no whole -----BEGIN PRIVATE KEY----- block: copy the whole file again, from BEGIN to END")


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(f"The connection's private key cannot be used: {why}.", step=CERTIFICATE)
