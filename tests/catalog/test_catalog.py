"""`airflow-sfcc catalog`: the dictionary and dbt's sources say what Salesforce says, and nothing of it becomes markup or code."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from html.parser import HTMLParser
from typing import Any

import duckdb
import jinja2
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from salesforce_localorg.records import Records
from upath import UPath

from airflow_sfcc._airflow.schedules import longest_wait, wait_of
from airflow_sfcc.catalog import dbt_sources
from airflow_sfcc.catalog.dbt_sources import Freshness, sources_yaml
from airflow_sfcc.catalog.dictionary import html, markdown
from airflow_sfcc.catalog.er_picture import er_svg
from airflow_sfcc.catalog.sentences import description
from airflow_sfcc.catalog.tables import Column, Table, tables_in
from airflow_sfcc.cli import commands
from airflow_sfcc.extract.described import Described, DescribedField, PicklistValue
from airflow_sfcc.extract.land.describe_file import describe_files
from tests.catalog.landed import OBJECTS, change_manifest, describe_anew, land
from tests.conftest import CONFIG, COUNTS, KEY, SECRET, RunningOrg
from tests.extract.runs import extract

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, records: Records) -> UPath:
    """Users, accounts and contacts, landed once. Tests that change it make their own."""
    from salesforce_localorg.org import LocalOrg
    from salesforce_localorg.server import OrgServer

    folder = UPath(tmp_path_factory.mktemp("lake"))
    with LocalOrg(CONFIG, records=records) as org, OrgServer(org, tls=False) as server:
        land(RunningOrg(org, server), folder)
    return folder


@pytest.fixture
def run(tmp_path: Any) -> Run:
    def catalog(*arguments: object) -> Result:
        return CliRunner().invoke(commands, ["catalog", *map(str, arguments), "--output", str(tmp_path / "out")])

    return catalog


def sources(result: Result, out: Any) -> dict[str, dict[str, Any]]:
    """The tables in sources.yml by name."""
    assert result.exit_code == 0, result.output
    (source,) = yaml.safe_load((out / "out" / "sources.yml").read_text(encoding="utf-8"))["sources"]
    return {table["name"]: table for table in source["tables"]}


def columns(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in table["columns"]}


def test_sources_have_columns_types_descriptions_tests_and_freshness(lake: UPath, run: Run, tmp_path: Any) -> None:
    tables = sources(run(lake, "--freshness", 24), tmp_path)
    assert list(tables) == sorted(OBJECTS)
    account, contact = columns(tables["Account"]), columns(tables["Contact"])
    assert {
        name: account[name]["data_type"]
        for name in ("Id", "IsDeleted", "AnnualRevenue", "CreatedDate", "NumberOfEmployees")
    } == {
        "Id": "varchar",
        "IsDeleted": "boolean",
        "AnnualRevenue": "double",
        "CreatedDate": "timestamp with time zone",
        "NumberOfEmployees": "bigint",
    }
    assert all(
        column["quote"] is True and column["description"] for table in tables.values() for column in table["columns"]
    )
    assert account["Id"]["data_tests"] == ["unique", "not_null"]
    assert contact["AccountId"]["description"] == "Account ID. Reference to Account, in SOQL Account."
    assert contact["AccountId"]["data_tests"] == [
        {
            "relationships": {
                "arguments": {"to": "source('salesforce', 'Account')", "field": '"Id"'},
                "config": {"severity": "warn"},
            }
        }
    ]
    restricted = account["BillingGeocodeAccuracy"]["data_tests"][0]["accepted_values"]
    free = account["Type"]["data_tests"][0]["accepted_values"]
    assert (restricted["config"], free["config"]) == ({"severity": "error"}, {"severity": "warn"})
    assert "Prospect" in free["arguments"]["values"] and "data_tests" not in account["Name"]
    assert tables["Account"]["config"]["freshness"] == {
        "warn_after": {"count": 30, "period": "hour"},
        "error_after": {"count": 54, "period": "hour"},
    }


def test_external_locations_are_the_current_tables(lake: UPath, run: Run, tmp_path: Any) -> None:
    tables = sources(run(lake / "{sobject}", "--freshness", 1), tmp_path)
    with duckdb.connect() as database:
        for name, table in tables.items():
            location = table["config"]["meta"]["external_location"].replace("$$", "$")
            counted = database.execute(f'SELECT count(*), count(DISTINCT "Id") FROM {location}').fetchone()
            assert counted is not None and counted[0] == counted[1] > COUNTS[name] * 0.9
            (read_at,) = database.execute(table["config"]["loaded_at_query"]).fetchone() or (None,)
            assert read_at is not None


def test_rows_that_no_current_table_is_made_of_are_those_of_the_newest_extract(
    org: RunningOrg, run: Run, tmp_path: Any
) -> None:
    root = UPath(tmp_path / "by_type")
    for night in ("1", "2"):
        extract(org, root, soql="SELECT Type, COUNT(Id) n FROM Account GROUP BY Type", run_id=night)
    table = sources(run(root), tmp_path)["Account"]
    with duckdb.connect() as database:
        rows = database.execute(f'SELECT "Type", n FROM {table["config"]["meta"]["external_location"]}').fetchall()
    assert len(rows) == len({name for name, _ in rows}) > 1
    assert [name for name, column in columns(table).items() if "unique" in column.get("data_tests", [])] == []
    assert "freshness" not in table["config"]


def test_the_dictionary_names_every_column_and_loads_nothing(lake: UPath, run: Run, tmp_path: Any) -> None:
    assert run(lake).exit_code == 0
    page = (tmp_path / "out" / "dictionary.html").read_text(encoding="utf-8")
    plain = (tmp_path / "out" / "dictionary.md").read_text(encoding="utf-8")
    seen = Page(page)
    assert "default-src 'none'" in page and {each for each in seen.links if not each.startswith("#")} == set()
    for table in tables_in([lake]):
        for column in table.columns:
            assert f"<td>{column.name}</td>" in page and column.field is not None
            assert f"| {column.name.replace('_', chr(92) + '_')} | " in plain
    assert "Reference to Account, in SOQL Account." in page and "```mermaid\nerDiagram" in plain
    assert '"Account" |o--o{ "Contact" : "AccountId"' in plain


def test_columns_reached_through_a_parent_are_described_by_it(org: RunningOrg, run: Run, tmp_path: Any) -> None:
    lake = UPath(tmp_path / "lake")
    land(org, lake, ("User", "Account"))
    soql = "SELECT Id, SystemModstamp, toLabel(Salutation), Account.Owner.Email FROM Contact"
    extract(org, lake / "Contact", soql=soql)
    contact = columns(sources(run(lake), tmp_path)["Contact"])
    assert contact["Account.Owner.Email"]["description"] == "Email (User.Email)."
    assert "data_tests" not in contact["Salutation"], "labels are not the values of the picklist"


def test_hashed_columns_are_told_and_have_no_tests_of_their_values(org: RunningOrg, run: Run, tmp_path: Any) -> None:
    lake = UPath(tmp_path / "lake")
    land(org, lake, ("User", "Account"))
    schema = tables_in([lake / "Account"])[0].newest["schema"]
    hashed = [
        {**each, "hashed": "hmac-sha256:0123456789abcdef"} if each["name"] in ("Type", "OwnerId") else each
        for each in schema
    ]
    change_manifest(lake / "Account", schema=hashed)
    account = columns(sources(run(lake), tmp_path)["Account"])
    assert account["Type"]["description"].startswith("Account Type. Values are hashed.")
    assert (
        not any("data_tests" in account[name] for name in ("Type", "OwnerId")) and account["CreatedById"]["data_tests"]
    )


def test_what_landed_before_descriptions_were_kept(
    org: RunningOrg, run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = UPath(tmp_path / "lake")
    land(org, lake, ("Account",))
    describe_anew(lake / "Account", None)
    result = run(lake)
    assert "names and types only: it landed before descriptions were kept, see --connection" in result.output
    told = columns(sources(result, tmp_path)["Account"])
    assert told["Name"]["description"] == "A string; describe says no more of it." and told["Id"]["data_tests"]
    connection = {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", json.dumps(connection))
    asked = columns(sources(run(lake, "--connection", "sfcc_default"), tmp_path)["Account"])
    assert asked["Name"]["description"] == "Account Name."
    assert "AIRFLOW_CONN_NOWHERE" in run(lake, "--connection", "nowhere").output


def test_what_cannot_be_cataloged_is_told(org: RunningOrg, run: Run, tmp_path: Any) -> None:
    lake = UPath(tmp_path / "lake")
    lake.mkdir()
    assert "holds no extracts: name an object's folder" in run(lake).output
    extract(org, lake / "csv", sobject="Account", fields=["Id", "Name"], file_format="csv")
    result = run(lake)
    assert "no external_location: dbt-duckdb reads Parquet, and these are csv files" in result.output
    assert "meta" not in sources(result, tmp_path)["Account"].get("config", {})
    extract(org, lake / "again", sobject="Account", fields=["Id"])
    assert "both hold extracts of Account" in run(lake).output
    assert "is no name of a dbt source" in run(lake / "csv", "--source", "a b").output
    change_manifest(lake / "again", sobject="Contact", org_id="00D000000000001AAA")
    assert "extracts of several orgs" in run(lake).output
    change_manifest(lake / "again", sobject="../Contact", org_id=None)
    assert "which is no API name" in run(lake).output
    (name,) = describe_files(lake / "csv")
    (lake / "csv" / name).write_bytes(b"{}")
    assert "is not what an extract wrote there" in run(lake / "csv").output


def test_an_object_that_did_not_land_yet_or_went_leaves_the_others_described(
    org: RunningOrg, run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = UPath(tmp_path / "lake")
    land(org, lake, ("Account", "Contact"))
    (lake / "Lead" / "extract=20260101T000000Z-0123abcd").mkdir(parents=True)
    describe_anew(lake / "Contact", None)
    change_manifest(lake / "Contact", sobject="Gone__c")
    connection = {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", json.dumps(connection))
    result = run(lake, "--connection", "sfcc_default")
    assert list(sources(result, tmp_path)) == ["Account", "Gone__c"]
    assert "Lead holds no committed extract yet, so it is left out" in result.output
    assert "Gone__c is not in the org any more" in result.output
    assert "holds no committed extract: run one" in run(lake / "Lead").output
    assert "A destination is empty" in run("").output


def test_conditions_leave_no_table_to_refer_to(org: RunningOrg, run: Run, tmp_path: Any) -> None:
    lake = UPath(tmp_path / "lake")
    extract(org, lake / "Account", sobject="Account", where="Type = 'Prospect'")
    land(org, lake, ("Contact",))
    tables = sources(run(lake), tmp_path)
    assert "data_tests" not in columns(tables["Contact"])["AccountId"]
    assert "Only records with Type = 'Prospect'." in tables["Account"]["description"]


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [("0 2 * * *", 24), ("0 2 * * 1-5", 72), ("30 * * * *", 1), (timedelta(minutes=15), 0.25), (None, None)],
)
def test_freshness_follows_the_schedule(schedule: Any, hours: float | None) -> None:
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(DAG("nightly", schedule=schedule)))
    assert wait_of(dag.timetable) == (timedelta(hours=hours) if hours else None)


def test_a_dag_that_is_not_known_has_no_schedule() -> None:
    assert longest_wait("a dag that is nowhere") is None


def test_a_short_wait_is_told_in_minutes() -> None:
    assert Freshness(timedelta(minutes=20)).periods["warn_after"] == {"count": 80, "period": "minute"}


# Whatever Salesforce says is text

hostile = st.text(max_size=40) | st.sampled_from(
    [
        "{{ 1 + 1 }}",
        "{% set x = 1 %}{# gone #}",
        "{{{ x }}} {%- raw %}",
        "</td><script>alert(1)</script>",
        '" onmouseover="alert(1)',
        "[x](javascript:alert(1)) ![y](http://evil.example/y.png)",
        "http://evil.example www.evil.example <a@evil.example>",
        "| pipe | ` code ` ``` fence",
        "# heading\n- item\n1. item",
        "O'Brien; DROP TABLE x --",
        "&lt;b&gt; &amp;",
        "yes: [no, {null}]\t%",
        "$name ${identifier} $$",
        "\x00\x85\u2028\ufeff\x1b[31m",
    ]
)


as_landed = cache(lambda lake: tables_in([lake]))
few_examples = settings(max_examples=40)


def hostile_tables(lake: UPath, label: str, more: str, value: str) -> list[Table]:
    """The tables of the lake, with such texts all over one of them."""
    account, contact, _ = as_landed(lake)
    values = (PicklistValue(value, label or None),)
    field = DescribedField(
        "Name", "picklist", label, more or None, ("Account",), "Parent", values, formula=more or None
    )
    described = Described("Account", label=label, label_plural=more, fields=(field,))
    column = Column("Name", "string", "picklist", True, "Account", field)
    newest = {**account.newest, "where": more, "instance": label}
    odd = Column(value, "string", "string", True, None, None)
    first = replace(account, described=described, newest=newest, columns=(column, odd))
    return [first, replace(contact, columns=contact.columns[:4])]


def with_line_feeds(text: str) -> str:
    """As Jinja gives back any text: each end of a line is a line feed."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@few_examples
