"""Columns bear the schema's names and types, however the query spells, aliases or wraps their fields."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_sfcc.errors import QueryError, UnexpectedResponseError
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from airflow_sfcc.salesforce import SalesforceClient
from tests.conftest import RunningOrg
from tests.extract.runs import extract, read_rows, run_identity
from tests.wire_server import SOBJECT, described, wire


def landed(org: RunningOrg, folder: Path, soql: str, **request: Any) -> list[dict[str, Any]]:
    manifest = extract(org, folder, soql=soql, **request)
    return read_rows(folder / f"extract={manifest['extract_id']}", manifest)


def columns(client: SalesforceClient, soql: str, **request: Any) -> dict[str, str]:
    plan = make_plan(client, Request(soql=soql, **request), run_identity())
    return {column.name: column.type for column in plan.columns}


@pytest.mark.parametrize("api", ["rest", "bulk"])
@pytest.mark.parametrize(
    ("select", "source", "names"),
    [
        ("id, NAME, account.name", "contact", ["Id", "Name", "Account.Name"]),
        ("Contact.Id, Contact.Account.Owner.name", "Contact", ["Id", "Account.Owner.Name"]),
        ("c.Id, c.account.NAME", "Contact c", ["Id", "Account.Name"]),
        ("C.Id, c.Account.Owner.Name", "Contact c", ["Id", "Account.Owner.Name"]),
        ("c.Id, a.Name, A.owner.name", "Contact c, c.Account a", ["Id", "Account.Name", "Account.Owner.Name"]),
        ("Id, a.Name", "Contact, Contact.Account a", ["Id", "Account.Name"]),
        ("c.Id, o.Name", "Contact c, c.account a, a.OWNER o", ["Id", "Account.Owner.Name"]),
    ],
)
def test_names_are_the_schemas(
    org: RunningOrg, tmp_path: Path, select: str, source: str, names: list[str], api: str
) -> None:
    assert list(columns(org.client(), f"SELECT {select} FROM {source}")) == names
    rows = landed(org, tmp_path, f"SELECT {select} FROM {source}", api=api)
    assert rows and all(list(row) == names for row in rows)
    assert any(row[names[-1]] for row in rows)


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ("Id, (SELECT id FROM contacts)", ["Id", "Contacts"]),
        ("Id, (SELECT id FROM CONTACTS WHERE Name != ') FROM x')", ["Id", "Contacts"]),
        ("Id, (SELECT c.id FROM Account.contacts c)", ["Id", "Contacts"]),
    ],
)
def test_child_records_bear_the_relationships_name(client: SalesforceClient, select: str, names: list[str]) -> None:
    assert list(columns(client, f"SELECT {select} FROM Account")) == names


def test_a_child_relationship_in_lower_case_is_read(org: RunningOrg, tmp_path: Path) -> None:
    rows = landed(org, tmp_path, "SELECT Id, (SELECT id FROM contacts) FROM account")
    assert any('"Id"' in (row["Contacts"] or "") for row in rows)


def test_a_distance_is_a_number_under_its_alias(client: SalesforceClient) -> None:
    place = "DISTANCE(BillingAddress, GEOLOCATION(37.775, -122.418), 'mi')"
    assert columns(client, f"SELECT Id, {place} dist FROM Account") == {"Id": "string", "dist": "float64"}
    assert columns(client, f"SELECT Id, {place} FROM Account") == {"Id": "string", "expr0": "float64"}
    assert columns(client, f"SELECT a.Id, {place} d FROM Account a WHERE {place} < 9") == {
        "Id": "string",
        "d": "float64",
    }


@pytest.mark.parametrize(
    ("select", "tail", "types"),
    [
        ("Account.Name", "", {"Account.Name": "string"}),
        ("Account.Name", "GROUP BY Account.Name", {"Name": "string"}),
        ("account.NAME who", "GROUP BY Account.Name", {"who": "string"}),
        ("IsDeleted, COUNT(Id)", "GROUP BY IsDeleted", {"IsDeleted": "boolean", "expr0": "int64"}),
        ("MAX(CreatedDate), MIN(Birthdate) first", "", {"expr0": "timestamp[ms, UTC]", "first": "date32"}),
        ("CALENDAR_YEAR(CreatedDate)", "GROUP BY CALENDAR_YEAR(CreatedDate)", {"expr0": "int64"}),
        (
            "DAY_ONLY(convertTimezone(CreatedDate)) d",
            "GROUP BY DAY_ONLY(convertTimezone(CreatedDate))",
            {"d": "date32"},
        ),
        ("FORMAT(MAX(CreatedDate))", "", {"expr0": "string"}),
        ("FORMAT(CreatedDate)", "", {"CreatedDate": "string"}),
        ("toLabel(LeadSource)", "", {"LeadSource": "string"}),
        ("toLabel(c.leadsource) label", "", {"label": "string"}),
        ("toLabel(c.account.industry)", "", {"Account.Industry": "string"}),
    ],
)
def test_names_and_types_of_functions(client: SalesforceClient, select: str, tail: str, types: dict[str, str]) -> None:
    assert columns(client, f"SELECT {select} FROM Contact c {tail}") == types


@pytest.mark.parametrize(
    ("select", "tail", "names"),
    [
        ("Account.Name", "", ["Account.Name"]),
        ("Account.Name", "GROUP BY Account.Name", ["Name"]),
        ("COUNT(Id), Account.Name", "GROUP BY Account.Name", ["expr0", "Name"]),
    ],
)
def test_parents_of_grouped_rows_and_of_others(
    org: RunningOrg, tmp_path: Path, select: str, tail: str, names: list[str]
) -> None:
    rows = landed(org, tmp_path, f"SELECT {select} FROM Contact {tail}", api="rest")
    assert rows and all(list(row) == names for row in rows) and any(row[names[-1]] for row in rows)


@pytest.mark.parametrize(
    ("numbers", "kind", "python"), [("float", "float64", float), ("decimal", "decimal128(18, 2)", Decimal)]
)
@pytest.mark.parametrize(
    ("select", "name"),
    [("convertCurrency(Amount)", "Amount"), ("convertCurrency(amount) money", "money"), ("Amount", "Amount")],
)
def test_converted_currencies_are_numbers_like_their_fields(
    org: RunningOrg, tmp_path: Path, select: str, name: str, numbers: str, kind: str, python: type
) -> None:
    soql = f"SELECT {select} FROM Opportunity"
    assert columns(org.client(), soql, numbers=numbers) == {name: kind}
    values = [row[name] for row in landed(org, tmp_path, soql, api="rest", numbers=numbers)]
    assert {type(value) for value in values if value is not None} == {python}


@pytest.mark.parametrize(("numbers", "python"), [("float", float), ("decimal", Decimal)])
@pytest.mark.parametrize("function", ["SUM", "MAX", "MIN"])
def test_aggregates_of_numbers_are_numbers_like_their_fields(
    org: RunningOrg, tmp_path: Path, function: str, numbers: str, python: type
) -> None:
    (row,) = landed(org, tmp_path, f"SELECT {function}(Amount) n FROM Opportunity", numbers=numbers)
    assert type(row["n"]) is python


def test_grouped_dates_keep_their_types(org: RunningOrg, tmp_path: Path) -> None:
    (row,) = landed(org, tmp_path, "SELECT MAX(CreatedDate) a, MAX(CloseDate) b FROM Opportunity")
    assert type(row["a"]) is datetime and type(row["b"]) is date


def test_fields_in_a_child_query_leave_the_parents_alone(client: SalesforceClient) -> None:
    child = "(SELECT FIELDS(STANDARD) FROM Contacts WHERE Name != 'FIELDS(ALL)')"
    soql = f"SELECT Id, {child} FROM Account WHERE Name != 'FIELDS(ALL)'"
    plan = make_plan(client, Request(soql=soql), run_identity())
    assert plan.soql == soql and [column.name for column in plan.columns] == ["Id", "Contacts"]


@pytest.mark.parametrize("kind", ["ALL", "all", "STANDARD", "CUSTOM"])
def test_fields_of_the_object_are_listed(client: SalesforceClient, kind: str) -> None:
    soql = f"SELECT FIELDS( {kind} ), Name FROM Invoice__c WHERE Name != 'FIELDS(ALL)' LIMIT 5"
    if kind != "CUSTOM":
        with pytest.raises(QueryError, match="selects Name more than once"):
            make_plan(client, Request(soql=soql), run_identity())
        soql = soql.replace(", Name", "")
    plan = make_plan(client, Request(soql=soql), run_identity())
    names = [column.name for column in plan.columns]
    assert ("Amount__c" in names) == (kind != "STANDARD") and ("CreatedDate" in names) == (kind != "CUSTOM")
    assert plan.soql.endswith(" FROM Invoice__c WHERE Name != 'FIELDS(ALL)' LIMIT 5")
    assert plan.soql.startswith(f"SELECT {', '.join(names)} FROM")


def test_excluded_names_that_an_object_lacks_are_logged_once(
    client: SalesforceClient, caplog: pytest.LogCaptureFixture
) -> None:
    request = Request(sobject="Contact", exclude_fields=["Descriptoin", "Email", "NoSuch__c", "Acount.Name"])
    plan = make_plan(client, request, run_identity())
    assert "Email" not in {column.name for column in plan.columns}
    (line,) = (record.message for record in caplog.records if "exclude_fields" in record.message)
    assert "Descriptoin, NoSuch__c, Acount.Name" in line and "Did you mean Description?" in line


@pytest.mark.parametrize("status", [403, 500])
def test_a_count_that_is_refused_does_not_end_the_extract(org: RunningOrg, tmp_path: Path, status: int) -> None:
    org.fail("query", status=status, times=None if status == 500 else 1)
    manifest = extract(org, tmp_path, sobject="Account")
    assert manifest["api"] == "bulk" and manifest["rows"] > 0


@pytest.mark.parametrize("status", [403, 404, 500])
def test_parents_that_cannot_be_described_do_not_end_the_extract(
    org: RunningOrg, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    org.fail("describe", path="/(Group|User)/", status=status, times=None)
    assert extract(org, tmp_path / "query", soql="SELECT Id, Owner.Name FROM Case")["rows"] > 200
    manifest = extract(org, tmp_path / "object", sobject="Contact", exclude_fields=["Owner.Email", "Email"])
    assert manifest["rows"] > 800 and "exclude_fields names Owner.Email" in caplog.text
    deep = "SELECT Id, TYPEOF What.Owner WHEN User THEN Email END FROM Task"
    org.fail("describe", path="/Account/", status=status, times=None)
    assert make_plan(org.client(), Request(soql=deep), run_identity()).columns[1].name == "What.Owner"


def test_what_can_be_null_is_told(client: SalesforceClient) -> None:
    """Parents can be, whatever their fields say; counts never are."""

    def nullable(soql: str) -> dict[str, bool]:
        made = make_plan(client, Request(soql=soql), run_identity())
        return {column.name: column.nullable for column in made.columns}

    assert nullable("SELECT Id, Phone, Owner.Id FROM Contact") == {"Id": False, "Phone": True, "Owner.Id": True}
    counts = "COUNT(Id) n, COUNT_DISTINCT(Phone) d, CALENDAR_YEAR(CreatedDate) y"
    counted = nullable(f"SELECT {counts} FROM Contact GROUP BY CALENDAR_YEAR(CreatedDate)")
    assert counted == {"n": False, "d": False, "y": True}


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
@pytest.mark.parametrize(
    "header",
    [
        '"Id","Stage","b","expr0"',
        '"Id","toLabel(Stage)","b","expr0"',
        '"Id","toLabel(Stage)","FORMAT(Day)","DISTANCE(P, Q)"',
    ],
)
def test_bulk_may_call_columns_of_functions_by_the_call(tmp_path: Path, file_format: str, header: str) -> None:
    with wire() as said:
        said.fields = [described("Id", "id"), described("Stage", "picklist"), described("Day", "date")]
        said.pages = [(f'{header}\n"001","Won","1.2.2026","3.5"\n'.encode(), 1)]
        soql = f"SELECT Id, toLabel(Stage), FORMAT(Day) b, DISTANCE(P, GEOLOCATION(1, 2), 'mi') FROM {SOBJECT}"
        manifest = extract(said, tmp_path, soql=soql, api="bulk", file_format=file_format)
    (row,) = read_rows(tmp_path / f"extract={manifest['extract_id']}", manifest)
    assert row == {"Id": "001", "Stage": "Won", "b": "1.2.2026", "expr0": 3.5}


@pytest.mark.parametrize("header", ['"Id","Day"', '"Id","toLabel(Stage)","Day"'])
def test_other_columns_than_those_selected_are_refused(tmp_path: Path, header: str) -> None:
    with wire() as said:
        said.fields = [described("Id", "id"), described("Stage", "picklist"), described("Day", "date")]
        said.pages = [(f"{header}\n".encode() + b'"001"' + b',"x"' * header.count(",") + b"\n", 1)]
        with pytest.raises(UnexpectedResponseError, match=r"other columns than the query asked for .* api='rest'"):
            extract(said, tmp_path, soql=f"SELECT Id, toLabel(Stage) FROM {SOBJECT}", api="bulk")
