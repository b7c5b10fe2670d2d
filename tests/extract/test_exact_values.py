"""Every value of every field type comes back exactly, in all formats and by both APIs.

The bytes on the wire are written here, in the dialects of salesforce-protocol.md#rest-conventions and #csv-dialect, by code
that shares nothing with the product; each example is a table with a column of every type.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from airflow_sfcc.errors import ConversionError
from airflow_sfcc.extract.convert import csv_reader
from airflow_sfcc.extract.convert.row_blocks import row_blocks
from tests.extract.runs import extract, read_rows
from tests.extract.test_value_by_value import canonical
from tests.wire_server import SOBJECT, Wire, described

NASTY = [
    "NA",
    "N/A",
    "NULL",
    "null",
    "None",
    "NaN",
    "nan",
    "#N/A",
    '"',
    '""',
    '",',
    "\n",
    "\r",
    "\r\n",
    "a\r\nb",
    ",",
    ";",
]
NASTY += [
    "\0",
    "a\0b",
    "\u2028",
    "\u2029",
    "\x85",
    "\ufeff",
    "😀",
    "é",
    "é",
    " ",
    " x ",
    "\t",
    "\\",
    "\\n",
    "'",
    "true",
    "1e5",
    "-",
]
NASTY += ["0x1F", "=1+1", "null\n", '"\n"', '\n"\n', "x" * 5000]
TEXTS = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, 5.0, 1e7, 9999999.0, 16147805824397.0, 1e-3, 9.99e-4, 0.1, 1.005, 2.0**53, 1e22, 5e-324, 1.7e308]
)
MOMENTS = st.datetimes(datetime(1700, 1, 1), datetime(4000, 12, 31)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone.utc)
)
DAYS = st.dates(date(1700, 1, 1), date(4000, 12, 31))
TIMES = st.integers(0, 86_399_999).map(lambda ms: (datetime(2000, 1, 1) + timedelta(milliseconds=ms)).time())
TEXT_TYPES = (
    "string textarea picklist multipicklist phone url email combobox encryptedstring anyType id reference".split()
)


def millis(moment: datetime | time) -> str:
    return f"{moment.microsecond // 1000:03d}Z"


def java(number: float) -> str:
    """A double as Java prints it: E notation from ten million on, and below a thousandth."""
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        return format(Decimal(repr(number)), "f") + ("" if "." in format(Decimal(repr(number)), "f") else ".0")
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    text = "".join(map(str, digits))
    power = len(text) - 1 + int(exponent)
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{power}"


@dataclass(frozen=True)
class Kind:
    """A field type: its values, and how Bulk's CSV and REST's JSON write one."""

    values: st.SearchStrategy[Any]
    csv: Callable[[Any], str]
    json: Callable[[Any], str]


TEXT = Kind(TEXTS, str, lambda text: json.dumps(text, ensure_ascii=False))
NUMBER = Kind(NUMBERS, java, java)
KINDS: dict[str, Kind] = {
    **dict.fromkeys(TEXT_TYPES, TEXT),
    **dict.fromkeys(["double", "currency", "percent"], NUMBER),
    "boolean": Kind(st.booleans(), lambda yes: str(yes).lower(), json.dumps),
    "int": Kind(st.integers(-(2**31), 2**31 - 1), str, str),
    "long": Kind(st.integers(-(2**53), 2**53), str, str),
    "date": Kind(DAYS, date.isoformat, lambda day: f'"{day.isoformat()}"'),
    "datetime": Kind(
        MOMENTS,
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}.".zfill(20) + millis(moment),
        lambda moment: f'"{moment:%Y-%m-%dT%H:%M:%S}.{millis(moment)[:-1]}+0000"',
    ),
    "time": Kind(
        TIMES, lambda clock: f"{clock:%H:%M:%S}.{millis(clock)}", lambda clock: f'"{clock:%H:%M:%S}.{millis(clock)}"'
    ),
}
FIELDS = [described("Id", "id"), *(described(f"{kind}__c", kind) for kind in KINDS)]
Row = dict[str, Any]


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    columns = {f"{kind}__c": draw(st.lists(st.none() | KINDS[kind].values, min_size=12, max_size=12)) for kind in KINDS}
    return [{"Id": f"{row:018d}", **{name: values[row] for name, values in columns.items()}} for row in range(12)]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def kind_of(name: str) -> Kind:
    return TEXT if name == "Id" else KINDS[name.removesuffix("__c")]


def csv_page(rows: list[Row]) -> bytes:
    names = list(rows[0])
    lines = [",".join(map(quoted, names))]
    lines += [",".join(quoted("" if row[n] is None else kind_of(n).csv(row[n])) for n in names) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def json_record(row: Row) -> str:
    values = (f'"{name}":{"null" if value is None else kind_of(name).json(value)}' for name, value in row.items())
    return f'{{"attributes":{{"type":"{SOBJECT}"}},{",".join(values)}}}'


def landed(said: Wire, root: UPath, **request: Any) -> list[Row]:
    folder = root / uuid.uuid4().hex
    manifest = extract(said, folder, sobject=SOBJECT, **request)
    return read_rows(folder / f"extract={manifest['extract_id']}", manifest)


def same(found: list[Row], rows: list[Row]) -> None:
    for name in rows[0]:
        assert [canonical(row[name]) for row in found] == [canonical(row[name]) for row in rows], name


@pytest.mark.parametrize("misreads", [csv_reader._MISREADS_NUL, True], ids=["as it is", "as before Arrow 26"])
def test_nul_between_long_values(said: Wire, root: UPath, monkeypatch: pytest.MonkeyPatch, misreads: bool) -> None:
    """Arrow's parser once overlooked quotes and commas near a NUL, in pages of many long values."""
    monkeypatch.setattr(csv_reader, "_MISREADS_NUL", misreads)
    texts = [name for name in (field["name"] for field in FIELDS) if name != "Id" and kind_of(name) is TEXT]
    others = {f"{kind}__c": None for kind in KINDS if KINDS[kind] is not TEXT}
    rows = [
        {"Id": f"{row:018d}", **dict.fromkeys(texts, f"a rather long value, of {row}"), **others}
        for row in range(2_500)
    ]
    for row, text in enumerate(['abc\0"d and more text"', "\0", 'x\0",\0"y', "\0\ue000 of private use", "a\0,b\0\n,c"]):
        rows[-100 + 7 * row][texts[row]] = text
    said.pages = [(csv_page(rows), len(rows))]
    for file_format in ("parquet", "csv", "jsonl"):
        same(landed(said, root, api="bulk", file_format=file_format), rows)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(rows=tables(), packed=st.booleans())
