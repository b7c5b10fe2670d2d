"""The keyed hash of values: HMAC-SHA-256 of a value's text in UTF-8, as 64 hexadecimal digits.

The text is that which a CSV file would hold for the value, so it is the same by both APIs and in all file formats. Nothing is
normalised: texts that differ in case or in a blank are different values. Null stays null.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from airflow_sfcc.errors import ConfigurationError
from airflow_sfcc.extract.convert.arrow_types import as_text
from airflow_sfcc.redaction import register_secret

FEWEST_KEY_BYTES = 16
"""Of a key: who knows hashed values must not be able to try all keys."""

_NO_TEXT = b"\xff airflow-sfcc"
"""What the key's fingerprint is made of. No value has it as its text, since it is not UTF-8."""


class HashKey:
    """The key that values are hashed by. It is never shown, and never leaves the process: it cannot be pickled."""

    __slots__ = ("_key", "fingerprint")

    def __init__(self, secret: str) -> None:
        """Raises ConfigurationError for a key that could be guessed."""
        key = secret.encode()
        if len(key) < FEWEST_KEY_BYTES:
            raise ConfigurationError(
                f"The key for hashing has {len(key)} bytes, and fewer than {FEWEST_KEY_BYTES} could be guessed: set the "
                "password of the connection in hash_key_conn_id to the output of `openssl rand -base64 32`."
            )
        register_secret(secret)
        self._key = key
        self.fingerprint = hmac.digest(key, _NO_TEXT, "sha256").hex()[:16]
        """Tells keys apart without telling them."""

    def __repr__(self) -> str:
        return f"<HashKey *** with fingerprint {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A HashKey stays in its process.")

    def digest(self, text: str) -> str:
        """The hash of a value's text."""
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def hashed(self, values: pa.Array) -> pa.Array:
        """The hash of each value, null of null. Values that repeat are hashed once."""
        (plain,) = as_text(pa.RecordBatch.from_arrays([values], names=["value"])).columns
        encoded = pc.cast(plain, pa.string()).dictionary_encode()
        digests = pa.array([self.digest(text) for text in encoded.dictionary.to_pylist()], pa.string())
        return digests.take(encoded.indices)
