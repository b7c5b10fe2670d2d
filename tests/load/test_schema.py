"""Columns that come, widen and go; values of every type; names and texts that a target cannot hold."""

from __future__ import annotations

import datetime
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import TableError
from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import MODES, Mode
from airflow_sfcc.load.postgres_table import short_name
from tests.load.made import COLUMNS, Made, at, id_of, row
from tests.load.postgres_server import Server
from tests.load.tables import Loaded, in_duckdb, in_postgres

ALL = {
    **COLUMNS,
    "Flag__c": "boolean",
    "Count__c": "int64",
    "Price__c": "decimal128(18, 2)",
    "Day__c": "date32",
    "Opens__c": "time32[ms]",
    "Account.Owner.Name": "string",
}
VALUES: list[dict[str, Any]] = [
    {
        "Flag__c": True, "Count__c": 2**53 + 1, "Price__c": Decimal("12345678901234.56"), "Day__c": datetime.date(1700, 1, 1),
        "Opens__c": datetime.time(3, 41, 5), "Account.Owner.Name": "quote \" comma , \r\n \\ \t Ünïcødé 🙂",
        "Amount": 0.1 + 0.2, "Name": "NA",
    },
    {
        "Flag__c": False, "Count__c": -1, "Price__c": Decimal("-0.01"), "Day__c": datetime.date(4000, 12, 31),
        "Opens__c": datetime.time(23, 59, 59, 999_000), "Account.Owner.Name": "\\.", "Amount": -1e308, "Name": "null",
    },
    {name: None for name in ALL if name not in ("Id", "SystemModstamp")},
]  # fmt: skip
TIMES = {datetime.time(3, 41, 5): "03:41:05.000", datetime.time(23, 59, 59, 999_000): "23:59:59.999"}


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """Times of the day as the text that Delta tables have for them."""
    return {
        name: TIMES.get(value, value) if isinstance(value, datetime.time) else value for name, value in found.items()
    }


