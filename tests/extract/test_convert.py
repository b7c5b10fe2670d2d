"""Typing: what the wire carries is what the columns hold, or an error names the value."""

from __future__ import annotations

import gzip
import math
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_sfcc.errors import ConversionError
from airflow_sfcc.extract.convert.arrow_types import Converter
from airflow_sfcc.extract.convert.writers import CountedFile, part_writer
from airflow_sfcc.extract.model import Column, FileFormat


def from_text(kind: str, values: list[str | None]) -> list[Any]:
    converter = Converter([Column("X", "any", kind, True)])
    batch = pa.RecordBatch.from_arrays([pa.array(values, pa.string())], names=["X"])
    result: list[Any] = converter.from_csv(batch, 0).column(0).to_pylist()
    return result


def from_json(kind: str, values: list[Any]) -> list[Any]:
    converter = Converter([Column("X", "any", kind, True)])
    result: list[Any] = converter.from_records([{"X": value} for value in values], 0).column(0).to_pylist()
    return result


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "NA", "NA"),
        ("string", "a\0b\r\n\u2028", "a\0b\r\n\u2028"),
        ("boolean", "true", True),
        ("int64", "7", 7),
        ("int64", "5.0", 5),
        ("int64", "9.0E7", 90_000_000),
        ("float64", "1.6147805824397E13", 16147805824397.0),
        ("float64", "1.0E-4", 0.0001),
        ("decimal128(18, 2)", "9.0E7", Decimal("90000000.00")),
        ("date32", "1700-01-01", date(1700, 1, 1)),
        ("date32", "4000-12-31", date(4000, 12, 31)),
        ("timestamp[ms, UTC]", "2019-01-05T03:41:05.123Z", datetime(2019, 1, 5, 3, 41, 5, 123000, timezone.utc)),
        ("timestamp[ms, UTC]", "1700-01-01T00:00:00.000Z", datetime(1700, 1, 1, tzinfo=timezone.utc)),
        ("time32[ms]", "23:59:59.999Z", time(23, 59, 59, 999000)),
    ],
)
def test_bulk_text(kind: str, text: str, value: Any) -> None:
    assert from_text(kind, [text, None]) == [value, None]


@pytest.mark.parametrize(
    ("kind", "wire", "value"),
    [
        ("string", "NA", "NA"),
        ("string", "", None),
        ("string", {"attributes": {"type": "Address"}, "city": "Ü"}, '{"city": "Ü"}'),
        ("string", {"totalSize": 1, "done": True, "records": [{"attributes": {}, "Id": "1"}]}, '[{"Id": "1"}]'),
        ("boolean", False, False),
        ("int64", 5.0, 5),
        ("float64", 3, 3.0),
        ("float64", 12345678901234567890, 1.2345678901234567e19),
        ("decimal128(18, 2)", Decimal("1.50"), Decimal("1.50")),
        ("date32", "2024-02-29", date(2024, 2, 29)),
        ("timestamp[ms, UTC]", "2019-01-05T03:41:05.000+0000", datetime(2019, 1, 5, 3, 41, 5, tzinfo=timezone.utc)),
        ("time32[ms]", "12:30:00.000Z", time(12, 30)),
    ],
)
def test_rest_json(kind: str, wire: Any, value: Any) -> None:
    assert from_json(kind, [wire, None]) == [value, None]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("int64", "5.5"),
        ("boolean", "maybe"),
        ("date32", "31.12.2020"),
        ("decimal128(18, 2)", "1.005"),
        ("float64", "abc"),
    ],
)
def test_an_unfit_value_is_named_with_column_and_row(kind: str, bad: str) -> None:
    good = {"int64": "1", "boolean": "true", "date32": "2020-01-01"}.get(kind, "1.0")
    with pytest.raises(ConversionError, match=r"Column X .*row 2: the value '.*'") as problem:
        from_text(kind, [good, bad, good])
    assert repr(bad) in str(problem.value)


@pytest.mark.parametrize(("kind", "bad"), [("int64", 5.5), ("boolean", 1), ("float64", "1"), ("date32", "x")])
def test_an_unfit_json_value_is_named(kind: str, bad: Any) -> None:
    with pytest.raises(ConversionError, match="row 1"):
        from_json(kind, [bad])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_are_exact_either_way(values: list[float]) -> None:
    def same(found: list[Any]) -> bool:
        return all(a == b and math.copysign(1, a) == math.copysign(1, b) for a, b in zip(found, values, strict=True))

    assert same(from_text("float64", [repr(value) for value in values]))
    assert same(from_json("float64", values))


@given(st.lists(st.text(min_size=1)))
def test_texts_are_exact_either_way(values: list[str]) -> None:
    assert from_text("string", list(values)) == values
    assert from_json("string", values) == values


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "text", ["0", "0.000000123", "-0.000000000000001", "100000", "12345678901234567890123.000000000000001"]
)
def test_decimals_are_written_without_an_exponent(root: UPath, file_format: FileFormat, text: str) -> None:
    kind = pa.decimal128(38, 15)
    batch = pa.RecordBatch.from_arrays([pa.array([Decimal(text), None], kind)], names=["Rate__c"])
    path = root / f"part.{file_format}"
    with path.open("wb") as file:
        writer = part_writer(file_format, CountedFile(file), batch.schema)
        writer.write(batch)
        writer.finish()
    written = gzip.decompress(path.read_bytes()).decode()
    assert f'"{Decimal(text):.15f}"' in written and "E" not in written.replace("Rate__c", "")