def test_all_formats_and_both_apis_give_back_the_same_values(
    said: Wire, root: UPath, rows: list[Row], packed: bool
) -> None:
    """20 tables of 12 rows: 240 values of each type, and of text twelve times that."""
    said.packed = packed
    said.pages = [(csv_page(rows[:7]), 7), (csv_page(rows[7:]), 5)]
    said.records = [json_record(row) for row in rows]
    said.batch = 5
    for api in ("bulk", "rest"):
        for file_format in ("parquet", "csv", "jsonl"):
            same(landed(said, root, api=api, file_format=file_format), rows)


@pytest.mark.parametrize("text", ["5.0", "9.0E7"])
def test_integers_in_another_notation_are_integers_in_csv_too(said: Wire, root: UPath, text: str) -> None:
    body = f'"Id","int__c"\n"{1:018d}","{text}"\n'.encode()
    said.packed, said.pages = True, [(body, 1)]
    for file_format in ("parquet", "csv", "jsonl"):
        (row,) = landed(said, root, api="bulk", file_format=file_format, fields=["Id", "int__c"])
        assert row["int__c"] == int(float(text))


def test_a_notation_that_changes_in_the_middle_of_a_page(
    said: Wire, root: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_sfcc.extract.convert.csv_reader.row_blocks", partial(row_blocks, block_bytes=64))
    texts = ["7"] * 10 + ["9.0E7"] + ["8"] * 10
    lines = ['"Id","int__c"', *(f'"{row:018d}","{text}"' for row, text in enumerate(texts))]
    said.packed, said.pages = True, [(("\n".join(lines) + "\n").encode(), len(texts))]
    for file_format in ("parquet", "csv", "jsonl"):
        rows = landed(said, root, api="bulk", file_format=file_format, fields=["Id", "int__c"])
        assert [row["int__c"] for row in rows] == [int(float(text)) for text in texts]


def test_a_value_that_does_not_fit_is_named_with_its_row(
    said: Wire, root: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_sfcc.extract.convert.csv_reader.row_blocks", partial(row_blocks, block_bytes=64))
    texts = ["7"] * 12 + ["seven", "7"]
    lines = ['"Id","int__c"', *(f'"{row:018d}","{text}"' for row, text in enumerate(texts))]
    said.packed, said.pages = True, [(("\n".join(lines) + "\n").encode(), len(texts))]
    for file_format in ("parquet", "csv", "jsonl"):
        with pytest.raises(ConversionError, match=r"Column int__c .* row 13: the value 'seven' does not fit int64"):
            landed(said, root, api="bulk", file_format=file_format, fields=["Id", "int__c"])


@pytest.mark.parametrize("bulk", ["5.0", "1.2E7", "0.10"])
def test_decimals_have_one_spelling_in_csv_by_both_apis(said: Wire, root: UPath, bulk: str) -> None:
    """That of the column's scale; Salesforce's own would change with the number of rows, by which api='auto' chooses."""
    fields, said.fields = said.fields, [described("Id", "id"), described("double__c", "double", precision=18, scale=2)]
    said.packed, said.pages = True, [(f'"Id","double__c"\n"{1:018d}","{bulk}"\n'.encode(), 1)]
    said.records = [f'{{"Id":"{1:018d}","double__c":{bulk}}}']
    texts = set()
    for api in ("bulk", "rest"):
        folder = root / uuid.uuid4().hex
        manifest = extract(said, folder, sobject=SOBJECT, api=api, numbers="decimal", file_format="csv")
        (file,) = manifest["files"]
        path = folder / f"extract={manifest['extract_id']}" / file["path"]
        texts.add(gzip.decompress(path.read_bytes()))
    said.fields = fields
    assert len(texts) == 1 and b"E" not in texts.pop().splitlines()[1]


def test_timestamps_in_text_have_one_spelling_by_both_apis(said: Wire, root: UPath) -> None:
    """Those of history's values, and those of a column that holds text from when its field was no timestamp."""
    fields = said.fields
    rest, bulk = "2026-11-01T02:03:04.000+0000", "2026-11-01T02:03:04.000Z"
    try:
        said.fields = [described("Id", "id"), described("SystemModstamp", "datetime", filterable=True)]
        said.fields += [described("NewValue", "anyType"), described("At__c", "date")]
        header = '"Id","SystemModstamp","NewValue","At__c"'
        said.packed = True

        def send(at: str, at_by_bulk: str) -> None:
            said.pages = [(f'{header}\n"{1:018d}","{bulk}","{bulk}","{at_by_bulk}"\n'.encode(), 1)]
            said.records = [f'{{"Id":"{1:018d}","SystemModstamp":"{rest}","NewValue":"{rest}","At__c":"{at}"}}']

        for api in ("rest", "bulk"):
            send("2026-11-01", "2026-11-01")
            said.fields = [*said.fields[:3], described("At__c", "date")]
            extract(said, root / api, sobject=SOBJECT, api=api, mode="incremental", run_id="before")
            send(rest, bulk)
            said.fields = [*said.fields[:3], described("At__c", "datetime")]
            manifest = extract(said, root / api, sobject=SOBJECT, api=api, mode="incremental", run_id="after")
            (row,) = read_rows(root / api / f"extract={manifest['extract_id']}", manifest)
            assert (row["NewValue"], row["At__c"]) == (bulk, bulk)
    finally:
        said.fields = fields
