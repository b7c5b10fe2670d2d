"""The search for secrets finds what it looks for, however it is wrapped."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.secret_search import SecretForms, files, tables

KEY, SECRET, TOKEN = "3MVG9key", "5EC/RET+0123456789", "00D000000000062!AQ.some_token.0123456789"
FORMS = SecretForms(KEY, SECRET, [TOKEN])


@pytest.mark.parametrize("value", [SECRET, TOKEN])
def test_every_form_is_found(value: str) -> None:
    wrapped = [value, quote(value, safe=""), quote_plus(value), f"Authorization: Bearer {value}"]
    for before in ("", "a", "ab", "abc", f"{KEY}:", "Bearer "):
        wrapped += [base64.b64encode(f"{before}{value}{after}".encode()).decode() for after in ("", "x", "xy", "xyz")]
        wrapped.append(base64.urlsafe_b64encode(f"{before}{value}?>~".encode()).decode())
    for text in wrapped:
        assert FORMS.found_in([("here", f'{{"a": "{text}"}}'.encode())]), text


def test_nothing_else_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"{KEY} signed in as 00D000000000062 with ***")
    assert FORMS.found_in(files(tmp_path)) == []


def test_file_names_and_rows_are_searched(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text("empty")
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        database.execute("CREATE TABLE xcom (key TEXT, value BLOB)")
        database.execute("INSERT INTO xcom VALUES ('a', ?)", (b"x" * 10_000 + SECRET.encode(),))
    database.close()
    assert ("table xcom", "secret") in FORMS.found_in(tables(tmp_path / "airflow.db"))
    assert any(place.endswith(TOKEN) for place, _ in FORMS.found_in(files(tmp_path)))
