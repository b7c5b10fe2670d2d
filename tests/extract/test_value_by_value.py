"""What lands equals what the org holds, value by value: both are read independently, and their hashes are compared."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timezone
from typing import Any

import pytest
from salesforce_localorg.records import Records
from upath import UPath

from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows

OBJECTS = ["Account", "Contact", "Opportunity", "Case", "Invoice__c"]


def canonical(value: Any) -> str:
    """One spelling per value and type; floats by their bits, so that -0.0 and every last digit count."""
    if value is None or value == "":
        return "null"
    if isinstance(value, bool):
        return f"bool {value}"
    if isinstance(value, (int, float)):
        return f"number {struct.pack('>d', value).hex()}"
    if isinstance(value, datetime):
        utc = value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return f"datetime {utc.isoformat(timespec='milliseconds')}"
    if isinstance(value, time):
        return f"time {value.isoformat(timespec='milliseconds')}"
    if isinstance(value, date):
        return f"date {value.isoformat()}"
    return f"text {value}"


def hashes(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A hash of every row, by Id."""
    found = {}
    for row in rows:
        text = "\x1f".join(f"{name}={canonical(value)}" for name, value in sorted(row.items()))
        assert row["Id"] not in found, "the same record landed twice"
        found[row["Id"]] = hashlib.sha256(text.encode()).hexdigest()
    return found


def stored(records: Records, sobject: str, columns: list[str], *, deleted: bool = False) -> dict[str, str]:
    """The same hashes, straight from the org's own table."""
    names = ", ".join(f'"{name}"' for name in columns)
    where = "" if deleted else 'WHERE NOT "IsDeleted"'
    cursor = records.raw().execute(f'SELECT {names} FROM "{sobject}" {where}')
    return hashes(dict(zip(columns, row, strict=True)) for row in cursor.fetchall())


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("api", ["rest", "bulk"])
@pytest.mark.parametrize("sobject", OBJECTS)
def test_every_value_of_every_row(
    start_org: Callable[..., RunningOrg], records: Records, root: UPath, sobject: str, api: str, file_format: str
) -> None:
    org = start_org(result_page_rows=170, query_batch=250)
    manifest = extract(org, root, sobject=sobject, api=api, file_format=file_format)
    folder = root / f"extract={manifest['extract_id']}"
    landed = hashes(read_rows(folder, manifest))
    assert landed == stored(records, sobject, [column["name"] for column in manifest["schema"]])
    assert manifest["rows"] == len(landed) == sum(file["rows"] for file in manifest["files"])
    assert manifest["api"] == api


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_soft_deleted_rows_come_along_when_asked_for(org: RunningOrg, records: Records, root: UPath, api: str) -> None:
    manifest = extract(org, root, sobject="Account", fields=["Id", "Name"], deletes="soft", api=api)
    rows = read_rows(root / f"extract={manifest['extract_id']}", manifest)
    assert hashes(rows) == stored(records, "Account", ["Id", "Name", "IsDeleted"], deleted=True)
    assert any(row["IsDeleted"] for row in rows) and manifest["include_deleted"]


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_parents_keep_their_dotted_names(org: RunningOrg, records: Records, root: UPath, api: str) -> None:
    manifest = extract(
        org, root, sobject="Contact", fields=["id", "account.NAME", "Account.Owner.Name", "Owner.Name"], api=api
    )
    assert [column["name"] for column in manifest["schema"]] == [
        "Id",
        "Account.Name",
        "Account.Owner.Name",
        "Owner.Name",
    ]
    expected = records.raw().execute(
        'SELECT c."Id", a."Name", u."Name" FROM "Contact" c LEFT JOIN "Account" a ON a."Id" = c."AccountId" '
        'LEFT JOIN "User" u ON u."Id" = a."OwnerId" WHERE NOT c."IsDeleted"'
    )
    landed = read_rows(root / f"extract={manifest['extract_id']}", manifest)
    found = {row["Id"]: (row["Account.Name"], row["Account.Owner.Name"]) for row in landed}
    assert found == {record_id: (account, owner) for record_id, account, owner in expected.fetchall()}
    assert None in {account for account, _ in found.values()}, "the org holds contacts without an account"
