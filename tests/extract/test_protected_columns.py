"""Columns that must not land as they are: hashed ones, dropped ones, and what is refused since it would let values out."""

from __future__ import annotations

import gzip
import hmac
import logging
import pickle
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from upath import UPath

from airflow_sfcc.errors import ConfigurationError, ConversionError, IncompleteResultError, QueryError, StateError
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request, RunIdentity
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.extract.protect.hashing import HashKey
from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows, run_identity
from tests.reconcile.broken import empty_place
from tests.wire_server import SOBJECT, described, wire

SECRET = "a key of more than sixteen bytes"
KEY = HashKey(SECRET)
RULES = {"Contact.Email": "hash", "type:phone": "hash", "*.Birthdate": "hash", "contact.mailing*": "drop"}
FIELDS = ["Email", "Phone", "MobilePhone", "Birthdate", "MailingCity", "MailingStreet"]


def hashed(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()


def everything_in(root: Path) -> str:
    """The bytes of all files, and what they hold when they are unpacked."""
    found = []
    for path in (path for path in root.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found.append(data.decode(errors="replace"))
        if path.suffix == ".gz":
            found.append(gzip.decompress(data).decode())
        if path.suffix == ".parquet":
            found.append(str(pq.read_table(path).to_pydict()))
    return "\n".join(found)


def plain_values(org: RunningOrg, kept: Sequence[str]) -> set[str]:
    """Every value of the protected fields, without those that the columns `kept` hold too, by chance."""
    protected = org.client().query(f"SELECT {', '.join(FIELDS)} FROM Contact")
    values = {str(value) for record in protected for value in record.values() if value and len(str(value)) > 8}
    others = str(list(org.client().query(f"SELECT {', '.join(kept)} FROM Contact")))
    return {value for value in values if value not in others and repr(value)[1:-1] not in others}


@pytest.mark.parametrize("api", ["rest", "bulk"])
@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_no_plain_value_lands_and_hashes_are_those_of_the_key(
    org: RunningOrg, tmp_path: Path, api: str, file_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    manifest = extract(org, tmp_path, sobject="Contact", columns=RULES, api=api, file_format=file_format, hash_key=KEY)
    rows = {row["Id"]: row for row in read_rows(tmp_path / f"extract={manifest['extract_id']}", manifest)}
    kept = [str(column["name"]) for column in manifest["schema"] if "hashed" not in column]
    values = plain_values(org, kept)
    there = everything_in(tmp_path) + caplog.text + str(manifest)
    assert len(values) > 1_000 and [value for value in values if value in there] == []
    for record in org.client().query("SELECT Id, LastName, Email, Phone, Birthdate FROM Contact"):
        row = rows[record["Id"]]
        assert row["LastName"] == record["LastName"] and not any(name.startswith("Mailing") for name in row)
        for name in ("Email", "Phone", "Birthdate"):
            assert row[name] == (None if record[name] is None else hashed(record[name])), name
    about = {column["name"]: column for column in manifest["schema"]}
    assert about["Email"] | {"nullable": True} == {
        "name": "Email",
        "salesforce_type": "email",
        "type": "string",
        "nullable": True,
        "hashed": f"hmac-sha256:{KEY.fingerprint}",
    }
    assert "hashed" not in about["LastName"] and {"MailingCity", "MailingStreet"} <= set(manifest["dropped_columns"])
    assert SECRET not in there and "hashed are" in caplog.text


def test_numbers_and_stamps_are_hashed_alike_by_both_apis_and_for_both_kinds_of_numbers(
    org: RunningOrg, tmp_path: Path
) -> None:
    rules = {"type:currency": "hash", "*.LastModifiedDate": "hash", "*.NumberOfEmployees": "hash"}
    landed = []
    for api in ("rest", "bulk"):
        for numbers in ("float", "decimal"):
            place = tmp_path / api / numbers
            manifest = extract(
                org, place, sobject="Account", columns=rules, api=api, numbers=numbers, hash_key=KEY, file_format="csv"
            )
            rows = read_rows(place / f"extract={manifest['extract_id']}", manifest)
            names = ("Id", "AnnualRevenue", "LastModifiedDate", "NumberOfEmployees")
            landed.append(sorted(tuple(row[name] for name in names) for row in rows))
    assert landed[0] == landed[1] == landed[2] == landed[3] and len(landed[0]) > 1_000


def test_equal_values_of_different_objects_are_hashed_equally(org: RunningOrg, tmp_path: Path) -> None:
    """So are those read through a parent, by the rule for the parent's own field."""
    rules = {"Account.Name": "hash"}
    accounts = extract(org, tmp_path / "a", sobject="Account", columns=rules, hash_key=KEY)
    contacts = extract(
        org, tmp_path / "c", soql="SELECT Id, Account.Name FROM Contact WHERE AccountId != null", columns=rules,
        hash_key=KEY,
    )  # fmt: skip
    names = {row["Name"] for row in read_rows(tmp_path / f"a/extract={accounts['extract_id']}", accounts)}
    found = {row["Account.Name"] for row in read_rows(tmp_path / f"c/extract={contacts['extract_id']}", contacts)}
    assert found and found <= names and all(len(name) == 64 for name in names)


def test_the_last_rule_holds(org: RunningOrg, tmp_path: Path) -> None:
    rules = {"*.*": "drop", "Contact.Email": "hash", "*.Id": "keep", "Contact.LASTNAME": "keep"}
    manifest = extract(org, tmp_path, sobject="Contact", columns=rules, hash_key=KEY)
    assert [column["name"] for column in manifest["schema"]] == ["Id", "LastName", "Email"]
    assert manifest["soql"] == "SELECT Id, LastName, Email FROM Contact"


@pytest.mark.parametrize(
    ("rules", "plain"),
    [
        ({"type:address": "drop"}, []),
        ({"Contact.mailingADDRESS": "drop"}, []),
        ({"*.MailingAddress": "hash"}, []),
        ({"*.Mailing*": "drop", "*.MailingAddress": "keep"}, []),
        ({"type:address": "drop", "*.MailingAddress": "keep"}, None),
        ({"*.MailingAddress": "hash", "*.MailingCity": "keep"}, ["MailingCity"]),
    ],
)
def test_a_rule_for_a_compound_field_is_for_its_parts(
    org: RunningOrg, rules: Mapping[str, str], plain: list[str] | None
) -> None:
    """Which is all of it that is ever read."""
    parts = [f"Mailing{each}" for each in ("City", "Country", "PostalCode", "State", "Street")]
    request = Request(sobject="Contact", columns=rules)
    plan = make_plan(org.client(), request, run_identity(), hash_key=KEY)
    left = sorted(each.name for each in plan.columns if each.name in parts and each.hashed is None)
    assert left == (parts if plain is None else plain)
    soql = "SELECT Id FROM Contact WHERE MailingStreet = '1 Main Street'"
    refused = plain is not None
    with pytest.raises(QueryError, match="in a condition") if refused else nullcontext():
        make_plan(org.client(), Request(soql=soql, columns=rules), run_identity(), hash_key=KEY)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"columns": {"*.Id": "hash"}}, r"columns hashes Contact\.Id, and the extract needs it.*'Contact\.Id': 'keep'"),
        ({"columns": {"type:datetime": "hash"}}, "columns hashes Contact.SystemModstamp"),
        ({"columns": {"type:datetime": "drop"}, "mode": "incremental"}, "columns drops Contact.SystemModstamp"),
        ({"columns": {"*.IsDeleted": "hash"}}, "columns hashes Contact.IsDeleted"),
        ({"columns": {"Contact.Emial": "hash"}}, r"columns names Contact\.Emial.*no such field.*Did you mean Email\?"),
        ({"where": "Email = 'a@b.example'"}, r"the query has Contact\.Email in a condition"),
        ({"where": "Id IN (SELECT ContactId FROM Case WHERE Contact.Email = 'a')"}, "in a condition"),
        ({"where": "Id != null AND (NOT Email LIKE 'a%')"}, "in a condition"),
        ({"columns": {"Contact.LastName": "hash"}}, r"Contact\.Name holds its values too: add 'Contact\.Name'"),
        ({"soql": "SELECT MAX(Email) FROM Contact"}, r"has Contact\.Email by MAX\(\)"),
        ({"soql": "SELECT Id, (SELECT Email FROM Contacts) FROM Account"}, "in a child query.*extract Contact by a task"),
        ({"soql": "SELECT Id, (SELECT FIELDS(ALL) FROM Contacts) FROM Account"}, "in a child query"),
        ({"soql": "SELECT TYPEOF Who WHEN Contact THEN Id, Email ELSE Name END FROM Task"}, "by TYPEOF"),
        ({"soql": "SELECT Email FROM Contact", "columns": {"*.Email": "drop"}}, "No field of Contact is left"),
        ({"columns": {"Email": "hash"}}, "columns names 'Email', which is no rule for a field"),
        ({"columns": {"type:mail": "hash"}}, r"no rule for a type.*Did you mean email"),
        ({"columns": {"*.Email": "hide"}}, "the treatment 'hide'"),
    ],
)  # fmt: skip
def test_what_would_let_values_out_is_refused(org: RunningOrg, request_: Mapping[str, Any], says: str) -> None:
    source: dict[str, Any] = {} if "soql" in request_ else {"sobject": "Contact"}
    request = Request(**{**source, "columns": {"Contact.Email": "hash"}, **request_})
    with pytest.raises(QueryError, match=says):
        make_plan(org.client(), request, run_identity(), hash_key=KEY)


