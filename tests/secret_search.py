"""Looking for secrets where none may be: in files, databases and answers, in every form a secret may take."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote


class SecretForms:
    """What to look for: each secret as it is, URL-encoded, in base64 wherever it begins, and as Basic credentials.

    :param key: the consumer key, which is no secret by itself.
    :param secret: the consumer secret.
    :param tokens: the access tokens that the org gave out.
    :param private_key: the PEM text of a key in place of the secret: looked for whole, without line breaks, and by each of its
        lines.
    :param assertions: the signed JWTs of logins; the signature of each is looked for too.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        tokens: Iterable[str],
        *,
        private_key: str = "",
        assertions: Iterable[str] = (),
    ) -> None:
        self.forms: dict[str, bytes] = {}
        secrets = {"secret": secret, **{f"token {index}": token for index, token in enumerate(tokens)}}
        secrets |= _forms_of_pem(private_key)
        for index, assertion in enumerate(assertions):
            secrets |= {f"assertion {index}": assertion, f"signature {index}": assertion.rpartition(".")[2]}
        secrets = {name: value for name, value in secrets.items() if value}
        for name, value in secrets.items():
            self._add(name, value)
            self._add(f"{name}, URL-encoded", quote(value, safe=""))
        if secret:
            self._add("credentials", f"{key}:{secret}")
            self._add("credentials, URL-encoded", f"{quote(key, safe='')}:{quote(secret, safe='')}")

    def _add(self, name: str, value: str) -> None:
        self.forms[name] = value.encode()
        for shift in range(3):
            self.forms[f"{name}, base64 after {shift} bytes"] = encoded = _base64_within(value.encode(), shift)
            self.forms[f"{name}, base64url after {shift} bytes"] = encoded.translate(bytes.maketrans(b"+/", b"-_"))

    def found_in(self, haystacks: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
        """(place, form) of everything found."""
        return [(place, name) for place, text in haystacks for name, form in self.forms.items() if form in text]


def _forms_of_pem(pem: str) -> dict[str, str]:
    """A key as it is, as JSON or an environment variable writes it, in one line, and by each line, since texts are cut."""
    lines = pem.strip().splitlines()[1:-1]
    forms = {"private key": pem.strip(), "private key with \\n": pem.strip().replace("\n", "\\n")}
    forms |= {"private key in one line": "".join(lines)}
    return (
        {**forms, **{f"private key, line {number}": line for number, line in enumerate(lines) if len(line) > 20}}
        if pem
        else {}
    )


def _base64_within(value: bytes, shift: int) -> bytes:
    """What base64 makes of the value when `shift` bytes (modulo 3) stand before it, without the characters that depend on
    its neighbours."""
    encoded = base64.b64encode(b"\0" * shift + value + b"\0" * 2)
    first, end = -(-shift * 8 // 6), (shift + len(value)) * 8 // 6
    return encoded[first:end]


def files(*roots: Path) -> Iterator[tuple[str, bytes]]:
    """The files below the folders, and each one's path, since a name may carry a secret too."""
    for path in (path for root in roots for path in root.rglob("*") if path.is_file()):
        yield str(path), str(path).encode() + b"\n" + path.read_bytes()


def tables(database: Path, only: Iterable[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Each row of a SQLite database, as text; in the file itself, a long value is in pieces."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in found:
            if only and table not in only:
                continue
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield f"table {table}", b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