def test_every_type_keeps_its_values(loaded: Loaded, tmp_path: Path) -> None:
    lake = UPath(tmp_path / "lake")
    rows = [row(number, 1, **values) for number, values in enumerate(VALUES)]
    rows.append({**row(9, 1), "SystemModstamp": datetime.datetime(1700, 1, 1, 0, 0, 0, 1000, datetime.timezone.utc)})
    Made("base", 10, rows, full=True, columns=ALL).land(lake)
    load(lake, loaded.make("Account"))
    changed = [{**row(number, 15, **values), "Id": id_of(100 + number)} for number, values in enumerate(VALUES)]
    Made("night", 20, changed, columns=ALL, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"))
    found = {record_id: plain(each) for record_id, each in loaded.by_id().items()}
    wanted = {each["Id"]: plain({name: each.get(name) for name in ALL}) for each in (*rows, *changed)}
    assert found == wanted


@pytest.mark.parametrize("mode", MODES)
def test_columns_come_and_go(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    lake = UPath(tmp_path / "lake")
    Made(
        "base",
        10,
        [row(1, 1, Old__c="one"), row(2, 1, Old__c="two")],
        full=True,
        columns={**COLUMNS, "Old__c": "string"},
    ).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    columns = {**COLUMNS, "New__c": "boolean"}
    Made("night", 20, [row(2, 15, New__c=True), row(3, 15, New__c=False)], columns=columns, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    newest = {each["Id"]: each for each in loaded.rows() if each.get("_valid_to") is None}
    assert {record_id: (each["Old__c"], each["New__c"]) for record_id, each in newest.items()} == {
        id_of(1): ("one", None),
        id_of(2): (None, True),
        id_of(3): (None, False),
    }


@pytest.mark.parametrize("mode", MODES)
def test_columns_widen_as_the_extracts_do(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    lake = UPath(tmp_path / "lake")
    before = {
        **COLUMNS,
        "A__c": "int64",
        "B__c": "int64",
        "C__c": "float64",
        "D__c": "decimal128(5, 2)",
        "E__c": "timestamp[ms, UTC]",
    }
    values: list[dict[str, Any]] = [
        {"A__c": 1, "B__c": 2, "C__c": 5.0, "D__c": Decimal("1.50"), "E__c": at(3)},
        {"A__c": 7, "B__c": -2, "C__c": 0.25, "D__c": Decimal("-1.00"), "E__c": None},
    ]
    Made("base", 10, [row(n, 1, **each) for n, each in enumerate(values)], full=True, columns=before).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    after = {
        **COLUMNS,
        "A__c": "float64",
        "B__c": "string",
        "C__c": "string",
        "D__c": "decimal128(9, 3)",
        "E__c": "string",
    }
    new: dict[str, Any] = {"A__c": 0.5, "B__c": "two", "C__c": "x", "D__c": Decimal("123456.789"), "E__c": "never"}
    Made("night", 20, [row(5, 15, **new)], columns=after, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"), LoadOptions(mode=mode))
    found = {each["Id"]: [each[name] for name in ("A__c", "B__c", "C__c", "D__c", "E__c")] for each in loaded.rows()}
    assert found == {
        id_of(0): [1.0, "2", "5.0", Decimal("1.500"), "2027-01-01T00:03:00.000Z"],
        id_of(1): [7.0, "-2", "0.25", Decimal("-1.000"), None],
        id_of(5): [0.5, "two", "x", Decimal("123456.789"), "never"],
    }
    assert load(lake, loaded.make("Account"), LoadOptions(mode=mode))["extracts"] == []


def test_a_change_of_columns_can_be_refused(loaded: Loaded, tmp_path: Path) -> None:
    lake = UPath(tmp_path / "lake")
    Made("base", 10, [row(1, 1)], full=True).land(lake)
    load(lake, loaded.make("Account"))
    Made(
        "night", 20, [row(2, 15, New__c=True, Amount="x")], columns={**COLUMNS, "New__c": "boolean", "Amount": "string"}
    ).land(lake)
    with pytest.raises(
        TableError, match=r"New__c was added; Amount was float64 and is string, so .* would have to change"
    ):
        load(lake, loaded.make("Account"), LoadOptions(on_schema_change="fail"))
    assert set(loaded.by_id()) == {id_of(1)}


def test_carried_rows_keep_the_columns_that_they_had(loaded: Loaded, tmp_path: Path) -> None:
    """A cleared night carries rows over in a file of their own, with columns that the manifest no longer has."""
    lake = UPath(tmp_path / "lake")
    old = {**COLUMNS, "Old__c": "int64"}
    Made("base", 10, [row(1, 1, Old__c=1)], full=True, columns=old).land(lake)
    Made("night", 20, [row(2, 15, Old__c=2), row(3, 15, Old__c=3)], columns=old, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"))
    cleared = Made("night", 25, [row(2, 15)], window=(8, 20))
    cleared.land_with_carried(lake, Made("night", 20, [row(3, 15, Old__c=3)], columns=old))
    load(lake, loaded.make("Account"))
    assert {record_id: each["Old__c"] for record_id, each in loaded.by_id().items()} == {
        id_of(1): 1,
        id_of(2): None,
        id_of(3): 3,
    }


def test_many_extracts_with_carried_rows_take_little_memory(tmp_path: Path) -> None:
    """As after many nights that were cleared; the simulated quarter ran out of memory with sixty records."""
    loaded, lake = in_duckdb(tmp_path), UPath(tmp_path / "lake")
    wide = {**COLUMNS, **{f"C{number}__c": "string" for number in range(40)}}
    Made("base", 1, [row(0, 0)], full=True, columns=wide).land(lake)
    for number in range(60):
        carried = Made("before", 5, [row(1_000 + number, 8)], columns=wide)
        Made(f"n{number}", 10 + number, [row(1 + number, 9)], columns=wide).land_with_carried(lake, carried)
    assert load(lake, loaded.make("Account"), LoadOptions(memory_limit="48MB"))["rows"] == 121


OTHER_TYPES = {
    **COLUMNS, "Stamp__c": "timestamp[ms, UTC]", "Opens__c": "time32[ms]", "Day__c": "date32", "Flag__c": "boolean",
    "Size__c": "float64",
}  # fmt: skip
OTHER_VALUES: dict[str, Any] = {
    "Stamp__c": at(3), "Opens__c": datetime.time(3, 4, 5), "Day__c": datetime.date(2027, 1, 2), "Flag__c": True, "Size__c": 1e16,
}  # fmt: skip
AS_TEXT = ["2027-01-01T00:03:00.000Z", "03:04:05.000", "2027-01-02", "true", "1e16"]


def test_text_is_the_same_wherever_a_value_became_text(loaded: Loaded, tmp_path: Path) -> None:
    """In the table, in rows that were carried over, and in an extract that is late."""
    lake = UPath(tmp_path / "lake")
    text = {name: "string" if name.endswith("__c") else kind for name, kind in OTHER_TYPES.items()}
    Made("base", 10, [row(1, 1, **OTHER_VALUES)], full=True, columns=OTHER_TYPES).land(lake)
    load(lake, loaded.make("Account"))
    carried = Made("night", 20, [row(2, 15, **OTHER_VALUES)], columns=OTHER_TYPES)
    Made("night", 25, [row(3, 15)], columns=text, window=(8, 20)).land_with_carried(lake, carried)
    load(lake, loaded.make("Account"))
    Made("late", 18, [row(4, 14, **OTHER_VALUES)], columns=OTHER_TYPES, window=(8, 18)).land(lake)
    load(lake, loaded.make("Account"))
    found = {record_id: [each[name] for name in OTHER_VALUES] for record_id, each in loaded.by_id().items()}
    assert found == {id_of(1): AS_TEXT, id_of(2): AS_TEXT, id_of(3): [None] * 5, id_of(4): AS_TEXT}


def test_numbers_that_become_decimals_are_exact_or_refused(loaded: Loaded, tmp_path: Path) -> None:
    """After numbers='decimal' was set; what was read last says which it is, also where an older extract is late."""
    lake, large = UPath(tmp_path / "lake"), 123456789012345.67
    floats, decimals = {**COLUMNS, "Price__c": "float64"}, {**COLUMNS, "Price__c": "decimal128(18, 2)"}
    Made("base", 10, [row(1, 1, Price__c=0.1), row(2, 1, Price__c=large)], full=True, columns=floats).land(lake)
    load(lake, loaded.make("Account"))
    Made("night", 30, [row(3, 25, Price__c=Decimal("2.50"))], columns=decimals, window=(18, 30)).land(lake)
    load(lake, loaded.make("Account"))
    Made("late", 20, [row(4, 15, Price__c=0.25)], columns=floats, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"))
    assert {record_id: each["Price__c"] for record_id, each in loaded.by_id().items()} == {
        id_of(1): Decimal("0.10"), id_of(2): Decimal("123456789012345.67"), id_of(3): Decimal("2.50"), id_of(4): Decimal("0.25"),
    }  # fmt: skip
    Made("later", 21, [row(5, 15, Price__c=0.125)], columns=floats, window=(8, 21)).land(lake)
    with pytest.raises(
        TableError, match=r"Price__c has a value that is not exact as decimal128\(18, 2\)\); nothing was"
    ):
        load(lake, loaded.make("Account"))
    assert len(loaded.by_id()) == 4


@pytest.mark.parametrize("value", [0.125, 1e300])
def test_a_table_whose_numbers_are_no_such_decimals_stays(loaded: Loaded, tmp_path: Path, value: float) -> None:
    lake = UPath(tmp_path / "lake")
    Made("base", 10, [row(1, 1, Amount=value)], full=True).land(lake)
    load(lake, loaded.make("Account"))
    decimals = {**COLUMNS, "Amount": "decimal128(18, 2)"}
    Made("night", 20, [row(2, 15, Amount=Decimal("2.50"))], columns=decimals, window=(8, 20)).land(lake)
    with pytest.raises(
        TableError, match=r"A value does not fit into .*; nothing was loaded.* After a change of numbers"
    ):
        load(lake, loaded.make("Account"))
    assert {record_id: each["Amount"] for record_id, each in loaded.by_id().items()} == {id_of(1): value}
    Made("full", 30, [row(1, 1, Amount=Decimal("0.13"))], full=True, columns=decimals).land(lake)
    load(lake, loaded.make("Account"))
    assert {record_id: each["Amount"] for record_id, each in loaded.by_id().items()} == {id_of(1): Decimal("0.13")}


@pytest.mark.parametrize("mode", MODES)
def test_a_change_that_is_refused_loads_nothing_of_what_waits(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    """The column comes with a later step of the same load. A table that is new has all columns at once."""
    lake, options = UPath(tmp_path / "lake"), LoadOptions(mode=mode, on_schema_change="fail")
    made = [
        Made("base", 10, [row(1, 1)], full=True),
        Made("night", 20, [row(2, 15)], window=(8, 20)),
        Made("late", 15, [row(4, 12)], window=(8, 15)),
        Made("empty", 30, [], columns={**COLUMNS, "New__c": "string"}, window=(18, 30)),
    ]
    for each in made[:2]:
        each.land(lake)
    load(lake, loaded.make("Account"), options)
    for each in made[2:]:
        each.land(lake)
    with pytest.raises(TableError, match=r"New__c was added, so .* Nothing was loaded"):
        load(lake, loaded.make("Account"), options)
    assert {each["Id"] for each in loaded.rows()} == {id_of(1), id_of(2)}
    load(lake, loaded.make("Other"), options)
    assert {each["Id"]: each["New__c"] for each in loaded.rows("Other")} == {
        id_of(1): None,
        id_of(2): None,
        id_of(4): None,
    }


@pytest.mark.parametrize("mode", MODES)
def test_an_extract_without_rows_brings_its_columns(loaded: Loaded, tmp_path: Path, mode: Mode) -> None:
    lake, options = UPath(tmp_path / "lake"), LoadOptions(mode=mode)
    more = {"Account.Owner.Name": "string", "select": "int64", 'od"d__c': "decimal128(5, 1)", "A b": "date32"}
    columns = {**COLUMNS, **more, "Amount": "string"}
    Made("base", 10, [row(1, 1)], full=True).land(lake)
    load(lake, loaded.make("Account"), options)
    Made("empty", 20, [], columns=columns, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"), options)
    assert [(each["Amount"], *(each[name] for name in more)) for each in loaded.rows()] == [("1.0", *[None] * 4)]
    values = ("o", 3, Decimal("1.5"), datetime.date(4000, 12, 31))
    new: dict[str, Any] = {**dict(zip(more, values)), "Amount": "x"}
    Made("night", 30, [row(2, 25, **new)], columns=columns, window=(18, 30)).land(lake)
    load(lake, loaded.make("Account"), options)
    assert [tuple(each[name] for name in more) for each in loaded.rows() if each["Id"] == id_of(2)] == [values]


def test_postgres_names_beyond_63_bytes_are_shortened(postgres: Server, tmp_path: Path) -> None:
    loaded, lake = in_postgres(postgres), UPath(tmp_path / "lake")
    long, other = "Parent." * 8 + "Owner_of_the_record__r.Name", "Parent." * 8 + "Owner_of_the_record__r.Email"
    Made(
        "base",
        10,
        [row(1, 1, **{long: "a", other: "b"})],
        full=True,
        columns={**COLUMNS, long: "string", other: "string"},
    ).land(lake)
    load(lake, loaded.make("Account"))
    found = loaded.by_id()[id_of(1)]
    assert len(short_name(long)) <= 63 and (found[short_name(long)], found[short_name(other)]) == ("a", "b")
    with postgres.connect() as connection:
        comment = connection.execute("SELECT description FROM pg_description WHERE description = %s", [long]).fetchone()
    assert comment == (long,)
    Made("night", 20, [row(1, 15, **{long: "c"})], columns={**COLUMNS, long: "string"}, window=(8, 20)).land(lake)
    load(lake, loaded.make("Account"))
    assert loaded.by_id()[id_of(1)][short_name(long)] == "c"


def test_a_nul_character_is_a_symbol_where_text_does_not_hold_it(
    postgres: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = UPath(tmp_path / "lake")
    Made("base", 10, [row(1, 1)], full=True).land(lake)
    tables = in_postgres(postgres), in_duckdb(tmp_path)
    for each in tables:
        load(lake, each.make("Account"))
    Made("night", 20, [row(2, 15, "a\0b"), row(3, 15)], window=(8, 20)).land(lake)
    for each in tables:
        load(lake, each.make("Account"))
    assert [each.by_id()[id_of(2)]["Name"] for each in tables] == ["a\N{SYMBOL FOR NULL}b", "a\0b"]
    assert "1 text of Name" in caplog.text and "NUL character, which PostgreSQL does not hold" in caplog.text


def test_psql_reads_the_table(postgres: Server, tmp_path: Path) -> None:
    loaded, lake = in_postgres(postgres), UPath(tmp_path / "lake")
    Made("base", 10, [row(number, 1) for number in range(5)], full=True).land(lake)
    load(lake, loaded.make("Account"))
    schema = loaded.place.partition("/")[2]
    command = [f"{postgres.binaries}/psql", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", "-At", "-c"]
    query = f'SELECT count(*), min("Name"), max("SystemModstamp" AT TIME ZONE \'UTC\') FROM {schema}."Account"'
    told = subprocess.run([*command, query], check=True, capture_output=True, text=True).stdout
    assert told == "5|0 at 1|2027-01-01 00:01:00\n"