@example("", "0\x85", "\x85")
@example("\u2028", "a\n\u2029b", "v")
@given(hostile, hostile, hostile)
def test_dbt_reads_the_texts_as_they_are(lake: UPath, label: str, more: str, value: str) -> None:
    tables = hostile_tables(lake, label, more, value)
    (source,) = yaml.safe_load(sources_yaml(tables, {}))["sources"]
    table = source["tables"][0]
    name, odd = table["columns"]
    rendered = jinja2.Environment(keep_trailing_newline=True, autoescape=False).from_string  # noqa: S701
    value = with_line_feeds(value)
    assert rendered(name["description"]).render() == with_line_feeds(description(tables[0].columns[0]))
    assert rendered(odd["name"]).render() == value
    values = name["data_tests"][-1]["accepted_values"]["arguments"]["values"]
    with duckdb.connect() as database:  # as dbt's test writes them
        if "\x00" not in value:
            assert database.execute(f"SELECT '{rendered(values[0]).render()}'").fetchone() == (value,)
    assert set(table) <= {"name", "description", "config", "columns"}


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


TAGS = (
    "html head meta title style body h1 h2 p nav ul li a section code table thead tbody tr th td details summary "
    "figure figcaption svg defs marker path rect text"
).split()


@few_examples
@given(hostile, hostile, hostile)
def test_nothing_becomes_html(lake: UPath, label: str, more: str, value: str) -> None:
    tables = hostile_tables(lake, label, more, value)
    seen = Page(html(tables))
    assert seen.tags <= set(TAGS) and not any(name.startswith("on") for name in seen.attributes)
    assert all(link.startswith("#") for link in seen.links)
    assert any(" ".join(label.split()) in " ".join(each.split()) for each in seen.texts) or not label.isprintable()
    ET.fromstring(er_svg(tables))  # noqa: S314


