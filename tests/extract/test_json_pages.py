"""REST responses are decoded by the columns' types where that gives the same values, else read by Python's json."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import ConversionError, QueryError, UnexpectedResponseError
from airflow_sfcc.extract.convert.arrow_types import Converter
from airflow_sfcc.extract.convert.json_reader import JsonPageReader, JsonRows
from airflow_sfcc.extract.model import Column, Numbers

NAME = Column("Name", "string", "string", True)
OWNER = Column("Owner.Manager.Name", "string", "string", True)


def read(columns: list[Column], *records: str, numbers: Numbers = "float") -> Any:
    """What becomes of an answer with these records."""
    return answered(columns, f'{{"totalSize":{len(records)},"done":true,"records":[{",".join(records)}]}}', numbers)


def answered(columns: list[Column], body: str, numbers: Numbers = "float", status: int = 200) -> Any:
    response = requests.Response()
    response.status_code, response._content = status, body.encode()
    response.request = requests.Request("GET", "https://acme.my.salesforce.com/query").prepare()
    return JsonPageReader(columns, numbers).read(response).get("records")


def landed(columns: list[Column], records: Any) -> list[dict[str, Any]]:
    converter = Converter(columns)
    batch = records.typed(converter, 0) if isinstance(records, JsonRows) else converter.from_records(records, 0)
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


def test_plain_records_are_decoded_by_their_columns() -> None:
    records = read([NAME, OWNER], '{"attributes":{"type":"T"},"Name":"","Owner":{"Manager":null}}')
    assert isinstance(records, JsonRows)
    assert landed([NAME, OWNER], records) == [{"Name": None, "Owner.Manager.Name": None}]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("null", None),
        ('{"Manager":null}', None),
        ('{"Manager":{"Name":null}}', None),
        ('{"Manager":{"Name":"\\u0000"}}', "\0"),
    ],
)
@pytest.mark.parametrize("attributes", ["", '"attributes":{"type":"User"},'])
def test_parents_of_parents(owner: str, name: str | None, attributes: str) -> None:
    """Salesforce sends attributes with every record and every parent that is there."""
    others = '{"Owner":{"Manager":{"Name":"y"}}}'
    texts = [text.replace("{", "{" + attributes) for text in (f'{{"Owner":{owner}}}', others)]
    records = read([OWNER], *texts)
    assert isinstance(records, JsonRows)
    assert [row["Owner.Manager.Name"] for row in landed([OWNER], records)] == [name, "y"]


@pytest.mark.parametrize("record", ["{}", '{"Name":"x"}', '{"Name":"x","Owner":{}}', '{"Name":"\\":null"}'])
def test_a_value_that_is_missing_is_no_null(record: str) -> None:
    complete = '{"Name":"a","Owner":{"Manager":{"Name":"b"}}}'
    with pytest.raises(UnexpectedResponseError, match=r"without (Name|Owner\.Manager\.Name)"):
        landed([NAME, OWNER], read([NAME, OWNER], complete, record))


def test_a_null_beside_the_columns_does_not_stand_for_a_value_that_is_missing() -> None:
    complete = '{"attributes":{"type":"Name","url":null},"Name":"a"}'
    with pytest.raises(UnexpectedResponseError, match="without Name"):
        landed([NAME], read([NAME], complete, '{"attributes":{"type":"Name","url":"/x"}}'))


@pytest.mark.parametrize(
    "elsewhere",
    [
        '"attributes":{"type":"T","url":null}',
        '"attributes":null',
        '"Other":null',
        '"Other":{"X":{"Y":null}}',
        '"Other":[{"X":null}]',
    ],
)
def test_a_null_elsewhere_does_not_stand_in_for_a_value_that_is_missing(elsewhere: str) -> None:
    complete = '{"attributes":{"type":"T","url":"/T/1"},"Name":"a"}'
    with pytest.raises(UnexpectedResponseError, match="without Name"):
        landed([NAME], read([NAME], complete, f"{{{elsewhere}}}"))


@pytest.mark.parametrize("head", ['"nextRecordsUrl":null,"done":true', '"done":null', '"done":true,"other":null'])
def test_nor_does_a_null_beside_the_records(head: str) -> None:
    body = f'{{"totalSize":2,{head},"records":[{{"Name":"a"}},{{}}]}}'
    with pytest.raises(UnexpectedResponseError, match="without Name"):
        landed([NAME], answered([NAME], body))


@pytest.mark.parametrize("head", ['"nextRecordsUrl":null,"done":true', '"done":true'])
@pytest.mark.parametrize("attributes", ['{"type":"T","url":"/T/1"}', '{"type":"AggregateResult"}', "null"])
def test_nulls_elsewhere_are_no_hindrance(head: str, attributes: str) -> None:
    record = f'{{"attributes":{attributes},"Name":null}}'
    records = answered([NAME], f'{{"totalSize":2,{head},"records":[{record},{record}]}}')
    assert isinstance(records, JsonRows) and landed([NAME], records) == [{"Name": None}] * 2


@given(
    st.lists(
        st.sampled_from(['":null', ":null", '\\":null', ':":null', "\\", '\\"', "null", '{"Name":null}']) | st.none()
    )
)
def test_texts_that_look_like_nulls(texts: list[str | None]) -> None:
    records = read([NAME], *(json.dumps({"Name": text}, separators=(",", ":")) for text in texts))
    assert isinstance(records, JsonRows)
    assert [row["Name"] for row in landed([NAME], records)] == texts


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "5.0", 5),
        ("string", "5", "5"),
        ("string", '{"attributes":{"type":"Address"},"city":"Ü"}', '{"city": "Ü"}'),
        ("string", '{ "spaced": null }', '{"spaced": null}'),
    ],
)
def test_values_of_another_kind_than_their_columns_are_read_by_python(kind: str, text: str, value: Any) -> None:
    column = Column("X", "any", kind, True)
    records = read([column], f'{{"X":{text}}}', '{"X": null}')
    assert [row["X"] for row in landed([column], records)] == [value, None]


def test_child_records_are_left_to_python() -> None:
    children = Column("Contacts", "subquery", "string", True)
    records = read([children], '{"Contacts":{"totalSize":1,"done":true,"records":[{"attributes":{},"Id":"1"}]}}')
    assert landed([children], records) == [{"Contacts": '[{"Id": "1"}]'}]


@pytest.mark.parametrize("body", ["", "[]", "<html>", '{"totalSize":1,"done":true,"records":[{"Name":"x"}'])
def test_an_answer_that_is_no_object_is_an_error(body: str) -> None:
    with pytest.raises(UnexpectedResponseError, match="JSON"):
        answered([NAME], body)


@pytest.mark.parametrize("body", ["{}", '{"records":null}', '{"totalSize":null,"records":[]}'])
def test_an_answer_without_records_or_their_number_is_handed_on(body: str) -> None:
    """As it is, so that the caller can say what is wrong with it."""
    assert not isinstance(answered([NAME], body), JsonRows)


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(QueryError, match="unexpected token"):
        answered([NAME], '[{"errorCode":"MALFORMED_QUERY","message":"unexpected token"}]', status=400)


@pytest.mark.parametrize("value", ["5", "true", "[1]", '{"x":1}'])
@pytest.mark.parametrize("kind", ["date32", "timestamp[ms, UTC]", "time32[ms]"])
def test_a_date_that_is_no_text_is_told_with_its_row(kind: str, value: str) -> None:
    column = Column("When__c", "date", kind, True)
    with pytest.raises(ConversionError, match=r"When__c .*row 2"):
        landed([column], read([column], '{"When__c":null}', f'{{"When__c":{value}}}'))


@pytest.mark.parametrize("number", ["9" * 5_000, "1" + "0" * 400, "1e400", "0." + "1" * 5_000])
@pytest.mark.parametrize("kind", ["int64", "float64", "decimal128(18, 2)"])
def test_numbers_beyond_any_bound_are_told_with_their_row(kind: str, number: str) -> None:
    column = Column("Size__c", "double", kind, True)
    numbers: Numbers = "decimal" if kind.startswith("decimal") else "float"
    if (kind, number[:2]) == ("float64", "0."):
        assert landed([column], read([column], f'{{"Size__c":{number}}}'))[0]["Size__c"] == 1 / 9
        return
    with pytest.raises((ConversionError, UnexpectedResponseError), match=r"Size__c .*row 1|JSON"):
        landed([column], read([column], f'{{"Size__c":{number}}}', numbers=numbers))


@pytest.mark.parametrize("beside", ["Other", "attributes"])
def test_json_that_is_nested_too_deeply_is_told_as_that(beside: str) -> None:
    with pytest.raises(UnexpectedResponseError, match="JSON"):
        landed([NAME], read([NAME], f'{{"{beside}":{"[" * 200_000}{"]" * 200_000},"Name":"x"}}'))


@pytest.mark.parametrize("other", ["5", "5.0"], ids=["decoded by type", "read by Python"])
def test_decimals_keep_every_digit(other: str) -> None:
    digits = "0.1234567890123456789"
    columns = [Column("Rate__c", "double", "decimal128(38, 19)", True), Column("Size__c", "int", "int64", True)]
    records = read(columns, f'{{"Rate__c":{digits},"Size__c":{other}}}', numbers="decimal")
    assert landed(columns, records) == [{"Rate__c": Decimal(digits), "Size__c": 5}]