def test_what_lets_nothing_out_is_not_refused(org: RunningOrg, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rules = {
        "Contact.Email": "hash",
        "*.SSN__c": "drop",
        "Contcat.Phone": "hash",
        "Contact.Zip*": "drop",
        "*.Pho_ne": "drop",
    }
    for soql in (
        "SELECT COUNT(Id), COUNT_DISTINCT(Email) FROM Contact WHERE Email != null",
        "SELECT Email, COUNT(Id) n FROM Contact GROUP BY Email",
        "SELECT Id, (SELECT Id, LastName FROM Contacts) FROM Account",
    ):
        make_plan(org.client(), Request(soql=soql, columns=rules), run_identity(), hash_key=KEY)
    assert "columns has rules for other objects than Contact: Contcat.Phone" in caplog.text
    told = {(each.levelname, each.getMessage()) for each in caplog.records}
    assert ("INFO", "columns has a rule for *.SSN__c, and no field of Contact is so") in told
    assert ("WARNING", "columns has a rule for Contact.Zip*, and no field of Contact is so") in told
    assert ("WARNING", "columns has a rule for *.Pho_ne, and no field of Contact is so. Did you mean Phone?") in told
    make_plan(org.client(), Request(sobject="Contact", columns={"Contcat.Phone": "drop"}), run_identity())
    assert "columns has a rule for Contcat.Phone: did you mean Contact?" in caplog.text


def test_without_a_key_nothing_is_planned(org: RunningOrg) -> None:
    with pytest.raises(QueryError, match="no key to hash it by: name a connection"):
        make_plan(org.client(), Request(sobject="Contact", columns={"*.Email": "hash"}), run_identity())


def test_a_key_is_never_shown_and_never_weak() -> None:
    assert SECRET not in f"{KEY!r} {KEY}" and not hasattr(KEY, "__dict__")
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(KEY)
    with pytest.raises(ConfigurationError, match=r"has 5 bytes.*openssl rand"):
        HashKey("short")


def test_another_key_is_noticed(org: RunningOrg, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While an extract is under way, and between the extracts of a destination."""
    other = HashKey("another key that is long enough")
    request: dict[str, Any] = {"sobject": "Contact", "columns": {"*.Email": "hash"}}
    plan = make_plan(org.client(), Request(**request, api="rest"), run_identity(), hash_key=KEY)
    extraction = Extraction(org.client(), UPath(tmp_path), plan, hash_key=other)
    with pytest.raises(
        ConfigurationError, match="key for hashing was changed since this extract of Contact was planned"
    ):
        extraction.start()
        extraction.land()
    extraction.discard()
    incremental: dict[str, Any] = {**request, "mode": "incremental", "lag": timedelta(0)}
    extract(org, tmp_path, run_id="1", hash_key=KEY, **incremental)
    for key, rules in ((other, request["columns"]), (None, None)):
        with pytest.raises(
            StateError, match=r"Contact\.Email is hashed by hmac-sha256:.* one table of both would mix them"
        ):
            extract(org, tmp_path, run_id="2", hash_key=key, **{**incremental, "columns": rules})
    full = extract(org, tmp_path, run_id="3", hash_key=other, **request)
    (change,) = full["schema_changes"]
    assert change["column"] == "Email" and change["from"]["hashed"] != change["to"]["hashed"]
    extract(org, tmp_path, run_id="4", hash_key=other, **incremental)


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_rows_that_a_rerun_carries_over_lose_what_is_dropped_since(tmp_path: Path, file_format: str) -> None:
    """A run is cleared after the rule was added, and in the meantime a record went: its only copy is in the version before."""
    with empty_place(tmp_path, 3, "Contact") as place:
        place.records.insert("Contact", {"LastName": "Kept", "Email": "plain@example.com"})
        gone = place.records.insert("Contact", {"LastName": "Gone", "Email": "gone@example.com"})
        place.wait(timedelta(hours=1))
        run = RunIdentity("nightly", "extract", "run", -1, place.now)
        request: dict[str, Any] = {"sobject": "Contact", "mode": "incremental", "lag": timedelta(0), "run": run}
        request |= {"fields": ["Id", "LastName", "Email"], "file_format": file_format}
        extract(place.running, place.lake, **request)
        place.records.hard_delete("Contact", gone)
        manifest = extract(place.running, place.lake, columns={"*.Email": "drop"}, **request)
        rows = read_rows(place.lake / f"extract={manifest['extract_id']}", manifest)
    assert manifest["carried_rows"] == 1 and {row["LastName"] for row in rows} >= {"Kept", "Gone"}
    assert "@example.com" not in everything_in(place.lake) and all("Email" not in row for row in rows)


def test_errors_do_not_quote_hashed_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the sentence, nor in what Airflow prints below it."""
    caplog.set_level(logging.DEBUG)
    rules = {f"{SOBJECT}.Born__c": "hash"}
    with wire() as said:
        said.fields = [described("Id", "id"), described("Born__c", "date"), described("Due__c", "date")]
        bodies = [
            (b'"Id","Born__c","Due__c"\n"1","1990-02-31","2026-01-01"\n', ConversionError, "hidden, since the column"),
            (b'"Id","Born__c","Due__c"\n"1","1990-02-31"\n', IncompleteResultError, "The CSV is broken"),
        ]
        for body, kind, says in bodies:
            said.pages = [(body, 1)]
            with pytest.raises(kind, match=says) as problem:
                extract(said, tmp_path, sobject=SOBJECT, columns=rules, hash_key=KEY, api="bulk")
            assert "1990-02-31" not in shown(problem.value) + caplog.text
        said.records = ['{"Id": "1", "Born__c": "1990-02-31", "Due__c": null}']
        with pytest.raises(ConversionError, match="hidden, since the column") as problem_of_rest:
            extract(said, tmp_path, sobject=SOBJECT, columns=rules, hash_key=KEY, api="rest")
        assert "1990-02-31" not in shown(problem_of_rest.value) + caplog.text
    assert "1990" not in everything_in(tmp_path)


def shown(problem: BaseException | None) -> str:
    """An exception, and those that a traceback shows above it."""
    if problem is None:
        return ""
    above = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
    return f"{problem!r} {problem}\n{shown(above)}"


def test_fields_that_nobody_left_out_are_named(
    org: RunningOrg, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manifest = extract(org, tmp_path / "all", sobject="Contact")
    left_out = {field["name"]: field for field in manifest["left_out_fields"]}
    assert left_out["MailingAddress"] == {"name": "MailingAddress", "salesforce_type": "address", "why": "compound"}
    told = [each.getMessage() for each in caplog.records if "not read, since" in each.getMessage()]
    assert len(told) == 1 and "MailingAddress (compound)" in told[0]
    assert extract(org, tmp_path / "some", sobject="Contact", fields=["Id"])["left_out_fields"] == []