@few_examples
@given(hostile, hostile, hostile)
def test_nothing_becomes_markdown(lake: UPath, label: str, more: str, value: str) -> None:
    tables = hostile_tables(lake, label, more, value)
    reader = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    page = markdown(tables)
    assert not any(jinja in page for jinja in ("{{", "{%", "{#"))
    seen = Page(reader.render(page))
    assert seen.tags <= set("h1 h2 p pre code table thead tbody tr th td".split())
    assert seen.links == []


def test_a_whole_orgs_picture_is_left_out_of_markdown(lake: UPath) -> None:
    """Mermaid draws no more than 50,000 characters, and shows an error in the picture's place."""
    account, *_ = as_landed(lake)
    names = [f"{account.sobject}{number:03}_with_a_long_name__c" for number in range(600)]
    field = DescribedField("Parent__c", "reference", references=(names[0],))
    column = Column("Parent__c", "string", "reference", True, names[0], field)
    tables = [replace(account, sobject=name, columns=(column,)) for name in names]
    page = markdown(tables)
    assert "600 references between objects are more than Mermaid draws" in page and "```" not in page
    assert "```mermaid" in markdown(tables[:100])


def test_many_objects_in_circles_have_a_picture() -> None:
    names = [f"Thing{number}__c" for number in range(300)]

    def table(number: int) -> Table:
        others = (names[number - 1], names[(number * 7) % 300], names[number])
        field = DescribedField("Parent__c", "reference", references=others)
        column = Column("Parent__c", "string", "reference", True, names[number], field)
        return Table(names[number], UPath("memory://lake"), {}, "parquet", None, (column,))

    picture = ET.fromstring(er_svg([table(number) for number in range(300)]))  # noqa: S314
    boxes = [(each.get("x"), each.get("y")) for each in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(boxes) == len(set(boxes)) == 300
    assert er_svg([replace(table(0), columns=())]) == ""


def test_no_jinja_is_left_in_what_dbt_renders() -> None:
    assert dbt_sources.text("a { b }} {") == "a { b }} {"
    assert "{%" not in dbt_sources.text("{% x %}")
