"""Rows of every shape come back exactly: decimals, parents, wide, narrow and very long rows, and none at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from upath import UPath

from airflow_sfcc.errors import ConversionError
from tests.extract.test_exact_values import NASTY, NUMBERS, TEXTS, java, landed, quoted
from tests.wire_server import SOBJECT, Wire, described

APIS = ["bulk", "rest"]
FORMATS = ["parquet", "csv", "jsonl"]
LONGEST_TEXT_AREA = 131_072
PARENT = {"relationshipName": "Parent__r", "referenceTo": [SOBJECT]}
FIELDS = [
    described("Id", "id"),
    described("Text__c", "textarea"),
    described("Price__c", "currency", precision=18, scale=2),
    described("Whole__c", "double", precision=18, scale=0),
    described("double__c", "double", precision=18, scale=5),
    described("Parent__c", "reference", **PARENT),
    *(described(f"C{number}__c", "string") for number in range(800)),
]


def say(said: Wire, names: list[str], csv_rows: list[list[str]], records: list[str]) -> None:
    lines = [",".join(map(quoted, row)) for row in (names, *csv_rows)]
    said.pages = [(("\n".join(lines) + "\n").encode(), len(csv_rows))]
    said.records = records


def say_texts(said: Wire, rows: list[dict[str, str | None]]) -> None:
    names = list(rows[0])
    records = [json.dumps({"attributes": {"type": SOBJECT}, **row}, ensure_ascii=False) for row in rows]
    say(said, names, [[row[name] or "" for name in names] for row in rows], records)


def everywhere(said: Wire, root: UPath, **request: Any) -> Iterator[list[dict[str, Any]]]:
    """What lands by both APIs in all formats."""
    for api in APIS:
        for file_format in FORMATS:
            yield landed(said, root, api=api, file_format=file_format, **request)


# As many digits as a double tells apart: Salesforce computes with doubles.
PRICES = st.decimals(Decimal("-9999999999999.99"), Decimal("9999999999999.99"), places=2)
WHOLES = st.integers(-(10**15) + 1, 10**15 - 1).map(Decimal)
AWKWARD_PRICES = [Decimal(text) for text in ("0.00", "-0.01", "1.10", "1.15", "9999999.99", "90000000", "1.61E+13")]
AWKWARD_WHOLES = [Decimal(text) for text in ("5", "0", "-1", "90000000", "10000000", "9999999", "999999999999999")]


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    prices=st.lists(st.none() | PRICES, min_size=20, max_size=20),
    wholes=st.lists(st.none() | WHOLES, min_size=20, max_size=20),
    as_double=st.booleans(),
)
@example(prices=AWKWARD_PRICES, wholes=AWKWARD_WHOLES, as_double=True)
@example(prices=AWKWARD_PRICES, wholes=AWKWARD_WHOLES, as_double=False)
def test_decimals(
    said: Wire,
    root: UPath,
    prices: list[Decimal | None],
    wholes: list[Decimal | None],
    as_double: bool,
) -> None:
    """12 tables of 20 rows: 240 values of each."""

    def written(number: Decimal | None) -> str | None:
        if number is None:
            return None
        return java(float(number)) if as_double else format(number, "f")

    rows = [(f"{row:018d}", written(price), written(whole)) for row, (price, whole) in enumerate(zip(prices, wholes))]
    records = [
        f'{{"Id":"{id_}","Price__c":{price or "null"},"Whole__c":{whole or "null"}}}' for id_, price, whole in rows
    ]
    names = ["Id", "Price__c", "Whole__c"]
    say(said, names, [[text or "" for text in row] for row in rows], records)
    for found in everywhere(said, root, fields=names, numbers="decimal"):
        assert [row["Price__c"] for row in found] == prices
        assert [row["Whole__c"] for row in found] == wholes
        assert all(isinstance(row[name], Decimal) for row in found for name in names[1:] if row[name] is not None)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("text", ["1.005", "1.0E-3", "99999999999999999.99"])
def test_a_decimal_that_does_not_fit_is_an_error(said: Wire, root: UPath, text: str, api: str) -> None:
    say(
        said,
        ["Id", "Price__c"],
        [["1", "1.0"], ["2", text]],
        ['{"Id":"1","Price__c":1.0}', f'{{"Id":"2","Price__c":{text}}}'],
    )
    with pytest.raises(ConversionError, match=r"Price__c .*row 2: .*numbers='float'"):
        landed(said, root, api=api, fields=["Id", "Price__c"], numbers="decimal")


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.lists(st.none() | st.tuples(st.none() | TEXTS, st.none() | NUMBERS), min_size=10, max_size=10))
def test_parents_and_their_parents(said: Wire, root: UPath, parents: list[Any]) -> None:
    """A child has a parent or none, with a text or none, and that has a parent or none, with a number."""
    names = ["Id", "Parent__r.Text__c", "Parent__r.Parent__r.double__c"]
    rows, csv_rows, records = [], [], []
    for number, parent in enumerate(parents):
        text, value = parent or (None, None)
        rows.append(dict(zip(names, (f"{number:018d}", text, value))))
        written = None if value is None else java(value)
        csv_rows.append([f"{number:018d}", text or "", written or ""])
        inner = f'{{"attributes":{{"type":"{SOBJECT}"}},"double__c":{written}}}' if written else "null"
        outer = f'{{"attributes":{{"type":"{SOBJECT}"}},"Text__c":{json.dumps(text)},"Parent__r":{inner}}}'
        records.append(f'{{"Id":"{number:018d}","Parent__r":{outer if parent else "null"}}}')
    say(said, names, csv_rows, records)
    for found in everywhere(said, root, fields=names):
        assert found == rows


def test_800_columns(said: Wire, root: UPath) -> None:
    names = ["Id", *(f"C{number}__c" for number in range(800))]
    rows = [{name: f"{name} of {row}" if row % 2 else None for name in names} | {"Id": str(row)} for row in range(20)]
    say_texts(said, rows)
    for found in everywhere(said, root, fields=names):
        assert found == rows


def test_a_single_column(said: Wire, root: UPath) -> None:
    """A row of one null is an empty line in some dialects, and lost in others."""
    rows = [{"Text__c": text} for text in (None, "a", None, "\n", *NASTY, None)]
    say_texts(said, rows)
    for found in everywhere(said, root, fields=["Text__c"]):
        assert found == rows


def test_rows_longer_than_a_block(said: Wire, root: UPath) -> None:
    """Eight long text areas, full of what CSV and JSON have to quote."""
    names = ["Id", *(f"C{number}__c" for number in range(8))]
    filled = [
        (piece * LONGEST_TEXT_AREA)[:LONGEST_TEXT_AREA]
        for piece in ('"', '",\r\n', "😀", "\\", "\0", "é\u2028", "\n", "x")
    ]
    rows: list[dict[str, str | None]] = [dict(zip(names, ["0", *filled])), dict(zip(names, ["1", *filled[::-1]]))]
    say_texts(said, [dict.fromkeys(names, "short"), *rows, dict.fromkeys(names) | {"Id": "3"}])
    for found in everywhere(said, root, fields=names):
        assert found[1:3] == rows and len(found) == 4


@pytest.mark.parametrize("body", [b"", b'"Id","Price__c"\n', b'"Id","Price__c"'])
def test_no_rows_at_all(said: Wire, root: UPath, body: bytes) -> None:
    said.pages, said.records = [(body, 0)], []
    for found in everywhere(said, root, fields=["Id", "Price__c"]):
        assert found == []
