"""Header names as Salesforce writes them.

Names of headers compare without case, but Starlette sends them in lower case, and clients exist that hold answers in a
plain dictionary: Airbyte's reads a Bulk page differently when it finds `content-type` there.
"""

from __future__ import annotations

_IRREGULAR = {
    b"etag": b"ETag",
    b"sforce-numberofrecords": b"Sforce-NumberOfRecords",
    b"www-authenticate": b"WWW-Authenticate",
}


def documented_name(name: bytes) -> bytes:
    """`sforce-limit-info` as the `Sforce-Limit-Info` of the documents."""
    return _IRREGULAR.get(name.lower()) or name.title()
