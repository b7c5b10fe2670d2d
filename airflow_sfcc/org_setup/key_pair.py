"""The private key and the self-signed certificate of the JWT bearer flow.

Source: help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration": RSA, SHA-256, at least 2048 bits; the
certificate is an X.509 one of at most 4 KB.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_sfcc.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

KEY_SIZE = 2048
LARGEST_CERTIFICATE = 4096


def write_key_pair(key_file: Path, certificate_file: Path, *, name: str, days: int) -> str:
    """Write a new private key (readable by its owner only) and its certificate; return the certificate as PEM text.

    An existing key is kept, and its certificate with it, since an app in use depends on them. Raises ConfigurationError
    when only one of the two files is there.
    """
    if key_file.exists() != certificate_file.exists():
        present, absent = (key_file, certificate_file) if key_file.exists() else (certificate_file, key_file)
        raise ConfigurationError(
            f"{present} is there, but {absent} is not: put both in place, or move the one away for a new pair."
        )
    if key_file.exists():
        certificate_text = read_certificate(certificate_file)
        _require_pair(key_file, certificate_file)
        return certificate_text
    key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private, certificate = _new_key_pair(name, days)
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    certificate_file.write_bytes(certificate)
    return certificate.decode()


def read_certificate(path: Path) -> str:
    """The PEM text of a certificate that somebody else made. Raises ConfigurationError when it is not usable."""
    from cryptography import x509

    try:
        content = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(content)
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"{path} could not be read as a PEM certificate: {problem}.") from None
    if b"PRIVATE KEY" in content:
        raise ConfigurationError(
            f"{path} holds a private key too, which must not go to Salesforce: give the certificate."
        )
    if len(content) > LARGEST_CERTIFICATE:
        raise ConfigurationError(
            f"{path} has {len(content):,} bytes; Salesforce takes {LARGEST_CERTIFICATE:,} at most."
        )
    _require_usable(path, certificate)
    return content.decode()


def _require_usable(path: Path, certificate: Certificate) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    now, key = datetime.now(timezone.utc), certificate.public_key()
    if certificate.not_valid_after_utc <= now:
        raise ConfigurationError(
            f"The certificate {path} ended on {certificate.not_valid_after_utc:%Y-%m-%d}: move it and its key away for a new "
            "pair, or give one that lasts."
        )
    if certificate.not_valid_before_utc > now:
        raise ConfigurationError(
            f"The certificate {path} begins on {certificate.not_valid_before_utc:%Y-%m-%d}: give one that holds today."
        )
    if not isinstance(key, RSAPublicKey) or key.key_size < KEY_SIZE:
        raise ConfigurationError(
            f"The certificate {path} is of no RSA key with {KEY_SIZE} bits or more, which Salesforce wants: make another pair."
        )


def _require_pair(key_file: Path, certificate_file: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, TypeError, ValueError):
        raise ConfigurationError(f"{key_file} could not be read as an unencrypted PEM private key.") from None
    if key.public_key() != x509.load_pem_x509_certificate(certificate_file.read_bytes()).public_key():
        raise ConfigurationError(f"{certificate_file} does not belong to {key_file}: move both away for a new pair.")


def _new_key_pair(name: str, days: int) -> tuple[bytes, bytes]:
    """PEM bytes of a new RSA key, and of a certificate for it that is valid from yesterday for `days` days."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_SIZE)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])  # X.520: 64 characters at most
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
