"""A private key and its certificate for the JWT bearer flow, made on the spot."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

KEY_BITS = 2048
VALID = timedelta(days=365)


@dataclass(frozen=True)
class KeyPair:
    """PEM texts: the key that a client signs with, and the certificate that is uploaded to the org's app."""

    private_key: str = field(repr=False)
    certificate: str

    @classmethod
    def generate(cls, common_name: str = "localorg") -> KeyPair:
        """A fresh RSA key with a self-signed certificate, as `openssl req -x509 -newkey rsa:2048` makes them."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + VALID)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())


def check_certificate(pem: str) -> None:
    """Raises ValueError with a sentence unless the text is a PEM certificate with an RSA key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except ValueError as error:
        raise ValueError(f"The certificate is no PEM certificate (-----BEGIN CERTIFICATE-----): {error}") from None
    if not isinstance(key, RSAPublicKey):
        raise ValueError("The certificate's key is not an RSA key; Salesforce takes RS256 signatures only.")
